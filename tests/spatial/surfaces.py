"""Meshes for tests whose texture coordinates and shapes are known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from modelgraft.spatial.cameras import Camera, orbit, perspective
from modelgraft.spatial.meshes import Mesh

VIEWS = ((0, 0), (45, 35), (315, 35), (90, 0), (270, 0), (135, 35), (225, 35), (180, 0))
VIEWS += ((0, 90), (0, -90))


def cameras(size: int, views=VIEWS, distance: float = 1.2) -> list[Camera]:
    """Cameras around the unit box, those of Material Anything unless others are given."""
    return [perspective(orbit(*view, distance), 53.13, (size, size)) for view in views]


def sheet(place: Callable, count: int, normal: Callable | None = None) -> Mesh:
    """A grid of `place(s, t)` with s and t from 0 to 1, which are its uv too; front: ds x dt."""
    steps = np.linspace(0, 1, count + 1)
    s, t = (one.ravel() for one in np.meshgrid(steps, steps))
    at = np.arange((count + 1) ** 2).reshape(count + 1, count + 1)
    a, b, c, d = (one.ravel() for one in (at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    step = 1e-4
    across = place(s + step, t) - place(s - step, t)
    along = place(s, t + step) - place(s, t - step)
    normals = np.cross(across, along)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Mesh(
        place(s, t).astype(np.float32),
        faces.astype(np.int32),
        np.stack([s, t], 1).astype(np.float32),
        normals.astype(np.float32),
    )


def charted(mesh: Mesh, box: tuple[float, float, float, float]) -> Mesh:
    """The mesh with its uv moved from the unit square to a box (u and v from, u and v to)."""
    low, high = np.array(box[:2]), np.array(box[2:])
    return replace(mesh, uvs=(low + mesh.uvs * (high - low)).astype(np.float32))


def moved(mesh: Mesh, scale: float, shift: tuple[float, float, float]) -> Mesh:
    return replace(mesh, vertices=(mesh.vertices * scale + np.array(shift)).astype(np.float32))


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(one.vertices) for one in meshes])
    return Mesh(
        np.concatenate([one.vertices for one in meshes]),
        np.concatenate(
            [one.faces + start for one, start in zip(meshes, starts, strict=False)]
        ).astype(np.int32),
        np.concatenate([one.uvs for one in meshes]),
        np.concatenate([one.normals for one in meshes]),
    )


def torus(count: int = 32, ring: float = 0.35, tube: float = 0.15) -> Mesh:
    def place(s, t):
        a, b = -2 * np.pi * s, 2 * np.pi * t
        reach = ring + tube * np.cos(b)
        return np.stack([reach * np.cos(a), tube * np.sin(b), reach * np.sin(a)], -1)

    return charted(sheet(place, count), (0.03, 0.03, 0.97, 0.97))


def box(count: int = 4, margin: float = 0.02) -> Mesh:
    """The box from -0.5 to 0.5 with a chart a side, in three columns and two rows."""
    sides = []
    for number in range(6):
        axis, sign = number % 3, 1 if number < 3 else -1

        def place(s, t, axis=axis, sign=sign):
            point = np.empty((*np.shape(s), 3))
            point[..., axis] = sign * 0.5
            point[..., (axis + 1) % 3] = sign * (s - 0.5)
            point[..., (axis + 2) % 3] = t - 0.5
            return point

        u, v = number % 3 / 3, number // 3 / 2
        cell = (u + margin, v + margin, u + 1 / 3 - margin, v + 1 / 2 - margin)
        sides.append(charted(sheet(place, count), cell))
    return joined(*sides)


def ball(count: int = 12) -> Mesh:
    """A sphere of radius 0.5 with the charts of `box`."""
    mesh = box(count)
    normals = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    return replace(mesh, vertices=normals / 2, normals=normals)


def bowl(count: int = 32) -> Mesh:
    """A closed bowl, open upwards: a thick half sphere, so it hides parts of itself."""

    def place(s, t):
        turn, way = -2 * np.pi * s, 2 * np.pi * t
        radius = 0.42 + 0.08 * np.cos(way)
        tilt = np.pi / 2 * (0.5 - 0.5 * np.cos(way / 2 + np.pi / 2)) + 0.3 * np.sin(way)
        return np.stack(
            [
                radius * np.sin(tilt + 0.35) * np.cos(turn),
                0.2 - radius * np.cos(tilt + 0.35),
                radius * np.sin(tilt + 0.35) * np.sin(turn),
            ],
            -1,
        )

    return charted(sheet(place, count), (0.03, 0.03, 0.97, 0.97))


def crowd() -> Mesh:
    """A torus around a ball, before a box: parts that hide each other."""
    parts = (
        (torus(), 0.9, (0.0, 0.1, 0.05)),
        (ball(), 0.3, (0.0, 0.15, 0.05)),
        (box(), 0.35, (-0.1, -0.2, -0.3)),
    )
    cells = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0))
    return joined(
        *(
            charted(moved(mesh, scale, shift), cell)
            for (mesh, scale, shift), cell in zip(parts, cells, strict=True)
        )
    )


def solid_colours(points: torch.Tensor) -> torch.Tensor:
    """Smooth colours [..., 3] from 0 to 1 of places [..., 3], so truth has no seams."""
    waves = torch.stack([points @ points.new_tensor(one) for one in _WAVES], -1)
    return 0.5 + 0.4 * torch.sin(waves)


_WAVES = ((5.0, 2.0, 1.0), (-1.0, 6.0, 2.0), (2.0, -3.0, 5.0))
