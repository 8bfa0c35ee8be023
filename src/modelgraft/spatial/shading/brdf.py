"""How a surface reflects light: glTF 2.0's metallic-roughness model (specification, appendix B).

Microfacets after Walter et al. 2007 (GGX) with Smith masking (Heitz 2014) and Schlick's Fresnel
term over a Lambert diffuse lobe. All vectors are unit [..., 3] and point away from the surface; all
else has a last axis of 1 or 3 channels. Leading shapes broadcast. Colours are linear.

Letters: n normal, v view, l light, h the half vector (v + l) / |v + l|; nl is the cosine n . l.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

Visibility = Literal["correlated", "separable"]
"""Whether facets that are hidden from the light are likelier hidden from the eye too."""

TRAINING_FLOOR: Final = 0.045
"""Roughness below which highlights are too sharp to learn from; pass it as `floor`."""
DIELECTRIC_F0: Final = 0.04
"""Reflectance of what is no metal, seen head-on: glTF's index of refraction of 1.5."""
# Least cosine of a direction, length^2 of v + l, and denominator of D: at a mirror's peak and along
# its surface, products of their inverses and gradients still fit into float32.
_GRAZING: Final = 1e-5
_OPPOSITE: Final = 1e-8
_PEAK: Final = 1e-12


class Surface(NamedTuple):
    """What is known of a surface at each place."""

    normal: Tensor
    """[..., 3], unit, in the world, already bumped."""
    albedo: Tensor
    """[..., 3], linear."""
    roughness: Tensor
    """[..., 1], from 0 to 1."""
    metallic: Tensor
    """[..., 1], from 0 to 1."""


def brdf(
    surface: Surface,
    view: Tensor,
    light: Tensor,
    *,
    visibility: Visibility = "correlated",
    floor: float = 0.0,
) -> Tensor:
    """The reflectance f(v, l) [..., 3] per steradian; 0 where view or light lie below the horizon.

    A roughness below `floor` counts as `floor`. Without one a roughness of 0 is a mirror, and as a
    mirror shows no lamp without size its highlight is 0, with gradients of 0; gradients are finite
    everywhere. As glTF has it, the diffuse lobe loses F of the half vector, not what the specular
    lobe gains: a smooth white dielectric returns more light than it gets at grazing angles.
    """
    return _evaluated(surface, view, light, visibility, floor)[0]


def reflected(
    surface: Surface,
    view: Tensor,
    light: Tensor,
    *,
    visibility: Visibility = "correlated",
    floor: float = 0.0,
    widening: Tensor | None = None,
) -> Tensor:
    """f(v, l) times nl [..., 3]: the share of irradiance from `light` that leaves towards `view`.

    Arguments and gradients are those of `brdf`. `widening` [..., 1] is added to alpha^2, up to 1,
    for light that comes from a patch around `light`.
    """
    reflectance, cosine = _evaluated(surface, view, light, visibility, floor, widening)
    return reflectance * cosine


def distribution(sine_sq: Tensor, alpha_sq: Tensor) -> Tensor:
    """D, the density of facets with normal h: GGX, alpha^2 / (pi (nh^2 (alpha^2 - 1) + 1)^2).

    `sine_sq` is 1 - nh^2, which keeps what nh would lose to rounding at a sharp peak.
    """
    width = torch.addcmul(alpha_sq, 1 - alpha_sq, sine_sq).clamp_min(_PEAK)
    return alpha_sq / (math.pi * width.square())


def masking(nl: Tensor, nv: Tensor, alpha_sq: Tensor, visibility: Visibility) -> Tensor:
    """V = G / (4 nl nv), Smith's share of facets that are lit and seen; cosines above 0."""
    rest = 1 - alpha_sq
    lit = torch.addcmul(alpha_sq, rest, nl.square()).sqrt()
    seen = torch.addcmul(alpha_sq, rest, nv.square()).sqrt()
    if visibility == "separable":
        return ((nl + lit) * (nv + seen)).reciprocal()
    return 0.5 / torch.addcmul(nl * seen, nv, lit)


def base_reflectance(albedo: Tensor, metallic: Tensor) -> Tensor:
    """F0 [..., 3], what is mirrored head-on: `DIELECTRIC_F0`, in metals the albedo."""
    return torch.addcmul(albedo.new_tensor(DIELECTRIC_F0), metallic, albedo - DIELECTRIC_F0)


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Scalar products of vectors [..., 3] as [..., 1]."""
    return torch.linalg.vecdot(first, second).unsqueeze(-1)


def _evaluated(
    surface: Surface,
    view: Tensor,
    light: Tensor,
    visibility: Visibility,
    floor: float,
    widening: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """f [..., 3] and the cosine nl [..., 1], at least 0."""
    normal, albedo, roughness, metallic = surface
    alpha_sq = (roughness.clamp_min(floor) if floor else roughness).square().square()
    alpha_sq = alpha_sq if widening is None else (alpha_sq + widening).clamp_max(1)
    along, toward = dot(normal, light), dot(normal, view)
    # Everything of h by the sum of two unit vectors: its length is 2 vh.
    both = light + view
    length_sq = dot(both, both).clamp_min(_OPPOSITE)
    slant = torch.addcmul(both, along + toward, normal, value=-1)
    peak = distribution(dot(slant, slant) / length_sq, alpha_sq)
    nl, nv = along.clamp_min(_GRAZING), toward.clamp_min(_GRAZING)
    specular = peak * masking(nl, nv, alpha_sq, visibility)
    away = 1 - 0.5 * length_sq.sqrt()
    away = away * away.square().square()
    f0 = base_reflectance(albedo, metallic)
    fresnel = torch.addcmul(f0, away, 1 - f0)
    diffuse = albedo * ((1 - metallic) / math.pi)
    reflectance = torch.addcmul(diffuse, fresnel, specular - diffuse)
    is_seen = (along > 0) & (toward > 0)
    return torch.where(is_seen, reflectance, 0.0), along.clamp_min(0)
