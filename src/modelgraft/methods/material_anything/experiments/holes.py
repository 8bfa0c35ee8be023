"""E3: what fills the places that no view sees, on shapes that hide some of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.experiments.arms import Bench, subject_of
from modelgraft.methods.material_anything.experiments.evaluation_sets import MAPS, SAMPLING_STEPS
from modelgraft.methods.material_anything.experiments.figures import (
    Rows,
    figure,
    figures,
    gain,
    is_above,
    reduction,
    share,
)
from modelgraft.methods.material_anything.experiments.objects import (
    HeldOutObject,
    held_out_object,
    pictures_under,
    planned,
    seams,
    texel_psnr,
    texture_errors,
    true_views,
)
from modelgraft.methods.material_anything.infer import Plan, assemble, paint
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.opening import REFINE_STEPS
from modelgraft.methods.material_anything.shipped import (
    ESTIMATOR,
    REFINER,
    shipped_estimator,
    shipped_refiner,
)
from modelgraft.methods.material_anything.world_textures import TEXTURE_PX
from modelgraft.worlds.solids import CONCAVE, FAMILIES

FILLS = ("none", "voronoi2d", "nearest3d", "laplace3d", "refiner")
SOURCES = ("painted", "true")
"""Views of the estimator, and true ones, which leave the filling alone to be judged."""
NUM_OBJECTS = 24
# Thresholds of the verdict: per cent by which the refiner lowers the error of holes under 2-D
# Voronoi, and the largest jump across seams over that within charts.
LOWER, SEAMS = 15.0, 1.2
_LEAST_HOLES = 10
"""Texels: objects with fewer say nothing of filling."""


def judged(rows: Mapping[str, Rows]) -> tuple[list[Number], bool]:
    """The comparisons of fills on painted views, and whether the claim holds."""
    refined, flat, near = rows["refiner"], rows["voronoi2d"], rows["nearest3d"]
    hole, lower = reduction("refiner over voronoi2d", refined, flat, "hole mean")
    honest, nearer = gain("nearest3d over voronoi2d", near, flat, "hole mean")
    others = [
        gain(f"refiner over {name}", refined, rows[name], "hole mean")[0]
        for name in ("nearest3d", "laplace3d")
    ]
    relit, _ = gain("refiner over voronoi2d", refined, flat, "relight PSNR")
    seam, ratio = share("refiner: jump across seams over that within charts", refined["J"],
                        refined["J0"])  # fmt: skip
    holds = is_above(lower, LOWER) and is_above(nearer) and ratio.value <= SEAMS
    return [hole, honest, *others, relit, seam], holds


def _run(run: Run, quick: bool) -> Findings:
    bench = Bench(run, quick)
    estimator, refiner = shipped_estimator(), shipped_refiner()
    found: dict[tuple[str, str], list[dict[str, float]]] = {
        (source, fill): [] for source in SOURCES for fill in FILLS
    }
    truths = []
    concave = [number for number in range(10 * NUM_OBJECTS)
               if FAMILIES[number % len(FAMILIES)] in CONCAVE]  # fmt: skip
    concave = concave[: 1 if quick else NUM_OBJECTS]
    for place, number in enumerate(concave):
        run.check()
        run.progress(place, len(concave), f"object {number}")
        plan = Plan(texture_px=TEXTURE_PX, steps=SAMPLING_STEPS,
                    refine_steps=REFINE_STEPS)  # fmt: skip
        one = held_out_object(bench, number, plan)
        lights = [bench.lights[number % len(bench.lights)]] * len(VIEWS)
        painted = paint(one.canvas, estimator, pictures_under(one, lights), seed=number)
        truths.append(seams(one.truth, one.canvas))
        for source, views in zip(SOURCES, (painted, true_views(one)), strict=True):
            for fill in FILLS:
                found[source, fill].append(_filled(bench, one, views, fill, refiner))
    rows = {key: _stacked(one) for key, one in found.items()}
    numbers, holds = judged({fill: rows["painted", fill] for fill in FILLS})
    numbers = [*_figures(rows, _stacked(truths)), *numbers]
    subject = subject_of(ESTIMATOR, REFINER)
    return bench.findings(numbers, holds=holds, subject=subject)


def _filled(
    bench: Bench, one: HeldOutObject, views: Tensor, fill: str, refiner: Denoiser
) -> dict[str, float]:
    """The texture of some views with its holes filled in one way, measured."""
    is_refined = fill == "refiner"
    ready = planned(one.canvas, fill="nearest3d" if is_refined else fill)
    painted = assemble(ready, views, refiner if is_refined else None, seed=one.number)
    charted = ready.texels.mask
    holes = charted & ~painted.baked.seen
    filled = charted if fill != "none" else painted.baked.seen & charted
    errors = texture_errors(painted.maps, one.truth, holes)
    if int(holes.sum()) < _LEAST_HOLES:
        errors = dict.fromkeys(errors, np.nan)
    return {
        **{f"hole {name}": value for name, value in errors.items()},
        "coverage": 100 * float(filled.sum() / charted.sum()),
        "relight PSNR": texel_psnr(bench, one, painted.maps),
        "refiner calls": painted.counts.refiner,
        **seams(painted.maps, ready),
    }


def _stacked(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Measures [1, objects]."""
    return {name: np.array([[one[name] for one in rows]]) for name in rows[0]}


def _figures(rows: Mapping[tuple[str, str], Rows], truth: Rows) -> list[Number]:
    measures = (*(f"hole {one}" for one in (*MAPS, "mean")), "coverage", "relight PSNR")
    numbers = []
    for (source, fill), own in rows.items():
        flat, name = rows[source, "voronoi2d"], f"{source} views, {fill}"
        numbers += figures(name, own, measures, None if fill == "voronoi2d" else flat)
        numbers.append(share(f"{name}: J/J0 of seams", own["J"], own["J0"])[0])
    numbers.append(share("true textures: J/J0 of seams", truth["J"], truth["J0"])[0])
    numbers.append(figure("painted views, refiner", rows["painted", "refiner"], "refiner calls"))
    return numbers


HOLES = Experiment(
    "E3",
    "The refiner fills what no view sees with an error at least 15 % lower than the nearest texel "
    "of the texture does and leaves seams that jump at most 1.2 times as much as other edges; the "
    "nearest texel in space is better than that in the texture too.",
    "Figures alone: the refiner gives maps without holes or seams.",
    _run,
)
