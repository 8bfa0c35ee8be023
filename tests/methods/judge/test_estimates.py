"""What judging would take, told before: equal to what it took, or a bound of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge import estimates
from modelgraft.methods.judge.actions import audit, compare, rank, score, select
from modelgraft.methods.judge.config import (
    AuditConfig,
    CompareConfig,
    ExampleOptions,
    RankConfig,
    ScoreConfig,
    SelectConfig,
)


def first(request: Request) -> Reply:
    """The first of everything, or three."""
    text = request.messages[-1]["content"]
    if "Rank the answers" in text:
        return Reply(text="A > B", finish_reason="stop")
    return Reply(text="[[3]]" if "Rate an answer" in text else "[[A]]", finish_reason="stop")


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    rows = [
        {"id": f"i{one}", "instruction": f"q {one}", "candidates": [f"{one} {n}" for n in range(6)]}
        for one in range(3)
    ]
    rows.append({"id": "pair", "instruction": "q", "candidates": ["one", "two"], "label": "a"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


CASES = [
    (score, ScoreConfig, {}),
    (score, ScoreConfig, {"criteria": ("fluency", "tone")}),
    (compare, CompareConfig, {}),
    (compare, CompareConfig, {"swap": "random"}),
    *((rank, RankConfig, {"by": by}) for by in ("all_pairs", "merge_sort", "swiss", "active",
                                                "sliding", "windows", "permutations", "sets")),
    (rank, RankConfig, {"by": "sliding", "top": 2}),
    (select, SelectConfig, {"by": "score"}),
    (select, SelectConfig, {"by": "knock_out"}),
    (audit, AuditConfig, {"probes": ("filler",), "attacks": ("naive plea",)}),
]  # fmt: skip
EXACT = ({"by": "all_pairs"}, {"by": "permutations"}, {"by": "windows"}, {"swap": "random"})


@pytest.mark.parametrize(("action", "kind", "options"), CASES)
def test_no_run_looks_more_often_than_was_told(tmp_path, items, action, kind, options):
    with ScriptedServer(first) as server:
        config = kind(items=items, judge=f"{server.url}#m", **options)
        estimate = getattr(estimates, f"estimate_{action.__name__}")
        told = {one.name: one.value for one in estimate(config, Settings(seed=0))}
        with open_run(tmp_path / "run", seed=0) as run:
            result = action(config, run)
    took = {one.name: one.value for one in result.numbers}["verdicts"]
    assert 0 < took <= told["looks of the judge at most"]
    if options in EXACT or action in (score, compare):
        assert took == told["looks of the judge at most"]
    assert told["calls to URLs at most"] == told["looks of the judge at most"]
    assert told["characters to read at most"] > 0


@pytest.mark.parametrize(
    ("action", "kind", "options"),
    [
        (score, ScoreConfig, {}),
        (compare, CompareConfig, {}),
        (compare, CompareConfig, {"examples": 2}),
        (rank, RankConfig, {"by": "merge_sort"}),
        (rank, RankConfig, {"by": "permutations"}),
        (rank, RankConfig, {"by": "sets"}),
        (select, SelectConfig, {"by": "score"}),
        (select, SelectConfig, {"by": "knock_out"}),
        (audit, AuditConfig, {"probes": ("filler",), "attacks": ("naive plea",)}),
    ],
)
def test_samples_sets_of_examples_and_own_answers_are_within_what_was_told(
    tmp_path, items, action, kind, options
):
    texts: list[str] = []

    def told_first(request: Request) -> Reply:
        texts.append("".join(turn["content"] for turn in request.messages))
        is_draft = texts[-1].startswith("Answer the question")
        return Reply(text="w" * 999, finish_reason="stop") if is_draft else first(request)

    if "examples" in options:
        file = tmp_path / "examples.jsonl"
        rows = [{"id": f"e{one}", "instruction": f"e {one}", "candidates": ["x" * 99, str(one)],
                 "label": "a"} for one in range(9)]  # fmt: skip
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = {"examples": ExampleOptions(file=file, shots=2, sets=options["examples"])}
    with ScriptedServer(told_first) as server:
        config = kind(items=items, judge=f"{server.url}#m", read="written", samples=3,
                      temperature=1.0, reference="own", **options)  # fmt: skip
        estimate = getattr(estimates, f"estimate_{action.__name__}")
        told = {one.name: one.value for one in estimate(config, Settings(seed=0))}
        with open_run(tmp_path / "run", seed=0) as run:
            result = action(config, run)
    took = {one.name: one.value for one in result.numbers}["verdicts"]
    assert 0 < took <= told["looks of the judge at most"]
    if action in (score, compare):
        assert took == told["looks of the judge at most"]
    assert len(texts) <= told["calls to URLs at most"]
    asked = [one for one in texts if not one.startswith("Answer the question")]
    assert len(asked) < len(texts) and sum(map(len, asked)) <= told["characters to read at most"]


def test_the_longest_candidates_are_those_that_a_ranking_is_told_to_read(tmp_path):
    path = tmp_path / "items.jsonl"
    row = {"id": "i", "instruction": "q", "candidates": ["a", "b", "c" * 500, "d" * 500]}
    path.write_text(json.dumps(row) + "\n")
    config = RankConfig(items=path, judge="http://127.0.0.1:1/v1#m", by="merge_sort")
    told = {one.name: one.value for one in estimates.estimate_rank(config, Settings(seed=0))}
    assert told["characters to read at most"] > told["looks of the judge at most"] * 1000


def test_texts_that_the_judge_writes_first_are_counted(items):
    config = ScoreConfig(items=items, judge="http://127.0.0.1:1/v1#m", steps=True, reference="own")
    told = {one.name: one.value for one in estimates.estimate_score(config, Settings(seed=0))}
    assert told["calls to URLs at most"] == told["looks of the judge at most"] + 4 + 1


def test_claims_are_not_counted_before_they_are_written(items):
    config = ScoreConfig(items=items, judge="http://127.0.0.1:1/v1#m", by="claims")
    told = {one.name: one.value for one in estimates.estimate_score(config, Settings(seed=0))}
    assert told["candidates"] == 20 and told["calls to URLs at most"] == 20
    assert "looks of the judge at most" not in told


@pytest.mark.parametrize("by", ["all_pairs", "merge_sort", "knock_out", "windows", "sets"])
def test_a_hundred_thousand_candidates_are_counted_and_not_listed(tmp_path, by):
    path = tmp_path / "many.jsonl"
    row = {"id": "i", "instruction": "q", "candidates": [str(one) for one in range(100_000)]}
    path.write_text(json.dumps(row) + "\n")
    config = RankConfig(items=path, judge="http://127.0.0.1:1/v1#m", by=by)
    told = {one.name: one.value for one in estimates.estimate_rank(config, Settings(seed=0))}
    assert told["looks of the judge at most"] > 9_000
