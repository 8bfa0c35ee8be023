"""The actions against a scripted endpoint: verdicts stored, failures told, nothing paid twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import compare, rank, score, select
from modelgraft.methods.judge.config import CompareConfig, RankConfig, ScoreConfig, SelectConfig
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.opening import world_of
from modelgraft.methods.judge.summaries import agreement_numbers
from modelgraft.methods.judge.world.pairs import category_of


def longer_wins(request: Request) -> Reply:
    """Reads the two answers between their fences, and prefers the longer one."""
    text = request.messages[-1]["content"]
    answers = [part.split("</answer")[0] for part in text.split("<answer ")[2:]]
    lengths = [len(part.partition(">\n")[2]) for part in answers]
    if len(lengths) == 1:
        return Reply(text=f"[[{min(5, 1 + lengths[0] // 4)}]]", finish_reason="stop")
    verdict = "A" if lengths[0] > lengths[1] else "B" if lengths[0] < lengths[1] else "C"
    return Reply(text=f"Because. [[{verdict}]]", finish_reason="stop")


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return write(
        tmp_path / "items.jsonl",
        {"id": "one", "instruction": "q", "candidates": ["a long answer", "short"], "label": "a"},
        {"id": "two", "instruction": "q", "candidates": ["short", "a long answer"], "label": "a"},
        {"id": "same", "instruction": "q", "candidates": ["same", "same"]},
        {"id": "bad", "instruction": "q", "candidates": []},
    )


def run_action(action: Any, config: Any, folder: Path) -> tuple[Result, list[dict[str, Any]]]:
    with open_run(folder, seed=0) as run:
        result = run.finish(action(config, run))
    path = folder / "artefacts" / "judgments.jsonl"
    return result, [json.loads(line) for line in path.read_text().splitlines()]


def number(result: Result, name: str) -> float:
    return next(one.value for one in result.numbers if one.name == name)


def test_pairs_are_compared_in_both_orders_and_a_second_run_asks_nothing(tmp_path, items):
    with ScriptedServer(longer_wins) as server:
        config = CompareConfig(items=items, judge=f"{server.url}#judge")
        result, rows = run_action(compare, config, tmp_path / "run")
        asked = server.counts()
        again, _ = run_action(compare, config, tmp_path / "run")
        # The items are one pair under two names, so two answers serve them both.
        assert server.counts() == asked and len(asked) == 2
    assert [row["winner"] for row in rows] == ["a", "b", "tie"]
    assert all(row["is_consistent"] for row in rows)
    assert number(result, "agrees with the label") == 50.0
    assert number(result, "verdicts") == 4 and number(result, "verdicts that failed") == 0
    assert number(again, "verdicts") == 4
    rejects = (tmp_path / "run" / "rejects.jsonl").read_text()
    assert '"line": 4' in rejects and "no list of texts" in rejects


def test_candidates_are_scored_one_by_one(tmp_path, items):
    with ScriptedServer(longer_wins) as server:
        config = ScoreConfig(items=items, judge=f"{server.url}#judge")
        result, rows = run_action(score, config, tmp_path / "run")
    assert rows[0]["scores"]["a"] > rows[0]["scores"]["b"]
    assert rows[0]["winner"] == "a" and rows[2]["winner"] == "tie"
    assert number(result, "candidates") == 6


def test_a_judge_without_a_verdict_is_counted_and_wins_nothing(tmp_path, items):
    def mute(request: Request) -> Reply:
        return Reply(text="I would rather not say.", finish_reason="stop")

    with ScriptedServer(mute) as server:
        config = CompareConfig(items=items, judge=f"{server.url}#judge", num=1)
        result, rows = run_action(compare, config, tmp_path / "run")
    assert "winner" not in rows[0] and rows[0]["failed"] == {"no_verdict": 2}
    assert number(result, "failed: no_verdict") == 2
    assert number(result, "labelled items without a verdict") == 1


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    texts = ["x" * n for n in (3, 9, 1, 12, 6)]
    rows = [{"id": f"i{n}", "instruction": f"q{n}", "candidates": texts, "label": "d"}
            for n in range(2)]  # fmt: skip
    return write(tmp_path / "lists.jsonl", *rows)


@pytest.mark.parametrize("by", ["all_pairs", "merge_sort", "beam", "active", "sliding"])
def test_candidates_are_ranked_by_every_way_to_compare(tmp_path, lists, by):
    with ScriptedServer(longer_wins) as server:
        config = RankConfig(items=lists, judge=f"{server.url}#judge", by=by, comparisons=None)
        with open_run(tmp_path / "run", seed=0) as run:
            result = run.finish(rank(config, run))
    rows = (tmp_path / "run" / "artefacts" / "rankings.jsonl").read_text().splitlines()
    found = [json.loads(row) for row in rows]
    assert len(found) == 2
    if by != "active":
        assert all(row["order"] == ["d", "b", "e", "a", "c"] for row in found)
    assert all(row["order"][0] == "d" for row in found)
    assert number(result, "the labelled one comes first") == 100.0
    assert number(result, "pairs compared") <= 20


@pytest.mark.parametrize("by", ["knock_out", "all_pairs", "score"])
def test_the_best_candidate_is_kept(tmp_path, lists, by):
    with ScriptedServer(longer_wins) as server:
        config = SelectConfig(items=lists, judge=f"{server.url}#judge", by=by)
        with open_run(tmp_path / "run", seed=0) as run:
            run.finish(select(config, run))
    rows = (tmp_path / "run" / "artefacts" / "selected.jsonl").read_text().splitlines()
    assert [json.loads(row)["text"] for row in rows] == ["x" * 12] * 2


def says(text: str) -> Any:
    return lambda request: Reply(text=text, finish_reason="stop")


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "artefacts" / name).read_text().splitlines()]


@pytest.mark.parametrize("text", ["I would rather not say.", "[[C]]"])
@pytest.mark.parametrize("by", ["knock_out", "all_pairs"])
def test_what_no_verdict_decides_is_no_winner_no_hit_and_no_training_data(
    tmp_path, lists, by, text
):
    exports = ("dpo", "sft") if by == "all_pairs" else ("sft",)
    with ScriptedServer(says(text)) as server:
        config = SelectConfig(items=lists, judge=f"{server.url}#judge", by=by, export=exports)
        with open_run(tmp_path / "run", seed=0) as run:
            result = run.finish(select(config, run))
    assert all(not rows_of(tmp_path / "run", f"{name}.jsonl") for name in ("selected", *exports))
    assert number(result, "labelled items without a winner") == 2
    assert "the labelled one comes first" not in {one.name for one in result.numbers}


@pytest.mark.parametrize("by", ["all_pairs", "merge_sort", "swiss", "windows", "sets",
                                "permutations"])  # fmt: skip
def test_rankings_say_where_nothing_decides_the_first_place(tmp_path, lists, by):
    with ScriptedServer(says("I would rather not say.")) as server:
        config = RankConfig(items=lists, judge=f"{server.url}#judge", by=by, export=("dpo",))
        with open_run(tmp_path / "run", seed=0) as run:
            result = run.finish(rank(config, run))
    rows = rows_of(tmp_path / "run", "rankings.jsonl")
    assert [row["winner"] for row in rows] == [None, None] and len(rows[0]["order"]) == 5
    assert not rows_of(tmp_path / "run", "dpo.jsonl")
    assert number(result, "labelled items without a winner") == 2


def test_verdicts_of_a_ranking_name_the_candidates_in_the_order_of_their_slots(tmp_path, lists):
    with ScriptedServer(longer_wins) as server:
        config = RankConfig(items=lists, judge=f"{server.url}#judge", num=1)
        with open_run(tmp_path / "run", seed=0) as run:
            run.finish(rank(config, run))
    rows = rows_of(tmp_path / "run", "verdicts.jsonl")
    length = dict(zip("abcde", (3, 9, 1, 12, 6), strict=True))
    shown = [row["meta"]["candidates"] for row in rows]
    assert len({tuple(one) for one in shown}) == len(rows) == 20
    for row, (first, second) in zip(rows, shown, strict=True):
        assert row["label"] == ("A" if length[first] > length[second] else "B")


def test_a_candidate_that_is_alone_is_selected(tmp_path):
    path = write(tmp_path / "one.jsonl", {"id": "i", "instruction": "q", "candidates": ["x"]})
    for by in ("score", "knock_out"):
        with ScriptedServer(longer_wins) as server:
            config = SelectConfig(items=path, judge=f"{server.url}#judge", by=by)
            with open_run(tmp_path / by, seed=0) as run:
                run.finish(select(config, run))
        assert [row["text"] for row in rows_of(tmp_path / by, "selected.jsonl")] == ["x"]


def test_missing_verdicts_are_left_out_of_the_agreement_and_counted_beside_it():
    kinds = ("a", "b", "tie", None)
    found = agreement_numbers([Judgment(str(one), "", "a", winner=one) for one in kinds])
    told = {one.name: one for one in found}
    assert told["agrees with the label"].n == 3
    assert told["agrees with the label"].value == pytest.approx(100 / 3)
    assert told["labelled items without a verdict"].value == 1
    only = agreement_numbers([Judgment("i", "", "a")])
    assert [one.name for one in only] == ["labelled items without a verdict"]


@pytest.mark.parametrize("num", [1, 2, 13, 20])
def test_just_so_many_items_of_the_world_are_used_evenly_from_all_categories(num):
    items = world_of(ScoreConfig(num=num), seed=0)
    counts = Counter(category_of(one) for one in items)
    assert len({one.id for one in items}) == num
    assert len(counts) == min(num, 10) and max(counts.values()) - min(counts.values()) <= 1


def test_a_budget_is_for_the_ranker_that_has_one(tmp_path, lists):
    with pytest.raises(ConfigError, match="goes with --by active"), open_run(tmp_path / "r") as run:
        rank(RankConfig(items=lists, judge="http://127.0.0.1:1/v1#m", comparisons=9), run)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"judge": "http://127.0.0.1:1/v1#m", "read": "choice"}, "needs a model on this machine"),
        ({"samples": 3}, "they would all be the same"),
        ({"template": "point"}, "it shows a point, and a pair is judged here"),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_call(tmp_path, items, fields, told):
    with pytest.raises(ConfigError, match=told):
        run_action(compare, CompareConfig(items=items, **fields), tmp_path / "run")
