"""Cards: what a method is called, what it can do, and how the command line reaches it.

`find_cards` reads `modelgraft/methods/*/card.py` and the entry points of outside packages in the
group `modelgraft.methods`; nothing has to be registered. A card is data: importing one imports
neither torch nor any model code.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import modelgraft.methods
from modelgraft.core.errors import ConfigError

ENTRY_POINTS = "modelgraft.methods"


@dataclass(frozen=True)
class Action:
    """One verb of a method.

    `target` is `module:function`, called as `f(config, run) -> Result`; `estimate`, called as
    `f(config, settings) -> list[Number]`, prints what `--dry-run` shows.
    """

    name: str
    help: str
    config: type
    target: str
    estimate: str | None = None


@dataclass(frozen=True)
class Card:
    """A method: data only.

    `presets` maps a preset's name to option values, applied to the actions that have them; a
    mapping under an action's name holds values of that action alone.
    `demo` names the actions (with option values) that the demo runs, in order.
    """

    id: str
    title: str
    summary: str
    paper: str
    actions: tuple[Action, ...]
    tags: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    demo: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def action(self, name: str) -> Action:
        """The action of this name; `ConfigError` lists the others."""
        for action in self.actions:
            if action.name == name:
                return action
        names = [action.name for action in self.actions]
        raise ConfigError("", _unknown(name, names, f"an action of {self.id}"))

    def preset(self, name: str, action: str) -> dict[str, Any]:
        """The option values of a preset for one action, which may lack some of the options."""
        values = self.presets[name]
        shared = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
        own = values.get(action)
        return {**shared, **own} if isinstance(own, Mapping) else shared


@dataclass(frozen=True)
class Found:
    """The cards by id, and the ones that could not be read with the reason."""

    cards: dict[str, Card]
    broken: dict[str, str]

    def card(self, name: str) -> Card:
        """The card of this id; `ConfigError` says what is close, or why it is broken."""
        if name in self.cards:
            return self.cards[name]
        if name in self.broken:
            raise ConfigError("", f"the method {name} cannot be read: {self.broken[name]}")
        raise ConfigError("", _unknown(name, list(self.cards), "a method"))


def _unknown(name: str, names: list[str], what: str) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(names)}"
    return f"{name!r} is not {what}; {hint}"


@functools.cache
def find_cards() -> Found:
    """Every method on this machine, sorted by id; a broken one never hides the others."""
    cards: dict[str, Card] = {}
    broken: dict[str, str] = {}
    for name, module in sorted({**_outside_modules(), **_own_modules()}.items()):
        try:
            cards[name] = _read_card(name, module)
        except Exception as error:  # an outside package may fail in any way
            broken[name] = f"{type(error).__name__}: {error}"
    return Found(cards, broken)


def find_card(name: str) -> Card:
    """The card of one method, without reading the other cards when it is ours.

    Raises `ConfigError` that says what is close, or why the card is broken.
    """
    module = _own_modules().get(name)
    if module is not None:
        with contextlib.suppress(Exception):  # read again below, where the reason is told
            return _read_card(name, module)
    return find_cards().card(name)


def _read_card(name: str, module: str) -> Card:
    card = importlib.import_module(module).CARD
    if card.id != name:
        raise ValueError(f"its card says the id is {card.id!r}")
    return card


def _own_modules() -> dict[str, str]:
    names = {
        entry.name
        for folder in modelgraft.methods.__path__
        for entry in os.scandir(folder)
        if os.path.exists(os.path.join(entry.path, "card.py"))
    }
    return {name: f"modelgraft.methods.{name}.card" for name in names}


def _outside_modules() -> dict[str, str]:
    if not _has_entry_points():
        return {}
    import importlib.metadata

    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point.module for point in points}


def _has_entry_points() -> bool:
    """Whether any installed package speaks of our group.

    Importing importlib.metadata costs more than a whole help page may take, and hardly anybody
    has an outside method: so the files it would parse are searched for the word first.
    """
    return any(
        ENTRY_POINTS.encode() in _content(os.path.join(folder, name, "entry_points.txt"))
        for folder in sys.path
        for name in _names(folder or ".")
        if name.endswith("-info")
    )


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except OSError:
        return b""
