"""Passages ranked by a judge, held to grades of relevance that some of them have.

A grade is the number "relevance" of a candidate, as {"text", "relevance": 2}. The baseline is the
order in which the candidates stand in the file, which is that of whatever retrieved them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import bootstrap_mean
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.method.retrieval import ndcg, reciprocal_rank

RELEVANCE = "relevance"
Orders = Mapping[str, Sequence[str]]


def grade_of(item: Item, candidate: Candidate) -> float | None:
    """The grade of a candidate, None without one; InputError for one below 0 or no number."""
    value = candidate.meta.get(RELEVANCE)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise InputError(
            f'item {item.id}, candidate {candidate.id}: "{RELEVANCE}" is {value!r}; a number from '
            "0 (not relevant) up is needed."
        )
    return float(value)


def check_grades(items: Sequence[Item]) -> None:
    """Raise what `grade_of` raises for any candidate; call it before judging."""
    for item in items:
        for one in item.candidates:
            grade_of(item, one)


def orders_of(items: Sequence[Item], judgments: Sequence[Judgment], *, better: str) -> Orders:
    """Candidates by their scores, the best first; equal ones as in the file, unread ones last."""
    sign = -1 if better == "higher" else 1
    found = {}
    for item, one in zip(items, judgments, strict=True):
        names = [candidate.id for candidate in item.candidates]
        costs = {name: sign * one.scores[name] if name in one.scores else np.inf for name in names}
        found[item.id] = sorted(names, key=costs.__getitem__)
    return found


def retrieval_numbers(items: Sequence[Item], orders: Orders) -> list[Number]:
    """nDCG@10 and the mean reciprocal rank over graded items; none where no candidate has a grade.

    Candidates without a grade are left out of an order, and items without a relevant one of all.
    Those that an order does not name stand behind it as in the file.
    """
    graded = []
    for item in items:
        grades = {one.id: grade_of(item, one) for one in item.candidates}
        ranked = dict.fromkeys((*orders[item.id], *grades))
        ours, file = (
            [grade for name in names if (grade := grades[name]) is not None]
            for names in (ranked, grades)
        )
        if ours:
            graded.append((ours, file))
    if not graded:
        return []
    known = [(ours, file) for ours, file in graded if max(ours) > 0]
    numbers = []
    for name, measure in (("nDCG@10", ndcg), ("mean reciprocal rank", reciprocal_rank)):
        pairs = np.array([[measure(ours), measure(file)] for ours, file in known])
        pairs = pairs[~np.isnan(pairs).any(axis=1)] if len(pairs) else np.zeros((0, 2))
        if len(pairs):
            mean = bootstrap_mean(pairs[:, 0])
            numbers.append(Number(name, *mean, baseline=float(pairs[:, 1].mean())))
    without = Number("items without a relevant candidate", len(graded) - len(known),
                     n=len(graded), better="lower")  # fmt: skip
    return [*numbers, without]


def write_relevance(
    run: Run, items: Sequence[Item], judgments: Sequence[Judgment], *, judge: str
) -> None:
    """Grades of all candidates: people's where there are any, else the judge's, each marked.

    Nothing is written where no candidate has a grade. One that could not be read has no row.
    """
    rows = []
    for item, one in zip(items, judgments, strict=True):
        for candidate in item.candidates:
            given = grade_of(item, candidate)
            grade = one.scores.get(candidate.id) if given is None else given
            if grade is not None:
                by = judge if given is None else "people"
                rows.append({"item": item.id, "candidate": candidate.id, RELEVANCE: grade,
                             "judged_by": by})  # fmt: skip
    if any(row["judged_by"] == "people" for row in rows):
        path = run.add("text", "relevance.jsonl", "Grades by people, and by the judge elsewhere")
        write_atomic(path, "".join(dump_json(row) + "\n" for row in rows))
