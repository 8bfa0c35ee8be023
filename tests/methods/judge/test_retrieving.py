"""Retrieval: orders held to grades, closed forms first, people's grades never written over."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import rank, score
from modelgraft.methods.judge.config import RankConfig, ScoreConfig
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.judging.retrieving import grade_of, orders_of, retrieval_numbers
from modelgraft.methods.judge.method.retrieval import ndcg, reciprocal_rank

grades = st.lists(st.integers(0, 3), min_size=1, max_size=15)


@given(grades)
def test_the_best_order_is_worth_one_and_any_other_no_more(found: list[int]):
    best = sorted(found, reverse=True)
    if not any(found):
        assert math.isnan(ndcg(found)) and math.isnan(reciprocal_rank(found))
        return
    assert ndcg(best) == 1 and reciprocal_rank(best) == 1
    assert 0 <= ndcg(found) <= 1 + 1e-12
    assert reciprocal_rank(found) == 1 / (1 + next(n for n, one in enumerate(found) if one))


def test_closed_forms():
    log = math.log2(3)  # of the second rank; grades 2 and 3 gain 3 and 7
    assert ndcg([2, 3, 0]) == pytest.approx((3 + 7 / log) / (7 + 3 / log))
    assert ndcg([0, 0, 1], cut=2) == 0
    assert reciprocal_rank([1, 0, 2], least=2) == pytest.approx(1 / 3)


def passages(*found: tuple[str, float | None]) -> Item:
    candidates = [
        Candidate(name, name, {} if grade is None else {"relevance": grade})
        for name, grade in found
    ]
    return Item("q", "Ask", tuple(candidates))


def test_scores_are_orders_with_equal_ones_as_in_the_file_and_unread_ones_last():
    item = passages(("a", None), ("b", None), ("c", None), ("d", None))
    judgment = Judgment("q", "", None, scores={"a": 1.0, "c": 2.0, "d": 1.0})
    assert orders_of([item], [judgment], better="higher") == {"q": ["c", "a", "d", "b"]}
    assert orders_of([item], [judgment], better="lower") == {"q": ["a", "d", "c", "b"]}


def test_passages_without_a_grade_take_no_part_and_items_without_a_relevant_one_are_counted():
    item = passages(("a", 0), ("b", None), ("c", 2))
    [gain, rank_, without] = retrieval_numbers([item], {"q": ["b", "c", "a"]})
    assert (gain.value, rank_.value, rank_.baseline, without.value) == (1.0, 1.0, 0.5, 0)
    assert gain.baseline == pytest.approx(1 / math.log2(3))
    [gain, _, _] = retrieval_numbers([item], {"q": ["b"]})
    assert gain.value == gain.baseline, "what an order does not name stands behind it"
    [without] = retrieval_numbers([passages(("a", 0), ("c", 0))], {"q": ["a", "c"]})
    assert without.value == 1
    assert retrieval_numbers([passages(("a", None))], {"q": ["a"]}) == []
    with pytest.raises(InputError, match="candidate a: \"relevance\" is 'high'"):
        grade_of(item, Candidate("a", "a", {"relevance": "high"}))


def by_length(request: Request) -> Reply:
    """A passage is as relevant as it is long, up to 3."""
    text = next(one["content"] for one in request.messages if one["role"] == "user")
    parts = [part.split("\n</answer")[0] for part in text.split("<answer ")[2:]]
    sizes = [len(part.partition(">\n")[2]) for part in parts]
    if len(sizes) == 1:
        return Reply(text=f"[[{min(3, sizes[0])}]]", finish_reason="stop")
    return Reply(text=f"[[{'A' if sizes[0] > sizes[1] else 'B'}]]", finish_reason="stop")


@pytest.mark.parametrize("kind", ["score", "rank"])
def test_actions_tell_what_their_order_is_worth_beside_that_of_the_file(tmp_path: Path, kind: str):
    texts: list[dict[str, Any]] = [{"text": "x", "relevance": 0}, {"text": "xx"},
                                   {"text": "xxx", "relevance": 3}]  # fmt: skip
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"id": "q", "instruction": "Ask", "candidates": texts}) + "\n")
    with ScriptedServer(by_length) as server, open_run(tmp_path / "run", seed=0) as run:
        fields: dict[str, Any] = {"items": path, "judge": f"{server.url}#l", "rubric": "relevance"}
        if kind == "score":
            result = run.finish(score(ScoreConfig(**fields), run))
        else:
            result = run.finish(rank(RankConfig(**fields), run))
    found: dict[str, Number] = {one.name: one for one in result.numbers}
    assert found["nDCG@10"].value == 1.0 and found["mean reciprocal rank"].baseline == 0.5
    written = tmp_path / "run" / "artefacts" / "relevance.jsonl"
    assert written.exists() == (kind == "score")
    if kind == "score":
        rows = [json.loads(line) for line in written.read_text().splitlines()]
        assert [(one["relevance"], one["judged_by"] == "people") for one in rows] == [
            (0, True), (2, False), (3, True)
        ]  # fmt: skip
