"""Textures of procedural objects with their true maps, and which view shows each texel of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world import object_mesh
from modelgraft.spatial import frames
from modelgraft.spatial.baking import bake
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.tangents import with_tangents
from modelgraft.spatial.texels import Texels, find_texels
from modelgraft.spatial.uv.unwrapping import unwrap
from modelgraft.worlds.splits import Split
from modelgraft.worlds.substances import Substance, bumped, substance

TEXTURE_PX = 128
"""Side of the textures that the embedded refiner learns from and is measured on."""


@dataclass(frozen=True)
class Textures:
    """Square textures, [n, ...]; what is beside the charts is white in maps and positions."""

    maps: Maps
    """Bumps in the tangent frame of the UVs."""
    position: Tensor
    """Where each texel lies in space, from 0 to 1 [n, 3, H, W]."""
    mask: Tensor
    """Which texels the mesh reads [n, 1, H, W]."""
    weights: Tensor
    """How squarely each of the ten views shows a texel [n, 10, H, W]: a cosine, 0 where hidden."""

    def __len__(self) -> int:
        return len(self.mask)


@dataclass(frozen=True)
class Shape:
    """What the textures of one mesh have in common."""

    texels: Texels
    weights: Tensor
    """As in `Textures` [10, H, W]."""

    @classmethod
    def of(cls, mesh: Mesh, *, size: int, view_px: int) -> Shape:
        """Of a mesh with UVs, normals and tangents in its unit box, seen by the ten views."""
        assert mesh.tangents is not None
        texels = find_texels(mesh, (size, size), tangents=torch.from_numpy(mesh.tangents))
        cameras = [camera_of(view, view_px) for view in VIEWS]
        nothing = torch.zeros(len(VIEWS), 1, view_px, view_px)
        found = bake(texels, gbuffer(mesh, cameras), cameras, nothing, exponents=(1,))
        return cls(texels, found.weights)

    def textures(self, matter: Substance) -> Textures:
        """The one texture, n = 1, of this shape made of a substance."""
        texels = self.texels
        assert texels.tangent is not None
        found = matter.at(texels.position.numpy())
        rough = np.stack([np.ones_like(found.roughness), found.roughness, found.metallic], 1)
        world = torch.from_numpy(bumped(texels.normal.numpy(), found.gradient)).float()
        axes = frames.uv_axes(texels.normal, texels.tangent)
        bump = frames.raised(frames.from_world(world, axes))
        parts = (torch.from_numpy(found.albedo), torch.from_numpy(rough), frames.encode(bump))
        return Textures(
            maps=Maps(*(self.on_white(one) for one in parts)),
            position=self.on_white(texels.position + 0.5),
            mask=texels.mask[None, None].float(),
            weights=self.weights[None],
        )

    def on_white(self, values: Tensor) -> Tensor:
        """Values [N, 3] of the texels as a texture [1, 3, H, W], white beside the charts."""
        return torch.where(self.texels.mask, self.texels.image(values.float()), 1.0)[None]


def textured_mesh(split: Split, number: int, *, size: int) -> Mesh:
    """A solid of the world with UVs for textures of `size` texels, and tangents."""
    return with_tangents(unwrap(object_mesh(split, number), size).mesh)


def look_substance(split: Split, number: int, look: int) -> Substance:
    """One of the things that an object is made of in its textures."""
    return substance(split, rng_seed("texture of", split, number, look) % 100_000)


@dataclass
class TextureBank:
    """Textures of many objects in float16, drawn once; unwrapping takes most of the time.

    At 128 texels an object takes some 0.5 MB, and 0.3 MB for each of its looks.
    """

    shapes: list[tuple[Tensor, Tensor, Tensor]]
    """Position, mask and weights of each object."""
    looks: list[list[Maps]]
    """The maps of each object's looks."""

    @classmethod
    def of(
        cls, split: Split, numbers: Sequence[int], *, size: int, looks: int = 1, view_px: int = 64
    ) -> TextureBank:
        """The objects with these numbers, each made of `looks` substances."""
        shapes, maps = [], []
        for number in numbers:
            shape = Shape.of(textured_mesh(split, number, size=size), size=size, view_px=view_px)
            found = [shape.textures(look_substance(split, number, look)) for look in range(looks)]
            parts = (found[0].position, found[0].mask, found[0].weights)
            shapes.append(tuple(one.half() for one in parts))
            maps.append([Maps(*(one.half() for one in each.maps)) for each in found])
        return cls(shapes, maps)

    @property
    def total(self) -> int:
        """How many textures there are."""
        return sum(map(len, self.looks))

    def take(self, places: Sequence[int]) -> Textures:
        """Textures by number: the looks of the first object, then those of the second."""
        per_shape = len(self.looks[0])
        shapes = [self.shapes[one // per_shape] for one in places]
        maps = [self.looks[one // per_shape][one % per_shape] for one in places]
        position, mask, weights = (torch.cat(one).float() for one in zip(*shapes, strict=True))
        joined = Maps(*(torch.cat(one).float() for one in zip(*maps, strict=True)))
        return Textures(joined, position, mask, weights)
