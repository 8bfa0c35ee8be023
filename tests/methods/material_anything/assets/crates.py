"""Crates: boxes whose UVs and colours are known in closed form, and maps to paint on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from modelgraft.methods.material_anything.infer import Counts, Painted
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.spatial.baking import Baked
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part


def crate(
    centre: tuple[float, float, float] = (0, 0, 0), name: str = "crate", *, count: int = 1
) -> Mesh:
    """Of side 1; each side, of 2 count^2 faces, has a cell of three columns and two rows."""
    steps = np.linspace(0, 1, count + 1)
    s, t = (one.ravel() for one in np.meshgrid(steps, steps))
    place = np.arange((count + 1) ** 2).reshape(count + 1, -1)
    a, b, c, d = (
        one.ravel() for one in (place[:-1, :-1], place[:-1, 1:], place[1:, 1:], place[1:, :-1])
    )
    cell = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    vertices, normals, uvs, faces = [], [], [], []
    for number in range(6):
        axis, sign = number % 3, 1.0 if number < 3 else -1.0
        points = np.full((len(s), 3), sign * 0.5)
        points[:, (axis + 1) % 3] = sign * (s - 0.5)
        points[:, (axis + 2) % 3] = t - 0.5
        vertices.append(points + centre)
        normals.append(np.tile(sign * np.eye(3)[axis], (len(s), 1)))
        u, v = number % 3 / 3, number // 3 / 2
        uvs.append(np.stack([u + 0.03 + s * (1 / 3 - 0.06), v + 0.03 + t * (1 / 2 - 0.06)], 1))
        faces.append(cell + number * len(s))
    return Mesh(
        np.concatenate(vertices, dtype=np.float32),
        np.concatenate(faces).astype(np.int32),
        uvs=np.concatenate(uvs, dtype=np.float32),
        normals=np.concatenate(normals, dtype=np.float32),
        name=name,
    )


def halved(mesh: Mesh, low: float) -> Mesh:
    """The mesh with its charts in half of the width, from u = `low` on."""
    assert mesh.uvs is not None
    return replace(mesh, uvs=(mesh.uvs * [0.5, 1] + [low, 0]).astype(np.float32))


def sides(channels: int = 3, seed: int = 0, size: int = 96) -> NDArray[np.uint8]:
    """A map with one value for each side of a crate."""
    values = np.random.default_rng(seed).integers(40, 216, (2, 3, channels), dtype=np.uint8)
    return np.repeat(np.repeat(values, size // 2, 0), size // 3, 1)


def asset(*parts: tuple[Mesh, Material], name: str = "crates") -> Asset:
    return Asset(tuple(Part(mesh, material, True) for mesh, material in parts), name)


def two_crates(count: int = 1) -> Asset:
    """Side by side, each with all of the unit square and a map of its own."""
    return asset(
        (crate((10, 0, 0), "left", count=count), Material("red", albedo=sides(seed=1))),
        (crate((11.5, 0, 0), "right", count=count), Material("blue", albedo=sides(seed=2))),
    )


def painted(size: int, seed: int = 0) -> Painted:
    """Maps of random bytes, such as no network would paint."""
    values = np.random.default_rng(seed).integers(0, 256, (9, size, size))
    values[3] = 255
    maps = torch.from_numpy(values).float()[None] / 255
    nothing = torch.zeros(1, size, size)
    return Painted(Maps.split(maps), Baked(maps[0], nothing), Counts())
