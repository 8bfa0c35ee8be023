"""The first page: the methods that have landed, and what is ready on this machine."""

from __future__ import annotations

from collections.abc import Mapping

from modelgraft import __version__
from modelgraft.cli.pages import entries
from modelgraft.core.card import Card, find_cards


def page(commands: Mapping[str, tuple[str, str]], *, check_machine: bool) -> str:
    """Methods with a line each, then commands; with `check_machine`, what each method lacks."""
    found = find_cards()
    lines = [f"modelgraft {__version__}: abilities from research papers for your own models", ""]
    lines.append("methods")
    lines += entries(
        (card.id, card.summary + (f" [{_readiness(card)}]" if check_machine else ""))
        for card in found.cards.values()
    )
    lines += [f"  {name} cannot be read: {reason}" for name, reason in found.broken.items()]
    if not found.cards and not found.broken:
        lines.append("  none")
    lines += ["", "commands"]
    lines += entries((name, help) for name, (_, help) in commands.items())
    lines += [
        "",
        "modelgraft METHOD                   what the method can do",
        "modelgraft METHOD ACTION --help     the options of one action",
        "modelgraft --version                the version",
    ]
    return "\n".join(lines)


def _readiness(card: Card) -> str:
    from modelgraft.cli.packages import missing_packages

    lacking = [extra for extra in card.extras if missing_packages(extra)]
    if lacking:
        return f'needs: pip install "modelgraft[{",".join(lacking)}]"'
    return "ready"
