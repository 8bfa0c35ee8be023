"""Help pages, made from cards and options; each option says its default, unit and range once."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from modelgraft.core.card import Action, Card
from modelgraft.core.options import Option, options

_COLUMN = 28
_METAVARS = {"int": "N", "float": "X", "number": "X", "str": "TEXT", "path": "PATH"}


def command_page(
    command: str, help: str, groups: Sequence[tuple[str, Sequence[Option]]], *, everything: bool
) -> str:
    """The page of a command: usage, what it does, and its options group by group."""
    places = [option for _, group in groups for option in group if option.positional]
    words = [_place(option) for option in places]
    lines = [f"usage: {' '.join([command, *words, '[options]'])}", "", help]
    hidden = 0
    for title, group in groups:
        shown = [option for option in group if everything or not option.advanced]
        hidden += len(group) - len(shown)
        if shown:
            lines += ["", title]
            lines += entries((_spelling(option), _meaning(option)) for option in shown)
    if hidden:
        lines += ["", f"{hidden} more options for special cases: {command} --help-all"]
    return "\n".join(lines)


def method_page(card: Card) -> str:
    """The page of a method: what it is, its actions and its presets."""
    lines = [f"usage: modelgraft {card.id} ACTION [options]", ""]
    lines += textwrap.wrap(f"{card.title}: {card.summary}", _width())
    lines += [card.paper] if card.paper else []
    lines += ["", "actions"]
    lines += entries((action.name, action.help) for action in card.actions)
    if card.presets:
        lines += ["", f"presets: {', '.join(card.presets)} (--preset NAME)"]
    lines += ["", f"modelgraft {card.id} ACTION --help lists the options of an action."]
    return "\n".join(lines)


def entries(rows: Iterable[tuple[str, str]], column: int = _COLUMN) -> list[str]:
    """Names with their explanations beside them, wrapped to the terminal."""
    lines: list[str] = []
    indent = " " * column
    for name, text in rows:
        wrapped = textwrap.wrap(
            text, _width(), initial_indent=indent, subsequent_indent=indent
        ) or [""]
        label = f"  {name}"
        if len(label) + 2 > column:
            lines += [label, *wrapped]
        else:
            lines += [(label.ljust(column) + wrapped[0].strip()).rstrip(), *wrapped[1:]]
    return lines


def action_groups(action: Action, shared: Sequence[Option]) -> list[tuple[str, list[Option]]]:
    """The options of an action in the order of its page."""
    own = options(action.config)
    return [
        ("arguments", [option for option in own if option.positional]),
        ("options", [option for option in own if not option.positional]),
        ("options of every action", list(shared)),
    ]


def _width() -> int:
    return max(60, min(100, shutil.get_terminal_size().columns))


def _place(option: Option) -> str:
    word = f"{option.label} ..." if option.multiple else option.label
    return word if option.required else f"[{word}]"


def _spelling(option: Option) -> str:
    if option.positional:
        return _place(option).strip("[]")
    if option.choices == ("true", "false"):
        return f"{option.flag} [true|false]" if option.default else option.flag
    word = option.kind if option.choices else _METAVARS[option.kind]
    several = ("," if option.parts("a,b") != ["a,b"] else " ") + "..." if option.multiple else ""
    return f"{option.flag} {word}{several}"


def _meaning(option: Option) -> str:
    facts = [fact for fact in (_default(option), _range(option)) if fact]
    return f"{option.help} ({', '.join(facts)})" if facts else option.help


def _default(option: Option) -> str:
    if option.required:
        return "needed"
    if option.default in (None, "", ()) or option.default is False:
        return ""
    return f"default {_text(option.default)}{f' {option.unit}' if option.unit else ''}"


def _range(option: Option) -> str:
    has_shown_unit = option.default not in (None, "", ()) and not option.required
    unit = f" {option.unit}" if option.unit and not has_shown_unit else ""
    if option.min is not None and option.max is not None:
        return f"{option.min} to {option.max}{unit}"
    if option.min is not None:
        return f"at least {option.min}{unit}"
    if option.max is not None:
        return f"at most {option.max}{unit}"
    return f"in {option.unit}" if unit else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value)
