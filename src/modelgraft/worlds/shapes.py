"""Plane shapes as functions of the place: negative inside, zero on the outline, about unit radius.

`u` goes to the right and `v` up; `form` from 0 to 1 is each shape's own free proportion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]
Outline = Callable[[Grid, Grid, Grid], Grid]


def _circle(u: Grid, v: Grid, form: Grid) -> Grid:
    return np.hypot(u, v) - 0.9


def _square(u: Grid, v: Grid, form: Grid) -> Grid:
    """Corners are cut by as much as `form` says."""
    straight = np.maximum(np.abs(u), np.abs(v)) - 0.8
    return np.maximum(straight, (np.abs(u) + np.abs(v)) * 0.7071 - (1.13 - 0.17 * form))


def _triangle(u: Grid, v: Grid, form: Grid) -> Grid:
    return np.maximum(-v - 0.62, 0.8660 * np.abs(u) + 0.5 * v - 0.5)


def _polygon_fold(u: Grid, v: Grid, corners: int) -> tuple[Grid, Grid]:
    """Radius and the angle from the nearest of `corners` spikes, the first one upwards."""
    sector = np.float32(2 * np.pi / corners)
    angle = np.arctan2(u, v)
    return np.hypot(u, v), np.abs((angle + sector / 2) % sector - sector / 2)


def _star(u: Grid, v: Grid, form: Grid) -> Grid:
    radius, angle = _polygon_fold(u, v, 5)
    inner, half = 0.42 + 0.13 * form, np.float32(np.pi / 5)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    # The line from the spike (1, 0) to the notch (inner cos, inner sin).
    dx, dy = inner * np.cos(half) - 1, inner * np.sin(half)
    return ((x - 1) * dy - y * dx) / np.hypot(dx, dy)


def _cross(u: Grid, v: Grid, form: Grid) -> Grid:
    arm = 0.24 + 0.14 * form
    across = np.maximum(np.abs(u) - 0.95, np.abs(v) - arm)
    return np.minimum(across, np.maximum(np.abs(v) - 0.95, np.abs(u) - arm))


def _ring(u: Grid, v: Grid, form: Grid) -> Grid:
    hole = 0.34 + 0.16 * form
    radius = np.hypot(u, v)
    return np.maximum(radius - 0.95, hole - radius)


def _heart(u: Grid, v: Grid, form: Grid) -> Grid:
    x, y = u * 1.22, v * 1.22 + 0.12
    return np.cbrt((x * x + y * y - 1) ** 3 - x * x * y**3) * 0.5


def _diamond(u: Grid, v: Grid, form: Grid) -> Grid:
    return (np.abs(u) / (0.6 + 0.12 * form) + np.abs(v) - 1) * 0.6


def _hexagon(u: Grid, v: Grid, form: Grid) -> Grid:
    radius, angle = _polygon_fold(u, v, 6)
    return radius * np.cos(np.float32(np.pi / 6) - angle) - 0.82


def _crescent(u: Grid, v: Grid, form: Grid) -> Grid:
    away = np.hypot(u - (0.42 + 0.14 * form), v)
    return np.maximum(np.hypot(u, v) - 0.95, 0.74 - away)


OUTLINES: Final[dict[str, Outline]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "diamond": _diamond,
    "hexagon": _hexagon,
    "crescent": _crescent,
}
SHAPES: Final = tuple(OUTLINES)


def outline(shape: int, u: Grid, v: Grid, form: Grid) -> Grid:
    """How far a place is outside of shape number `shape`: negative inside, zero on the outline."""
    return OUTLINES[SHAPES[shape]](u, v, form)
