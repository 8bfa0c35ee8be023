"""E2: one estimator of three kinds of light, with and without the mask that tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.material_anything.evaluate import rmse
from modelgraft.methods.material_anything.experiments.arms import FULL, Arm, Bench, trained
from modelgraft.methods.material_anything.experiments.exams import (
    MAPS,
    Exam,
    Kind,
    arm_rows,
    by_object,
    estimated,
    exam_of,
    rows_of,
    untold,
)
from modelgraft.methods.material_anything.experiments.figures import (
    Rows,
    figures,
    gain,
    is_above,
    reduction,
    share,
)

KINDS: tuple[Kind, ...] = ("light-less", "realistic", "unrealistic")
UNTOLD = Arm(name="three heads rendered untold", is_told=False)
# Thresholds of the verdict: per cent by which the mask lowers the mean error, and how many times
# what another seed changes the mask must change roughness and metallic.
LOWER, FLIPPED = 10.0, 2.0


def judged(
    told: Mapping[Kind, Rows], blind: Mapping[Kind, Rows], flipped: Rows
) -> tuple[list[Number], bool]:
    """The comparisons by kind of light, and whether the claim holds.

    `flipped` has the change of roughness and metallic by the `mask` and by the `seed`.
    """
    numbers, verdict = [], []
    for kind, own in told.items():
        numbers += figures(f"{kind}, with mask", own, (*MAPS, "mean", "relight PSNR"), blind[kind])
        number, interval = gain(f"{kind}, mask over none", own, blind[kind], "mean")
        numbers.append(number)
        verdict.append(is_above(interval))
    both = [
        {"mean RMSE": np.mean([one["mean"] for one in rows.values()], axis=0)}
        for rows in (told, blind)
    ]
    number, interval = reduction("all kinds, mask over none", *both, "mean RMSE")
    numbers += [*figures("all kinds, with mask", both[0], ("mean RMSE",), both[1]), number]
    verdict.append(is_above(interval, LOWER))
    number, times = share(
        "light-less: change by a flipped mask over that by another seed",
        flipped["mask"], flipped["seed"],
    )  # fmt: skip
    numbers.append(replace(number, better="higher"))
    return numbers, all(verdict) and times.value > FLIPPED


def _flipped(bench: Bench, exam: Exam) -> Rows:
    """How far roughness and metallic move when light is believed that is not there."""

    def measure(seed: int) -> dict[str, Array]:
        denoiser = trained(bench, FULL, seed)
        own = estimated(bench, denoiser, exam)
        others = {"mask": estimated(bench, denoiser, untold(exam)),
                  "seed": estimated(bench, denoiser, exam, seed=1)}  # fmt: skip
        return {
            name: by_object(exam, rmse(other.rm[:, 1:], own.rm[:, 1:], exam.views.mask))
            for name, other in others.items()
        }

    return rows_of(bench, "flipped masks", measure)


def _run(run: Run, quick: bool) -> Findings:
    bench = Bench(run, quick)
    exams = {kind: exam_of(bench, kind) for kind in KINDS}
    told, blind = (
        {kind: arm_rows(bench, arm, exam) for kind, exam in exams.items()} for arm in (FULL, UNTOLD)
    )
    numbers, holds = judged(told, blind, _flipped(bench, exams["light-less"]))
    return bench.findings(numbers, holds=holds)


TOLD = Experiment(
    "E2",
    "Told by a mask which light to believe, one estimator has a lower error on light-less, "
    "realistic and unrealistic pictures, at least 10 % lower in the mean, and a flipped mask "
    "changes what it makes of light-less ones more than twice as much as another seed.",
    "Mean RMSE .1102, .0747, .0847 with the mask and .1521, .1074, .1111 without, .0899 against "
    ".1235 in the mean (1,000 objects, simulated kinds of light).",
    _run,
)
