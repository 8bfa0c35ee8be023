"""Textures as ten views would have left them: with holes, blurred, and not of one colour.

The paper removes what random views do not show and degrades the rest; how strongly is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.spatial import frames

ALL_VIEWS = 1 / 3
"""Share of textures that every view has painted; others miss some at random."""
_SHIFT = (0.06, 0.06, 0.06, 0.12, 0.12, 0.12, 0.06, 0.06, 0.06)
"""Deviations of what a view adds to each channel of albedo, roughness and metallic, and bump."""
_LEAST_SEEN = 0.02
"""Of the charts; views are added until that much is seen."""


class Coarse(NamedTuple):
    """Textures with holes."""

    maps: Maps
    """[n, 3, H, W] each, white where nothing is seen."""
    seen: Tensor
    """Which texels a view has painted [n, 1, H, W]."""


def coarse(maps: Maps, weights: Tensor, *, seed: int) -> Coarse:
    """One texture, n = 1, as some views would have painted it, drawn from `seed`.

    `weights` [1, views, H, W] say how squarely each view shows a texel. Half of the textures are
    degraded where they are seen: blurred, noisy, and shifted by each view in its own way, mixed as
    baking mixes views.
    """
    rng = np.random.default_rng(rng_seed("coarse", seed))
    chosen = weights[:, _chosen(weights[0].numpy(), rng)]
    seen = (chosen > 0).any(1, keepdim=True)
    values = maps.joined()
    if rng.random() < 0.5:
        values = _degraded(values, chosen, seen, rng)
    return Coarse(Maps.split(torch.where(seen, values, 1.0)), seen.float())


def _chosen(weights: NDArray[np.float32], rng: np.random.Generator) -> list[int]:
    """The views that have painted."""
    number = len(weights)
    if rng.random() < ALL_VIEWS:
        return list(range(number))
    order = [int(one) for one in rng.permutation(number)]
    count = int(rng.integers(1, number))
    charted = max(1, int((weights > 0).any(0).sum()))
    while count < number and (weights[order[:count]] > 0).any(0).sum() < _LEAST_SEEN * charted:
        count += 1
    return order[:count]


def _degraded(values: Tensor, weights: Tensor, seen: Tensor, rng: np.random.Generator) -> Tensor:
    """Maps [1, 9, H, W] with the errors of views, sound again."""
    size = values.shape[2:]
    found = _blurred(values[0].numpy(), seen[0, 0].numpy(), rng.uniform(0, 1.2))
    shift = rng.standard_normal((9, weights.shape[1])) * np.array(_SHIFT)[:, None]
    shares = (weights / weights.sum(1, keepdim=True).clamp_min(1e-6))[0].numpy()
    found = found + rng.random() * np.einsum("cv,vhw->chw", shift, shares)
    found = found + rng.uniform(0, 0.04) * rng.standard_normal((9, *size))
    albedo, rm, bump = torch.from_numpy(found.astype(np.float32))[None].split(3, 1)
    rm = torch.cat([torch.ones_like(rm[:, :1]), rm[:, 1:]], 1)
    normal = frames.raised(frames.decode(bump.movedim(1, -1)))
    bump = frames.encode(normal).movedim(-1, 1)
    return torch.cat([albedo.clamp(0, 1), rm.clamp(0, 1), bump], 1)


def _blurred(
    values: NDArray[np.float32], seen: NDArray[np.bool_], sigma_px: float
) -> NDArray[np.float64]:
    """Seen texels [C, H, W] mixed with seen ones around them."""
    mask = ndimage.gaussian_filter(seen.astype(np.float64), sigma_px)
    mixed = ndimage.gaussian_filter(values * seen.astype(np.float64), (0, sigma_px, sigma_px))
    return np.where(seen, mixed / np.where(seen, mask, 1), values)
