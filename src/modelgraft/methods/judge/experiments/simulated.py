"""What the simulated experiments share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import bootstrap_mean, wilson

SUBJECT = {"model": "simulated", "dtype": "none", "device": "cpu"}


def share_number(name: str, hits: Sequence[bool], **fields: Any) -> Number:
    """A share in percent with Wilson's interval."""
    found = wilson(sum(map(bool, hits)), len(hits))
    low, high = (None if one is None else 100 * one for one in (found.low, found.high))
    return Number(name, 100 * found.value, low, high, found.n, unit="%", **fields)


def mean_number(name: str, values: Sequence[float], **fields: Any) -> Number:
    """A mean over draws with its bootstrap interval."""
    found = bootstrap_mean(np.asarray(values, dtype=np.float64))
    return Number(name, found.value, found.low, found.high, found.n, **fields)


def seeds_of(first: int, num: int) -> tuple[int, ...]:
    """The seeds of so many draws."""
    return tuple(range(first, first + num))
