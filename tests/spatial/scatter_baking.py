"""Baking by scattering, the peer of `baking.bake`: pictures are enlarged and pixels written.

A restatement of the algorithm of Material Anything's code (arXiv 2411.15138): the mesh is drawn
at four times the picture's size, every pixel goes to the four texels around its uv, the last one
written stays, and views are averaged by their cosines.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Mesh


def scatter_bake(
    mesh: Mesh, cameras: list[Camera], maps: Tensor, size: tuple[int, int], *, enlarged: int = 4
) -> tuple[Tensor, Tensor]:
    """Values [C, H, W] and weights [H, W] of a texture, of pictures [b, C, h, w]."""
    height, width = size
    total = maps.new_zeros(maps.shape[1], height * width)
    weights = maps.new_zeros(height * width)
    for camera, picture in zip(cameras, maps, strict=True):
        fine = camera.resized((camera.size[0] * enlarged, camera.size[1] * enlarged))
        surface = gbuffer(mesh, [fine])
        colours = functional.interpolate(picture[None], fine.size, mode="bilinear")[0]
        eye = torch.from_numpy(camera.position).float()
        to_eye = functional.normalize(eye - surface.position[0], dim=-1)
        cosine = (to_eye * surface.normal[0]).sum(-1).abs()
        seen = surface.mask[0] & (cosine >= 0.1)
        at = surface.uv[0][seen] * torch.tensor([width, height])
        column, row = (at[:, 0] - 0.5).floor().long(), (height - at[:, 1] - 0.5).floor().long()
        written = maps.new_zeros(maps.shape[1], height * width)
        weight = maps.new_zeros(height * width)
        for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
            texel = (row + down).clamp(0, height - 1) * width + (column + across).clamp(
                0, width - 1
            )
            written[:, texel] = colours[:, seen]
            weight[texel] = cosine[seen]
        total += weight * written
        weights += weight
    values = total / torch.where(weights > 0, weights, 1)
    return values.view(-1, height, width), weights.view(height, width)
