"""E7: a halo, the last tokens before a block that it also sees (ours, not in the paper)."""

from __future__ import annotations

from typing import Any

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import paired_bootstrap
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.star_attention.adapter.support import model_shape
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.evaluate.summary import (
    mean_nll,
    mean_score,
    number,
    score_interval,
)
from modelgraft.methods.star_attention.experiments.subject import (
    DENSE,
    boundary_samples,
    described,
    of_arm,
    predictions,
    samples_of,
    subject,
)
from modelgraft.methods.star_attention.method import dense_cost, plan_blocks, plan_cost

TASK = "niah_single_2"
HALO_TOKENS = 64


def _run(run: Run, quick: bool) -> Findings:
    length, num = (768, 2) if quick else (2048, 6)
    boundary = _boundary_numbers(run, length, num)
    numbers, points = _equal_cost(run, length, num)
    _draw(run, points)
    mended = boundary[1]
    verdict = HOLDS if mended.high is not None and mended.high < 0 else DOES_NOT_HOLD
    return Findings((*boundary, *numbers), verdict, seeds=(run.seed,), subject=described(run))


def _boundary_numbers(run: Run, length: int, num: int) -> list[Number]:
    """Needles that a block boundary cuts in two, with and without a small halo."""
    block = length // 4
    arms = {
        "dense": DENSE,
        "star": StarConfig(block=block),
        "halo": StarConfig(block=block, halo=HALO_TOKENS),
    }
    found = predictions(run, "E7-boundary", boundary_samples(run, length, block, num), arms)
    nll = {arm: [one.nll for one in of_arm(found, arm)] for arm in arms}
    label = f"needle across a boundary, halo of {HALO_TOKENS}"
    return [
        number(f"{label}: exact match", score_interval(of_arm(found, "halo")), unit="%",
               baseline=mean_score(of_arm(found, "star"))),
        number(f"{label}: answer NLL above star", paired_bootstrap(nll["halo"], nll["star"]),
               unit="nats/token", baseline=0.0, better="lower"),
        number(f"{label}: answer NLL above dense", paired_bootstrap(nll["halo"], nll["dense"]),
               unit="nats/token", baseline=0.0, better="lower"),
    ]  # fmt: skip


def _equal_cost(
    run: Run, length: int, num: int
) -> tuple[list[Number], dict[str, tuple[float, float]]]:
    """Anchor traded for halo at equal operations, a + w = b, on needles anywhere."""
    block = length // 8
    arms = {
        "dense": DENSE,
        "anchor b": StarConfig(block=block),
        "anchor b/2, halo b/2": StarConfig(block=block, anchor=block // 2, halo=block // 2),
        "anchor b, halo b": StarConfig(block=block, halo=block),
    }
    found = predictions(run, "E7", samples_of(run, TASK, length, num, spread=True), arms)
    star = [one.nll for one in of_arm(found, "anchor b")]
    shape = model_shape(subject(run).model)
    base = dense_cost(shape, length).total
    numbers: list[Number] = []
    points: dict[str, tuple[float, float]] = {}
    for arm, config in arms.items():
        ours = of_arm(found, arm)
        share = plan_cost(shape, plan_blocks(length, config)).total / base
        points[arm] = (share, mean_nll(ours))
        numbers.append(
            Number(f"m = 8, {arm}: operations", share, unit="x dense", baseline=1.0, better="lower")
        )
        if arm != "anchor b":
            gap = paired_bootstrap([one.nll for one in ours], star)
            numbers.append(
                number(f"m = 8, {arm}: answer NLL above anchor b", gap, unit="nats/token",
                       baseline=0.0, better="lower")
            )  # fmt: skip
    return numbers, points


def _draw(run: Run, points: dict[str, tuple[float, float]]) -> None:
    series: list[Any] = [Series(arm, [x], [y]) for arm, (x, y) in points.items()]
    plot = Plot(
        kind="dots",
        title="Answer NLL against prefill operations",
        x=Axis("operations, share of dense"),
        y=Axis("nats per token"),
        series=series,
    )
    plot.save(run.add("plot", "E7-halo.json", "Left and low is better."))


HALO = Experiment(
    "E7",
    "A halo, the few tokens before each block that it also sees, mends facts that a block boundary "
    "cuts in two.",
    "Not in the paper; an extension of ours.",
    _run,
)
