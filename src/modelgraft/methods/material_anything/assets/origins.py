"""Which points of an asset those of the mesh that is painted come from."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from modelgraft.core.seeds import rng_seed
from modelgraft.spatial.meshes import Asset, Mesh, face_areas

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]

_SAMPLES: Final = 400_000
"""Of a surface, to find the nearest of: some 0.001 apart on a shape of size 1."""


class Origins(NamedTuple):
    """Points on the faces of a mesh."""

    face: Longs
    """[n]"""
    weights: Doubles
    """[n, 3], of the face's corners."""


def joined(asset: Asset) -> tuple[Mesh, Longs]:
    """All parts as one mesh, one after the other, and the part of each face [F].

    With normals, which all parts must have; with UVs if all parts have them; without colours.
    """
    meshes = [part.mesh for part in asset.parts]
    starts = np.cumsum([0] + [len(one.vertices) for one in meshes])
    has_uvs = all(one.uvs is not None for one in meshes)
    found = Mesh(
        np.concatenate([one.vertices for one in meshes]),
        np.concatenate(
            [one.faces + start for one, start in zip(meshes, starts, strict=False)]
        ).astype(np.int32),
        uvs=np.concatenate([one.uvs for one in meshes]) if has_uvs else None,
        normals=np.concatenate([one.normals for one in meshes]),
        name=meshes[0].name if len(meshes) == 1 else asset.name,
    )
    return found, np.repeat(np.arange(len(meshes)), [len(one.faces) for one in meshes])


def within(mesh: Mesh, points: Doubles, face: Longs) -> Origins:
    """Points [n, 3] that lie on the faces [n], as weights of their corners."""
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces[face]].swapaxes(0, 1)
    across = np.cross(b - a, c - a)
    square = (across * across).sum(1).clip(1e-300)
    second = (np.cross(points - a, c - a) * across).sum(1) / square
    third = (np.cross(b - a, points - a) * across).sum(1) / square
    weights = np.stack([1 - second - third, second, third], 1).clip(0, 1)
    return Origins(face, weights / weights.sum(1, keepdims=True))


def nearest(mesh: Mesh, points: Doubles) -> Origins:
    """Points of a mesh near to points [n, 3] in space: the nearest of samples of its surface."""
    drawn = np.random.default_rng(rng_seed("samples of a surface", 0))
    areas = np.cumsum(face_areas(mesh))
    face = np.searchsorted(areas, drawn.random(_SAMPLES) * areas[-1], side="right")
    face = face.clip(0, len(areas) - 1)
    weights = drawn.dirichlet(np.ones(3), _SAMPLES)
    corners = mesh.vertices.astype(np.float64)[mesh.faces[face]]
    _, found = KDTree((corners * weights[..., None]).sum(1)).query(points, workers=-1)
    return Origins(face[found], weights[found])
