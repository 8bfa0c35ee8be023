"""Light from all around: even, or from an equirectangular picture, in the split-sum approximation.

The centre column of a picture shows +x, three quarters of its width +z, and its top +y, as in
three.js and model-viewer. Colours are linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from modelgraft.spatial.shading.brdf import distribution
from modelgraft.worlds.skies import equirectangular

# Roughness and height of the blurred copies: a lobe is wider than a row from the second one on.
_LEVELS: Final = ((0.0, 512), (0.15, 128), (0.3, 64), (0.5, 32), (0.75, 32), (1.0, 32))
_ROUGHNESSES: Final = tuple(roughness for roughness, _ in _LEVELS)
# Cosine convolution by degree, over pi (Ramamoorthi and Hanrahan 2001, Eq. 8).
_BANDS: Final = (1.0, *[2 / 3] * 3, *[1 / 4] * 5)


@dataclass(frozen=True)
class UniformLight:
    """The same light from everywhere."""

    radiance: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def diffuse(self, normal: Tensor) -> Tensor:
        """What a white Lambert surface with this normal [..., 3] returns [..., 3]."""
        return normal.new_tensor(self.radiance).expand_as(normal)

    def specular(self, direction: Tensor, roughness: Tensor) -> Tensor:
        """Mean radiance [..., 3] around a mirrored direction [..., 3]."""
        return direction.new_tensor(self.radiance).expand_as(direction)


@dataclass(frozen=True)
class Environment:
    """A picture of the surroundings, prepared by `environment`."""

    harmonics: Tensor
    """[9, 3]: spherical harmonics of degree 0 to 2 of what white Lambert surfaces return."""
    levels: tuple[Tensor, ...]
    """[1, 3, h + 2, w + 2] each: the picture blurred by rougher and rougher lobes, in a frame of
    the pixels that lie beyond its edges on the sphere."""

    def diffuse(self, normal: Tensor) -> Tensor:
        """What a white Lambert surface with this normal [..., 3] returns [..., 3].

        By spherical harmonics of degree 2: some per cent off for most surroundings, more for one
        small sun (Ramamoorthi and Hanrahan 2001).
        """
        return (_harmonics(normal) @ self.harmonics.to(normal)).clamp_min(0)

    def specular(self, direction: Tensor, roughness: Tensor) -> Tensor:
        """Mean radiance [..., 3] around a mirrored direction [..., 3], as wide as the lobe.

        The lobe is that of a view along the normal (Karis 2013), so highlights do not stretch at
        grazing angles.
        """
        across, down = _places(direction)
        total = torch.zeros_like(direction)
        for place, level in enumerate(self.levels):
            height, width = level.shape[2:]
            places = torch.stack(
                [(2 * across - 1) * (width - 2) / width, (2 * down - 1) * (height - 2) / height],
                dim=-1,
            ).reshape(1, 1, -1, 2)
            seen = functional.grid_sample(
                level.to(direction), places, padding_mode="border", align_corners=False
            )
            seen = seen.reshape(3, *across.shape).movedim(0, -1)
            total = torch.addcmul(total, _share(place, roughness), seen)
        return total


def environment(picture: NDArray[np.floating]) -> Environment:
    """The light of an equirectangular `picture` [H, W, 3] of linear radiance, at least 0.

    Computed in float64. Pictures above 512 rows are averaged down to that.
    """
    radiance = torch.tensor(picture, dtype=torch.float64).movedim(-1, 0)
    coarse = _resized(radiance, _LEVELS[1][1])
    directions, solid_angles = _sphere(coarse)
    weighted = (coarse * solid_angles).flatten(1)
    harmonics = _harmonics(directions).flatten(0, 1).mT @ weighted.mT
    harmonics *= torch.tensor(_BANDS, dtype=torch.float64)[:, None]
    levels = [_blurred(_resized(radiance, rows), roughness) for roughness, rows in _LEVELS]
    return Environment(harmonics.float(), tuple(_framed(one)[None].float() for one in levels))


def _sphere(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Directions [h, w, 3] and solid angles [h, 1] of the pixels of a picture [3, h, w]."""
    directions, solid_angles = equirectangular(*picture.shape[1:])
    return torch.from_numpy(directions), torch.from_numpy(solid_angles)[:, None]


def _resized(picture: Tensor, rows: int) -> Tensor:
    """The picture [3, h, w] averaged over the sphere to `rows` rows, if it has more."""
    height, width = picture.shape[1:]
    if height <= rows:
        return picture
    size = (rows, max(1, round(width * rows / height)))
    _, weights = _sphere(picture)
    weights = weights.expand(height, width)[None]
    light = functional.adaptive_avg_pool2d(picture * weights, size)
    return light / functional.adaptive_avg_pool2d(weights, size)


def _framed(picture: Tensor) -> Tensor:
    """The picture with its neighbours on the sphere around it [3, h + 2, w + 2]."""
    beyond = picture.roll(picture.shape[2] // 2, dims=2)  # over the poles
    tall = torch.cat([beyond[:, :1], picture, beyond[:, -1:]], dim=1)
    return torch.cat([tall[..., -1:], tall, tall[..., :1]], dim=2)


def _blurred(picture: Tensor, roughness: float) -> Tensor:
    """Mean radiance [3, h, w] around every pixel, weighted by D nl of a view along the normal.

    Rows are convolved with each other around the axis, by Fourier transforms.
    """
    if roughness == 0:
        return picture
    height, width = picture.shape[1:]
    solid_angles = _sphere(picture)[1]
    polar = (torch.arange(height, dtype=torch.float64) + 0.5) * math.pi / height
    turn = torch.arange(width, dtype=torch.float64) * 2 * math.pi / width
    upright = (polar.cos()[:, None] * polar.cos())[..., None]
    level = (polar.sin()[:, None] * polar.sin())[..., None]
    nl = upright + level * turn.cos()  # [row of n, row of l, turn]
    alpha_sq = torch.tensor(roughness, dtype=torch.float64) ** 4
    lobe = distribution((1 - nl) / 2, alpha_sq) * nl.clamp_min(0)
    lobe *= solid_angles
    spectrum = torch.fft.rfft(lobe)
    light = torch.fft.rfft(picture)
    blurred = torch.fft.irfft(torch.einsum("nlk,clk->cnk", spectrum, light.conj()).conj(), n=width)
    return blurred / lobe.sum(dim=(1, 2))[:, None]


def _places(direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where directions [..., 3] lie in a picture: fractions of width and height [...]."""
    x, y, z = direction.unbind(-1)
    level_sq = x * x + z * z
    # The poles have every azimuth, and no gradient of it.
    is_pole = level_sq < 1e-12
    azimuth = torch.atan2(z, torch.where(is_pole, 1.0, x))
    polar = torch.atan2(torch.where(is_pole, 1e-12, level_sq).sqrt(), y)
    return azimuth / (2 * math.pi) + 0.5, polar / math.pi


def _share(place: int, roughness: Tensor) -> Tensor:
    """How much of level `place` a roughness [..., 1] takes: linear between its neighbours."""
    own = _ROUGHNESSES[place]
    share = torch.ones_like(roughness)
    if place > 0:
        before = _ROUGHNESSES[place - 1]
        share = torch.minimum(share, (roughness - before) / (own - before))
    if place + 1 < len(_ROUGHNESSES):
        after = _ROUGHNESSES[place + 1]
        share = torch.minimum(share, (after - roughness) / (after - own))
    return share.clamp_min(0)


def _harmonics(direction: Tensor) -> Tensor:
    """The nine real spherical harmonics of degree 0 to 2 at directions [..., 3] [..., 9]."""
    x, y, z = direction.unbind(-1)
    first, second = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
    parts = [
        torch.full_like(x, math.sqrt(1 / (4 * math.pi))),
        first * y, first * z, first * x,
        second * x * y, second * y * z,
        math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
        second * x * z, second / 2 * (x * x - y * y),
    ]  # fmt: skip
    return torch.stack(parts, dim=-1)
