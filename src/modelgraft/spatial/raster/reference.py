"""The rasteriser in plain NumPy: every pixel of every triangle's box is tested."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.spatial.raster.screen import Floats, Ints, Triangles, project

# How many pairs of a triangle and a pixel are looked at in one step; they take about 100 bytes.
_PAIRS: Final = 1 << 20


def rasterize(clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    """See `raster.rasterize`."""
    corners = faces.cpu().numpy().astype(np.int64)
    views = [project(one, corners, size) for one in clip.detach().cpu().double().numpy()]
    drawn = np.stack([_weights(view, _nearest(view, size), size) for view in views])
    return torch.from_numpy(drawn).to(clip.device)


def _nearest(triangles: Triangles, size: tuple[int, int]) -> Ints:
    """The triangle that every pixel sees [H * W], or -1."""
    depths = np.full(size[0] * size[1], np.inf)
    seen = np.full(len(depths), -1)
    top, bottom, left, right = triangles.boxes.T
    triangle, row = _counted(bottom - top)
    pairs = (right - left)[triangle]
    batch = np.cumsum(pairs) // _PAIRS
    for one in np.unique(batch):
        chosen = batch == one
        run, column = _counted(pairs[chosen])
        which = triangle[chosen][run]
        y, x = top[which] + row[chosen][run], left[which] + column
        edges = _edge_values(triangles, which, x, y)
        depth = _sum(edges * triangles.depths[which])
        pixel = y * size[1] + x
        nearer = (edges >= triangles.floors[which]).all(1) & (depth < depths[pixel])
        which, pixel, depth = which[nearer], pixel[nearer], depth[nearer]
        np.minimum.at(depths, pixel, depth)
        wins = depth == depths[pixel]
        # From the last to the first, so that the first of equals stays.
        seen[pixel[wins][::-1]] = which[wins][::-1]
    return seen


def _counted(counts: Ints) -> tuple[Ints, Ints]:
    """The numbers of all items when each is there `counts` times, and 0, 1, ... within each."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)


def _weights(triangles: Triangles, seen: Ints, size: tuple[int, int]) -> NDArray[np.float32]:
    """What `rasterize` tells of one view [H, W, 4]."""
    drawn = np.zeros((len(seen), 4), dtype=np.float32)
    pixel = np.flatnonzero(seen >= 0)
    which = seen[pixel]
    edges = _edge_values(triangles, which, pixel % size[1], pixel // size[1])
    scale, first, second = _sum(edges[..., None] * triangles.shares[which]).T
    drawn[pixel, 0], drawn[pixel, 1] = first / scale, second / scale
    drawn[pixel, 2] = _sum(edges * triangles.depths[which])
    drawn[pixel, 3] = triangles.ids[which] + 1
    return drawn.reshape(*size, 4)


def _edge_values(triangles: Triangles, which: Ints, x: Ints, y: Ints) -> Ints:
    """[n, 3]"""
    edges = triangles.edges[which]
    return edges[..., 0] * x[:, None] + edges[..., 1] * y[:, None] + edges[..., 2]


def _sum(terms: Floats) -> Floats:
    """Over the three corners [n, 3, ...], in the order in which the fast backend adds."""
    return terms[:, 0] + terms[:, 1] + terms[:, 2]
