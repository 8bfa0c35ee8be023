"""What painting a mesh needs of an estimator, whichever model stands behind it.

`denoising.Denoiser` is one; SuperMat and any model that turns a picture into maps are others.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from modelgraft.methods.material_anything.denoising import Conditions, Frame
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import Hold


class Estimator(Protocol):
    """From pictures of views to their maps."""

    @property
    def frame(self) -> Frame:
        """In which axes its bumps lie."""
        ...

    def of_view(self, picture: Tensor, normal: Tensor, confidence: Tensor) -> Conditions:
        """What it is told: see `denoising.Denoiser.of_view`."""
        ...

    def encode(self, maps: Maps) -> Tensor:
        """Maps as a `Hold` keeps them [B, C, h, w]: latents, or the maps themselves."""
        ...

    def denoise(
        self,
        given: Conditions,
        *,
        steps: int,
        generator: torch.Generator,
        hold: Hold | None = None,
        eta: float = 0.0,
    ) -> Maps:
        """Maps [B, 3, H, W] each; where `hold` is 1 they are what it keeps."""
        ...


def is_object(normal: Tensor) -> Tensor:
    """Where views show an object [B, 1, H, W], of their normals as colours [B, 3, H, W] on white.

    White is no colour of a normal of length 1.
    """
    return ((2 * normal - 1).square().sum(1, keepdim=True) < 2).to(normal.dtype)


def flat_bumps(like: Tensor) -> Tensor:
    """Bumps of an even surface, as colours shaped like `like` [B, 3, H, W]."""
    return like.new_tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1).expand_as(like)


def with_held(maps: Maps, hold: Hold | None) -> Maps:
    """Maps in which the pixels that `hold` keeps, itself in pixels, are put back.

    This is all that a model can do which draws its maps in one go.
    """
    if hold is None:
        return maps
    return Maps.split(torch.lerp(maps.joined(), hold.latents, hold.mask.to(hold.latents)))
