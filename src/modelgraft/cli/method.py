"""METHOD [ACTION]: the help pages, then over to the action."""

from __future__ import annotations

from collections.abc import Sequence

from modelgraft.cli import show
from modelgraft.cli.flags import ActionFlags, wanted_help
from modelgraft.cli.pages import action_groups, command_page, method_page
from modelgraft.core.card import Card
from modelgraft.core.errors import ConfigError
from modelgraft.core.lazy import load
from modelgraft.core.options import options
from modelgraft.core.settings import Settings


def command(card: Card, argv: Sequence[str]) -> int:
    """Run the words after the method's name, and return the exit code."""
    if not argv or wanted_help(argv[:1]):
        show.emit(method_page(card))
        return 0
    if argv[0].startswith("-"):
        raise ConfigError(
            "",
            f"{argv[0]}: an action comes first, then its options; "
            f"modelgraft {card.id} lists the actions.",
        )
    action = card.action(argv[0].replace("-", "_"))
    if wanted := wanted_help(argv[1:]):
        groups = action_groups(action, [*options(ActionFlags), *options(Settings)])
        name = f"modelgraft {card.id} {action.name}"
        show.emit(command_page(name, action.help, groups, everything=wanted == "all"))
        return 0
    return load("modelgraft.cli.action:command")(card, action, argv[1:])
