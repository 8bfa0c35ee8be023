"""Lamps: from which directions, and how strongly, they light the points of a surface.

Colours are linear. Radiance is what a person sees of a lamp, irradiance what falls on a facing
surface. Lamps of some size are 16 samples each, always the same; as every sample stands for a
patch, it is mirrored a little wider than a point, or smooth surfaces would show 16 dots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from modelgraft.spatial.shading.brdf import dot

Triple = tuple[float, float, float]

_SIDE: Final = 4
_SAMPLES: Final = _SIDE * _SIDE
# Ours, by the least difference from 576 samples at roughness 0.1 to 0.5: how much of (angle / 2)^2
# of a patch is added to the variance alpha^2 of the facets.
_WIDENING: Final = 0.5


class Arriving(NamedTuple):
    """Light at points [..., 3], by samples."""

    direction: Tensor
    """[samples, ..., 3], unit, from the point to the lamp."""
    irradiance: Tensor
    """[samples, ..., 3], of a surface that faces the sample; the samples add up."""
    distance: Tensor
    """[samples, ..., 1]; infinite for a lamp without a place."""
    widening: Tensor | None = None
    """[samples, ..., 1]: what the size of a sample adds to alpha^2; None for a point."""


@dataclass(frozen=True)
class DirectionalLamp:
    """Light from one direction, as far away as the sun."""

    direction: Triple
    """From the surface to the lamp, of any length."""
    irradiance: Triple = (1.0, 1.0, 1.0)

    def arriving(self, position: Tensor) -> Arriving:
        """The one sample of this lamp at points [..., 3]."""
        ones = [1] * position.dim()
        towards = position.new_tensor(self.direction)
        return Arriving(
            (towards / towards.norm()).reshape(*ones, 3),
            position.new_tensor(self.irradiance).reshape(*ones, 3),
            position.new_full((*ones, 1), math.inf),
        )


@dataclass(frozen=True)
class PointLamp:
    """Light from one place, alike in all directions; irradiance is intensity / distance^2."""

    position: Triple
    intensity: Triple = (1.0, 1.0, 1.0)
    """Flux / (4 pi)."""

    def arriving(self, position: Tensor) -> Arriving:
        """The one sample of this lamp at points [..., 3]."""
        towards = (position.new_tensor(self.position) - position)[None]
        distance = towards.norm(dim=-1, keepdim=True)
        direction = towards / distance
        return Arriving(
            direction, position.new_tensor(self.intensity) / distance.square(), distance
        )


@dataclass(frozen=True)
class SphereLamp:
    """A glowing ball, seen under the cone that it fills; its flux is 4 pi^2 radius^2 radiance."""

    centre: Triple
    radius: float
    radiance: Triple = (1.0, 1.0, 1.0)

    def arriving(self, position: Tensor) -> Arriving:
        """The samples of this lamp at points [..., 3] outside of it, alike in solid angle.

        Points on or inside the ball see it as from just above its surface.
        """
        across, turn = _disc(position)
        towards = position.new_tensor(self.centre) - position
        away = towards.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        axis = towards / away
        away = away.clamp_min(1.001 * self.radius)
        sine_sq = (self.radius / away).square()
        cap = sine_sq / (1 + (1 - sine_sq).sqrt())  # 1 - cos, without its rounding
        cos = 1 - across.square() * cap
        sin = across * (cap * (1 + cos)).sqrt()
        first, second = self._across(axis)
        direction = cos * axis + sin * (turn.cos() * first + turn.sin() * second)
        inside = (self.radius**2 - (away * sin).square()).clamp_min(0).sqrt()
        solid_angle = (2 * math.pi / _SAMPLES * cap)[None]
        irradiance = position.new_tensor(self.radiance) * solid_angle
        return Arriving(direction, irradiance, away * cos - inside, _widening(solid_angle))

    def _across(self, axis: Tensor) -> tuple[Tensor, Tensor]:
        """Two unit vectors [..., 3] across `axis`, that turn smoothly from point to point."""
        x, y, z = self.centre
        # Across the line from the origin, around which the surface is likely to be.
        helper = (-z, 0.0, x) if abs(x) + abs(z) > abs(y) else (y, -x, 0.0)
        helper = axis.new_tensor(helper if any(helper) else (1.0, 0.0, 0.0)).expand_as(axis)
        first = helper - dot(axis, helper) * axis
        first = first / first.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return first, torch.linalg.cross(axis, first)


@dataclass(frozen=True)
class QuadLamp:
    """A glowing parallelogram that shines to one side; its flux is pi area radiance."""

    centre: Triple
    edges: tuple[Triple, Triple]
    """The two sides, whole; it shines towards first x second."""
    radiance: Triple = (1.0, 1.0, 1.0)

    def arriving(self, position: Tensor) -> Arriving:
        """The samples of this lamp at points [..., 3], alike in area."""
        along, across = _square(position)
        edges = position.new_tensor(self.edges)
        front = torch.linalg.cross(edges[0], edges[1])
        places = position.new_tensor(self.centre)
        places = places + along / 2 * edges[0] + across / 2 * edges[1]
        towards = places - position
        distance = towards.norm(dim=-1, keepdim=True)
        direction = towards / distance
        # `front` is as long as the area.
        facing = -dot(direction, front.expand_as(direction)).clamp_max(0)
        solid_angle = facing / (_SAMPLES * distance.square())
        irradiance = position.new_tensor(self.radiance) * solid_angle
        return Arriving(direction, irradiance, distance, _widening(solid_angle))


Lamp = DirectionalLamp | PointLamp | SphereLamp | QuadLamp


def _widening(solid_angle: Tensor) -> Tensor:
    return _WIDENING / (4 * math.pi) * solid_angle


def _square(like: Tensor) -> tuple[Tensor, Tensor]:
    """Both coordinates from -1 to 1 of the middles of 4 x 4 cells [samples, 1...]."""
    middles = (torch.arange(_SIDE, dtype=like.dtype, device=like.device) + 0.5) * 2 / _SIDE - 1
    pairs = torch.cartesian_prod(middles, middles).reshape(_SAMPLES, *[1] * like.dim(), 2)
    first, second = pairs.unbind(-1)
    return first, second


def _disc(like: Tensor) -> tuple[Tensor, Tensor]:
    """Radius from -1 to 1 and angle of cells of the same area on a disc [samples, 1...].

    Shirley and Chiu 1997, "A low distortion map between disk and square"; a radius halves the area
    of its ring of cells, so that the mean over the samples of its square is that over the disc.
    """
    x, y = _square(like)
    is_wide = x.abs() > y.abs()
    angle = torch.where(is_wide, math.pi / 4 * y / x, math.pi / 2 - math.pi / 4 * x / y)
    square = torch.where(is_wide, x, y)
    return square.sign() * (square.square() + 1 / _SAMPLES).sqrt(), angle
