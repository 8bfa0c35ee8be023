"""The three maps of a material, as pictures of a view or of a texture (section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor

from modelgraft.spatial import frames
from modelgraft.spatial.shading.brdf import Surface
from modelgraft.spatial.shading.colour import to_linear


class Maps(NamedTuple):
    """Values from 0 to 1 as files hold them, each [B, 3, H, W]."""

    albedo: Tensor
    """In sRGB."""
    rm: Tensor
    """Linear: 1, roughness, metallic, as glTF packs them."""
    bump: Tensor
    """Linear: a unit normal n in a stated frame as (n + 1) / 2."""

    @classmethod
    def split(cls, values: Tensor) -> Self:
        """Of one tensor [B, 9, H, W]."""
        return cls(*values.split(3, 1))

    def joined(self) -> Tensor:
        """One tensor [B, 9, H, W]."""
        return torch.cat(self, 1)

    def sound(self) -> Self:
        """Values that a file can hold: clipped, red of `rm` 1, normals of length 1."""
        rm = self.rm.clamp(0, 1)
        rm = torch.cat([torch.ones_like(rm[:, :1]), rm[:, 1:]], 1)
        normal = frames.decode(self.bump.movedim(1, -1)[..., :2].clamp(0, 1))
        return self._replace(
            albedo=self.albedo.clamp(0, 1), rm=rm, bump=frames.encode(normal).movedim(-1, 1)
        )

    def in_world(self, axes: Tensor) -> Self:
        """With bumps that lie along `axes` [B, H, W, 3, 3] as normals in the world, encoded."""
        return self._turned(frames.to_world, axes)

    def along(self, axes: Tensor) -> Self:
        """The opposite."""
        return self._turned(frames.from_world, axes)

    def _turned(self, turn: Callable[[Tensor, Tensor], Tensor], axes: Tensor) -> Self:
        normal = turn(frames.decode(self.bump.movedim(1, -1)), axes)
        return self._replace(bump=frames.encode(normal).movedim(-1, 1))

    def surface(self, axes: Tensor) -> Surface:
        """What light falls on, [B, H, W, ...]; `axes` [B, H, W, 3, 3] are those of the bumps."""
        albedo, rm, bump = (one.movedim(1, -1) for one in self)
        normal = frames.to_world(frames.decode(bump), axes)
        return Surface(normal, to_linear(albedo), rm[..., 1:2], rm[..., 2:3])
