"""Tangents of vertices in the convention of MikkTSpace (Mikkelsen 2008), which glTF asks for.

Like the original: the direction of growing u of each face is projected on the plane of the
vertex's normal and weighted by the face's angle at the vertex, measured in that plane; faces share
a tangent when an edge with equal positions, normals and UVs on both sides joins them and their
UVs are mirrored alike; w is 1 where they are not mirrored and -1 where they are.

Unlike the original: an edge of more than two faces joins all of them and not the first two found;
faces whose UVs have no area join no others, and take the tangent of the first one with an area at
the vertex; sums are of float64. On a mesh with two faces at most to an edge and an area in the UVs
of each the results agree to rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modelgraft.spatial.edges import groups, half_edge_pairs
from modelgraft.spatial.meshes import Mesh, same_rows

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]


def with_tangents(mesh: Mesh) -> Mesh:
    """The mesh with `tangents` [V, 4]; it must have UVs and normals.

    A vertex that mirrored charts, or charts that meet in it alone, share is there once for each of
    them afterwards; the others keep their order. Where no face has an area in the UVs the tangent
    is any unit direction across the normal, with w = 1.
    """
    assert mesh.uvs is not None and mesh.normals is not None
    corners = mesh.faces.ravel().astype(np.int64)
    along, is_upright, is_flat = _directions(mesh)
    group = _groups(mesh, is_upright, is_flat)
    num = int(group.max(initial=-1)) + 1
    normals = mesh.normals.astype(np.float64)[corners]
    weighted = _weighted(mesh, along, normals)
    weighted[np.repeat(is_flat, 3)] = 0
    sums = np.stack([np.bincount(group, one, num) for one in weighted.T], axis=1).astype(float)
    hand = np.ones(num)
    hand[group[np.repeat(~is_upright & ~is_flat, 3)]] = -1

    _, first, inverse = np.unique(corners * num + group, return_index=True, return_inverse=True)
    found = mesh.taken(corners[first], inverse.reshape(-1, 3))
    directions = _unit_across(sums[group[first]], normals[first])
    tangents = np.concatenate([directions, hand[group[first], None]], axis=1)
    return replace(found, tangents=tangents.astype(np.float32))


def _directions(mesh: Mesh) -> tuple[Doubles, NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each face: the unit direction of growing u [F, 3], whether its UVs are upright, or flat.

    Upright means that they run counter-clockwise like the face; flat that they have no area.
    """
    assert mesh.uvs is not None
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces].swapaxes(0, 1)
    ta, tb, tc = mesh.uvs.astype(np.float64)[mesh.faces].swapaxes(0, 1)
    first, second = tb - ta, tc - ta
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    along = second[:, 1:] * (b - a) - first[:, 1:] * (c - a)
    along *= np.sign(area)[:, None]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    is_flat = (area == 0) | (length[:, 0] == 0)
    return along / np.where(length > 0, length, 1), area > 0, is_flat


def _groups(mesh: Mesh, is_upright: NDArray[np.bool_], is_flat: NDArray[np.bool_]) -> Longs:
    """The group [3 F] of each corner, in which one tangent holds."""
    assert mesh.uvs is not None and mesh.normals is not None
    ids = same_rows(np.concatenate([mesh.vertices, mesh.normals, mesh.uvs], axis=1))
    welded = ids[mesh.faces]
    pairs = half_edge_pairs(welded)
    one, other = pairs[:, 0] // 3, pairs[:, 1] // 3
    is_joined = (is_upright[one] == is_upright[other]) & ~is_flat[one] & ~is_flat[other]
    group = groups(welded, pairs[is_joined])
    # A face without area takes the group of the first face at the vertex, one with an area first.
    vertex, flat = welded.ravel(), np.repeat(is_flat, 3)
    order = np.lexsort((flat, vertex))[::-1]
    first = np.zeros(int(vertex.max(initial=0)) + 1, np.int64)
    first[vertex[order]] = order
    return np.where(flat, group[first[vertex]], group)


def _weighted(mesh: Mesh, along: Doubles, normals: Doubles) -> Doubles:
    """Each face's direction at each of its corners [3 F, 3], in the plane of the normal there."""
    points = mesh.vertices.astype(np.float64)[mesh.faces]
    there = (np.roll(points, -1, axis=1) - points).reshape(-1, 3)
    back = (np.roll(points, 1, axis=1) - points).reshape(-1, 3)
    there, back = _flattened(there, normals), _flattened(back, normals)
    angle = np.arccos(np.clip((there * back).sum(axis=1), -1, 1))
    return angle[:, None] * _flattened(np.repeat(along, 3, axis=0), normals)


def _flattened(directions: Doubles, normals: Doubles) -> Doubles:
    """Unit directions in the planes of the normals; zero where nothing is left."""
    found = directions - (directions * normals).sum(axis=1, keepdims=True) * normals
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.where(length > 1e-20, length, 1)


def _unit_across(sums: Doubles, normals: Doubles) -> Doubles:
    """Unit tangents across the normals: the sums', or any where the sums are nothing."""
    found = sums - (sums * normals).sum(axis=1, keepdims=True) * normals
    length = np.linalg.norm(found, axis=1, keepdims=True)
    other = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    other = other - (other * normals).sum(axis=1, keepdims=True) * normals
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return np.where(length > 1e-9, found / np.where(length > 1e-9, length, 1), other)
