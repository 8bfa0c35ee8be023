"""What the commands that are no actions share: their options are read like any others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from modelgraft.cli import show
from modelgraft.cli.flags import wanted_help
from modelgraft.cli.pages import command_page
from modelgraft.cli.parser import parse
from modelgraft.core.options import build, options

C = TypeVar("C")


def read(argv: Sequence[str], cls: type[C], name: str) -> C | None:
    """The options of `modelgraft NAME`, or None when the words asked for its help page.

    The docstring of `cls` is what the page says.
    """
    command = f"modelgraft {name}"
    own = options(cls)
    if wanted := wanted_help(argv):
        groups = [
            ("arguments", [option for option in own if option.positional]),
            ("options", [option for option in own if not option.positional]),
        ]
        help = " ".join((cls.__doc__ or "").split())
        show.emit(command_page(command, help, groups, everything=wanted == "all"))
        return None
    return build(cls, parse(argv, own, command))
