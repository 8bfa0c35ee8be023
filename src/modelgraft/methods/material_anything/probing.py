"""Held-out objects that say on the way whether a network learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import bootstrap_mean
from modelgraft.methods.material_anything.config import TrainConfig
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.evaluate import map_errors, rmse
from modelgraft.methods.material_anything.lighting import NUM_UNSEEN, unseen_lights
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.opening import REFINE_STEPS, SMALL
from modelgraft.methods.material_anything.refining import with_holes
from modelgraft.methods.material_anything.shipped import VIEW_PX
from modelgraft.methods.material_anything.world_frames import bank_of
from modelgraft.methods.material_anything.world_textures import TEXTURE_PX, TextureBank

_OBJECTS = 6


@dataclass(frozen=True)
class Probe:
    """What a network makes of the same held-out objects each time."""

    errors: Callable[[], dict[str, np.ndarray]]

    def measure(self) -> dict[str, Number]:
        """Every error with its interval over what was measured."""
        found = {}
        for name, values in self.errors().items():
            mean = bootstrap_mean(values)
            unit = "deg" if name == "bump angle" else ""
            found[name] = Number(f"held out: {name}", mean.value, mean.low, mean.high, len(values),
                                 unit, better="lower")  # fmt: skip
        return found


def view_probe(config: TrainConfig, denoiser: Denoiser, run: Run) -> Probe | None:
    """Lit views of held-out objects; None where training asks for no measurements.

    A grafted model is measured on the embedded world too, since its truth is exact.
    """
    if not config.probe_every:
        return None
    size = VIEW_PX if config.base == "tiny" else config.size or 512
    bank = bank_of("validation", range(_OBJECTS), size=size, frame=denoiser.frame)
    views = bank.take([len(VIEWS) * one + one % len(VIEWS) for one in range(_OBJECTS)])
    picture = views.pictures([unseen_lights(one % NUM_UNSEEN) for one in range(len(views))])

    def errors() -> dict[str, np.ndarray]:
        generator = torch.Generator().manual_seed(rng_seed("probe", run.seed))
        given = denoiser.of_view(picture, views.normal, torch.ones_like(views.mask))
        found = denoiser.denoise(given, steps=SMALL.steps, generator=generator)
        rows = map_errors(found, views.maps, views.mask)
        return {name: one.double().numpy() for name, one in rows.items()}

    return Probe(errors)


def texture_probe(config: TrainConfig, denoiser: Denoiser, run: Run) -> Probe | None:
    """Textures of held-out objects with holes; errors are those of the holes."""
    if not config.probe_every:
        return None
    size = TEXTURE_PX if config.base == "tiny" else config.size or 1024
    bank = TextureBank.of("validation", range(_OBJECTS), size=size)
    batch = with_holes(bank.take(range(_OBJECTS)), range(_OBJECTS))
    textures, given = batch.textures, batch.coarse
    holes = textures.mask * (1 - given.seen)

    def errors() -> dict[str, np.ndarray]:
        generator = torch.Generator().manual_seed(rng_seed("probe", run.seed))
        told = denoiser.of_texture(given.maps, textures.position)
        found = denoiser.denoise(told, steps=REFINE_STEPS, generator=generator)
        return {
            f"holes of {name}": rmse(own, true, holes).double().numpy()
            for name, own, true in zip(Maps._fields, found, textures.maps, strict=True)
        }

    return Probe(errors)
