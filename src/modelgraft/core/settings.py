"""The settings every run shares."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from modelgraft.core.options import opt


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags every action shares."""

    seed: int = opt(0, "Seed of every random draw.", min=0)
    device: str = opt("auto", "auto, cpu, cuda or cuda:N.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = opt(
        "auto", "Number type of the weights; auto measures on a CPU and takes bfloat16 on a GPU."
    )
    resume: Literal["auto", "never", "must"] = opt(
        "auto", "Go on in an existing run folder: if there is one, never, or only then."
    )
    offline: bool = opt(False, "Never ask a hub or a registry.")


def is_offline() -> bool:
    """Whether MODELGRAFT_OFFLINE forbids asking a hub or a registry."""
    return os.environ.get("MODELGRAFT_OFFLINE", "").lower() not in ("", "0", "false", "no")
