"""The whole line: prompts, pictures, scores, records (section 3.3: Subjects200K)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any, Final

from modelgraft.core.errors import InputError
from modelgraft.core.files import dump_json, write_atomic, write_json
from modelgraft.core.provenance import versions
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import wilson
from modelgraft.methods.ominicontrol.pairs.drawing import PICTURES, Drawing, draw_pairs
from modelgraft.methods.ominicontrol.pairs.judging import (
    NEAR_IDENTICAL,
    Judge,
    Judged,
    Judging,
    Judgments,
    judge_pairs,
)
from modelgraft.methods.ominicontrol.pairs.prompts.items import PairPrompt
from modelgraft.methods.ominicontrol.pairs.reading import RECORDS
from modelgraft.methods.ominicontrol.pairs.records import QUESTIONS

COUNTS: Final = "counts.json"


@dataclass(frozen=True, kw_only=True)
class Factory:
    """How pairs are made."""

    drawing: Drawing = field(default_factory=Drawing)
    judging: Judging = field(default_factory=Judging)
    collection: str = "own"
    """What the records call the collection they belong to."""


def make_pairs(
    pipe: Any, prompts: Sequence[PairPrompt], judge: Judge, factory: Factory, run: Run
) -> Result:
    """Draw and judge every prompt's pictures, and write them as records.

    Artefacts: `records.jsonl` with all judged pictures in the schema of Subjects200K
    (`read_records` keeps the good ones), `pictures/`, and `counts.json`. A run that was stopped or
    killed goes on where it was. Pictures without an answer of the judge have no record;
    the result is then partial, as it is when no pair was good enough.
    """
    if not prompts:
        raise InputError("no prompts: there is nothing to draw. Give at least one item.")
    drawn = draw_pairs(pipe, prompts, factory.drawing, run)
    found = judge_pairs(judge, drawn, factory.judging, run)
    lines = [dump_json(record_row(one, factory.collection)) for one in found.judged]
    write_atomic(
        run.add("text", RECORDS, "Judged pairs in the schema of Subjects200K."),
        "".join(f"{line}\n" for line in lines),
    )
    kept = [one for one in found.judged if one.quality.passes(factory.judging.threshold)]
    numbers = _numbers(len(prompts), found, kept, factory.judging.threshold)
    counts = {
        "format": 1,
        "seed": run.seed,
        "settings": asdict(factory),
        "versions": versions(),
        "numbers": [number.as_dict() for number in numbers],
    }
    write_json(run.add("text", COUNTS, "How the pairs were made, and how many are good."), counts)
    return Result(
        numbers=tuple(numbers), remarks=tuple(_remarks(kept)), partial=_partial(found, kept)
    )


def record_row(judged: Judged, collection: str) -> dict[str, Any]:
    """The row of one pair: the published fields, then how it was made."""
    prompt = judged.drawn.prompt
    left, right = prompt.captions
    return {
        "id": judged.drawn.id,
        "image": str(Path(PICTURES, judged.drawn.path.name)),
        "collection": collection,
        "quality_assessment": judged.quality.as_row(),
        "description": {
            "item": prompt.item,
            "description_0": left,
            "description_1": right,
            "category": prompt.category,
            "description_valid": True,
        },
        "prompt": prompt.text,
        "seed": judged.drawn.seed,
        "similarity": round(judged.similarity, 4),
        "looks": [list(astuple(look)) for look in judged.looks],
    }


def _numbers(
    num_prompts: int, found: Judgments, kept: Sequence[Judged], threshold: float
) -> list[Number]:
    num_judged = len(found.judged)
    num_made = num_judged + len(found.unanswered)
    numbers = [
        Number("prompts", num_prompts),
        Number("pairs made", num_made),
        Number("pairs judged", num_judged, n=num_made),
        Number("pairs kept", len(kept), n=num_judged),
        Number("pairs refused", num_judged - len(kept), n=num_judged, better="lower"),
    ]
    if not num_judged:
        return numbers
    numbers.append(Number("share kept", *wilson(len(kept), num_judged)))
    for place, question in enumerate(QUESTIONS):
        passed = sum(astuple(one.quality)[place] >= threshold for one in found.judged)
        numbers.append(Number(f"share that passes {question}", *wilson(passed, num_judged)))
    if kept:
        alike = sum(one.is_near_identical for one in kept)
        share = wilson(alike, len(kept))
        numbers.append(Number("kept with nearly identical views", *share, better="lower"))
    return numbers


def _remarks(kept: Sequence[Judged]) -> list[str]:
    num_alike = sum(one.is_near_identical for one in kept)
    if not num_alike:
        return []
    return [
        f"{num_alike:,} of {len(kept):,} kept pairs have nearly identical views (structural "
        f"similarity {NEAR_IDENTICAL} or more): a model trained on such pairs pastes its input "
        "(paper, appendix B.1). Their records say so under similarity."
    ]


def _partial(found: Judgments, kept: Sequence[Judged]) -> str:
    if found.unanswered:
        return (
            f"the judge gave no answer for {len(found.unanswered):,} pictures; run the same "
            "command again to ask for them"
        )
    return "" if kept else "no pair was good enough; the records hold all scores"
