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
from modelgraft.methods.star_attention.evaluate.summary import mean_nll, number
from modelgraft.methods.star_attention.experiments.subject import (
    DENSE,
    described,
    of_arm,
    predictions,
    samples_of,
    subject,
)
from modelgraft.methods.star_attention.method import dense_cost, plan_blocks, plan_cost

TASK = "niah_single_2"


def _run(run: Run, quick: bool) -> Findings:
    length, num = (512, 2) if quick else (2048, 8)
    block = length // 8
    # Star with a halo trades anchor for halo at equal operations: a + w = b in every pair.
    arms = {
        "dense": DENSE,
        "anchor b": StarConfig(block=block),
        "anchor b/2, halo b/2": StarConfig(block=block, anchor=block // 2, halo=block // 2),
        "anchor b/4, halo 3b/4": StarConfig(block=block, anchor=block // 4, halo=3 * block // 4),
        "anchor b, halo b": StarConfig(block=block, halo=block),
    }
    if quick:
        arms = {name: arms[name] for name in ("dense", "anchor b", "anchor b/2, halo b/2")}
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
        if arm != "anchor b":
            gap = paired_bootstrap([one.nll for one in ours], star)
            numbers.append(
                number(f"{arm}: answer NLL above star", gap, unit="nats/token", baseline=0.0,
                       better="lower")
            )  # fmt: skip
        numbers.append(Number(f"{arm}: operations, of dense", share, unit="x", baseline=1.0,
                              better="lower"))  # fmt: skip
    _draw(run, points)
    gaps = {one.name: one for one in numbers}
    equal = gaps["anchor b/2, halo b/2: answer NLL above star"]
    holds = equal.high is not None and equal.high < 0
    return Findings(
        tuple(numbers), HOLDS if holds else DOES_NOT_HOLD, seeds=(run.seed,), subject=described(run)
    )


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
    "At equal operations, half an anchor and half a halo keep the answer better than a whole "
    "anchor.",
    "Not in the paper; an extension of ours.",
    _run,
)
