"""All ten views drawn together: at every step they agree on one texture (ours).

The paper draws one view after the other and holds what earlier ones left. Here every view denoises
at once, and what each takes for the clean maps is replaced by what a texture baked of all of them
shows, so that no view comes first. The paper's network is used as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modelgraft.core.errors import Unavailable
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.denoising import Conditions, Denoiser
from modelgraft.methods.material_anything.infer import EXPONENTS, Canvas, Pictures, Sight
from modelgraft.methods.material_anything.method.confidence import confidence
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import clean_of, sample
from modelgraft.spatial import frames
from modelgraft.spatial.baking import bake
from modelgraft.spatial.gbuffer import camera_normals
from modelgraft.spatial.sampling import texture

_PIXELS_AT_ONCE = 1 << 18
"""Of views that go through the network together: more gain no time and cost memory."""
_COVERED = 0.5
"""Share of a pixel's lookup in the texture that must have been painted."""


@torch.no_grad()
def paint_jointly(canvas: Canvas, estimator: Denoiser, pictures: Pictures, *, seed: int) -> Tensor:
    """Maps of all views [10, 9, h, w], bumps as normals in the world, encoded.

    What `infer.paint` gives, for `infer.assemble`. Nothing is held and no view is known before, so
    of the light "generated" nothing is believed. `Unavailable` for values that are not finite.
    """
    plan, schedule = canvas.plan, estimator.schedule
    axes = _axes(canvas, estimator)
    given = _given(canvas, estimator, pictures)

    def velocity(z: Tensor, step: Tensor) -> Tensor:
        """v whose clean latents are those that the views agree on."""
        clean = clean_of(schedule, z, _predicted(canvas, estimator, z, step, given), step)
        left, lost = schedule.at(step, z)
        return (left * z - _agreed(canvas, estimator, clean, axes)) / lost

    generator = torch.Generator().manual_seed(rng_seed("material", seed))
    number, _, *size = given.shared.shape
    start = torch.randn((number, 3 * estimator.codec.channels, *size), generator=generator)
    latents = sample(velocity, start.to(given.shared), schedule, plan.steps, eta=plan.eta,
                     generator=generator)  # fmt: skip
    found = _in_world(estimator.decode(latents).sound(), axes)
    canvas.counts.estimator += number
    if not found.isfinite().all():
        raise Unavailable(
            "the ten views: the estimator drew values that are not finite.\n"
            "  Often a number type is too small for the model; try --dtype float32."
        )
    return found


def averaged(canvas: Canvas, maps: Tensor) -> Tensor:
    """What a texture baked of all views' maps [10, 9, h, w] shows in each of them.

    Bumps are normals in the world, encoded. Pixels whose surface no view may paint keep their own.
    """
    surface = canvas.surface
    assert surface.uv is not None
    found = bake(canvas.texels, surface, canvas.cameras, maps, exponents=EXPONENTS)
    canvas.counts.bakes += 1
    marked = torch.cat([found.values, found.seen[None].to(found.values)])
    shown = texture(marked[None], surface.uv).movedim(-1, 1)
    share = shown[:, -1:] * surface.mask[:, None]
    return torch.where(share > _COVERED, shown[:, :-1] / share.clamp_min(_COVERED), maps)


def _predicted(
    canvas: Canvas, estimator: Denoiser, z: Tensor, step: Tensor, given: Conditions
) -> Tensor:
    """v of all views, as many together as memory suggests."""
    number = max(1, _PIXELS_AT_ONCE // canvas.plan.view_px**2)
    parts = zip(*(one.split(number) for one in (z, step, given.shared)), strict=True)
    return torch.cat([
        estimator.predict(latents, times, Conditions(shared)) for latents, times, shared in parts
    ])  # fmt: skip


def _agreed(canvas: Canvas, estimator: Denoiser, clean: Tensor, axes: Tensor) -> Tensor:
    """Clean latents [10, C, h, w] moved by what averaging does to their maps.

    Only the difference goes through the codec, so that what it cannot hold does not add up.
    """
    own = estimator.decode(clean).sound()
    mean = _in_view(averaged(canvas, _in_world(own, axes)), axes)
    inside = canvas.surface.mask[:, None]
    mean = Maps(*(torch.where(inside, new, old) for new, old in zip(mean, own, strict=True)))
    return clean + estimator.encode(mean) - estimator.encode(own)


def _given(canvas: Canvas, estimator: Denoiser, pictures: Pictures) -> Conditions:
    """What the estimator is told of all views."""
    surface = canvas.surface
    number, height, width = surface.mask.shape
    nothing = surface.position.new_zeros(1, 9, height, width)
    picture = torch.cat([
        pictures(Sight(view, surface.view(view), nothing, nothing[:, :1]))
        for view in range(number)
    ])  # fmt: skip
    mask = surface.mask[:, None].float()
    normal = frames.encode(camera_normals(surface, canvas.cameras)).movedim(-1, 1)
    believed = confidence(canvas.plan.light, mask, torch.zeros_like(mask))
    return estimator.of_view(picture * mask + 1 - mask, normal * mask + 1 - mask, believed)


def _axes(canvas: Canvas, estimator: Denoiser) -> Tensor:
    """Axes [10, h, w, 3, 3] of the bumps that the estimator draws."""
    surface = canvas.surface
    if estimator.frame == "view":
        return torch.cat([canvas.axes(view) for view in range(len(surface.mask))])
    assert surface.tangent is not None
    return frames.uv_axes(surface.normal, surface.tangent)


def _in_world(maps: Maps, axes: Tensor) -> Tensor:
    """Maps [10, 9, h, w] with their bumps turned from the views' frames into the world."""
    normal = frames.to_world(frames.decode(maps.bump.movedim(1, -1)), axes)
    return maps._replace(bump=frames.encode(normal).movedim(-1, 1)).joined()


def _in_view(values: Tensor, axes: Tensor) -> Maps:
    """The opposite."""
    maps = Maps.split(values)
    normal = frames.from_world(frames.decode(maps.bump.movedim(1, -1)), axes)
    return maps._replace(bump=frames.encode(normal).movedim(-1, 1))
