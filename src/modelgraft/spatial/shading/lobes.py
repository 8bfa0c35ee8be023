"""The specular lobe under even light: its directional albedo as f0 A + B (split sum).

Karis 2013, "Real Shading in Unreal Engine 4": the integral of f nl over all lights at one view is
linear in f0, and A and B depend on roughness and nv only. Even light is returned as albedo of the
lobe times its radiance; for other surroundings that product is an approximation.
"""

from __future__ import annotations

import functools
import math
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.spatial.shading.brdf import Visibility, masking

_ROUGHNESSES: Final = 64
_COSINES: Final = 32
_FACETS: Final = 610
_LEAST_COSINE: Final = 1e-4


class Lobe(NamedTuple):
    """A and B [..., 1]: a lobe with head-on reflectance f0 returns f0 A + B of even light."""

    scale: Tensor
    offset: Tensor


def lobe(roughness: Tensor, nv: Tensor, *, visibility: Visibility = "correlated") -> Lobe:
    """A and B at roughness and view cosine [..., 1], by a table within 2e-3.

    The table is integrated on first use. Differentiable in both; a cosine below 1e-4 counts as
    that.
    """
    table = _table(visibility).to(roughness)
    roughness, nv = torch.broadcast_tensors(roughness, nv)
    across = 2 * nv.clamp(_LEAST_COSINE, 1).sqrt() - 1
    places = torch.cat([across, 2 * roughness - 1], dim=-1)
    found = functional.grid_sample(
        table, places.reshape(1, 1, -1, 2), padding_mode="border", align_corners=True
    )
    scale, offset = found.reshape(2, *roughness.shape)
    return Lobe(scale, offset)


@functools.cache
@torch.inference_mode(False)  # it may be asked for first where nothing is differentiated
def _table(visibility: Visibility) -> Tensor:
    """A and B [1, 2, roughness, square root of nv], both axes from 0 to 1.

    Facets are drawn as the view sees them (Dupuy and Benyoub 2023, "Sampling visible GGX normals
    with spherical caps") at the points of a Fibonacci lattice, so the integrand is a ratio of
    maskings.
    """
    roughness = torch.linspace(0, 1, _ROUGHNESSES, dtype=torch.float64)
    alpha = roughness.square()[:, None, None]
    nv = torch.linspace(0, 1, _COSINES, dtype=torch.float64).square()
    nv = nv.clamp_min(_LEAST_COSINE)[None, :, None]
    nh, vh = _visible_facets(alpha, nv)
    nl = 2 * vh * nh - nv
    lit, alpha_sq = nl.clamp_min(1e-12), alpha.square()
    seen = 2 * nv / (nv + (alpha_sq + (1 - alpha_sq) * nv.square()).sqrt())
    share = 4 * lit * nv * masking(lit, nv, alpha_sq, visibility) / seen
    share = torch.where(nl > 0, share, 0.0)
    away = (1 - vh) ** 5
    parts = [(share * one).mean(dim=-1) for one in (1 - away, away)]
    return torch.stack(parts)[None]


def _visible_facets(alpha: Tensor, nv: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines n . h and v . h of facets [roughness, nv, facets], seen from (x, 0, nv)."""
    places = torch.arange(_FACETS, dtype=torch.float64) + 0.5
    around = math.pi * (places * (math.sqrt(5) - 1) / 2).frac()
    upwards = places / _FACETS
    side = (1 - nv.square()).sqrt()
    # The view in the space where facets are those of a sphere.
    length = (alpha.square() * side.square() + nv.square()).sqrt()
    x, z = alpha * side / length, nv / length
    height = (1 - upwards) * (1 + z) - z
    level = (1 - height.square()).clamp_min(0).sqrt()
    h = [
        alpha * (level * around.cos() + x),
        alpha * level * around.sin(),
        height + z,
    ]
    norm = (h[0].square() + h[1].square() + h[2].square()).sqrt()
    return h[2] / norm, (side * h[0] + nv * h[2]) / norm
