"""The flags that every action has beside its own options, and the request for help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelgraft.core.options import opt

_HELP = {"-h": "short", "--help": "short", "--help-all": "all"}


@dataclass(frozen=True, kw_only=True)
class ActionFlags:
    """The flags of every action that are no settings of the run itself."""

    preset: str | None = opt(None, "A named set of option values.")
    out: Path | None = opt(None, "The run folder; none makes a new one under runs/.")
    dry_run: bool = opt(False, "Say what it would cost; write nothing.")
    json: bool = opt(False, "Print the result as one JSON object.")
    quiet: bool = opt(False, "No progress and no remarks.")


def wanted_help(argv: Sequence[str]) -> str:
    """`short` or `all` when the words ask for help, else nothing."""
    head = argv[: argv.index("--")] if "--" in argv else argv
    return next((_HELP[word] for word in reversed(head) if word in _HELP), "")


def names_in(text: str) -> list[str]:
    """The names in a text that parts them by commas."""
    return [name.strip() for name in text.split(",")]
