"""Closed surfaces as triangles, and the normals that a modeller would give them.

Surfaces are (vertices [V, 3] in float64, faces [F, 3]), wound counter-clockwise seen from outside.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Edges that turn by more are sharp: a lathe's work of eight sides is still round, a box is not.
_CREASE_DEG: Final = 50.0


class Shell(NamedTuple):
    """A closed surface, its vertices shared by all faces around them."""

    vertices: Floats
    """[V, 3]"""
    faces: Ints
    """[F, 3]"""


class Shaded(NamedTuple):
    """A surface whose vertices are split where it is sharp."""

    vertices: Floats
    """[V, 3]"""
    faces: Ints
    """[F, 3]"""
    normals: Floats
    """[V, 3], unit."""


def skin(rings: Floats, *, ends: tuple[Floats, Floats] | None) -> Shell:
    """The surface through rings [p, s, 3]: a tube that closes in two points, or in itself.

    Rings turn counter-clockwise seen from the end that they lead to. `ends` are the points [3]
    before the first and behind the last ring; without, the last ring is joined to the first.
    """
    num, around = rings.shape[:2]
    numbers = np.arange(num * around).reshape(num, around)
    if ends is None:
        numbers = np.concatenate([numbers, numbers[:1]])
    low, high = numbers[:-1], numbers[1:]
    low_next, high_next = np.roll(low, -1, axis=1), np.roll(high, -1, axis=1)
    halves = ((low, low_next, high_next), (low, high_next, high))
    faces = [np.stack(half, axis=-1).reshape(-1, 3) for half in halves]
    vertices = rings.reshape(-1, 3)
    if ends is not None:
        first, last = np.full(around, len(vertices)), np.full(around, len(vertices) + 1)
        faces.append(np.stack([first, np.roll(numbers[0], -1), numbers[0]], axis=-1))
        faces.append(np.stack([last, numbers[-1], np.roll(numbers[-1], -1)], axis=-1))
        vertices = np.concatenate([vertices, np.stack(ends)])
    return Shell(vertices, np.concatenate(faces))


def turned(profile: Floats, segments: int, *, is_ring: bool = False) -> Shell:
    """A lathe's work: a profile [p, 2] of radius and height, turned about the y axis.

    It leads upwards on the outside. Its ends lie on the axis, or it is a ring and closes in itself.
    """
    angles = 2 * np.pi * np.arange(segments) / segments
    inner = profile if is_ring else profile[1:-1]
    radius, height = inner[:, :1], np.repeat(inner[:, 1:], segments, axis=1)
    rings = np.stack([radius * np.sin(angles), height, radius * np.cos(angles)], axis=-1)
    ends = (np.array([0, profile[0, 1], 0]), np.array([0, profile[-1, 1], 0]))
    return skin(rings, ends=None if is_ring else ends)


def swept(path: Floats, radii: Floats, segments: int) -> Shell:
    """A tube of these radii [p] along a plane curve [p, 3], closed at both ends by flat discs."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    # The plane's normal serves all rings, so the tube does not twist.
    across = np.linalg.svd(path - path.mean(axis=0))[2][2]
    aside = np.cross(along, across)
    angles = 2 * np.pi * np.arange(segments)[:, None] / segments
    around = np.cos(angles) * across + np.sin(angles) * aside[:, None]
    return skin(path[:, None] + radii[:, None, None] * around, ends=(path[0], path[-1]))


def icosphere(steps: int) -> Shell:
    """A ball of radius 1 of 20 * 4^steps nearly equal triangles."""
    golden = (1 + 5**0.5) / 2
    signs = np.array([(a, b) for a in (-1.0, 1.0) for b in (-golden, golden)])
    zero = np.zeros(4)
    planes = [(zero, *signs.T), (signs[:, 0], signs[:, 1], zero), (signs[:, 1], zero, signs[:, 0])]
    vertices = np.concatenate([np.stack(plane, axis=-1) for plane in planes])
    near = np.linalg.norm(vertices[:, None] - vertices, axis=-1) < 2.1
    faces = np.array(
        [
            (a, b, c)
            for a in range(12)
            for b in range(a + 1, 12)
            for c in range(b + 1, 12)
            if near[a, b] and near[b, c] and near[a, c]
        ]
    )
    outwards = np.einsum(
        "fi,fi->f", np.cross(*(vertices[faces[:, k]] for k in (0, 1))), vertices[faces[:, 2]]
    )
    faces[outwards < 0] = faces[outwards < 0][:, ::-1]
    for _ in range(steps):
        vertices, faces = _quartered(vertices, faces)
    return Shell(vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces)


def _quartered(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Every triangle cut into four at the middles of its edges."""
    edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    pairs, places = np.unique(edges, axis=0, return_inverse=True)
    middles = len(vertices) + places.reshape(-1, 3)
    corners = np.stack([faces, middles, np.roll(middles, 1, axis=1)], axis=-1).reshape(-1, 3)
    points = vertices[pairs].mean(axis=1)
    points /= np.linalg.norm(points, axis=1, keepdims=True) / np.linalg.norm(vertices[0])
    return np.concatenate([vertices, points]), np.concatenate([corners, middles])


def joined(parts: list[Shell]) -> Shell:
    """All parts as one, overlapping where they do."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
    return Shell(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))


def shaded(surface: Shell, *, crease_deg: float = _CREASE_DEG) -> Shaded:
    """The surface with normals that are smooth up to `crease_deg` between faces, else sharp.

    Faces around a vertex that smooth edges join share one normal, the mean of theirs weighted by
    their angles (Thuermer and Wuethrich 1998). Every edge must have two faces.
    """
    vertices, faces = surface
    corners = vertices[faces]
    after, before = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
    normals = np.cross(after[:, 0], before[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cosines = np.einsum("fkc,fkc->fk", _unit(after), _unit(before)).clip(-1, 1)
    label = _smooth_groups(faces, normals, crease_deg)
    weighted = np.arccos(cosines).reshape(-1, 1) * np.repeat(normals, 3, axis=0)
    count = label.max() + 1
    total = np.empty((count, 3))
    for axis in range(3):
        total[:, axis] = np.bincount(label, weighted[:, axis], count)
    place = np.empty(count, dtype=np.int64)
    place[label] = faces.ravel()
    return Shaded(vertices[place], label.reshape(-1, 3), _unit(total))


def _smooth_groups(faces: Ints, normals: Floats, crease_deg: float) -> Ints:
    """For every corner of every face [3 F] the number of the vertex it becomes."""
    corner = np.arange(faces.size).reshape(-1, 3)
    heads = np.roll(faces, -1, axis=1)
    keys = np.minimum(faces, heads) * (faces.max() + 1) + np.maximum(faces, heads)
    order = np.argsort(keys, axis=None, kind="stable").reshape(-1, 2)
    tail, head = corner.ravel(), np.roll(corner, -1, axis=1).ravel()
    one, other = order.T
    is_smooth = (normals[one // 3] * normals[other // 3]).sum(axis=1) > np.cos(
        np.deg2rad(crease_deg)
    )
    one, other = one[is_smooth], other[is_smooth]
    # The two faces run along their edge in opposite directions.
    rows = np.concatenate([tail[one], head[one]])
    columns = np.concatenate([head[other], tail[other]])
    ones = np.ones(len(rows), dtype=np.int8)
    graph = coo_matrix((ones, (rows, columns)), shape=(faces.size, faces.size))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
