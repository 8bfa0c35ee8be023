"""E4: views that know nothing of each other, one after the other, or agreeing at every step.

Every view is lit on its own, as pictures are that a text-to-image model painted, and no light is
believed beforehand. A texture that mixes views hides where they meet, so the jump is measured in
one whose texels each come from the view that sees them best; true views jump too, because the
material does and pictures have pixels, so what counts is the jump above theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.material_anything.evaluate import border_jump, cross_view_spread
from modelgraft.methods.material_anything.experiments.arms import Bench, subject_of
from modelgraft.methods.material_anything.experiments.evaluation_sets import SAMPLING_STEPS
from modelgraft.methods.material_anything.experiments.figures import (
    Rows,
    figures,
    gain,
    is_above,
    is_no_worse,
    reduction,
)
from modelgraft.methods.material_anything.experiments.objects import (
    HeldOutObject,
    held_out_object,
    pictures_under,
    planned,
    texel_psnr,
    texture_errors,
    true_views,
)
from modelgraft.methods.material_anything.infer import Canvas, Plan, assemble, paint
from modelgraft.methods.material_anything.joint import paint_jointly
from modelgraft.methods.material_anything.lighting import training_lights
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.opening import REFINE_STEPS
from modelgraft.methods.material_anything.shipped import ESTIMATOR, shipped_estimator
from modelgraft.methods.material_anything.world_textures import TEXTURE_PX
from modelgraft.spatial.baking import bake

WAYS = ("independent", "progressive", "joint")
NUM_OBJECTS = 20
MEASURES = ("border jump", "added border jump", "mixed border jump", "cross-view deviation",
            "mean RMSE", "relight PSNR", "estimator calls")  # fmt: skip
# Threshold of the verdict: per cent by which views that know of earlier ones lower what the jump
# at views' borders has above that of true views.
LOWER = 50.0


def judged(rows: Mapping[str, Rows]) -> tuple[list[Number], bool]:
    """The comparisons of ways to paint, and whether the claim holds."""
    alone, after, joint = (rows[way] for way in WAYS)
    numbers, verdict = [], []
    for name, own in rows.items():
        numbers += figures(name, own, MEASURES, None if own is alone else alone)
    whole, _ = reduction("progressive over independent", after, alone, "border jump")
    added, lower = reduction("progressive over independent", after, alone, "added border jump")
    numbers += [whole, added]
    verdict.append(is_above(lower, LOWER))
    for measure in ("border jump", "relight PSNR"):
        number, interval = gain("joint over progressive", joint, after, measure)
        numbers.append(number)
        verdict.append(is_no_worse(interval))
    return numbers, all(verdict)


def _run(run: Run, quick: bool) -> Findings:
    bench = Bench(run, quick)
    estimator = shipped_estimator()
    number = 1 if quick else NUM_OBJECTS
    found: dict[str, list[dict[str, float]]] = {way: [] for way in (*WAYS, "true views")}
    for place in range(number):
        run.check()
        run.progress(place, number, f"object {place}")
        plan = Plan(light="generated", texture_px=TEXTURE_PX, steps=SAMPLING_STEPS,
                    refine_steps=REFINE_STEPS)  # fmt: skip
        one = held_out_object(bench, place, plan)
        pictures = pictures_under(one, [
            training_lights(eye, seed=rng_seed("own light", place, view) % 2**31)
            for view, eye in enumerate(one.views.eye.numpy())
        ])  # fmt: skip
        floor = _measured(bench, one, one.canvas, true_views(one))
        found["true views"].append({**floor, "added border jump": 0.0})
        for way in WAYS:
            ready = planned(one.canvas, progressive=way == "progressive")
            views = _paint(way)(ready, estimator, pictures, seed=place)
            own = _measured(bench, one, ready, views)
            own["added border jump"] = own["border jump"] - floor["border jump"]
            found[way].append(own)
    rows = {
        way: {name: np.array([[one[name] for one in each]]) for name in each[0]}
        for way, each in found.items()
    }
    true = rows.pop("true views")
    numbers, holds = judged(rows)
    numbers += figures("true views", true, MEASURES[:-1])
    return bench.findings(numbers, holds=holds, subject=subject_of(ESTIMATOR))


def _paint(way: str) -> Callable[..., Tensor]:
    return paint_jointly if way == "joint" else paint


def _measured(bench: Bench, one: HeldOutObject, ready: Canvas, views: Tensor) -> dict[str, float]:
    """Of the maps of ten views [10, 9, h, w]: how they meet, and the texture they make."""
    calls = ready.counts.estimator
    apart, weights = baked_apart(ready, views)
    best, view = weights.max(0)
    view = torch.where(best > 0, view, -1)
    index = view.clamp_min(0)[None, None].expand(1, *apart.shape[1:])
    painted = assemble(ready, views, None, seed=one.number)
    seen = painted.baked.seen
    return {
        "border jump": border_jump(apart.gather(0, index)[0], view),
        "mixed border jump": border_jump(painted.baked.values, view),
        "cross-view deviation": cross_view_spread(apart, weights),
        "mean RMSE": texture_errors(painted.maps, one.truth, seen)["mean"],
        "relight PSNR": texel_psnr(bench, one, painted.maps),
        "estimator calls": calls,
    }


def baked_apart(ready: Canvas, views: Tensor) -> tuple[Tensor, Tensor]:
    """A texture of each view's maps alone [10, 9, H, W], and how squarely it is seen [10, H, W]."""
    found = [
        bake(ready.texels, ready.surface.view(one), ready.cameras[one : one + 1],
             views[one : one + 1], exponents=(1.0,) * views.shape[1])
        for one in range(len(VIEWS))
    ]  # fmt: skip
    values = torch.stack([one.values for one in found])
    return values, torch.cat([one.weights for one in found])


JOINING = Experiment(
    "E4",
    "Views that are drawn one after the other, each held to what earlier ones left, halve what "
    "independent views add to the jump at their borders, and views that agree on one texture at "
    "every step are no worse in jump and under new light.",
    "Figures alone: progressive generation gives consistent maps.",
    _run,
)
