"""What the triple head learns: velocities, maps and renders (section 3.2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import Schedule, clean_of, velocity
from modelgraft.spatial.shading.colour import tone_mapped
from modelgraft.spatial.shading.differences import pyramid


@dataclass(frozen=True)
class Weights:
    """Of the three terms. The paper does not print them; these are ours."""

    velocity: float = 1.0
    maps: float = 1.0
    render: float = 0.5


@dataclass(frozen=True)
class Truth:
    """What a batch of views is compared with."""

    maps: Maps
    mask: Tensor
    """Where there is an object [B, 1, H, W]."""
    render: Callable[[Maps], Tensor]
    """Linear radiance [B, 3, H, W] of maps under lights drawn for this batch."""


def velocity_losses(
    schedule: Schedule,
    clean: Tensor,
    noise: Tensor,
    step: Tensor,
    found: Tensor,
) -> Tensor:
    """L_v of each sample [B]: the mean squared error of `found`, the predicted v [B, C, h, w]."""
    return (found - velocity(schedule, clean, noise, step)).square().mean((1, 2, 3))


def decoded_losses(
    schedule: Schedule,
    latents: Tensor,
    step: Tensor,
    found: Tensor,
    truth: Truth,
    decode: Callable[[Tensor], Maps],
) -> tuple[Tensor, Tensor]:
    """L_mat and L_p of each sample [B], weighed by what is left of the clean latents.

    The maps are those of the clean latents that `found` implies. For L_p they and the true ones
    are rendered under the same lights and compared as tone-mapped pictures by a pyramid of
    differences, where the paper compares features of VGG.
    """
    maps = decode(clean_of(schedule, latents, found, step))
    kept = schedule.kept.to(step.device)[step].to(found.dtype)
    share = truth.mask.mean((1, 2, 3)).clamp_min(1e-3)
    errors = (maps.joined() - truth.maps.joined()).square() * truth.mask
    seen, true = (
        tone_mapped(truth.render(one).clamp_min(0), "log1p") * truth.mask
        for one in (maps, truth.maps)
    )
    return kept * errors.mean((1, 2, 3)) / share, kept * pyramid(seen, true) / share
