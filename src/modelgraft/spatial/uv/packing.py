"""Boxes laid out in rows, highest first, in a square: simple, fast and without overlap."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_HALVINGS: Final = 20


class Layout(NamedTuple):
    """Where boxes lie, in texels from the lower left corner."""

    scale: float
    """Texels for one unit of the boxes."""
    corner: Doubles
    """The lower left corner of each [N, 2]."""
    share: float
    """Of the square that the boxes fill."""


def packed(sizes: Doubles, resolution: int, padding: int) -> Layout | None:
    """Boxes [N, 2] (width, height) as large as they fit a square with `padding` texels between.

    Found by bisection of the scale; every box takes one texel at least. None when not even that
    fits.
    """
    found = _corners(sizes * 0.0, resolution, padding)
    if found is None:
        return None
    area = float((sizes[:, 0] * sizes[:, 1]).sum())
    low, high = 0.0, resolution / max(float(sizes.max()), math.sqrt(area), 1e-30)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        corners = _corners(sizes * middle, resolution, padding)
        if corners is None:
            high = middle
        else:
            low, found = middle, corners
    return Layout(low, found, area * low**2 / resolution**2)


def _corners(sizes: Doubles, resolution: int, padding: int) -> Doubles | None:
    """The corners of boxes in texels, or None when they do not fit."""
    cells = np.maximum(np.ceil(sizes), 1).astype(np.int64)
    order = np.lexsort((-cells[:, 0], -cells[:, 1]))
    widths = cells[order, 0] + padding
    room = resolution - padding
    if widths.max() > room:
        return None
    ends = np.cumsum(widths)
    found = np.empty((len(cells), 2), np.int64)
    start, top, taken = 0, padding, 0
    while start < len(order):
        stop = int(np.searchsorted(ends, taken + room, side="right"))
        height = int(cells[order[start], 1])
        if top + height + padding > resolution:
            return None
        row = order[start:stop]
        found[row, 0] = padding + ends[start:stop] - widths[start:stop] - taken
        found[row, 1] = top
        top += height + padding
        taken = int(ends[stop - 1])
        start = stop
    return found + (cells - sizes) / 2
