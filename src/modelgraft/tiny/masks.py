"""What an inpainting model is asked to draw while it learns: rectangles, strokes and borders."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.worlds.draws import between, pick, uniforms

Masks = NDArray[np.bool_]
"""True is drawn, False is known."""
LEAST, MOST = 0.1, 0.7
"""Share of the canvas that is drawn."""
_TRIES: Final = 64
_NUMBERS: Final = 24


def inpainting_masks(items: Sequence[int] | np.ndarray, size: tuple[int, int], seed: int) -> Masks:
    """Random masks [n, h, w]: one to four rectangles, a stroke of a brush, or a border.

    Between a tenth and seven tenths are drawn. On a canvas of two panels none hides one panel and
    shows the other: a model that learns from these masks is never taught to fill a whole panel
    from its neighbour, so if it can, it is by what it learnt before.
    """
    places = np.asarray(items)
    found = np.zeros((len(places), *size), dtype=bool)
    missing = np.arange(len(places))
    for attempt in range(_TRIES):
        numbers = uniforms(f"masks {attempt}", seed, places[missing], _NUMBERS)
        found[missing] = np.stack([_mask(one, size) for one in numbers])
        missing = missing[~_is_allowed(found[missing])]
        if not len(missing):
            return found
    raise AssertionError(f"no mask in {_TRIES} draws")


def _mask(numbers: np.ndarray, size: tuple[int, int]) -> Masks:
    kind = pick(numbers[:1], 3)[0]
    return (_rectangles, _stroke, _border)[kind](numbers[1:], size)


def _grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows [h, 1] and columns [w] of the pixels' centres."""
    return np.arange(size[0])[:, None] + 0.5, np.arange(size[1]) + 0.5


def _rectangles(numbers: np.ndarray, size: tuple[int, int]) -> Masks:
    rows, columns = _grid(size)
    found = np.zeros(size, dtype=bool)
    for corners in numbers[1:17].reshape(4, 4)[: 1 + pick(numbers[:1], 4)[0]]:
        top, bottom = np.sort(corners[:2]) * size[0]
        left, right = np.sort(corners[2:]) * size[1]
        found |= (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return found


def _stroke(numbers: np.ndarray, size: tuple[int, int]) -> Masks:
    """All that lies within a brush's radius of a line through four points."""
    rows, columns = _grid(size)
    radius = between(numbers[:1], 1 / 16, 1 / 5)[0] * size[0]
    points = numbers[1:9].reshape(4, 2) * size
    found = np.zeros(size, dtype=bool)
    for start, end in itertools.pairwise(points):
        along = end - start
        share = ((rows - start[0]) * along[0] + (columns - start[1]) * along[1]) / (along @ along)
        nearest = start[:, None, None] + np.clip(share, 0, 1) * along[:, None, None]
        found |= np.hypot(rows - nearest[0], columns - nearest[1]) <= radius
    return found


def _border(numbers: np.ndarray, size: tuple[int, int]) -> Masks:
    """A band along one side of the canvas."""
    rows, columns = _grid(size)
    side = pick(numbers[:1], 4)[0]
    depth = numbers[1] * size[side // 2]
    place = (rows, size[0] - rows, columns, size[1] - columns)[side]
    return np.broadcast_to(place < depth, size).copy()


def _is_allowed(masks: Masks) -> NDArray[np.bool_]:
    share = masks.mean(axis=(1, 2))
    allowed = (share >= LEAST) & (share <= MOST)
    height, width = masks.shape[1:]
    if width == 2 * height:
        halves = masks.reshape(len(masks), height, 2, height).mean(axis=(1, 3))
        allowed &= ~((halves.max(axis=1) >= 0.9) & (halves.min(axis=1) <= 0.1))
    return allowed
