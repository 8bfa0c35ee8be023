"""Accuracy where a shortcut leads to the good answer and where it leads away from it.

A reader that takes the shorter answer is right as often as the good answer is the shorter one, on
whatever data it is measured. Its accuracy on pairs with a longer good answer says so, and so does
the balanced mean, in which both strata count the same. Hence the rule: a reader is better than a
baseline only by the balanced mean with its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judging.judgments import TIE, Judgment
from modelgraft.methods.judge.probes.measured import (
    Measured,
    difference,
    middle,
    paired_gain,
    share,
    unknown,
)
from modelgraft.methods.judge.probes.pairs import good_places, lengths, lists

# What the good answer is: the two sides of each axis.
SIDES: dict[str, tuple[str, str]] = {
    "length": ("shorter", "longer"),
    "list": ("no list", "list"),
    "likelihood": ("less likely", "likelier"),
    "slot": ("second", "first"),
}
CHANCE = 0.5
_LEVEL = 0.95

Axes = Mapping[str, Array]


def axes_of(items: Sequence[Item], likelihoods: ArrayLike | None = None) -> dict[str, Array]:
    """On which side of each axis the good answers stand: [pairs] of 1, -1, and 0 for neither.

    1 is longer, a list where the other is none, likelier (by `likelihoods` [2, pairs]), and first
    of the item. A pair whose label names no candidate is on no side. Leave out the slot of
    judgments that average both orders: `del axes["slot"]`.
    """
    place = good_places(items)
    first_minus_second = {
        "length": np.subtract(*lengths(items)),
        "list": np.subtract(*lists(items).astype(np.float64)),
        "slot": np.ones(len(items)),
    }
    if likelihoods is not None:
        first_minus_second["likelihood"] = np.subtract(*np.asarray(likelihoods, dtype=np.float64))
    sign = np.where(place < 0, 0.0, 1.0 - 2.0 * place)
    return {
        name: sign * np.sign(np.nan_to_num(first_minus_second[name]))
        for name in SIDES
        if name in first_minus_second
    }


def rights(judgments: Sequence[Judgment]) -> Array:
    """1 [pairs] where the winner is the labelled candidate, 0 where not, nan without a verdict."""
    found = [one.is_right for one in judgments]
    return np.array([np.nan if right is None else float(right) for right in found])


@dataclass(frozen=True)
class Strata:
    """Accuracy on the two sides of an axis, `sides` by their names.

    `balanced` is the mean of both, `gap` the accuracy of the second side less that of the first.
    """

    axis: str
    sides: Mapping[str, Measured]
    balanced: Measured
    gap: Measured


def by_stratum(axes: Axes, is_right: ArrayLike) -> list[Strata]:
    """The accuracies on every axis that some pair has a side of; `is_right` is that of `rights`."""
    right = np.asarray(is_right, dtype=np.float64)
    found = []
    for axis, side in axes.items():
        if not side.any():
            continue
        sides = {
            name: _accuracy(right[side == sign], f"no good answer is on the side: {name}")
            for sign, name in zip((-1, 1), SIDES[axis], strict=True)
        }
        low, high = sides.values()
        found.append(Strata(axis, sides, middle(low, high), difference(high, low)))
    return found


def _accuracy(right: Array, empty: str, level: float = _LEVEL) -> Measured:
    is_known = ~np.isnan(right)
    return share(right[is_known], num_skipped=int((~is_known).sum()), empty=empty, level=level)


def balanced_mean(strata: Sequence[Strata]) -> Measured:
    """The lowest of the balanced means: that of the axis on which the reader fares worst.

    Undefined as soon as one of them is, for data without one side cannot show what it is worth.
    """
    if not strata:
        return unknown("the good and the bad answers differ in nothing that could be a shortcut")
    for one in strata:
        if one.balanced.reason:
            return one.balanced
    return min((one.balanced for one in strata), key=lambda one: one.value)


@dataclass(frozen=True)
class Shortcut:
    """What accuracy tracks: the axis, the side of it that is preferred, and by how much."""

    axis: str
    prefers: str
    gap: Measured

    @property
    def text(self) -> str:
        """As an audit says it."""
        return f"shortcut: {self.axis}"


def shortcut_of(axes: Axes, is_right: ArrayLike) -> Shortcut | None:
    """The axis whose sides differ most in accuracy, if the weaker one is not above chance.

    Both by intervals of a level of 95 % over all axes together (Bonferroni): that of the gap does
    not hold 0, and that of the weaker side reaches 1/2. A good reader with a weakness for length is
    above chance on both sides; a reader of length alone is not.
    """
    right = np.asarray(is_right, dtype=np.float64)
    level = 1 - (1 - _LEVEL) / max(1, len(axes))
    found = []
    for axis, side in axes.items():
        accuracies = {
            name: _accuracy(right[side == sign], "empty", level)
            for sign, name in zip((-1, 1), SIDES[axis], strict=True)
        }
        weak, strong = sorted(accuracies, key=lambda name: accuracies[name].value)
        gap = difference(accuracies[strong], accuracies[weak])
        floor = accuracies[weak].low
        if gap.low is not None and gap.low > 0 and floor is not None and floor <= CHANCE:
            found.append(Shortcut(axis, strong, gap))
    return max(found, key=lambda one: one.gap.value, default=None)


# -- against a baseline ----------------------------------------------------------------------------


def longest(item: Item) -> str:
    """The id of the longer candidate, or a tie."""
    return _most(item, [len(one.text) for one in item.candidates])


def shortest(item: Item) -> str:
    """The id of the shorter candidate, or a tie."""
    return _most(item, [-len(one.text) for one in item.candidates])


def first_slot(item: Item) -> str:
    """The id of the first candidate."""
    return item.candidates[0].id


BASELINES: dict[str, Callable[[Item], str]] = {
    "longest": longest,
    "shortest": shortest,
    "first slot": first_slot,
}


def _most(item: Item, sizes: Sequence[int]) -> str:
    best = max(sizes)
    return item.candidates[sizes.index(best)].id if sizes.count(best) == 1 else TIE


def baseline_rights(items: Sequence[Item], pick: Callable[[Item], str]) -> Array:
    """As `rights`, of a rule that names a candidate; nan where the label names none."""
    right = np.array([float(pick(item) == item.label) for item in items])
    return np.where(good_places(items) < 0, np.nan, right)


def balanced_gains(
    axes: Axes, is_right: ArrayLike, baseline_right: ArrayLike
) -> dict[str, Measured]:
    """By axis, the balanced mean less that of a baseline, over pairs on which both have a verdict.

    Axes on which no pair has a side are left out.
    """
    ours, theirs = (np.asarray(one, dtype=np.float64) for one in (is_right, baseline_right))
    is_known = ~np.isnan(ours) & ~np.isnan(theirs)
    gains = {}
    for axis, side in axes.items():
        if not side.any():
            continue
        gains[axis] = middle(
            *(
                paired_gain(
                    ours[is_known & (side == sign)],
                    theirs[is_known & (side == sign)],
                    empty=f"no good answer is on the side: {name}",
                )
                for sign, name in zip((-1, 1), SIDES[axis], strict=True)
            )
        )
    return gains


def is_better(axes: Axes, is_right: ArrayLike, baseline_right: ArrayLike) -> bool:
    """Whether a reader is better than a baseline: the rule of the module's first lines.

    On every axis the gain of the balanced mean has its interval above 0. Data whose good answers
    all stand on one side of an axis cannot show it.
    """
    gains = balanced_gains(axes, is_right, baseline_right).values()
    return bool(gains) and all(one.low is not None and one.low > 0 for one in gains)
