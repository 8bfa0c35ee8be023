"""Values on surfaces and in maps: what a picture's pixels see of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.spatial.meshes import Mesh

Wrap = Literal["clamp", "repeat"]


def interpolate(attributes: Tensor, rast: Tensor, faces: Tensor) -> Tensor:
    """The attributes [b, H, W, C] of the points that pixels see, zeros where they see nothing.

    `attributes` are per vertex, [V, C] for all pictures or [b, V, C]; `rast` [b, H, W, 4] is what
    `raster.rasterize` gives for `faces` [F, 3]. Differentiable in the attributes.
    """
    flat = rast.reshape(-1, 4)
    pixel = flat[:, 3].nonzero()[:, 0]
    seen = flat[pixel]
    corners = faces.long()[seen[:, 3].long() - 1]
    if attributes.dim() == 3:
        view = pixel // (rast.shape[1] * rast.shape[2])
        corners = corners + view[:, None] * attributes.shape[1]
        attributes = attributes.flatten(0, 1)
    found = mix(attributes, corners, seen[:, :2])
    image = attributes.new_zeros(len(flat), attributes.shape[1])
    return image.index_copy(0, pixel, found).view(*rast.shape[:3], -1)


def mix(attributes: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """The attributes [n, C] at points, of those of vertices [V, C].

    `corners` [n, 3] are the vertices around each point; the first and the second have the `weights`
    [n, 2] and the third the rest.
    """
    first, second, third = (attributes.index_select(0, one) for one in corners.T.contiguous())
    one, two = weights.to(attributes.dtype).unbind(1)
    return third + one[:, None] * (first - third) + two[:, None] * (second - third)


class Attributes(NamedTuple):
    """What a mesh says of points [..., C]; None where it says nothing."""

    position: Tensor
    normal: Tensor | None
    """Unit."""
    uv: Tensor | None
    tangent: Tensor | None
    """Unit, with the hand of the frame, 1 or -1, as the fourth."""


def mesh_attributes(
    mesh: Mesh, tangents: Tensor | None, mixed: Callable[[Tensor], Tensor], *, device: torch.device
) -> Attributes:
    """A mesh's attributes and the vertices' `tangents` [V, 4], `mixed` from [V, C] to [..., C].

    All are gathered in one pass, in float32.
    """
    own = (mesh.vertices, mesh.normals, mesh.uvs)
    given = [None if one is None else torch.from_numpy(one) for one in own] + [tangents]
    parts = [one.to(device).float() for one in given if one is not None]
    split = iter(mixed(torch.cat(parts, 1)).split([one.shape[1] for one in parts], -1))
    position = next(split)
    normal, uv, tangent = (None if one is None else next(split) for one in given[1:])
    if normal is not None:
        normal = functional.normalize(normal, dim=-1)
    if tangent is not None:
        along = functional.normalize(tangent[..., :3], dim=-1)
        tangent = torch.cat([along, torch.sign(tangent[..., 3:])], -1)
    return Attributes(position, normal, uv, tangent)


def texture(maps: Tensor, uv: Tensor, *, wrap: Wrap = "clamp") -> Tensor:
    """Maps at places [..., C], bilinear between the centres of texels.

    `maps` [1, C, H, W] serve all of `uv` [..., 2]; of [b, C, H, W] each serves its part of `uv`
    [b, ..., 2]. (0, 0) is the lower left corner of a map and its first row the top, so the centre
    of the first texel is at (0.5 / W, 1 - 0.5 / H). Beyond its border a map goes on with the border
    or starts again. Differentiable in both.
    """
    if wrap == "repeat":
        height, width = maps.shape[-2:]
        maps = functional.pad(maps, (1, 1, 1, 1), mode="circular")
        texels = uv.new_tensor([width, height])
        uv = ((uv - uv.floor()) * texels + 1) / (texels + 2)
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1).to(maps.dtype)
    found = functional.grid_sample(
        maps,
        grid.reshape(len(maps), 1, -1, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return found.flatten(2).transpose(1, 2).reshape(*uv.shape[:-1], maps.shape[1])
