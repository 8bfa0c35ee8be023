"""Exports of the actions: what is asked for is written, what cannot be given is refused at once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request, TokenLogprob
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import compare, rank, select
from modelgraft.methods.judge.bench.alpaca_eval import read_alpaca_eval
from modelgraft.methods.judge.config import CompareConfig, RankConfig, SelectConfig
from modelgraft.methods.judge.data import read_items

NOWHERE = "http://127.0.0.1:1/v1#nobody"


def answers_of(request: Request) -> list[str]:
    text = next(one["content"] for one in request.messages if one["role"] == "user")
    parts = [part.split("\n</answer")[0] for part in text.split("<answer ")[2:]]
    return [part.partition(">\n")[2] for part in parts]


def by_length(request: Request) -> Reply:
    """Prefers the longer answer, with log-odds of its lead in characters."""
    texts = answers_of(request)
    if len(texts) == 1:
        return Reply(text=f"[[{min(5, len(texts[0]))}]]", finish_reason="stop")
    lead = len(texts[0]) - len(texts[1])
    label = "A" if lead > 0 else "B"
    top = (("A", -0.5 + lead / 20), ("B", -0.5 - lead / 20))
    listed = (TokenLogprob(label, dict(top)[label], top=top),)
    text = label if request.top_logprobs else f"[[{label}]]"
    return Reply(text=text, finish_reason="stop", logprobs=listed)


@pytest.fixture
def items(tmp_path: Path) -> Path:
    texts = [("xxxx", "x"), ("xx", "xxxxxxxx"), ("xxx", "xx"), ("same", "same")]
    rows = [{"id": f"i{n}", "instruction": f"q{n}", "candidates": pair}
            for n, pair in enumerate(texts)]  # fmt: skip
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    row = {"id": "l", "instruction": "q", "candidates": ["x" * n for n in (2, 5, 1)]}
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return path


def run_action(action: Any, config: Any, folder: Path) -> Result:
    with open_run(folder, seed=0) as run:
        return run.finish(action(config, run))


def by_name(result: Result) -> dict[str, Number]:
    return {one.name: one for one in result.numbers}


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / "artefacts" / name).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_comparison_is_exported_in_every_form(tmp_path: Path, items: Path):
    every = ("dpo", "reward", "kto", "sft", "alpaca_eval", "csv")
    with ScriptedServer(by_length) as server:
        config = CompareConfig(items=items, judge=f"{server.url}#l", read="logprobs", export=every)
        result = run_action(compare, config, tmp_path / "run")
    folder = tmp_path / "run"
    chosen = ["xxxx", "xxxxxxxx", "xxx"]
    assert [row["chosen"] for row in rows_of(folder, "dpo.jsonl")] == chosen
    margins = [row["margin"] for row in rows_of(folder, "reward.jsonl")]
    assert margins == pytest.approx([0.3, 0.6, 0.1])
    assert [row["label"] for row in rows_of(folder, "kto.jsonl")] == [True, False] * 3
    assert [row["completion"] for row in rows_of(folder, "sft.jsonl")] == chosen
    annotated = read_alpaca_eval(folder / "artefacts" / "annotations.json", reject=None)
    assert len(annotated) == 4 and annotated[3].meta["preference"] == 1.5
    with open(folder / "artefacts" / "judgments.csv", newline="") as handle:
        assert [row["winner"] for row in csv.DictReader(handle)] == ["a", "b", "a", "tie"]
    found = by_name(result)
    assert found["preferences exported"].value == 3 and found["preferences exported"].n == 4
    assert found["exported: the longer answer is preferred"].value == 100.0
    assert {one.path for one in result.artefacts} >= {"artefacts/dpo.jsonl"}
    items_again = read_items(folder / "artefacts" / "dpo.jsonl", reject=None, at_least=2)
    assert all(one.label == "chosen" for one in items_again)


def test_small_margins_and_surplus_lengths_are_left_out(tmp_path: Path, items: Path):
    with ScriptedServer(by_length) as server:
        fields = {"items": items, "judge": f"{server.url}#l", "read": "logprobs",
                  "export": ("dpo",)}  # fmt: skip
        run_action(compare, CompareConfig(min_margin_quantile=0.5, **fields), tmp_path / "half")
        run_action(compare, CompareConfig(match_lengths=True, **fields), tmp_path / "matched")
    assert [row["chosen"] for row in rows_of(tmp_path / "half", "dpo.jsonl")] == ["xxxx", "x" * 8]
    assert rows_of(tmp_path / "matched", "dpo.jsonl") == [], "the shorter one never wins here"


@pytest.mark.parametrize(("action", "config"), [(rank, RankConfig), (select, SelectConfig)])
def test_of_more_candidates_the_best_is_exported_against_the_worst(
    tmp_path: Path, lists: Path, action: Any, config: Any
):
    with ScriptedServer(by_length) as server:
        fields = {"items": lists, "judge": f"{server.url}#l", "by": "all_pairs"}
        run_action(action, config(export=("dpo", "reward", "sft"), **fields), tmp_path / "run")
    [row] = rows_of(tmp_path / "run", "reward.jsonl")
    assert (row["chosen"], row["rejected"], row["margin"]) == ("x" * 5, "x", 2.0)
    assert rows_of(tmp_path / "run", "sft.jsonl") == [{"prompt": "q", "completion": "x" * 5}]


def test_scores_are_margins_of_a_selection(tmp_path: Path, lists: Path):
    with ScriptedServer(by_length) as server:
        config = SelectConfig(items=lists, judge=f"{server.url}#l", by="score", export=("reward",))
        run_action(select, config, tmp_path / "run")
    [row] = rows_of(tmp_path / "run", "reward.jsonl")
    assert (row["chosen"], row["rejected"], row["margin"]) == ("x" * 5, "x", 4.0)


@pytest.mark.parametrize(
    ("config", "fields", "told"),
    [
        (CompareConfig, {"export": ("reward",)}, "written verdicts say who wins"),
        (CompareConfig, {"export": ("dpo",), "match_lengths": True}, "written verdicts say"),
        (CompareConfig, {"export": ("reward",), "read": "logprobs", "swap": "random"}, "one order"),
        (CompareConfig, {"export": ("csv",), "min_margin_quantile": 0.5}, "name dpo, reward or"),
        (RankConfig, {"export": ("dpo",), "top": 1}, "leave out --top"),
        (SelectConfig, {"export": ("kto",)}, "knows no worst candidate"),
    ],
)
def test_exports_that_cannot_be_given_are_refused_before_any_call(
    config: Any, fields: dict[str, Any], told: str
):
    with pytest.raises(ConfigError, match=told):
        config(judge=NOWHERE, **fields)


def test_annotations_are_of_pairs(tmp_path: Path, lists: Path):
    config = RankConfig(items=lists, judge=NOWHERE, export=("alpaca_eval",))
    with pytest.raises(ConfigError, match="it is for pairs"):
        run_action(rank, config, tmp_path / "run")
