"""All ten views drawn together: at every step they agree on one texture (ours).

The paper draws one view after the other and holds what earlier ones left. Here every view denoises
at once, and what each takes for the clean maps is replaced by what a texture baked of all of them
shows, so that no view comes first. The paper's network is used as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.infer import (
    COVERED,
    EXPONENTS,
    Canvas,
    Pictures,
    require_finite,
    told,
    unknown_pictures,
)
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import clean_of, sample
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.spatial.baking import bake


def paint_jointly(canvas: Canvas, estimator: Denoiser, pictures: Pictures, *, seed: int) -> Tensor:
    """Maps of all views [10, 9, h, w], bumps as normals in the world, encoded.

    What `infer.paint` gives, for `infer.assemble`. Nothing is held and no view is known before, so
    of the light "generated" nothing is believed.
    """
    plan, schedule, views = canvas.plan, estimator.schedule, range(len(VIEWS))
    axes = canvas.axes(views, estimator.frame)
    given = told(canvas, estimator, unknown_pictures(canvas, pictures, views), views)

    def velocity(z: Tensor, step: Tensor) -> Tensor:
        """v whose clean latents are those that the views agree on."""
        clean = clean_of(schedule, z, estimator.predict(z, step, given), step)
        left, lost = schedule.at(step, z)
        return (left * z - _agreed(canvas, estimator, clean, axes)) / lost

    generator = torch.Generator().manual_seed(rng_seed("material", seed))
    number, _, *size = given.shared.shape
    start = torch.randn((number, 3 * estimator.codec.channels, *size), generator=generator)
    with torch.no_grad():
        latents = sample(velocity, start.to(given.shared), schedule, plan.steps, eta=plan.eta,
                         generator=generator)  # fmt: skip
        maps = estimator.decode(latents).sound()
    require_finite(maps, views)
    canvas.counts.estimator += number
    return maps.in_world(axes).joined()


def averaged(canvas: Canvas, maps: Tensor) -> Tensor:
    """What a texture baked of all views' maps [10, 9, h, w] shows in each of them.

    Bumps are normals in the world, encoded. Pixels whose surface no view may paint keep their own.
    """
    found = bake(canvas.texels, canvas.surface, canvas.cameras, maps, exponents=EXPONENTS)
    canvas.counts.bakes += 1
    shown = torch.cat([
        canvas.seen_where(found.values, found.seen, view) for view in range(len(maps))
    ])  # fmt: skip
    covered = torch.cat([
        canvas.seen(found.seen[None].float(), view) for view in range(len(maps))
    ])  # fmt: skip
    return torch.where(covered > COVERED, shown, maps)


def _agreed(canvas: Canvas, estimator: Denoiser, clean: Tensor, axes: Tensor) -> Tensor:
    """Clean latents [10, C, h, w] moved by what averaging does to their maps.

    Only the difference goes through the codec, so that what it cannot hold does not add up.
    """
    own = estimator.decode(clean).sound()
    mean = Maps.split(averaged(canvas, own.in_world(axes).joined())).along(axes)
    inside = canvas.surface.mask[:, None]
    mean = Maps(*(torch.where(inside, new, old) for new, old in zip(mean, own, strict=True)))
    return clean + estimator.encode(mean) - estimator.encode(own)
