"""O3: the strength of a condition."""

from __future__ import annotations

import itertools

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.experiments.arms import EDGES, Bench, open_bench, trained
from modelgraft.methods.ominicontrol.experiments.drawn import Drawing, arm_rows, base_rows, pictures
from modelgraft.methods.ominicontrol.experiments.figures import figure, gain, is_above
from modelgraft.methods.ominicontrol.method.attention import Scope

SCOPES: dict[Scope, tuple[float, ...]] = {
    "main": (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
    "image": (0.0, 0.25, 1.0, 4.0),
}
"""Strengths of each scope."""
# Thresholds of the verdict: F1 that a stronger condition may lose by chance, and what counts as no
# difference between pictures, and as one that can be seen.
SLACK, SAME, SEEN = 0.005, 1e-5, 1 / 255


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    base = base_rows(bench, EDGES.tasks)
    numbers, curves = [], {}
    for scope, strengths in SCOPES.items():
        curves[scope] = {
            strength: arm_rows(bench, EDGES, Drawing(strengths=(strength,), scope=scope),
                               name=f"{scope} {strength}")
            for strength in strengths
        }  # fmt: skip
        for strength, own in curves[scope].items():
            for measure in ("toy edge F1", "edge F1", "edge F1 within 1 px", "text"):
                numbers.append(figure(f"scope {scope}, strength {strength:g}", own, measure, base))
    rows = curves["main"]
    rises = []
    for weaker, stronger in itertools.pairwise(SCOPES["main"]):
        name = f"strength {stronger:g} over {weaker:g}"
        number, interval = gain(name, rows[stronger], rows[weaker], "toy edge F1")
        numbers.append(number)
        if stronger <= 1:
            rises.append(interval.value)
    works, interval = gain("strength 1 over 0", rows[1.0], rows[0.0], "toy edge F1")
    away = {scope: _from_base(bench, scope) for scope in SCOPES}
    numbers += [works, *(
        Number(f"largest difference to the base at strength 0, scope {scope}", value,
               n=len(bench.numbers), baseline=0.0, better="lower")
        for scope, value in away.items()
    )]  # fmt: skip
    is_exact = away["main"] < SAME and away["image"] > SEEN
    return bench.findings(numbers, holds=is_above(interval) and min(rises) >= -SLACK and is_exact)


def _from_base(bench: Bench, scope: Scope) -> float:
    """The largest difference of a pixel to the base model's pictures, the condition at 0."""
    folder = trained(bench, EDGES, bench.seeds[0])
    none = pictures(bench, None, [], Drawing(prompts=EDGES.tasks))
    off = pictures(bench, EDGES, [folder], Drawing(strengths=(0.0,), scope=scope))
    return float((off - none).abs().max())


DIAL = Experiment(
    "O3",
    "The strength turns a condition on by degrees: edge F1 does not fall from 0 to 1, and at 0 the "
    "pictures are those of the base model, exactly where the bias also acts towards the text.",
    "Shown in pictures only: gamma 0 removes the condition, above 1 it counts more.",
    _run,
)
