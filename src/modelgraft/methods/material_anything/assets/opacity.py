"""The opacity of an asset's own materials, brought into the texture that is painted."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.methods.material_anything.assets.origins import Origins, joined, nearest, within
from modelgraft.methods.material_anything.assets.preparing import Prepared
from modelgraft.spatial.filling import gutter
from modelgraft.spatial.meshes import Mesh, Part, face_areas
from modelgraft.spatial.mipmaps import averaged
from modelgraft.spatial.texels import find_texels

_GUTTER_PX: Final = 4


def opacity_texture(prepared: Prepared, size: tuple[int, int]) -> Tensor | None:
    """Opacity [H, W] by the UVs of the prepared mesh, 1 beside its charts.

    None where all materials are opaque.
    """
    parts = prepared.source.parts
    if all(part.material.alpha_mode == "opaque" for part in parts):
        return None
    texels = find_texels(prepared.mesh, size)
    points = texels.position.double().numpy()
    face = texels.face.numpy()
    whole, part_of_face = joined(prepared.source)
    origin = nearest(whole, points) if prepared.is_reduced else within(whole, points, face)
    uv_per_area = _uv_areas(prepared.mesh) / face_areas(prepared.mesh).clip(1e-30)
    texel_area = 1 / (uv_per_area[face].clip(1e-30) * size[0] * size[1])
    found = np.ones(len(points), np.float32)
    starts = np.searchsorted(part_of_face, np.arange(len(parts)))
    of_part = part_of_face[origin.face]
    for number in np.unique(of_part):
        here = np.flatnonzero(of_part == number)
        own = Origins(origin.face[here] - starts[number], origin.weights[here])
        found[here] = _of_part(parts[number], own, texel_area[here])
    image = texels.image(torch.from_numpy(found)[:, None])
    image = torch.where(texels.mask, image, 1.0)
    return gutter(image, texels.mask, _GUTTER_PX)[0]


def _of_part(part: Part, origin: Origins, texel_area: NDArray[np.float64]) -> NDArray[np.float32]:
    """At points of a part [n], each the mean over its texel of an area in space."""
    mesh, material = part.mesh, part.material
    if material.alpha_mode == "opaque":
        return np.ones(len(origin.face), np.float32)
    factor = np.float32(material.albedo_factor[3])
    if material.albedo is None or material.albedo.shape[2] < 4 or mesh.uvs is None:
        return np.full(len(origin.face), factor)
    uv = (mesh.uvs[mesh.faces[origin.face]] * origin.weights[..., None]).sum(1)
    per_area = (_uv_areas(mesh) / face_areas(mesh).clip(1e-30))[origin.face]
    found = averaged(
        material.albedo[..., 3:],
        torch.from_numpy(uv).float(),
        torch.from_numpy(per_area * texel_area).float(),
        space="linear",
        wrap=material.wrap,
    )
    return found[:, 0].numpy() * factor


def _uv_areas(mesh: Mesh) -> NDArray[np.float64]:
    """The area of each face [F] in the unit square of UVs."""
    assert mesh.uvs is not None
    a, b, c = mesh.uvs.astype(np.float64)[mesh.faces].swapaxes(0, 1)
    first, second = b - a, c - a
    return np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
