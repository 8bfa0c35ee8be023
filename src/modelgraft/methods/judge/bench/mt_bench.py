"""MT-Bench (Zheng et al. 2023): votes on two-turn conversations of pairs of models, and scores.

votes   {"question_id", "model_a", "model_b", "winner": model_a, model_b, tie or tie (inconsistent),
         "judge", "conversation_a", "conversation_b", "turn": 1 or 2}
pairs   {"question_id", "model_1", "model_2", "g1_winner", "g2_winner": model_1, model_2, tie or
         error, "judge": [model, prompt], "turn"}; game 1 shows model_1 first, game 2 model_2
scores  {"question_id", "model", "score": -1 where it failed, "judge", "turn"}

Items of votes and of pairs have the same ids, such as 81:1:alpaca:vicuna, and their candidates the
names of the models, in alphabetical order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelgraft.core.rows import BadRow, Reject, Row, number_of, present, shown, text_of
from modelgraft.methods.judge.bench.fields import (
    ORDERS,
    TIE,
    VOTES,
    choice_of,
    id_of,
    leading,
    part_of,
    vote,
)
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.method.benchmarks import Ballot, Pair

QUESTION, TURN, JUDGE = "question", "turn", "judge"
FAILED = -1  # The score of an answer that could not be read.

_VOTES = {"model_a": 0, "model_b": 1, TIE: TIE, "tie (inconsistent)": TIE}
_GAMES: tuple[Mapping[str, int | None], ...] = (
    {"model_1": 1, "model_2": 2, TIE: 0, "error": None},
    {"model_1": 2, "model_2": 1, TIE: 0, "error": None},
)


# -- votes -----------------------------------------------------------------------------------------


def read_mt_bench_votes(path: Path, *, reject: Reject | None) -> list[Item]:
    """An item for each question, turn and two models; a row is a vote on one.

    A candidate is what its model said up to that turn, with the question between. The label is what
    most voted for, None where two choices lead; all votes are in `meta["votes"]`, one rater's
    repeated ones too. The group is the question.
    """
    merged: dict[str, Item] = {}
    for item in read_records(path, _vote, reject=reject, id_field="question_id"):
        first = merged.setdefault(item.id, item)
        if first is not item:
            votes = [*first.meta[VOTES], *item.meta[VOTES]]
            merged[item.id] = replace(first, meta={**first.meta, VOTES: votes})
    return [
        replace(item, label=leading([one["choice"] for one in item.meta[VOTES]]))
        for item in merged.values()
    ]


def _vote(row: Row, place: int) -> Item:
    models = _models(row, "model_a", "model_b")
    turn = choice_of(row, "turn", {1: 1, 2: 2})
    talks = [_talk(row, name, turn) for name in ("conversation_a", "conversation_b")]
    winner = choice_of(row, "winner", _VOTES)
    choice = winner if winner == TIE else models[winner]
    texts = dict(zip(models, (said for _, said in talks), strict=True))
    meta = {VOTES: [vote(_judge(row), choice)]}
    return _item(row, models, turn, talks[0][0], texts, meta)


def _talk(row: Row, name: str, turn: int) -> tuple[str, str]:
    """The first question of a conversation, and everything after it up to a turn."""
    turns = part_of(row, name, list)[: 2 * turn]
    texts = []
    for place, one in enumerate(turns):
        if not isinstance(one, dict) or not isinstance(one.get("content"), str):
            raise BadRow(f'field "{name}": {shown(one)} is no turn with a content')
        roles = ("User", "Assistant")
        lead = f"{roles[place % 2]}: " if place > 1 else ""
        texts.append(lead + one["content"])
    if len(texts) < 2 * turn:
        raise BadRow(f'field "{name}": {len(texts)} messages; turn {turn} needs {2 * turn}')
    return texts[0], "\n\n".join(texts[1:])


# -- judgments -------------------------------------------------------------------------------------


def read_mt_bench_pairs(path: Path, *, reject: Reject | None) -> list[Item]:
    """An item for each judged pair, with its verdicts (`orders.recorded_orders`) and no texts."""
    return read_records(
        path, _pair, reject=reject, key=lambda item: item.id, id_field="question_id"
    )


def _pair(row: Row, place: int) -> Item:
    models = _models(row, "model_1", "model_2")
    games = [
        choice_of(row, name, meanings)
        for name, meanings in zip(("g1_winner", "g2_winner"), _GAMES, strict=True)
    ]
    meta = {ORDERS: games if models[0] < models[1] else games[::-1], JUDGE: _judge(row)}
    texts = dict.fromkeys(models, "")
    return _item(row, models, choice_of(row, "turn", {1: 1, 2: 2}), "", texts, meta)


@dataclass(frozen=True)
class Scored:
    """A judge's score of a model's answer in a turn, None where it failed."""

    question: str
    turn: int
    model: str
    judge: str
    score: float | None


def read_mt_bench_scores(path: Path, *, reject: Reject | None) -> list[Scored]:
    """The scores of single answers; one that failed is None and never a number."""

    def parse(row: Row, place: int) -> Scored:
        score = number_of(row, "score")
        if score != FAILED and not 0 <= score <= 10:
            raise BadRow(f'field "score": {shown(score)} is neither from 0 to 10 nor -1')
        return Scored(
            id_of(row, "question_id"),
            choice_of(row, "turn", {1: 1, 2: 2}),
            text_of(row, "model"),
            _judge(row),
            None if score == FAILED else score,
        )

    def key(one: Scored) -> tuple[str, int, str, str]:
        return one.question, one.turn, one.model, one.judge

    return read_records(path, parse, reject=reject, key=key, id_field="question_id")


# -- ballots ---------------------------------------------------------------------------------------


def people_ballots(items: Iterable[Item]) -> list[Ballot]:
    """The votes that items hold."""
    return [
        _ballot(item, one["choice"], one["rater"])
        for item in items
        for one in item.meta.get(VOTES, [])
    ]


def judge_ballots(items: Iterable[Item], orders: Mapping[str, Pair], *, judge: str) -> list[Ballot]:
    """A judge's votes: the winner of both orders, else a tie.

    Where an order could not be read there is no vote, and where the item was not judged neither.
    """
    ballots = []
    for item in items:
        first, second = orders.get(item.id, (None, None))
        if first is None or second is None:
            continue
        is_agreed = first and second and first != second  # the same answer in the other slot
        choice = item.candidates[first - 1].id if is_agreed else TIE
        ballots.append(_ballot(item, choice, judge))
    return ballots


def _ballot(item: Item, winner: str, judge: str) -> Ballot:
    one, other = (candidate.id for candidate in item.candidates)
    return Ballot(item.meta[QUESTION], item.meta[TURN], (one, other), winner, judge)


# -- fields ----------------------------------------------------------------------------------------


def _item(
    row: Row,
    models: Sequence[str],
    turn: int,
    instruction: str,
    texts: Mapping[str, str],
    meta: Mapping[str, Any],
) -> Item:
    question, ordered = id_of(row, "question_id"), sorted(models)
    return Item(
        ":".join((question, str(turn), *ordered)),
        instruction,
        tuple(Candidate(model, texts[model], {"generator": model}) for model in ordered),
        group=question,
        meta={QUESTION: question, TURN: turn, **meta},
    )


def _models(row: Row, one: str, other: str) -> tuple[str, str]:
    models = text_of(row, one), text_of(row, other)
    if models[0] == models[1]:
        raise BadRow(f'fields "{one}" and "{other}": both are {models[0]}')
    return models


def _judge(row: Row) -> str:
    value = present(row, "judge")
    parts = value if isinstance(value, list) else [value]
    if not parts or not all(isinstance(one, str) for one in parts):
        raise BadRow(f'field "judge": {shown(value)} is neither a name nor [model, prompt]')
    return " ".join(parts)
