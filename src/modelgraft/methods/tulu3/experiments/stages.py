"""E8: all stages one after the other, on the dev and on the unseen suite."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from modelgraft.core.files import read_json
from modelgraft.core.nested import moved
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.config import PipelineConfig
from modelgraft.methods.tulu3.experiments.arms import described, finished_run
from modelgraft.methods.tulu3.pipeline import RECIPE

QUICK = RECIPE.with_name("quick.yaml")
_STAGES = ("base", "SFT", "DPO", "RLVR")


def _run(run: Run, quick: bool) -> Findings:
    config = PipelineConfig(recipe=QUICK if quick else RECIPE)
    folder = finished_run(run, "E8-pipeline", run.seed, "pipeline", config)
    stored = Result.from_dict(read_json(folder / "result.json", "the result of a run"))
    result = moved(stored, str(folder.relative_to(run.folder)))
    numbers = [_beside_the_one_before(one, result.numbers) for one in result.numbers]
    regressions = _regressions(folder / "steps" / "evaluate" / "artefacts" / "stages.json")
    rises = _rises({one.name: one for one in result.numbers})
    numbers += rises
    numbers.append(Number("cells of the stage table that fell", len(regressions), better="lower"))
    return Findings(
        tuple(numbers),
        HOLDS if all((one.low or 0.0) > 0 for one in rises) else DOES_NOT_HOLD,
        seeds=(run.seed,),
        artefacts=result.artefacts,
        remarks=(*result.remarks, *regressions),
        subject=described(run),
    )


def _rises(known: dict[str, Number]) -> list[Number]:
    """What each stage adds to the dev average, with an interval.

    From the intervals of both shares (Newcombe), as if their items were others: they are the same,
    so it is rather too wide.
    """
    found = []
    for before, after in pairwise(known[f"{name}: dev average"] for name in _STAGES):
        rise = after.value - before.value
        below = math.hypot(_reach(after, after.low), _reach(before, before.high))
        above = math.hypot(_reach(after, after.high), _reach(before, before.low))
        stage = after.name.partition(":")[0]
        found.append(
            Number(f"{stage}: rise of the dev average", rise, rise - below, rise + above, after.n,
                   unit="share", baseline=0.0)
        )  # fmt: skip
    return found


def _reach(number: Number, bound: float | None) -> float:
    """How far a bound lies from its value."""
    return 0.0 if bound is None else abs(bound - number.value)


def _beside_the_one_before(number: Number, numbers: tuple[Number, ...]) -> Number:
    """The number with the stage before it as its baseline."""
    stage, _, kind = number.name.partition(": ")
    place = _STAGES.index(stage)
    before = {one.name: one.value for one in numbers}
    earlier = before[f"{_STAGES[place - 1]}: {kind}"] if place else None
    return replace(number, baseline=earlier)


def _regressions(table: Path) -> list[str]:
    """A sentence for each skill that a later stage scores lower on dev than the one before."""
    content = json.loads(table.read_text(encoding="utf-8"))
    columns = content["columns"]
    found = []
    for skill, *cells in content["rows"]:
        shares = dict(zip(columns[1:], cells, strict=True))
        for before, after in pairwise(_STAGES):
            for kind in ("dev", "unseen"):
                old, new = shares[f"{before} {kind}"], shares[f"{after} {kind}"]
                if old is not None and new is not None and new < old:
                    found.append(f"{skill}, {kind}: {old} with {before}, {new} with {after}.")
    return found


STAGES = Experiment(
    "E8",
    "Every stage adds: base, SFT, DPO and RLVR rise one after the other on the dev suite.",
    "Llama-3.1-8B, mean of 12 dev tasks: SFT 60.6, DPO 64.7, RLVR 65.1; unseen suite 29.9 after "
    "SFT and 32.4 at the end.",
    _run,
)
