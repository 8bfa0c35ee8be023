"""Scores of RULER and BABILong, reply by reply, and the means that are published of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.world import babilong, ruler

RULER_13 = tuple(name for name in ruler.TASKS if not name.startswith("qa_syn_"))
FAMILIES: dict[str, tuple[str, ...]] = {
    family: tuple(name for name, task in ruler.TASKS.items() if task.family == family)
    for family in dict.fromkeys(task.family for task in ruler.TASKS.values())
}

_CONTROL = re.compile("[\x00-\x1f]")


def postprocess(prediction: str) -> str:
    """The reply as RULER scores it: trimmed, control characters turned into line breaks."""
    return _CONTROL.sub("\n", prediction.strip()).strip()


def string_match_all(prediction: str, references: Sequence[str]) -> float:
    """The share of references that occur in the reply, whatever their case."""
    reply = prediction.lower()
    return sum(reference.lower() in reply for reference in references) / len(references)


def string_match_part(prediction: str, references: Sequence[str]) -> float:
    """1 if any reference occurs in the reply, whatever its case, else 0."""
    reply = prediction.lower()
    return float(any(reference.lower() in reply for reference in references))


def score(sample: Sample, prediction: str) -> float:
    """The value of one reply, 0 to 1, by the metric of the sample's task.

    BABILong tasks compare answers, question answering asks for any reference, and all others,
    those we do not know included, for the share of references found.
    """
    if sample.task in babilong.TASKS:
        target = sample.outputs[0]
        labels = babilong.TASKS[sample.task].labels
        return float(is_babilong_correct(target, prediction, sample.query, labels))
    is_qa = sample.task in FAMILIES["QA"]
    return (string_match_part if is_qa else string_match_all)(
        postprocess(prediction), sample.outputs
    )


def family_percents(scores: Mapping[str, float]) -> dict[str, float]:
    """The plain mean over the tasks of each family that has any score (task -> percent)."""
    means = {}
    for family, tasks in FAMILIES.items():
        known = [scores[task] for task in tasks if task in scores]
        if known:
            means[family] = sum(known) / len(known)
    return means


@dataclass(frozen=True)
class Average:
    """The plain mean over RULER tasks, and which of the thirteen it lacks or has by stand-in."""

    percent: float
    missing: tuple[str, ...]
    stand_ins: tuple[str, ...]


def ruler_average(scores: Mapping[str, float]) -> Average:
    """The RULER score (task -> percent): complete only when `missing` is empty.

    qa_syn_1 and qa_syn_2 count where qa_1 and qa_2 are absent, and are named as stand-ins.
    """
    used = []
    missing = []
    stand_ins = []
    for task in RULER_13:
        stand_in = task.replace("qa_", "qa_syn_")
        if task in scores:
            used.append(scores[task])
        elif stand_in in scores:
            used.append(scores[stand_in])
            stand_ins.append(stand_in)
        else:
            missing.append(task)
    if not used:
        raise InputError(f"No RULER task was scored; there are {', '.join(RULER_13)}.")
    return Average(sum(used) / len(used), tuple(missing), tuple(stand_ins))


def is_babilong_correct(target: str, prediction: str, question: str, labels: Sequence[str]) -> bool:
    """Whether the target, and no other label, is mentioned in the first sentence of the reply.

    Labels found in the question are never counted. A target with a comma, longer than three
    characters, stands for several labels that must all be mentioned. Labels match as substrings,
    as in the official scorer; `question` must not hold chat markup, which could contain some.
    """
    # The official scorer then cuts at "Question", which never fires on lower-cased text.
    reply = prediction.lower().split(".")[0].split("<context>")[0].split("<example>")[0]
    asked = question.lower()
    names = {label.lower() for label in labels}
    mentioned = {name for name in names if name in reply and name not in asked}
    wanted = target.lower()
    parts = wanted.split(",") if "," in wanted and len(wanted) > 3 else [wanted]
    return all(part in mentioned for part in parts) and len(mentioned) == len(parts)
