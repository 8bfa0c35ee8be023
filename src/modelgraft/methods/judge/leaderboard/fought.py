"""Battles between models with what a leaderboard needs of them: outcome, prompt, both answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.core.rows import BadRow, Reject, Row, present, read_rows, shown, text_of
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.bench.alpaca_eval import PREFERENCE, read_alpaca_eval
from modelgraft.methods.judge.bench.arena_hard import read_arena_hard
from modelgraft.methods.judge.bench.fields import GIVEN, TIE, VOTES
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.method.battles import Battles, read_battles
from modelgraft.methods.judge.method.comparison import read_preferences
from modelgraft.methods.judge.method.pairwise import GRADES

GENERATOR = "generator"
STYLES = ("tokens", "headings", "list items", "bold")
_HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.MULTILINE)
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_PROMPTS = ("prompt_id", "question_id", "prompt", "instruction", "question", "id")
_TIES = {TIE, "tie (inconsistent)", "tie (bothbad)", "both_bad", "bothbad"}


@dataclass(frozen=True)
class Fought:
    """A battle: the score of the model named first, 1, 0 or between, or None without a verdict.

    `texts` are both answers where they are known. A battle of weight 3 counts as three.
    """

    first: str
    second: str
    outcome: float | None
    prompt: str
    texts: tuple[str, str] | None = None
    weight: int = 1


def decided(found: Iterable[Fought]) -> list[Fought]:
    """Those with a verdict."""
    return [one for one in found if one.outcome is not None]


def battles_of(found: Sequence[Fought]) -> Battles:
    """Decided battles as the arrays that ratings are fitted to."""
    return read_battles(
        [one.first for one in found],
        [one.second for one in found],
        [float(one.outcome or 0) for one in found],
        weight=[one.weight for one in found],
        prompt=[one.prompt for one in found],
    )


def styles_of(found: Sequence[Fought]) -> tuple[Array, Array]:
    """Counts [battles, 4] of `STYLES` in the answers of the first and of the second models.

    InputError for a battle without answers.
    """
    missing = sum(one.texts is None for one in found)
    if missing:
        raise InputError(
            f"style: {missing:,} of {len(found):,} battles have no answers to measure.\n"
            '  Add the fields "answer_a" and "answer_b", or leave out --style.'
        )
    both = [[_style(text) for text in one.texts or ()] for one in found]
    counts = np.array(both, dtype=np.float64)
    return counts[:, 0], counts[:, 1]


def _style(text: str) -> list[int]:
    marks = (len(kind.findall(text)) for kind in (_HEADING, _LIST_ITEM, _BOLD))
    return [len(text.split()), *marks]


# -- judgments -------------------------------------------------------------------------------------


def generator_of(candidate: Candidate) -> str | None:
    """Who wrote a candidate, as its meta says."""
    name = candidate.meta.get(GENERATOR)
    return str(name) if name else None


def names_generators(item: Item) -> bool:
    """Whether every candidate says who wrote it, and no two the same."""
    names = [generator_of(one) for one in item.candidates]
    return None not in names and len(set(names)) == len(names) > 1


def pairs_of(items: Iterable[Item]) -> list[Item]:
    """Items of all pairs of candidates; a pair keeps its id, and others get the generators' names.

    InputError for an item whose candidates do not all name who wrote them.
    """
    found = []
    for item in items:
        if not names_generators(item):
            raise InputError(
                f"item {item.id}: its candidates do not all name another generator.\n"
                '  Write {"text": ..., "generator": NAME} for each, or give battles.'
            )
        if len(item.candidates) == 2:
            found.append(item)
            continue
        for pair in combinations(item.candidates, 2):
            names = ":".join(str(generator_of(one)) for one in pair)
            meta = {**item.meta, "prompt": item.id}
            found.append(
                Item(f"{item.id}:{names}", item.instruction, pair, item.reference, item.context,
                     group=item.group or item.id, meta=meta)
            )  # fmt: skip
    return found


def fought_by(items: Iterable[Item], judgments: Iterable[Judgment]) -> list[Fought]:
    """Battles from judgments of pairs whose candidates name their generators; ties count a half."""
    winners = {one.item: one.winner for one in judgments}
    return [_fought(item, winners.get(item.id)) for item in items]


def _fought(item: Item, winner: str | None) -> Fought:
    first, second = item.candidates
    outcome = {first.id: 1.0, TIE: 0.5, second.id: 0.0}.get(winner or "")
    return Fought(
        str(generator_of(first)),
        str(generator_of(second)),
        outcome,
        str(item.meta.get("prompt", item.id)),
        (first.text, second.text),
    )


def read_winners(path: Path, items: Iterable[Item], *, reject: Reject | None) -> list[Judgment]:
    """The judgments of these items in the file of a finished run, its `judgments.jsonl`.

    A judgment without a winner is one without a verdict. InputError when none is about an item.
    """
    known = {item.id: {TIE, *(one.id for one in item.candidates)} for item in items}

    def parse(row: Row, place: int) -> Judgment | None:
        name, winner = text_of(row, "item"), row.get("winner")
        if name not in known:
            return None
        if winner is not None and winner not in known[name]:
            raise BadRow(f'field "winner": {shown(winner)} is no candidate of item {name}')
        return Judgment(name, str(row.get("group", "")), None, winner)

    found = read_rows(path, parse, id_field="item", reject=reject)
    judgments = [one for one in found if one is not None]
    if not judgments:
        raise InputError(
            f"{path}: no judgment is about one of {len(known):,} items.\n"
            "  Give the items that this run judged; of more than two candidates each pair is one."
        )
    return judgments


# -- files -----------------------------------------------------------------------------------------


def read_fought(path: Path, *, reject: Reject | None) -> list[Fought]:
    """Rows {"model_a", "model_b", "winner": model_a, model_b, a model's name, a tie, or null}.

    The prompt is in one of the fields prompt_id, question_id, prompt, instruction, question, id;
    without one, every row is a prompt of its own. Answers are texts "answer_a" and "answer_b" or
    conversations "conversation_a" and "conversation_b".
    """
    return read_records(path, _row, reject=reject)


def _row(row: Row, place: int) -> Fought:
    first, second = text_of(row, "model_a"), text_of(row, "model_b")
    if first == second:
        raise BadRow(f'fields "model_a" and "model_b": both are {first}')
    winner = present(row, "winner")
    meanings: Mapping[Any, float | None] = {
        "model_a": 1.0, "model_b": 0.0, first: 1.0, second: 0.0, None: None, "": None,
        **dict.fromkeys(_TIES, 0.5),
    }  # fmt: skip
    if not isinstance(winner, str | None) or winner not in meanings:
        raise BadRow(f'field "winner": {shown(winner)} is neither a model nor a tie')
    prompt = next((row[name] for name in _PROMPTS if row.get(name) not in (None, "")), place)
    return Fought(first, second, meanings[winner], str(prompt), _answers(row))


def _answers(row: Row) -> tuple[str, str] | None:
    sides = [_answer(row, side) for side in "ab"]
    return None if None in sides else (str(sides[0]), str(sides[1]))


def _answer(row: Row, side: str) -> str | None:
    if f"answer_{side}" in row:
        return text_of(row, f"answer_{side}", empty=True)
    turns = row.get(f"conversation_{side}")
    if not isinstance(turns, list):
        return None
    said = [
        one["content"]
        for place, one in enumerate(turns)
        if isinstance(one, dict) and isinstance(one.get("content"), str)
        and one.get("role", ("user", "assistant")[place % 2]) == "assistant"
    ]  # fmt: skip
    return "\n\n".join(said)


def read_annotated(path: Path, *, reject: Reject | None) -> list[Fought]:
    """AlpacaEval's annotations as battles of the baseline (first) with the model.

    A weighted preference is an outcome between 0 and 1; people's votes are a battle each.
    """
    found = []
    for item in read_alpaca_eval(path, reject=reject):
        if not names_generators(item):
            raise InputError(
                f"{path}: item {item.id} does not name both generators, so nobody can be rated."
            )
        votes = item.meta.get(VOTES)
        names = [one.id for one in item.candidates]
        if votes is not None:
            found += [_annotated(item, _vote(one["choice"], names)) for one in votes]
            continue
        recorded = item.meta[PREFERENCE]
        outcome = None if recorded is None else 1 - float(read_preferences([recorded])[0])
        found.append(_annotated(item, outcome))
    return found


def _vote(choice: str, names: Sequence[str]) -> float:
    return 0.5 if choice == TIE else float(choice == names[0])


def _annotated(item: Item, outcome: float | None) -> Fought:
    first, second = item.candidates
    names = str(generator_of(first)), str(generator_of(second))
    return Fought(*names, outcome, item.instruction, (first.text, second.text))


def read_games(path: Path, *, reject: Reject | None) -> list[Fought]:
    """Arena-Hard's games as battles of the baseline (first); much better counts three times.

    A battle with a game that could not be read has no verdict, since the other game alone would
    favour a slot.
    """
    found = []
    for item in read_arena_hard(path, reject=reject):
        first, second = item.candidates
        texts = (first.text, second.text) if first.text or second.text else None
        about = (first.id, second.id)
        prompt = item.id.removesuffix(f":{second.id}")
        grades = item.meta[GIVEN]
        if None in grades:
            found.append(Fought(*about, None, prompt, texts))
            continue
        (as_a, often), (other_as_a, other_often) = GRADES[grades[0]], GRADES[grades[1]]
        found.append(Fought(*about, as_a, prompt, texts, often))
        found.append(Fought(*about, 1 - other_as_a, prompt, texts, other_often))
    return found
