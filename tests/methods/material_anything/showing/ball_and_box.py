"""A ball with texture coordinates and a box, as assets."""

from __future__ import annotations

import numpy as np

from modelgraft.spatial.meshes import Asset, Material, Mesh, Part


def ball(material: Material | None = None, *, rings: int = 24, turned: bool = False) -> Asset:
    """Of radius 1, with one seam from pole to pole; `turned` lays its UVs on their side."""
    polar, azimuth = np.meshgrid(
        np.linspace(np.pi, 0, rings + 1), np.linspace(-np.pi, np.pi, 2 * rings + 1), indexing="ij"
    )
    level = np.sin(polar)
    level[[0, -1]] = 0
    normals = np.stack([level * np.sin(azimuth), np.cos(polar), level * np.cos(azimuth)], -1)
    normals[:, -1] = normals[:, 0]
    u, v = azimuth / (2 * np.pi) + 0.5, 1 - polar / np.pi
    uvs = np.stack([v, 1 - u] if turned else [u, v], -1)
    start = (np.arange(rings)[:, None] * (2 * rings + 1) + np.arange(2 * rings)).reshape(-1, 1)
    lower = start + np.array([0, 1, 2 * rings + 2])
    upper = start + np.array([0, 2 * rings + 2, 2 * rings + 1])
    faces = np.concatenate([lower[2 * rings :], upper[: -2 * rings]])
    points = normals.reshape(-1, 3).astype(np.float32)
    mesh = Mesh(
        points, faces.astype(np.int32), uvs=uvs.reshape(-1, 2).astype(np.float32), normals=points
    )
    return Asset((Part(mesh, material or Material()),), "ball")


def box(material: Material | None = None) -> Asset:
    """With sides of 2."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    faces = []
    for axis in range(3):
        for side in (-1, 1):
            on = np.flatnonzero(corners[:, axis] == side)
            a, b, c, d = on
            turns = np.cross(corners[b] - corners[a], corners[c] - corners[a])[axis] * side > 0
            faces += [[a, b, d], [a, d, c]] if turns else [[a, d, b], [a, c, d]]
    mesh = Mesh(corners.astype(np.float32), np.array(faces, np.int32))
    return Asset((Part(mesh, material or Material()),), "box")
