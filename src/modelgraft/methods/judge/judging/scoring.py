"""Scores of candidates that are made of several answers: criteria, checklists, claims, graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.markup import read_document
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging.drafts import (
    Ask,
    Missing,
    checklists,
    claim_items,
    claims,
)
from modelgraft.methods.judge.judging.judgments import (
    Asking,
    Judgment,
    Reading,
    point_judgment,
    verdict_score,
)
from modelgraft.methods.judge.method.pointwise import (
    DecisionGraph,
    Node,
    Pooling,
    claim_precision,
    normalised,
    sampled_score,
    weighted,
)
from modelgraft.methods.judge.rubric import Rubric

FEWEST_CLAIMS = 10  # below, the share of supported claims is cut (FActScore)
_YES = ("Yes", "No")


@dataclass(frozen=True)
class Part:
    """One answer that a candidate's score is made of."""

    item: str
    candidate: str
    question: str
    value: float

    def as_row(self) -> dict[str, Any]:
        """The part as a row of JSONL; a value that could not be read is null."""
        value = None if np.isnan(self.value) else self.value
        return {"item": self.item, "candidate": self.candidate, "question": self.question,
                "value": value}  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """Judgments, the verdicts they rest on, and the parts of their scores."""

    judgments: list[Judgment]
    verdicts: list[Verdict]
    parts: list[Part]


Questions = Mapping[tuple[int, int], Sequence[Rubric]]  # by the places of item and candidate


def score_criteria(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    criteria: Sequence[Rubric],
    *,
    reading: Reading = "expectation",
    pooling: Pooling = "mean",
) -> Scored:
    """The weighted mean of several criteria, sum w s / sum w, each asked by itself.

    Criteria of different scales or directions are brought to 0 to 1 first, 1 the good end. A
    candidate that lacks one of them has no score.
    """
    each = {
        (number, place): criteria
        for number, item in enumerate(items)
        for place in range(len(item.candidates))
    }
    scales = {(one.numbers, one.better) for one in criteria}
    return _score_parts(items, judge, asking, each, len(scales) > 1, reading, pooling)


def score_checklist(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    ask: Ask,
    *,
    num: int,
    reading: Reading = "expectation",
    pooling: Pooling = "mean",
) -> Scored:
    """The mean probability of yes over questions that the judge wrote for each instruction.

    An item for which it wrote none has no score, and a failed verdict on each candidate.
    """
    each: dict[tuple[int, int], list[Rubric]] = {}
    lacks: dict[tuple[int, int], Missing] = {}
    for number, (item, found) in enumerate(zip(items, checklists(items, ask, num=num),
                                               strict=True)):  # fmt: skip
        for key in ((number, place) for place in range(len(item.candidates))):
            if isinstance(found, Missing):
                lacks[key] = found
            each[key] = [] if isinstance(found, Missing) else [_yes_no(one) for one in found]
    return _score_parts(items, judge, asking, each, False, reading, pooling, lacks)


def score_claims(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    ask: Ask,
    *,
    reading: Reading = "expectation",
    pooling: Pooling = "mean",
    at_least: int = FEWEST_CLAIMS,
) -> Scored:
    """The share of a candidate's claims that the judge finds supported, cut where they are few.

    The judge splits the candidate into claims and decides each by itself, against the item's
    reference and context where there are any (FActScore, Min et al. 2023). A claim is supported
    where its samples, pooled, say yes.
    """
    places = [(number, place) for number, item in enumerate(items)
              for place in range(len(item.candidates))]  # fmt: skip
    found = claims([items[number].candidates[place].text for number, place in places], ask)
    rubric = _yes_no("Is this statement true, and supported by what is given, if anything is?")
    asked = Asking(asking.template, rubric, asking.hardening, asking.samples)
    listed = [() if isinstance(own, Missing) else own for own in found]
    calls = [
        asked.call(one, 0, sample=sample)
        for (number, place), own in zip(places, listed, strict=True)
        for one in claim_items(items[number], place, own)
        for sample in range(asked.samples)
    ]
    verdicts = judge.read(calls)
    told = zip(calls, list(verdicts), strict=True)
    scores: list[dict[str, float]] = [{} for _ in items]
    every: list[list[Verdict]] = [[] for _ in items]
    parts = []
    for (number, place), own in zip(places, found, strict=True):
        name = items[number].candidates[place].id
        if isinstance(own, Missing):
            lack = own.verdict(items[number], place)
            every[number].append(lack)
            verdicts.append(lack)
            continue
        values: list[float] = []
        for _ in own:
            taken = [next(told) for _ in range(asked.samples)]
            numbers = [verdict_score(verdict, call.values, reading) for call, verdict in taken]
            values.append(sampled_score(numbers, pooling=pooling).value)
            every[number] += [verdict for _, verdict in taken]
        parts += [
            Part(items[number].id, name, claim, value)
            for claim, value in zip(own, values, strict=True)
        ]
        whole = not np.isnan(values).any()
        supported = [value > 0.5 for value in values]
        scores[number][name] = claim_precision(supported, at_least=at_least) if whole else np.nan
    judgments = [
        point_judgment(item, scores[number], every[number], "higher")
        for number, item in enumerate(items)
    ]
    return Scored(judgments, verdicts, parts)


def score_graph(
    items: Sequence[Item], judge: Judge, asking: Asking, graph: DecisionGraph
) -> Scored:
    """The score at the leaf that each candidate's answers lead to; no answer leads to none.

    Of several samples the answer is that of the most; where two are given as often there is none.
    """
    places = [(number, place) for number, item in enumerate(items)
              for place in range(len(item.candidates))]  # fmt: skip
    walks = {key: graph.walk() for key in places}
    asked: dict[tuple[int, int], Rubric] = {}
    scores: list[dict[str, float]] = [{} for _ in items]
    every: list[list[Verdict]] = [[] for _ in items]
    verdicts: list[Verdict] = []
    parts: list[Part] = []

    def step(key: tuple[int, int], answer: str | None) -> None:
        number, place = key
        try:
            name = walks[key].send(answer)
            node = graph.nodes[name]
            asked[key] = Rubric(name=name, question=node.question, labels=tuple(node.answers))
        except StopIteration as stop:
            asked.pop(key, None)
            scores[number][items[number].candidates[place].id] = stop.value

    for key in places:
        step(key, None)
    while asked:
        now = dict(asked)
        found = judge.read([
            replace(asking, rubric=rubric).call(items[number], place, sample=sample)
            for (number, place), rubric in now.items()
            for sample in range(asking.samples)
        ])  # fmt: skip
        verdicts += found
        told = iter(found)
        for key, rubric in now.items():
            number, place = key
            own = [next(told) for _ in range(asking.samples)]
            every[number] += own
            answer = _commonest(own)
            value = np.nan if answer is None else float(rubric.labels.index(answer))
            parts.append(
                Part(items[number].id, items[number].candidates[place].id, rubric.question, value)
            )
            step(key, answer)
    judgments = [
        point_judgment(item, scores[number], every[number], "higher")
        for number, item in enumerate(items)
    ]
    return Scored(judgments, verdicts, parts)


def _commonest(verdicts: Sequence[Verdict]) -> str | None:
    """The label of the most samples; None without any, and where two are the commonest."""
    counts = Counter(one.label for one in verdicts if one.label is not None).most_common(2)
    is_shared = len(counts) == 2 and counts[0][1] == counts[1][1]
    return counts[0][0] if counts and not is_shared else None


def read_graph(path: Path) -> DecisionGraph:
    """A decision graph from a file: `start`, and `nodes` with a `question` and its `answers`.

    An answer leads to the name of a node or to a number. Raises `InputError` for another shape and
    `ConfigError` for a graph that goes in a circle or leads nowhere.
    """
    document = read_document(path)
    values = dict(document.data)
    try:
        nodes = {
            str(name): Node(
                str(node["question"]),
                {str(answer): _leaf(target) for answer, target in node["answers"].items()},
            )
            for name, node in values["nodes"].items()
        }
        graph = DecisionGraph(str(values["start"]), nodes)
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: this is no decision graph.\n"
            "  It needs `start: NAME` and `nodes:`, each with a `question` and `answers`, of which "
            "every one leads to a node's name or to a score."
        ) from None
    for name, node in nodes.items():
        if len(node.answers) < 2:
            raise ConfigError("graph", f"{path}: node {name!r} needs two answers or more.")
    return graph


def _leaf(target: Any) -> str | float:
    text = str(target)
    try:
        return float(text)
    except ValueError:
        return text


def _yes_no(question: str) -> Rubric:
    return Rubric(name="question", question=question, labels=_YES, values=(1.0, 0.0))


def _score_parts(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    each: Questions,
    is_normalised: bool,
    reading: Reading,
    pooling: Pooling,
    lacks: Mapping[tuple[int, int], Missing] | None = None,
) -> Scored:
    """Ask every candidate its own questions, all in one go, and take the weighted means.

    `lacks` says why there are none for some.
    """
    calls = [
        replace(asking, rubric=rubric).call(items[number], place, sample=sample)
        for (number, place), rubrics in each.items()
        for rubric in rubrics
        for sample in range(asking.samples)
    ]
    verdicts = judge.read(calls)
    found = iter(zip(calls, verdicts, strict=True))
    scores: list[dict[str, float]] = [{} for _ in items]
    every: list[list[Verdict]] = [[] for _ in items]
    parts: list[Part] = []
    lost = {key: one.verdict(items[key[0]], key[1]) for key, one in (lacks or {}).items()}
    for (number, place), rubrics in each.items():
        name = items[number].candidates[place].id
        every[number] += [lost[number, place]] if (number, place) in lost else []
        values: dict[str, float] = {}
        for index, rubric in enumerate(rubrics):
            own = [next(found) for _ in range(asking.samples)]
            every[number] += [verdict for _, verdict in own]
            numbers = [verdict_score(verdict, call.values, reading) for call, verdict in own]
            value = sampled_score(numbers, pooling=pooling).value
            parts.append(Part(items[number].id, name, _told(rubric), value))
            values[str(index)] = _on_unit(value, rubric) if is_normalised else value
        weights = {str(index): rubric.weight for index, rubric in enumerate(rubrics)}
        scores[number][name] = weighted(values, weights) if values else np.nan
    better = "higher"
    if not is_normalised and any(each.values()):
        better = next(rubrics[0].better for rubrics in each.values() if rubrics)
    judgments = [
        point_judgment(item, scores[number], every[number], better)
        for number, item in enumerate(items)
    ]
    return Scored(judgments, [*verdicts, *lost.values()], parts)


def _told(rubric: Rubric) -> str:
    return rubric.question if rubric.name == "question" else rubric.name


def _on_unit(value: float, rubric: Rubric) -> float:
    if np.isnan(value):
        return value
    low, high = min(rubric.numbers), max(rubric.numbers)
    return float(normalised(value, low, high, is_higher_better=rubric.better == "higher"))
