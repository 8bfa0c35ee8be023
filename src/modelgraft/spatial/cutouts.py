"""Rasterising faces with holes, behind which others are seen.

A rasteriser keeps the nearest face of a pixel; behind a hole the second one counts, or the third.
So here every face is asked about every pixel that it covers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.spatial.raster.screen import Floats, Ints, Triangles, project

# Pairs of a face and a pixel that are looked at in one step; each takes some 200 bytes.
_PAIRS: Final = 1 << 19


class Points(NamedTuple):
    """Points of faces, one a row."""

    pixel: Ints
    """[n], row * width + column."""
    face: Ints
    """[n]"""
    weights: Floats
    """[n, 2], of the face's corners 0 and 1."""
    depth: Floats
    """[n], z / w."""

    def chosen(self, rows: NDArray[np.bool_] | Ints) -> Points:
        """Some of them, in this order."""
        return self._make(one[rows] for one in self)


def rasterize_solid(
    clip: Floats,
    faces: Ints,
    size: tuple[int, int],
    is_solid: Callable[[Points], NDArray[np.bool_]],
) -> NDArray[np.float32]:
    """What every pixel sees [H, W, 4] of faces [F, 3] where they are solid, nearest first.

    `clip` [V, 4] and the result are those of one view of `raster.rasterize`; `is_solid` tells of
    points [n] whether there is no hole.
    """
    found = np.zeros((size[0] * size[1], 4), np.float32)
    nearest = np.full(len(found), np.inf)
    for points in _covered(project(clip, faces, size), size[1]):
        points = points.chosen(points.depth < nearest[points.pixel])
        points = points.chosen(is_solid(points))
        points = points.chosen(np.lexsort((points.face, points.depth, points.pixel)))
        points = points.chosen(np.unique(points.pixel, return_index=True)[1])
        nearest[points.pixel] = points.depth
        found[points.pixel] = np.c_[points.weights, points.depth, points.face + 1]
    return found.reshape(*size, 4)


def _covered(triangles: Triangles, width: int) -> Iterator[Points]:
    """Every pixel of every triangle, a block at a time."""
    top, bottom, left, right = triangles.boxes.T
    triangle, row = _counted(bottom - top)
    pairs = (right - left)[triangle]
    block = np.cumsum(pairs) // _PAIRS
    for one in np.unique(block):
        chosen = block == one
        run, column = _counted(pairs[chosen])
        which = triangle[chosen][run]
        y, x = top[which] + row[chosen][run], left[which] + column
        edges = (triangles.edges[which] * np.stack([x, y, np.ones_like(x)], 1)[:, None]).sum(2)
        inside = (edges >= triangles.floors[which]).all(1)
        which, edges, pixel = which[inside], edges[inside], (y * width + x)[inside]
        shares = (edges[..., None] * triangles.shares[which]).sum(1)
        depth = (edges * triangles.depths[which]).sum(1)
        yield Points(pixel, triangles.ids[which], shares[:, 1:] / shares[:, :1], depth)


def _counted(counts: Ints) -> tuple[Ints, Ints]:
    """The numbers of all items when each is there `counts` times, and 0, 1, ... within each."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
