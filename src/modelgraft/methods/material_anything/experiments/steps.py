"""E6: how many sampling steps the maps of a believed picture need."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import bootstrap_mean
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.experiments.arms import Bench, subject_of
from modelgraft.methods.material_anything.experiments.evaluation_sets import (
    MAPS,
    EvaluationSet,
    estimated,
    evaluation_set,
    measured,
)
from modelgraft.methods.material_anything.experiments.figures import Rows, figures, share
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.shipped import shipped_estimator

STEPS = (1, 2, 5, 10, 50)
REFERENCE = 10
FEW = (1, 2)
# Threshold of the verdict: error of few steps over that of ten.
WITHIN = 1.05
_ROUNDS = 6


def judged(rows: Mapping[int, Rows]) -> tuple[list[Number], bool]:
    """The error of every number of steps beside that of ten, and whether the claim holds."""
    numbers, holds = [], []
    for steps, own in rows.items():
        name = f"{steps} step{'s' * (steps > 1)}"
        numbers += figures(name, own, (*MAPS, "mean", "bump angle", "relight PSNR"),
                           rows[REFERENCE])  # fmt: skip
        number, interval = share(f"{name}: mean error over that of {REFERENCE}", own["mean"],
                                 rows[REFERENCE]["mean"])  # fmt: skip
        numbers.append(number)
        if steps in FEW:
            holds.append(interval.value <= WITHIN)
    return numbers, all(holds)


def _run(run: Run, quick: bool) -> Findings:
    bench = Bench(run, quick)
    estimator = shipped_estimator()
    data = evaluation_set(bench, "realistic", size=bench.shipped_px)
    rows = {}
    for place, steps in enumerate(STEPS):
        run.progress(place, len(STEPS), f"{steps} steps")
        found = measured(data, estimated(bench, estimator, data, steps=steps))
        rows[steps] = {name: one[None] for name, one in found.items()}
    numbers, holds = judged(rows)
    numbers += _times(bench, estimator, data, STEPS[:2] if quick else STEPS)
    return bench.findings(numbers, holds=holds, subject=subject_of())


def _times(
    bench: Bench, estimator: Denoiser, data: EvaluationSet, counts: Sequence[int]
) -> list[Number]:
    """Seconds for the ten views of an object, each round beginning with another count."""
    part = slice(len(VIEWS))
    given = estimator.of_view(data.picture[part], data.views.normal[part], data.confidence[part])
    seconds: dict[int, list[float]] = {steps: [] for steps in counts}
    for turn in range(2 if bench.quick else _ROUNDS):
        bench.run.check()
        for steps in np.roll(counts, turn).tolist():
            began = time.perf_counter()
            estimator.denoise(given, steps=steps, generator=torch.Generator().manual_seed(0))
            seconds[steps].append(time.perf_counter() - began)
    reference = float(np.mean(seconds[max(counts) if REFERENCE not in counts else REFERENCE]))
    return [
        Number(f"{steps} step{'s' * (steps > 1)}: time of an object's views",
               *bootstrap_mean(each), "s", baseline=reference, better="lower")
        for steps, each in seconds.items()
    ]  # fmt: skip


FEWER_STEPS = Experiment(
    "E6",
    "On pictures whose light is believed, maps of one step and of two have an error within 5 % of "
    "that of ten.",
    "50 steps in the released code; one step with end-to-end training in SuperMat.",
    _run,
)
