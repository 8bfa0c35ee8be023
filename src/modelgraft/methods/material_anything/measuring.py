"""The action `evaluate` without files: what an estimator makes of held-out objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.pictures import from_bytes, write_picture
from modelgraft.evaluation.intervals import bootstrap_mean
from modelgraft.methods.material_anything.config import EvaluateConfig
from modelgraft.methods.material_anything.estimators import Estimator
from modelgraft.methods.material_anything.evaluate import (
    cross_view_psnr,
    leaks,
    map_errors,
    masked_ssim,
    rmse,
    scaled_psnr,
)
from modelgraft.methods.material_anything.guessing import seen_maps
from modelgraft.methods.material_anything.lighting import NUM_UNSEEN, unseen_lights
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.opening import open_estimator
from modelgraft.methods.material_anything.showing import maps_sheet
from modelgraft.methods.material_anything.world import Views, object_substance
from modelgraft.methods.material_anything.world_frames import object_views
from modelgraft.spatial.shading.colour import to_linear, tone_mapped
from modelgraft.spatial.shading.render import Light

_SHOWN = 2
"""Objects whose maps are shown."""
_RELIGHTS = 4
_LEAST_ERROR = 1e-4
Measures = Mapping[str, float]


def measure(config: EvaluateConfig, run: Run) -> Result:
    """Errors of the maps of held-out objects, beside the picture itself taken for the albedo.

    Objects are drawn and measured one after the other, so that memory does not grow with them.
    """
    opened = open_estimator(config.model, run.settings)
    size, steps = config.size or opened.sizes.view_px, config.steps or opened.sizes.steps
    every = [unseen_lights(one) for one in range(NUM_UNSEEN)]
    ours: list[Measures] = []
    theirs: list[Measures] = []
    shown: list[tuple[Maps, Maps]] = []
    for number in range(config.objects):
        run.check()
        run.progress(number, config.objects, "objects")
        chosen = _seen_of(number)
        views = object_views("test", number, size=size, frame=opened.estimator.frame, chosen=chosen)
        own, *others = (
            [every[(len(chosen) * number + place + shift) % NUM_UNSEEN] for place in (0, 1)]
            for shift in range(1 + _RELIGHTS)
        )
        picture = views.pictures(own)
        found = estimated(opened.estimator, views, picture, number=number, steps=steps, run=run)
        for rows, maps in ((ours, found), (theirs, seen_maps(picture))):
            rows.append(_measured(number, maps, views, others))
        if number < _SHOWN:
            shown.append((found, views.maps))
    path = run.add("grid", "maps.png", "Maps of held-out views, with the true ones below")
    sides = (Maps(*map(torch.cat, zip(*one, strict=True))) for one in zip(*shown, strict=True))
    write_picture(path, from_bytes(maps_sheet(*sides)))
    return Result(tuple(_numbers(ours, theirs)))


def _seen_of(number: int) -> Sequence[int]:
    """Two views, others for every object, that see most of it and some of it both."""
    return number % 5, number % 5 + 5


def estimated(
    estimator: Estimator, views: Views, picture: Tensor, *, number: int, steps: int, run: Run
) -> Maps:
    """Maps of lit pictures [n, 3, H, W] of an object's views, of which all light is believed.

    One view at a time, as large models of large views leave no memory for more.
    """
    found = []
    for view in range(len(views)):
        seed = rng_seed("evaluate", run.seed, number, view)
        part = slice(view, view + 1)
        given = estimator.of_view(
            picture[part], views.normal[part], torch.ones_like(views.mask[part])
        )
        generator = torch.Generator().manual_seed(seed)
        found.append(estimator.denoise(given, steps=steps, generator=generator))
    return Maps(*(torch.cat(one) for one in zip(*found, strict=True)))


def errors(
    found: Maps, views: Views, others: Sequence[Sequence[Sequence[Light]]]
) -> dict[str, Tensor]:
    """Every measure of each view [n]; relit under each of `others`, lights of all views."""
    truth, mask = views.maps, views.mask
    noise, alike = [], []
    for lights in others:
        relit = _lit(views, found, lights), _lit(views, truth, lights)
        noise.append(-20 * torch.log10(rmse(*relit, mask).clamp_min(_LEAST_ERROR)))
        alike.append(masked_ssim(*relit, mask))
    return {
        **map_errors(found, truth, mask),
        "scaled albedo PSNR": scaled_psnr(to_linear(found.albedo), to_linear(truth.albedo), mask),
        "relight PSNR": torch.stack(noise).mean(0),
        "relight SSIM": torch.stack(alike).mean(0),
    }


def _lit(views: Views, maps: Maps, lights: Sequence[Sequence[Light]]) -> Tensor:
    return tone_mapped(views.radiance(maps, lights).clamp_min(0), "ratio")


def _measured(
    number: int, found: Maps, views: Views, others: Sequence[Sequence[Sequence[Light]]]
) -> Measures:
    """Every measure of an object; NaN for what it cannot tell."""
    values = {name: float(one.mean()) for name, one in errors(found, views, others).items()}
    # Where relief and colours belong together, an error has the pattern without any leak.
    is_free = object_substance("test", number).is_relief_free
    for name, leak in leaks(found, views.maps, views.mask).items():
        values[f"albedo pattern in {name}"] = float(leak.mean()) if is_free else math.nan
    cameras = [camera_of(VIEWS[one], views.mask.shape[-1]) for one in _seen_of(number)]
    colours = torch.cat([found.albedo, found.rm[:, 1:]], 1)
    values["c-PSNR"] = cross_view_psnr(colours, views.position, views.mask, cameras)
    return values


def _numbers(ours: Sequence[Measures], theirs: Sequence[Measures]) -> list[Number]:
    numbers = []
    for name in ours[0]:
        own, baseline = (np.array([one[name] for one in rows]) for rows in (ours, theirs))
        is_there = np.isfinite(own) & np.isfinite(baseline)
        if not is_there.any():
            continue
        found = bootstrap_mean(own[is_there])
        unit = "deg" if name.endswith("angle") else "dB" if name.endswith("PSNR") else ""
        numbers.append(
            Number(name, *found, unit, baseline=float(baseline[is_there].mean()),
                   better="higher" if name.endswith(("PSNR", "SSIM")) else "lower")
        )  # fmt: skip
    return numbers
