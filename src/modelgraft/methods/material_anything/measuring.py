"""The action `evaluate` without files: what an estimator makes of held-out objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.pictures import from_bytes, write_picture
from modelgraft.evaluation.intervals import Array, bootstrap_mean
from modelgraft.methods.material_anything.config import EvaluateConfig
from modelgraft.methods.material_anything.estimators import Estimator
from modelgraft.methods.material_anything.evaluate import map_errors, rmse, scaled_psnr
from modelgraft.methods.material_anything.guessing import seen_maps
from modelgraft.methods.material_anything.lighting import NUM_UNSEEN, unseen_lights
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.opening import open_estimator
from modelgraft.methods.material_anything.showing import maps_sheet
from modelgraft.methods.material_anything.world import Views
from modelgraft.methods.material_anything.world_frames import bank_of
from modelgraft.spatial.shading.colour import to_linear, tone_mapped
from modelgraft.spatial.shading.render import Light

BATCH = 20
_SHOWN = 4
_RELIGHTS = 4
_LEAST_ERROR = 1e-4
_UNITS = {"bump angle": "deg", "scaled albedo PSNR": "dB", "relight PSNR": "dB"}


def measure(config: EvaluateConfig, run: Run) -> Result:
    """Errors of the maps of held-out objects, beside the picture itself taken for the albedo."""
    opened = open_estimator(config.model, run.settings)
    size, steps = config.size or opened.sizes.view_px, config.steps or opened.sizes.steps
    chosen = np.arange(config.objects)
    bank = bank_of("test", range(config.objects), size=size, frame=opened.estimator.frame)
    views = bank.take([len(VIEWS) * one + view for one in chosen for view in _seen_of(int(one))])
    every = [unseen_lights(one) for one in range(NUM_UNSEEN)]
    lights = [every[one % NUM_UNSEEN] for one in range(len(views))]
    picture = views.pictures(lights)
    found = estimated(opened.estimator, views, picture, steps=steps, run=run)
    others = [
        [every[(one + shift) % NUM_UNSEEN] for one in range(len(views))]
        for shift in range(1, 1 + _RELIGHTS)
    ]
    ours, theirs = (errors(one, views, others) for one in (found, seen_maps(picture)))
    shown = Maps(*(one[:_SHOWN] for one in found)), Maps(*(one[:_SHOWN] for one in views.maps))
    path = run.add("grid", "maps.png", "Maps of held-out views, with the true ones below")
    write_picture(path, from_bytes(maps_sheet(*shown)))
    each = config.objects
    return Result(tuple(_numbers(ours, theirs, each)))


def _seen_of(number: int) -> Sequence[int]:
    """Two opposite views, others for every object."""
    return number % 5, number % 5 + 5


def estimated(estimator: Estimator, views: Views, picture: Tensor, *, steps: int, run: Run) -> Maps:
    """Maps of lit pictures [n, 3, H, W] of views, of which all light is believed."""
    generator = torch.Generator().manual_seed(rng_seed("evaluate", run.seed))
    found = []
    for start in range(0, len(views), BATCH):
        run.check()
        run.progress(start, len(views), "views")
        part = slice(start, start + BATCH)
        given = estimator.of_view(
            picture[part], views.normal[part], torch.ones_like(views.mask[part])
        )
        found.append(estimator.denoise(given, steps=steps, generator=generator))
    return Maps(*(torch.cat(one) for one in zip(*found, strict=True)))


def errors(
    found: Maps, views: Views, others: Sequence[Sequence[Sequence[Light]]]
) -> dict[str, Tensor]:
    """Every measure of each view [n]; relit under each of `others`, lights of all views."""
    truth, mask = views.maps, views.mask
    relit = [
        rmse(_lit(views, found, lights), _lit(views, truth, lights), mask) for lights in others
    ]
    return {
        **map_errors(found, truth, mask),
        "scaled albedo PSNR": scaled_psnr(to_linear(found.albedo), to_linear(truth.albedo), mask),
        "relight PSNR": -20 * torch.log10(torch.stack(relit).clamp_min(_LEAST_ERROR)).mean(0),
    }


def _lit(views: Views, maps: Maps, lights: Sequence[Sequence[Light]]) -> Tensor:
    return tone_mapped(views.radiance(maps, lights).clamp_min(0), "ratio")


def _numbers(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], objects: int
) -> list[Number]:
    numbers = []
    for name, values in ours.items():
        own, baseline = (_by_object(one, objects) for one in (values, theirs[name]))
        found = bootstrap_mean(own)
        numbers.append(
            Number(name, found.value, found.low, found.high, objects, _UNITS.get(name, ""),
                   baseline=float(baseline.mean()),
                   better="higher" if name.endswith("PSNR") else "lower")
        )  # fmt: skip
    return numbers


def _by_object(values: Tensor, objects: int) -> Array:
    return values.view(objects, -1).double().mean(1).numpy()
