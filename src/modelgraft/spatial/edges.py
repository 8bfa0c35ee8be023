"""Which faces of a triangle mesh meet, along which edges and around which vertices.

Half-edge h = 3 f + k of face f runs from its corner k to the next one; a corner has the number of
the half-edge that leaves it. Faces [F, 3] are given as numbers of positions (`meshes.weld`), so
that faces meet across UV seams too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Longs = NDArray[np.int64]


class Edges(NamedTuple):
    """Half-edges sorted by the edge they lie on, whichever way they run."""

    half: Longs
    """[3 F]."""
    edge: Longs
    """[3 F]: the number of the edge of each, growing from 0."""
    is_forward: NDArray[np.bool_]
    """[3 F]: whether it runs from the lower to the higher number of a position."""


def sorted_edges(faces: NDArray[np.integer]) -> Edges:
    """The half-edges of faces [F, 3], those of one edge in a row; of one face in its order."""
    start = faces.ravel().astype(np.int64)
    end = np.roll(faces, -1, axis=1).ravel().astype(np.int64)
    low, high = np.minimum(start, end), np.maximum(start, end)
    key = low * (high.max(initial=0) + 1) + high
    half = np.argsort(key, kind="stable")
    is_new = np.zeros(len(key), bool)
    is_new[1:] = np.diff(key[half]) != 0
    return Edges(half, np.cumsum(is_new), (start < end)[half])


def half_edge_pairs(faces: NDArray[np.integer]) -> Longs:
    """Pairs of half-edges [N, 2] that lie on one edge; n on an edge give n - 1 pairs."""
    half, edge, _ = sorted_edges(faces)
    is_same = np.diff(edge) == 0
    return np.stack([half[:-1][is_same], half[1:][is_same]], axis=1)


def following(half: Longs) -> Longs:
    """The next half-edge, or corner, around the same face."""
    return half - half % 3 + (half + 1) % 3


def components(num: int, links: Longs) -> Longs:
    """The number of the component [num] of each of `num` things joined by `links` [N, 2]."""
    ones = np.ones(len(links), bool)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), shape=(num, num))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def groups(faces: NDArray[np.integer], pairs: Longs) -> Longs:
    """The group [3 F] of each corner: those at one position whose faces are joined by `pairs`."""
    first, second = pairs[:, 0], pairs[:, 1]
    after_first, after_second = following(first), following(second)
    start = faces.ravel()
    is_along = start[first] == start[second]  # the faces disagree on which side is the front
    ends = np.where(is_along, second, after_second), np.where(is_along, after_second, second)
    links = np.concatenate(
        [np.stack([first, ends[0]], axis=1), np.stack([after_first, ends[1]], axis=1)]
    )
    return components(faces.size, links)
