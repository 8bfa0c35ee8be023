"""Peers of the race, restated: baking by scattered pixels, and filling by jump flooding.

Both are what the published code of Material Anything (arXiv 2411.15138) does. Scattering draws the
mesh at four times the picture's size, writes every pixel to the four texels around its place, the
last one staying, and mixes views by their cosines. Jump flooding (Rong and Tan 2006) lets every
texel ask others at halving distances for the nearest one that has a value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Mesh

_ENLARGED = 4
_LEAST_COSINE = 0.1


def scatter_bake(
    mesh: Mesh, cameras: Sequence[Camera], maps: Tensor, size: tuple[int, int]
) -> Tensor:
    """A texture [C, H, W] of pictures `maps` [b, C, h, w], zeros where none writes."""
    height, width = size
    total = maps.new_zeros(maps.shape[1], height * width)
    weights = maps.new_zeros(height * width)
    for camera, picture in zip(cameras, maps, strict=True):
        fine = camera.resized((_ENLARGED * camera.size[0], _ENLARGED * camera.size[1]))
        surface = gbuffer(mesh, [fine])
        assert surface.uv is not None
        colours = functional.interpolate(picture[None], fine.size, mode="bilinear")[0]
        eye = torch.from_numpy(camera.position).float()
        to_eye = functional.normalize(eye - surface.position[0], dim=-1)
        cosine = (to_eye * surface.normal[0]).sum(-1).abs()
        seen = surface.mask[0] & (cosine >= _LEAST_COSINE)
        place = surface.uv[0][seen] * torch.tensor([width, height])
        column = (place[:, 0] - 0.5).floor().long()
        row = (height - place[:, 1] - 0.5).floor().long()
        written, weight = torch.zeros_like(total), torch.zeros_like(weights)
        for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
            y, x = (row + down).clamp(0, height - 1), (column + across).clamp(0, width - 1)
            written[:, y * width + x] = colours[:, seen]
            weight[y * width + x] = cosine[seen]
        total += weight * written
        weights += weight
    return (total / weights.clamp_min(1e-8)).view(-1, height, width)


def jump_flooded(values: Tensor, seen: Tensor) -> Tensor:
    """A texture [C, H, W] in which texels not `seen` [H, W] have the nearest seen one's value."""
    height, width = seen.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    far = 4 * (height + width)
    source_y, source_x = (torch.where(seen, one, -far) for one in (y, x))
    step = 1 << (max(height, width) - 1).bit_length() - 1
    while step:
        found_y, found_x = source_y, source_x
        best = (y - found_y).square() + (x - found_x).square()
        for down in (-step, 0, step):
            for across in (-step, 0, step):
                rows, columns = (y + down).clamp(0, height - 1), (x + across).clamp(0, width - 1)
                asked_y, asked_x = source_y[rows, columns], source_x[rows, columns]
                distance = (y - asked_y).square() + (x - asked_x).square()
                nearer = distance < best
                best = torch.where(nearer, distance, best)
                found_y = torch.where(nearer, asked_y, found_y)
                found_x = torch.where(nearer, asked_x, found_x)
        source_y, source_x = found_y, found_x
        step //= 2
    return values[:, source_y, source_x]
