"""The texels of a texture that lie on a mesh, and the points of the surface that they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.spatial.meshes import Mesh, face_normals
from modelgraft.spatial.raster import Backend, rasterize
from modelgraft.spatial.sampling import mesh_attributes, mix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Faces = NDArray[np.int32]


class _Points(NamedTuple):
    """Points of the surface, one a texel."""

    texel: Ints
    """[n]"""
    face: Ints
    """[n]"""
    weights: Floats
    """[n, 2], of the face's corners 0 and 1."""

    def joined(self, other: _Points) -> _Points:
        """These and other texels, in the order of the texture."""
        texel = np.concatenate([self.texel, other.texel])
        face = np.concatenate([self.face, other.face])
        weights = np.concatenate([self.weights, other.weights])
        order = np.argsort(texel, kind="stable")
        return _Points(texel[order], face[order], weights[order])


@dataclass(frozen=True)
class Texels:
    """Texels in the order of the texture's rows, top first; places and directions in the world."""

    size: tuple[int, int]
    """Height and width of the texture."""
    index: Tensor
    """[N], int64: row * width + column."""
    face: Tensor
    """[N], int64."""
    position: Tensor
    """[N, 3]"""
    face_normal: Tensor
    """[N, 3], unit."""
    normal: Tensor
    """[N, 3], unit: between the normals of the vertices, or the face's if there are none."""
    tangent: Tensor | None
    """[N, 4], with w = 1 or -1; None if none were given."""

    @property
    def mask(self) -> Tensor:
        """Whether a texel of the texture is one of these [H, W], boolean."""
        found = torch.zeros(self.size, dtype=torch.bool, device=self.index.device)
        found.view(-1)[self.index] = True
        return found

    def image(self, values: Tensor) -> Tensor:
        """Values [N, C] as a texture [C, H, W], zeros elsewhere."""
        height, width = self.size
        found = values.new_zeros(values.shape[1], height * width)
        found[:, self.index] = values.T
        return found.view(-1, height, width)

    def values(self, image: Tensor) -> Tensor:
        """Of a texture [C, H, W] the texels' values [N, C]."""
        return image.flatten(1)[:, self.index].T


def find_texels(
    mesh: Mesh,
    size: tuple[int, int],
    *,
    tangents: Tensor | None = None,
    device: str | torch.device = "cpu",
    backend: Backend | None = None,
) -> Texels:
    """All texels of a texture of `size` that a lookup on the mesh can read.

    These are the texels whose centre lies on a chart, and around every chart those whose centre is
    less than a texel away along both axes (a few more at slanted borders), as bilinear lookups near
    the border read them. Such a texel shows the nearest point of the border, and none that lies
    on a chart is taken from it. Where charts overlap the first face wins, and what lies outside of
    the unit square has no texels (`uv.coverage.uv_faults` tells). `tangents` [V, 4] are the
    vertices'.
    """
    if mesh.uvs is None:
        raise InputError(
            f'mesh "{mesh.name}": no texture coordinates.\n'
            "  Maps are stored by them, so every mesh needs one set.\n"
            "  Unwrap it first, or export it with texture coordinates from your modeller."
        )
    uvs = mesh.uvs.astype(np.float64)
    inside = _inside(uvs, mesh.faces, size, backend)
    both = inside.joined(_border(uvs, mesh.faces, size, inside.texel))
    return _described(mesh, size, both, tangents, device)


def _inside(uvs: Floats, faces: Faces, size: tuple[int, int], backend: Backend | None) -> _Points:
    """The texels whose centres lie on charts."""
    clip = np.c_[2 * uvs - 1, np.zeros(len(uvs)), np.ones(len(uvs))]
    rast = rasterize(torch.from_numpy(clip)[None], torch.from_numpy(faces), size, backend=backend)
    flat = rast.view(-1, 4).numpy()
    texel = np.flatnonzero(flat[:, 3])
    seen = flat[texel]
    return _Points(texel, seen[:, 3].astype(np.int64) - 1, seen[:, :2].astype(np.float64))


def _border(uvs: Floats, faces: Faces, size: tuple[int, int], inside: Ints) -> _Points:
    """The texels beside a chart whose centres are on none."""
    face, corner = _open_sides(faces)
    places = uvs * size[::-1]
    places[:, 1] = size[0] - places[:, 1]
    following = (corner + 1) % 3
    start, end = (places[faces[face, one]] for one in (corner, following))
    side, texel = _around(start, end, size)
    is_free = np.ones(size[0] * size[1], dtype=bool)
    is_free[inside] = False
    side, texel = side[is_free[texel]], texel[is_free[texel]]
    share, offset = _nearest_on(start[side], end[side], _centres(texel, size))
    squares = np.square(offset).sum(1)
    # All that are within 1 along both axes have less than 2.
    order = np.lexsort((side, squares, texel))
    order = order[squares[order] < 2]
    side, texel, share = side[order], texel[order], share[order]
    texel, nearest = np.unique(texel, return_index=True)
    side, share = side[nearest], share[nearest]
    weights, rows = np.zeros((len(texel), 3)), np.arange(len(texel))
    weights[rows, corner[side]] = 1 - share
    weights[rows, following[side]] = share
    return _Points(texel, face[side], weights[:, :2])


def _open_sides(faces: Faces) -> tuple[Ints, Ints]:
    """The sides of faces that no other face has: the face [n] and the corner it starts at [n]."""
    sides = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).astype(np.int64), -1)
    key = (sides[..., 0] * (faces.max(initial=0) + 1) + sides[..., 1]).ravel()
    _, first, count = np.unique(key, return_index=True, return_counts=True)
    return np.divmod(np.sort(first[count == 1]), 3)


def _around(start: Floats, end: Floats, size: tuple[int, int]) -> tuple[Ints, Ints]:
    """Pairs of a side and a texel, each once, with all texels within one of a side."""
    steps = np.ceil(np.abs(end - start).max(1)).astype(np.int64) + 1
    side = np.repeat(np.arange(len(start)), steps)
    step = np.arange(len(side)) - np.repeat(np.cumsum(steps) - steps, steps)
    share = (step / np.maximum(steps - 1, 1)[side])[:, None]
    here = np.floor(start[side] + share * (end - start)[side]).astype(np.int64)
    height, width = size
    found = []
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            x, y = here[:, 0] + across, here[:, 1] + down
            is_within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            found.append((side * (height * width) + y * width + x)[is_within])
    side, texel = np.divmod(np.unique(np.concatenate(found)), height * width)
    return side, texel


def _centres(texel: Ints, size: tuple[int, int]) -> Floats:
    return np.stack([texel % size[1], texel // size[1]], 1) + 0.5


def _nearest_on(start: Floats, end: Floats, points: Floats) -> tuple[Floats, Floats]:
    """The share of each side [n] that lies before its point nearest to a point, and the way there
    from the point [n, 2]."""
    along = end - start
    squares = np.maximum(np.square(along).sum(1), 1e-30)
    share = (((points - start) * along).sum(1) / squares).clip(0, 1)
    return share, start + share[:, None] * along - points


def _described(
    mesh: Mesh,
    size: tuple[int, int],
    points: _Points,
    tangents: Tensor | None,
    device: str | torch.device,
) -> Texels:
    number = torch.from_numpy(points.face).to(device)
    corners = torch.from_numpy(mesh.faces).to(device)[number].long()
    weights = torch.from_numpy(points.weights).to(device)
    position, normal, _, tangent = mesh_attributes(
        mesh, tangents, lambda one: mix(one, corners, weights), device=corners.device
    )
    face_normal = torch.from_numpy(face_normals(mesh)).to(position)[number]
    return Texels(
        size=size,
        index=torch.from_numpy(points.texel).to(device),
        face=number,
        position=position,
        face_normal=face_normal,
        normal=face_normal if normal is None else normal,
        tangent=tangent,
    )
