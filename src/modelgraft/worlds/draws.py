"""Uniform numbers by place: item i of a seed always draws the same, in any order and any batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.core.seeds import rng_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(name: str, seed: int, items: ArrayLike, count: int) -> Floats:
    """`count` numbers in [0, 1) for every item [n, count], from the stream called `name`.

    SplitMix64 (Steele, Lea and Flood 2014) evaluated at the places of a counter, so nothing has to
    be drawn before.
    """
    start = np.uint64(rng_seed("uniforms", name, seed))
    places = np.asarray(items, dtype=np.uint64)[:, None] * np.uint64(count)
    counters = places + np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        state = start + counters * _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def between(numbers: Any, low: float, high: float) -> Any:
    """Uniform numbers, an array or one alone, stretched to [low, high)."""
    return low + (high - low) * numbers


def choose(numbers: Floats, shares: ArrayLike) -> Ints:
    """Indices [n] with probabilities proportional to `shares`."""
    edges = np.cumsum(np.asarray(shares, dtype=np.float64))
    return np.searchsorted(edges / edges[-1], numbers, side="right").astype(np.int64)


def pick(numbers: Floats, options: int) -> Ints:
    """Indices [n] below `options`, all as likely."""
    return np.minimum((numbers * options).astype(np.int64), options - 1)
