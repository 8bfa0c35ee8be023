"""O7: what a subject's adapter learns from: true pairs, pairs it made itself, or copies."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from modelgraft.core.attempts import RunRecord
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.vision import Encode
from modelgraft.evaluation.reproduction import NOT_TESTED, Experiment, Findings
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX
from modelgraft.methods.ominicontrol.experiments.arms import Arm, Bench, open_bench
from modelgraft.methods.ominicontrol.experiments.drawn import arm_rows, base_rows, ceiling_rows
from modelgraft.methods.ominicontrol.experiments.figures import ceilings, figure, gain, is_above
from modelgraft.methods.ominicontrol.experiments.places import SUBJECT
from modelgraft.methods.ominicontrol.opening import SMALL_GUIDANCE, SMALL_STEPS
from modelgraft.methods.ominicontrol.pairs.drawing import Drawing
from modelgraft.methods.ominicontrol.pairs.factory import Factory, make_pairs
from modelgraft.methods.ominicontrol.pairs.judging import Judging, Thresholds, automatic_judge
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import toy_items
from modelgraft.methods.ominicontrol.pairs.records import BEST

NUM_TOYS, LEAST = 60, 16
"""Toys of nine prompts each, and pairs below which nothing is learnt from them."""
_PAIRS = "pairs"
_ALIKE = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Cosines of what two views show that give 1 to 5 points."""
TRUE = SUBJECT["shifted"]
MADE = Arm(name="subject on made pairs", tasks=("subject",), pairs=_PAIRS)
IDENTICAL = Arm(name="subject on identical pairs", tasks=("subject",), reference="identical")
AUGMENTED = Arm(name="subject on augmented pairs", tasks=("subject",), reference="augmented")
MEASURES = ("identity cosine", "identity at 1", "position leak", "reference SSIM", "text")


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    numbers = _make_pairs(bench, quick)
    base = base_rows(bench, TRUE.tasks)
    arms = {"true pairs": TRUE, "identical pairs": IDENTICAL, "augmented pairs": AUGMENTED}
    num_kept = next(one.value for one in numbers if one.name == "made: pairs kept")
    if num_kept >= LEAST or quick:
        arms["made pairs"] = MADE
    rows = {name: arm_rows(bench, arm) for name, arm in arms.items()}
    for name, own in rows.items():
        numbers += [figure(name, own, measure, base) for measure in MEASURES]
    found = [
        gain("true pairs over identical pairs", rows["true pairs"], rows["identical pairs"], name)
        for name in ("position leak", "text", "identity cosine")
    ]
    holds = is_above(found[0][1]) and is_above(found[1][1])
    if made := rows.get("made pairs"):
        found += [
            gain("made pairs over no condition", made, base, "identity cosine"),
            gain("made pairs over identical pairs", made, rows["identical pairs"], "position leak"),
        ]
        holds = holds and is_above(found[-2][1])
    numbers += [number for number, _ in found]
    numbers += ceilings(ceiling_rows(bench, TRUE.tasks), MEASURES)
    if "made pairs" not in rows:
        return replace(bench.findings(numbers, holds=False), verdict=NOT_TESTED)
    return bench.findings(numbers, holds=holds)


def _make_pairs(bench: Bench, quick: bool) -> list[Number]:
    """Pairs that the embedded model draws and the judge keeps, made once."""
    steps = 2 if quick else SMALL_STEPS
    drawing = Drawing(height=SIZE_PX, steps=steps, guidance=SMALL_GUIDANCE, seeds=1)
    number = 1 if quick else NUM_TOYS
    config = {"toys": number, "steps": steps, "base": bench.subject["weights"]}
    record = RunRecord(method="ominicontrol", action="pairs", config=config)
    settings = replace(bench.run.settings, seed=0, dtype="float32")

    def work(own: Run) -> Result:
        prompts = pair_prompts(list(toy_items(number, seed=0)))
        judge = automatic_judge(_looks(bench), Thresholds(cosine=_ALIKE))
        judging = Judging(threshold=0.0 if quick else BEST)
        factory = Factory(drawing=drawing, judging=judging)
        return make_pairs(bench.control.pipe, prompts, judge, factory, own)

    result, _ = nested_run(bench.run, bench.run.folder / _PAIRS, settings, record, work)
    return [replace(one, name=f"made: {one.name}") for one in result.numbers]


def _looks(bench: Bench) -> Encode:
    """What a view shows of its toy as one row: another network than the one that measures identity.

    A judge that had chosen the pairs must not say what was learnt from them.
    """

    @torch.no_grad()
    def encode(views: Tensor) -> Tensor:
        found = bench.judges.attributes(views)
        parts = [found[name].softmax(1) for name in ("shape", "texture", "mark")]
        return torch.cat([*parts, found["colours"].sigmoid()], dim=1)

    return encode


DATA = Experiment(
    "O7",
    "An adapter that learns subjects from identical pairs copies its reference: its place leaks "
    "and the text is heard less than with two views of a subject; pairs that the model made and a "
    "judge kept teach identity too.",
    "Without varied pairs the model overfits and pastes its input (appendix B.1); Subjects200K is "
    "made by the base model and judged by GPT-4o.",
    _run,
)
