"""Which texels the charts of a mesh cover, how often, and what is wrong with them.

A face covers the texels whose centres lie in it. Coordinates are rounded to 1/256 of a texel and
compared as whole numbers, each edge from its lower end, so faces that share an edge never both
cover a texel and never leave one out between them. Rows run from the bottom, as v does.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.spatial.meshes import Mesh

Longs = NDArray[np.int64]

_STEPS: Final = 256  # of a texel
_FAR: Final = 1 << 29  # steps; farther out nothing is covered anyway
_BLOCK_ROWS: Final = 2_000_000
_EDGE: Final = 1e-6  # rounding of exporters around the unit square
_TOLD_OVERLAP: Final = 0.001


class Spans(NamedTuple):
    """Texels covered in a row by one face: from `start` to before `end`."""

    face: Longs
    row: Longs
    start: Longs
    end: Longs


def spans(corners: NDArray[np.floating], resolution: int) -> Spans:
    """The texels that triangles with these UVs [F, 3, 2] cover of a square, in no given order."""
    scaled = np.round(corners.astype(np.float64) * (resolution * _STEPS))
    points = np.clip(scaled, -_FAR, _FAR).astype(np.int64)
    low, high = points[..., 1].min(axis=1), points[..., 1].max(axis=1)
    first = np.clip(_first_centre(low), 0, resolution)
    num = np.clip(_first_centre(high), 0, resolution) - first
    ends = np.cumsum(num)
    blocks = np.searchsorted(ends, np.arange(0, int(ends[-1]) if len(ends) else 0, _BLOCK_ROWS))
    cuts = [*dict.fromkeys(int(one) for one in blocks), len(num)]
    found = [
        _of_block(points[a:b], first[a:b], num[a:b], resolution, a)
        for a, b in itertools.pairwise(cuts)
    ]
    if not found:
        return Spans(*(np.zeros(0, np.int64) for _ in Spans._fields))
    return Spans(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _of_block(points: Longs, first: Longs, num: Longs, resolution: int, start: int) -> Spans:
    face = np.repeat(np.arange(len(num)), num)
    row = first[face] + np.arange(len(face)) - np.repeat(np.cumsum(num) - num, num)
    height = row * _STEPS + _STEPS // 2
    left, right = np.full(len(face), resolution), np.zeros(len(face), np.int64)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        one, other = points[:, a], points[:, b]
        is_up = (one[:, 1] < other[:, 1])[:, None]
        (x0, y0), (x1, y1) = np.where(is_up, one, other).T, np.where(is_up, other, one).T
        x0, y0, x1, y1 = x0[face], y0[face], x1[face], y1[face]
        is_met = (y0 <= height) & (height < y1)
        rise = np.where(is_met, y1 - y0, 1)
        # The first centre right of where the edge meets this row, or on it: exact, rounded up.
        above = (x0 - _STEPS // 2) * rise + (height - y0) * (x1 - x0)
        meets = -(-above // (rise * _STEPS))
        left = np.where(is_met, np.minimum(left, meets), left)
        right = np.where(is_met, np.maximum(right, meets), right)
    left, right = np.clip(left, 0, resolution), np.clip(right, 0, resolution)
    is_any = right > left
    return Spans(face[is_any] + start, row[is_any], left[is_any], right[is_any])


def _first_centre(steps: Longs) -> Longs:
    """The first row or column whose centre is at this place or beyond."""
    return -((_STEPS // 2 - steps) // _STEPS)


def uv_areas(uvs: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.float64]:
    """The area of each face [F] in its UVs [V, 2]; below 0 where it is mirrored."""
    a, b, c = uvs.astype(np.float64)[faces].swapaxes(0, 1)
    first, second = b - a, c - a
    return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def coverage(mesh: Mesh, resolution: int) -> NDArray[np.int64]:
    """How many faces cover each texel [R, R] of the unit square, row 0 at the bottom."""
    assert mesh.uvs is not None
    found = spans(mesh.uvs[mesh.faces], resolution)
    width = resolution + 1
    size = resolution * width
    steps = np.bincount(found.row * width + found.start, minlength=size)
    steps -= np.bincount(found.row * width + found.end, minlength=size)
    return np.cumsum(steps.reshape(resolution, width), axis=1)[:, :-1]


def overlaps(mesh: Mesh, resolution: int) -> float:
    """The share of the covered texels that more than one face covers; 0 where nothing is."""
    counts = coverage(mesh, resolution)
    return float((counts > 1).sum() / max(1, (counts > 0).sum()))


def uv_faults(mesh: Mesh, where: str, resolution: int) -> tuple[str, ...]:
    """Why maps cannot be painted for the UVs of this mesh, a message each; nothing when they can.

    None at all, UDIM tiles or coordinates outside of the unit square, faces without area in it,
    charts that lie on each other. `where` says the file and the mesh.
    """
    remedy = "Unwrap it anew, or export UVs of one tile from a modeller."
    if mesh.uvs is None:
        return (
            f"{where}: no texture coordinates (TEXCOORD_0, vt).\n"
            f"  Material maps are stored by texel, so every mesh needs one UV set. {remedy}",
        )
    found = [f"{where}: {one}\n  {remedy}" for one in (_outside(mesh), _flat(mesh)) if one]
    share = overlaps(mesh, resolution)
    if share > _TOLD_OVERLAP:
        found.append(
            f"{where}: {share:.1%} of the texels that its faces cover are covered more than once "
            f"at {resolution} x {resolution}; painting one face would paint another.\n  {remedy}"
        )
    return tuple(found)


def _outside(mesh: Mesh) -> str:
    assert mesh.uvs is not None
    corners = mesh.uvs[mesh.faces].astype(np.float64)
    low, high = corners.min(axis=1), corners.max(axis=1)
    is_outside = ((low < -_EDGE) | (high > 1 + _EDGE)).any(axis=1)
    if not is_outside.any():
        return ""
    tiles = np.floor(low + _EDGE)
    is_tiled = bool((high <= tiles + 1 + _EDGE).all())
    if is_tiled and bool(((tiles >= 0) & (tiles[:, :1] < 10) & (tiles < 100)).all()):
        names = sorted({1001 + int(u) + 10 * int(v) for u, v in np.unique(tiles, axis=0)})
        shown = ", ".join(map(str, names[:8])) + (" ..." if len(names) > 8 else "")
        return f"its UVs lie in {len(names)} UDIM tiles ({shown}); one texture is painted."
    ends = ", ".join(
        f"{axis} from {a:.3g} to {b:.3g}"
        for axis, a, b in zip("uv", low.min(axis=0), high.max(axis=0), strict=True)
    )
    return (
        f"the UVs of {int(is_outside.sum()):,} of {len(mesh.faces):,} faces lie outside of the "
        f"unit square ({ends}), as for a tiled texture."
    )


def _flat(mesh: Mesh) -> str:
    """Faces that no texel can hold, when they are more than a few."""
    assert mesh.uvs is not None
    num = int((uv_areas(mesh.uvs, mesh.faces) == 0).sum())
    if num <= 0.01 * len(mesh.faces):
        return ""
    return f"{num:,} of {len(mesh.faces):,} faces have no area in their UVs."
