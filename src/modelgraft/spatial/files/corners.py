"""Faces as files list them, polygons whose corners point into several lists, as one index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.int64]


def fans(counts: Longs) -> Longs:
    """Triangles [T, 3] of polygons with so many corners each [P], as numbers of corners in a row.

    Every polygon becomes a fan around its first corner; those of fewer than three become nothing.
    """
    num = np.maximum(counts - 2, 0)
    polygon = np.repeat(np.arange(len(counts)), num)
    step = np.arange(int(num.sum())) - np.repeat(np.cumsum(num) - num, num)
    first = (np.cumsum(counts) - counts)[polygon]
    return np.stack([first, first + step + 1, first + step + 2], axis=1)


def joined(keys: Longs) -> tuple[Longs, Longs]:
    """One vertex for corners [C, K] with equal keys from -1 up.

    A corner that stands for each vertex [V], in the order of their first key, and the vertex of
    each corner [C].
    """
    code = np.zeros(len(keys), np.int64)
    for column in keys.T:  # numbered anew each time, so that no product overflows
        code = code * (int(column.max(initial=0)) + 2) + column + 1
        _, code = np.unique(code, return_inverse=True)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return first, inverse
