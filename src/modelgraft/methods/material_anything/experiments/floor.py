"""E7: the least that an estimator must be worth, against answers that look at nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.material_anything.experiments.arms import SIZE_PX, Bench, subject_of
from modelgraft.methods.material_anything.experiments.evaluation_sets import (
    MAPS,
    estimated,
    evaluation_set,
    measured,
)
from modelgraft.methods.material_anything.experiments.figures import (
    Rows,
    figures,
    gain,
    is_above,
    share,
)
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.shipped import shipped_estimator

MEASURES = (*MAPS, "mean", "bump angle", "scaled albedo PSNR", "relight PSNR")
# Threshold of the verdict: how many times the albedo's error is that of the picture taken for it.
TIMES = 2.0


def judged(rows: Mapping[str, Rows]) -> tuple[list[Number], bool]:
    """The comparisons, and whether the claim holds."""
    own, picture, mean = (rows[one] for one in ("estimator", "picture as albedo", "mean maps"))
    numbers = [
        *figures("estimator", own, MEASURES, mean),
        *figures("picture as albedo", picture, MEASURES, mean),
        *figures("mean maps", mean, MEASURES),
    ]
    verdict = []
    for measure in (*MAPS, "relight PSNR"):
        number, interval = gain("estimator over mean maps", own, mean, measure)
        numbers.append(number)
        verdict.append(is_above(interval))
    for measure in ("scaled albedo PSNR", "relight PSNR"):
        numbers.append(gain("estimator over picture as albedo", own, picture, measure)[0])
    error, times = share("albedo error of the estimator over that of the picture", own["albedo"],
                         picture["albedo"])  # fmt: skip
    return [*numbers, error], all(verdict) and 1 / times.value >= TIMES


def mean_maps(bench: Bench) -> Maps:
    """The mean of each map over all pixels of training views [1, 3, 1, 1]; bumps are flat."""
    bank = bench.bank("train", SIZE_PX)
    total, number = torch.zeros(9, dtype=torch.float64), 0.0
    for views in bank.views:
        maps, mask = views.maps.joined().double(), views.mask.double()
        total += (maps * mask).sum((0, 2, 3))
        number += float(mask.sum())
    found = Maps.split((total / number).float().view(1, 9, 1, 1))
    return found._replace(bump=torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1))


def _run(run: Run, quick: bool) -> Findings:
    bench = Bench(run, quick)
    data = evaluation_set(bench, "points", size=bench.shipped_px)
    constant = Maps(*(one.expand_as(data.picture) for one in mean_maps(bench)))
    answers = {
        "estimator": estimated(bench, shipped_estimator(), data),
        "picture as albedo": constant._replace(albedo=data.picture),
        "mean maps": constant,
    }
    rows = {
        name: {key: one[None] for key, one in measured(data, found).items()}
        for name, found in answers.items()
    }
    numbers, holds = judged(rows)
    return bench.findings(numbers, holds=holds, subject=subject_of())


FLOOR = Experiment(
    "E7",
    "Under lights of points the estimator beats the mean of all materials in every map and under "
    "new light, and its albedo has at most half the error of the picture taken as albedo.",
    "Not in the paper, which compares with learned methods alone.",
    _run,
)
