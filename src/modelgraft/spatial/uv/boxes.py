"""Charts by box projection: cruder than xatlas, but fast, and done for any mesh there is.

Every face is seen along the axis that it faces most. Faces that share an edge and an axis make a
chart; where a chart folds over itself it is cut into layers; charts are packed by `packing`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.edges import components, half_edge_pairs
from modelgraft.spatial.meshes import Mesh, face_normals, weld
from modelgraft.spatial.uv.coverage import spans
from modelgraft.spatial.uv.packing import packed

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

# Seen along x, -x, y, -y, z, -z: what runs right and what runs up; right x up is the axis.
_AXES: Final = np.concatenate([np.eye(3), -np.eye(3)])[[0, 3, 1, 4, 2, 5]]
_RIGHT: Final = np.array(
    [[0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0], [-1, 0, 0]], float
)
_UP: Final = np.cross(_AXES, _RIGHT)
_SMOOTHINGS: Final = 4
_LEAST_FACING: Final = 0.35  # cosine; a face on another axis than its own shrinks to this at most
_LEAST_SHARE: Final = 0.2  # of the square for the charts' boxes; else padding is given up for them
_ROUNDS: Final = 8  # of cutting into layers, before the rest become charts of one face


def box_unwrapped(mesh: Mesh, resolution: int, padding: int) -> tuple[Mesh, int]:
    """The mesh with UVs in which no texel of a square of `resolution` is covered twice.

    Also the texels between charts: `padding`, or fewer where they would leave little room.
    Vertices on the borders of charts are there once for each of them. `InputError` when there are
    more charts than texels.
    """
    links = half_edge_pairs(weld(mesh.vertices)[mesh.faces]) // 3
    axis = _axes(mesh, links)
    layer = np.zeros(len(mesh.faces), np.int64)
    is_alone = np.zeros(len(mesh.faces), bool)
    points = mesh.vertices.astype(np.float64)
    depth = (points[mesh.faces].sum(axis=1) * _AXES[axis]).sum(axis=1)
    turn = 0
    while True:
        chart = _charts(links, axis, layer, is_alone)
        corners, room = _laid_out(mesh, axis, chart, resolution, padding)
        rank = _ranks(corners, depth, resolution)
        if not rank.any():
            return _with_uvs(mesh, chart, corners), room
        if turn < _ROUNDS:
            layer = layer * (int(rank.max()) + 1) + rank
            _, layer = np.unique(layer, return_inverse=True)
        else:
            is_alone |= rank > 0
        turn += 1


def _axes(mesh: Mesh, links: Longs) -> Longs:
    """The number of the axis [F] that each face is seen along.

    Where most neighbours have another one that the face can be seen along too, it takes theirs:
    rough surfaces would fall into crumbs otherwise.
    """
    facing = face_normals(mesh) @ _AXES.T
    axis = facing.argmax(axis=1)
    both = np.concatenate([links, links[:, ::-1]])
    for _ in range(_SMOOTHINGS):
        votes = np.bincount(both[:, 0] * 6 + axis[both[:, 1]], minlength=axis.size * 6)
        votes = votes.reshape(-1, 6) * (facing >= _LEAST_FACING)
        best = votes.argmax(axis=1)
        places = np.arange(len(axis))
        axis = np.where(votes[places, best] > votes[places, axis] + 1, best, axis)
    return axis


def _charts(links: Longs, axis: Longs, layer: Longs, is_alone: NDArray[np.bool_]) -> Longs:
    """The number of the chart [F] of each face."""
    one, other = links.T
    is_joined = (axis[one] == axis[other]) & (layer[one] == layer[other])
    is_joined &= ~is_alone[one] & ~is_alone[other]
    return components(len(axis), links[is_joined])


def _laid_out(
    mesh: Mesh, axis: Longs, chart: Longs, resolution: int, padding: int
) -> tuple[Doubles, int]:
    """UVs [F, 3, 2] of the charts packed in the unit square, and the padding there was room for."""
    points = mesh.vertices.astype(np.float64)[mesh.faces]
    flat = np.stack([np.einsum("fkc,fc->fk", points, side[axis]) for side in (_RIGHT, _UP)], axis=2)
    num = int(chart.max()) + 1
    low, high = _extents(flat, chart, num)
    is_tall = (high - low)[:, 1] > (high - low)[:, 0]
    turned = is_tall[chart]
    flat[turned] = np.stack([flat[turned][..., 1], -flat[turned][..., 0]], axis=2)
    low, high = _extents(flat, chart, num)
    for room in dict.fromkeys((padding, padding // 2, padding // 4, 0)):
        layout = packed(high - low, resolution, room)
        if layout is not None and (room == 0 or layout.share >= _LEAST_SHARE):
            shift = layout.corner - low * layout.scale
            return (flat * layout.scale + shift[chart][:, None]) / resolution, room
    raise InputError(
        f'mesh "{mesh.name}": {num:,} charts and only {resolution} x {resolution} texels.\n'
        "  Raise the resolution, or reduce the mesh first (`modelgraft.spatial.meshes.decimated`)."
    )


def _extents(flat: Doubles, chart: Longs, num: int) -> tuple[Doubles, Doubles]:
    """The lowest and the highest corner [num, 2] of each chart."""
    order = np.argsort(chart, kind="stable")
    starts = np.searchsorted(chart[order], np.arange(num))
    low = np.minimum.reduceat(flat.min(axis=1)[order], starts)
    high = np.maximum.reduceat(flat.max(axis=1)[order], starts)
    return low, high


def _ranks(corners: Doubles, depth: Doubles, resolution: int) -> Longs:
    """How many faces lie above each face [F] at the texel where most do; all 0 without overlap."""
    found = spans(corners.astype(np.float32), resolution)
    num = found.end - found.start
    face = np.repeat(found.face, num)
    texel = np.arange(len(face)) - np.repeat(np.cumsum(num) - num, num)
    texel += np.repeat(found.row * resolution + found.start, num)
    crowd = np.bincount(texel, minlength=resolution * resolution)
    is_crowded = crowd[texel] > 1
    face, texel = face[is_crowded], texel[is_crowded]
    rank = np.zeros(len(corners), np.int64)
    if not len(face):
        return rank
    order = np.lexsort((face, -depth[face], texel))
    first = np.searchsorted(texel[order], texel[order])
    np.maximum.at(rank, face[order], np.arange(len(order)) - first)
    return rank


def _with_uvs(mesh: Mesh, chart: Longs, corners: Doubles) -> Mesh:
    """The mesh with a vertex for each chart that shares it."""
    flat = mesh.faces.ravel().astype(np.int64)
    key = flat * (int(chart.max()) + 1) + np.repeat(chart, 3)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    found = mesh.taken(flat[first], inverse.reshape(-1, 3))
    uvs = corners.reshape(-1, 2)[first].astype(np.float32)
    return replace(found, uvs=uvs, tangents=None)
