"""Ratings become a pair (Tulu 3): the highest mean against one strictly lower."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Drop = Literal["no answer", "no rating", "tied", "same text"]


class Choice(NamedTuple):
    """Places of the chosen and of the rejected response."""

    chosen: int
    rejected: int


def mean_rating(ratings: Mapping[str, int | None]) -> float | None:
    """The mean over the aspects with a valid rating; None when there is no such aspect."""
    valid = [rating for rating in ratings.values() if rating is not None]
    return sum(valid) / len(valid) if valid else None


def highest(ratings: Sequence[float], rng: random.Random) -> int:
    """The place of the highest rating, drawn uniformly where several share it."""
    best = max(ratings)
    return rng.choice([place for place, rating in enumerate(ratings) if rating == best])


def binarise(
    means: Sequence[float | None], texts: Sequence[str], rng: random.Random
) -> Choice | Drop:
    """The pair that the mean ratings of the responses make, or why they make none.

    Chosen is the highest mean, rejected a uniform draw among the strictly lower ones. A response
    without a mean could belong anywhere, so it makes no pair (`no rating`); neither do equal means
    (`tied`), nor lower responses that all repeat the chosen text (`same text`).
    """
    known = [mean for mean in means if mean is not None]
    if len(known) < len(means):
        return "no rating"
    chosen = highest(known, rng)
    lower = [place for place, mean in enumerate(known) if mean < known[chosen]]
    if not lower:
        return "tied"
    # A judge may rate one text twice and differently; a text is not preferred to itself.
    others = [place for place in lower if texts[place] != texts[chosen]]
    return Choice(chosen, rng.choice(others)) if others else "same text"
