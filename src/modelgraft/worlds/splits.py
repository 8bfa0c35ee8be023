"""Splits by unseen combinations: of two factors in four steps each, 12 pairs of steps are trained.

Every family has its own 16 pairs. Two of them belong to validation and two to test, so that each
step of either factor is trained, and no pair of theirs is.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from modelgraft.worlds.draws import Floats

Split = Literal["train", "validation", "test"]

_STEPS: Final = 4


def placed(split: Split, family: int, numbers: Floats) -> tuple[float, float]:
    """Two factors from 0 to 1 in a cell of the split, by three `numbers` in [0, 1)."""
    cells = _cells(split, family)
    first, second = cells[int(numbers[0] * len(cells))]
    return (first + numbers[1]) / _STEPS, (second + numbers[2]) / _STEPS


def split_of(family: int, first: float, second: float) -> Split:
    """The split to which these factors from 0 to 1 belong."""
    steps = [min(int(one * _STEPS), _STEPS - 1) for one in (first, second)]
    if (steps[0] + steps[1] + family) % _STEPS:
        return "train"
    return "test" if steps[1] % 2 else "validation"


def _cells(split: Split, family: int) -> list[tuple[int, int]]:
    pairs = [(first, second) for first in range(_STEPS) for second in range(_STEPS)]
    middles = np.array(pairs) / _STEPS + 0.5 / _STEPS
    return [
        pair
        for pair, (first, second) in zip(pairs, middles, strict=True)
        if split_of(family, first, second) == split
    ]
