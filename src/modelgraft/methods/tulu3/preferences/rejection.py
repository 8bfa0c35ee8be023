"""Rejection sampling: of several answers a judge keeps the best (Tulu 3, among what did not help).

The paper found a small gain for the cost, and much less without the original answer in the list.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from modelgraft.methods.tulu3.preferences.binarise import highest


class Rated(NamedTuple):
    """An answer and the judge's rating of it."""

    text: str
    rating: float


class Kept(NamedTuple):
    """The answer that is kept, and whether it is the original one."""

    text: str
    rating: float
    is_original: bool


def keep_best(samples: Sequence[Rated], original: Rated | None, rng: random.Random) -> Kept:
    """The highest rated of the samples and, where it is given, of the original answer.

    Equal ratings are drawn from uniformly: the paper says nothing about them.
    """
    candidates = [*samples] if original is None else [*samples, original]
    place = highest([candidate.rating for candidate in candidates], rng)
    return Kept(*candidates[place], is_original=place == len(samples))
