"""What measures ask of pairs: who leads, how long the answers are, and which of them is a list."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judging.judgments import TIE, Judgment

_LIST_LINE = re.compile(r"^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)


def has_list(text: str) -> bool:
    """Whether two or more of its lines begin as items of a list do."""
    return len(_LIST_LINE.findall(text)) >= 2


def texts(item: Item) -> tuple[str, str]:
    """The two texts of a pair; InputError for an item that is none."""
    if len(item.candidates) != 2:
        raise InputError(f"item {item.id}: {len(item.candidates)} candidates; a pair is needed.")
    return item.candidates[0].text, item.candidates[1].text


def lengths(items: Sequence[Item]) -> Array:
    """Characters [2, items] of the first and of the second candidates."""
    return np.array([[len(text) for text in texts(item)] for item in items], np.float64).T


def lists(items: Sequence[Item]) -> NDArray[np.bool_]:
    """Whether they have a list [2, items]."""
    return np.array([[has_list(text) for text in texts(item)] for item in items], bool).T


def good_places(items: Sequence[Item]) -> NDArray[np.int64]:
    """The place [items] of the candidate that the label names, 0 or 1; -1 where it names none."""
    found = []
    for item in items:
        places = {one.id: place for place, one in enumerate(item.candidates)}
        found.append(places.get(item.label, -1) if isinstance(item.label, str) else -1)
    return np.array(found, np.int64)


def leads(items: Sequence[Item], judgments: Sequence[Judgment]) -> Array:
    """1 [items] where the first candidate wins, -1 where the second, 0 a tie, nan no verdict."""
    found = []
    for item, one in zip(items, judgments, strict=True):
        first, second = (candidate.id for candidate in item.candidates)
        found.append({first: 1.0, second: -1.0, TIE: 0.0}.get(one.winner or "", np.nan))
    return np.array(found)
