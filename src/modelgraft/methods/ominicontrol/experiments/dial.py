"""O3: the strength of a condition."""

from __future__ import annotations

import itertools

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.experiments.arms import EDGES, Bench, open_bench, trained
from modelgraft.methods.ominicontrol.experiments.drawn import Drawing, arm_rows, base_rows, pictures
from modelgraft.methods.ominicontrol.experiments.figures import figure, gain
from modelgraft.methods.ominicontrol.method.attention import Scope

STRENGTHS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
# Thresholds of the verdict: F1 that a stronger condition may lose by chance, and what counts as no
# difference between pictures.
SLACK, SAME = 0.005, 1e-5


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    base = base_rows(bench, EDGES.tasks)
    rows = {
        strength: arm_rows(
            bench, EDGES, Drawing(strengths=(strength,)), name=f"strength {strength}"
        )
        for strength in STRENGTHS
    }
    numbers = []
    for strength, own in rows.items():
        for measure in ("edge F1", "edge F1 within 1 px", "text"):
            numbers.append(figure(f"strength {strength:g}", own, measure, base))
    steps = list(itertools.pairwise(STRENGTHS))
    for weaker, stronger in steps:
        name = f"strength {stronger:g} over {weaker:g}"
        numbers.append(gain(name, rows[stronger], rows[weaker], "edge F1")[0])
    rises = [
        float(np.mean(rows[stronger]["edge F1"]) - np.mean(rows[weaker]["edge F1"]))
        for weaker, stronger in steps
        if stronger <= 1
    ]
    away = {scope: _from_base(bench, scope) for scope in ("main", "image")}
    numbers += [
        Number(f"largest difference to the base at strength 0, scope {scope}", value,
               n=len(bench.numbers), baseline=0.0, better="lower")
        for scope, value in away.items()
    ]  # fmt: skip
    holds = min(rises) >= -SLACK and away["main"] < SAME < away["image"]
    return bench.findings(numbers, holds=holds)


def _from_base(bench: Bench, scope: Scope) -> float:
    """The largest difference of a pixel to the base model's pictures, the condition at 0."""
    folder = trained(bench, EDGES, bench.seeds[0])
    none = pictures(bench, None, [])
    off = pictures(bench, EDGES, [folder], Drawing(strengths=(0.0,), scope=scope))
    return float((off - none).abs().max())


DIAL = Experiment(
    "O3",
    "The strength turns a condition on by degrees: edge F1 does not fall from 0 to 1, and at 0 the "
    "pictures are those of the base model, exactly where the bias also acts towards the text.",
    "Shown in pictures only: gamma 0 removes the condition, above 1 it counts more.",
    _run,
)
