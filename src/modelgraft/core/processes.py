"""Several processes at one command: torchrun, accelerate launch."""

from __future__ import annotations

import os

from modelgraft.core.errors import ConfigError


def refuse_processes(action: str, shared: str) -> None:
    """Raise `ConfigError` when this is one of several processes; `shared` says what they can do."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1:
        raise ConfigError(
            "",
            f"{action}: {size} processes were started, and each would do the whole work again; "
            f"{shared}.\n  Start it without torchrun or accelerate launch.",
        )
