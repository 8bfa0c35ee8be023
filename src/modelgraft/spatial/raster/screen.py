"""Triangles on the screen in fixed point: what both CPU backends draw, so that they agree.

Vertices are cut at the planes below in homogeneous space, projected in float64 and rounded to
1/4096 of a pixel. From there on the question whether a pixel is covered is one of integers: an
edge function (Pineda, A Parallel Algorithm for Polygon Rasterization, 1988) and a rule for zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BITS: Final = 12
_UNIT: Final = 1 << _BITS
# A vertex may lie three half frames beside the frame before it is cut, so cutting is rare, and
# edge functions of frames up to 65,536 pixels stay below 2^63.
_REACH: Final = 4.0
# What is kept has sign * clip[axis] + reach * w >= 0; the first is the near plane.
_PLANES: Final = (
    (2, 1, 1.0),
    (2, -1, 1.0),
    (0, 1, _REACH),
    (0, -1, _REACH),
    (1, 1, _REACH),
    (1, -1, _REACH),
)


@dataclass(frozen=True)
class Triangles:
    """Triangles that may cover a pixel, in the order of their numbers.

    Corners are ordered so that all edge functions are positive inside. At the centre of the pixel
    in column x and row y, edge i (opposite to corner i) has the value e_i = edges[i] . (x, y, 1).
    """

    ids: Ints
    """[T], the number of the face; pieces of a cut one share it."""
    boxes: Ints
    """[T, 4]: first row, row after the last, first column, column after the last."""
    edges: Ints
    """[T, 3, 3]"""
    floors: Ints
    """[T, 3], the smallest value of each edge function that counts as inside: 0 or 1."""
    depths: Floats
    """[T, 3]: z / w is the sum of e_i depths[i]."""
    shares: Floats
    """[T, 3, 3]: with s the sum of e_i shares[i], the weights of vertices 0 and 1 of the face are
    s[1] / s[0] and s[2] / s[0]."""


def project(clip: Floats, faces: Ints, size: tuple[int, int]) -> Triangles:
    """The triangles `faces` [F, 3] of vertices [V, 4] in clip space, on a screen of `size`."""
    points, ids, corners, pieces = _cut(clip, faces)
    inverse = 1 / points[:, 3]
    x = _fixed(points[:, 0] * inverse + 1, size[1])
    y = _fixed(1 - points[:, 1] * inverse, size[0])
    boxes, area = _extents(x[corners], y[corners], size)
    kept = np.flatnonzero((area != 0) & (boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3]))
    ids, corners, boxes, area = ids[kept], corners[kept], boxes[kept], area[kept]
    order = _order(x[corners], y[corners], area)
    corners = np.take_along_axis(corners, order, 1)
    edges, floors = _edges(x[corners], y[corners])
    depths = (points[:, 2] * inverse)[corners] / np.abs(area)[:, None]
    # A piece of a face knows the weights at its corners; a whole one's are 0 and 1.
    weights = np.eye(3, 2)[order]
    is_piece = corners >= len(clip)
    weights[is_piece] = pieces[corners[is_piece] - len(clip)]
    shares = np.empty((len(kept), 3, 3))
    shares[..., 0] = inverse[corners]
    shares[..., 1:] = weights * shares[..., :1]
    return Triangles(ids, boxes, edges, floors, depths, shares)


# -- cutting ---------------------------------------------------------------------------------------


def _cut(clip: Floats, faces: Ints) -> tuple[Floats, Ints, Ints, Floats]:
    """What lies inside all planes.

    The vertices and behind them the corners of cut faces, all [P, 4]; the triangles' faces [T] in
    ascending order and their corners [T, 3] among these points; and the weights of vertices 0 and 1
    of their faces at the corners of cut ones [P - V, 2].
    """
    codes = np.zeros(len(clip), dtype=np.uint8)
    for bit, plane in enumerate(_PLANES):
        codes |= (_side(clip, plane) < 0).astype(np.uint8) << bit
    first, second, third = codes[faces].T
    ids = np.flatnonzero((first & second & third) == 0)
    is_cut = (first | second | third)[ids] != 0
    # No whole triangle has these, and their w may be zero.
    safe = np.where((codes != 0)[:, None], [0.0, 0.0, 0.0, 1.0], clip)
    if not is_cut.any():
        return safe, ids, faces[ids], np.empty((0, 2))
    whole, of = ids[~is_cut], ids[is_cut]
    pieces = np.empty((len(of), 3, 6))
    pieces[..., :4], pieces[..., 4:] = clip[faces[of]], np.eye(3, 2)
    for plane in _PLANES:
        pieces, of = _cut_at(plane, pieces, of)
    new = len(clip) + np.arange(3 * len(of)).reshape(-1, 3)
    ids, corners = np.concatenate([whole, of]), np.concatenate([faces[whole], new])
    order = np.argsort(ids, kind="stable")
    points = np.concatenate([safe, pieces[..., :4].reshape(-1, 4)])
    return points, ids[order], corners[order], pieces[..., 4:].reshape(-1, 2)


def _side(points: Floats, plane: tuple[int, int, float]) -> Floats:
    axis, sign, reach = plane
    return sign * points[..., axis] + reach * points[..., 3]


def _cut_at(plane: tuple[int, int, float], corners: Floats, ids: Ints) -> tuple[Floats, Ints]:
    """The parts [T', 3, 6] of triangles on the positive side of a plane, with their numbers."""
    side = _side(corners, plane)
    inside = side >= 0
    count = inside.sum(1)
    whole, one, two = (np.flatnonzero(count == n) for n in (3, 1, 2))
    a, b, c = _turned(corners, side, one, inside[one].argmax(1))
    tip = np.stack([a[0], _crossing(a, b), _crossing(a, c)], 1)
    c, a, b = _turned(corners, side, two, inside[two].argmin(1))
    at_a, at_b = _crossing(a, c), _crossing(b, c)
    parts = [corners[whole], tip, np.stack([a[0], b[0], at_b], 1), np.stack([a[0], at_b, at_a], 1)]
    return np.concatenate(parts), np.concatenate([ids[whole], ids[one], ids[two], ids[two]])


def _turned(corners: Floats, side: Floats, rows: Ints, first: Ints) -> list[tuple[Floats, Floats]]:
    """The three corners of some triangles, each with its side, from the corner `first` on."""
    turns = [(first + step) % 3 for step in range(3)]
    return [(corners[rows, turn], side[rows, turn]) for turn in turns]


def _crossing(inside: tuple[Floats, Floats], outside: tuple[Floats, Floats]) -> Floats:
    """Where edges meet the plane; from the inside out, so that neighbours find the same point."""
    (start, near), (end, far) = inside, outside
    return start + (near / (near - far))[:, None] * (end - start)


# -- fixed point -----------------------------------------------------------------------------------


def _fixed(ratio: Floats, pixels: int) -> Ints:
    """Positions in units of 1/4096 pixel, of positions from 0 to 2 across the frame."""
    return np.rint(ratio * (pixels * _UNIT / 2)).astype(np.int64)


def _extents(x: Ints, y: Ints, size: tuple[int, int]) -> tuple[Ints, Ints]:
    """Boxes [T, 4] as in `Triangles`, and twice the areas [T]; from corners [T, 3]."""
    boxes = np.empty((len(x), 4), dtype=np.int64)
    for column, places, pixels in ((0, y, size[0]), (2, x, size[1])):
        a, b, c = places.T
        lowest, highest = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
        # Centres lie half a unit beside the whole ones.
        boxes[:, column] = ((lowest + _UNIT // 2 - 1) >> _BITS).clip(0, pixels)
        boxes[:, column + 1] = (((highest - _UNIT // 2) >> _BITS) + 1).clip(0, pixels)
    across, down = x[:, 1:] - x[:, :1], y[:, 1:] - y[:, :1]
    return boxes, across[:, 0] * down[:, 1] - down[:, 0] * across[:, 1]


def _order(x: Ints, y: Ints, area: Ints) -> Ints:
    """The order of corners [T, 3] that makes the area positive, from the leftmost corner on.

    It depends on places only, so coincident triangles get the same depths bit for bit.
    """
    first = ((x << 32) + y).argmin(1)[:, None]
    return (first + np.where(area[:, None] > 0, [0, 1, 2], [0, 2, 1])) % 3


def _edges(x: Ints, y: Ints) -> tuple[Ints, Ints]:
    """Edge functions [T, 3, 3] over columns and rows, and their floors [T, 3].

    With y down and the inside on the positive side, an edge that runs up is a left one and a level
    edge that runs right a top one; only these own their points.
    """
    start, end = [1, 2, 0], [2, 0, 1]
    across, down = x[:, end] - x[:, start], y[:, end] - y[:, start]
    edges = np.empty((len(x), 3, 3), dtype=np.int64)
    edges[..., 0], edges[..., 1] = -down * _UNIT, across * _UNIT
    edges[..., 2] = down * x[:, start] - across * y[:, start] + (across - down) * (_UNIT // 2)
    is_owner = (down < 0) | ((down == 0) & (across > 0))
    return edges, 1 - is_owner.astype(np.int64)
