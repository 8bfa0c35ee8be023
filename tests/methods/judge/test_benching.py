"""Benchmarks as a person runs them: told by their fields, scored by their rule, beside rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.evaluation.report.formats import Table
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.bench.benching import bench
from modelgraft.methods.judge.bench.formats import BENCHES
from modelgraft.methods.judge.bench.guessing import guess_format
from modelgraft.methods.judge.config import BenchConfig, BenchFormat
from modelgraft.methods.judge.estimates import estimate_bench

Row = dict[str, Any]


def judge_bench_row(name: str, a: str, b: str, label: str, source: str = "mmlu-pro-law") -> Row:
    return {"pair_id": name, "original_id": 1, "source": source, "question": f"Ask {name}?",
            "response_model": "m", "response_A": a, "response_B": b, "label": label}  # fmt: skip


def decided(row: Row, first: str | None, second: str | None) -> Row:
    both = [{"judgment": {}, "decision": one} for one in (first, second)]
    return {**row, "judge_name": "j", "judgments": both}


PROMPT = (
    "###The instruction to evaluate:\nGreet.\n\n###Response to evaluate:\n{answer}\n\n"
    "###Score Rubrics:\n[{rubric}]\nScore 1: No.\nScore 5: Yes.\n\n###Feedback: "
)
LLM_BAR = {"input": "Ask", "output_1": "long answer", "output_2": "short", "label": 1}
HALF_READ = {"swap = False": {"winner": "1"}, "swap = True": {"winner": None}}
VOTE = {
    "question_id": 81,
    "model_a": "x",
    "model_b": "y",
    "winner": "model_a",
    "judge": "p",
    "turn": 1,
    "conversation_a": [{"content": "Q?"}, {"content": "from x"}],
    "conversation_b": [{"content": "Q?"}, {"content": "from y, longer"}],
}
GAMES = {"question_id": 81, "model_1": "y", "model_2": "x", "g1_winner": "model_2",
         "g2_winner": "model_2", "judge": ["gpt", "pair-v2"], "turn": 1}  # fmt: skip
RECORD = {"instruction": "i", "output_1": "a", "output_2": "bb", "generator_1": "base",
          "generator_2": "ours", "annotator": "j"}  # fmt: skip
ROWS: dict[str, Row] = {
    "judge_bench": judge_bench_row("p", "a", "b", "A>B"),
    "llm_bar": LLM_BAR,
    "alpaca_eval": {**RECORD, "preference": 1.5},
    "mt_bench": VOTE,
    "mt_bench_pairs": GAMES,
    "panda_lm": {"idx": 1, "instruction": "i", "input": "", "response1": "a", "response2": "b",
                 "annotator1": 1, "annotator2": 1, "annotator3": 0},
    "auto_j": {"scenario": "s", "prompt": "p", "response 1": "a", "response 2": "b", "label": 0},
    "prometheus_scores": {"idx": 1, "response_source": "m", "category": "c",
                          "instruction": PROMPT, "gpt4_score": [1, 2, 3]},
    "prometheus_pairs": {"source": "s", "chosen_instruction": PROMPT,
                         "rejected_instruction": PROMPT},
    "arena_hard": {"uid": "u", "model": "m", "games": [{}, {}]},
    "selective": {"instruction": "i", "outputs": ["a", "b"], "preferences": {"human": 1},
                  "probs": [0.4, 0.6]},
    "summ_eval": {"doc_id": "d", "source": "s", "system_output": "o", "scores": {"fluency": 3}},
    "reward_bench": {"id": 1, "prompt": "p", "chosen": "a", "rejected": "b",
                     "subset": "math-prm"},
    "reward_bench_2": {"id": "1", "prompt": "p", "chosen": ["a"], "rejected": ["b", "c", "d"],
                       "subset": "Math"},
}  # fmt: skip


def jsonl(path: Path, *rows: Row) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask_of(request: Request) -> list[str]:
    """What stands between the fences of the answers in the first question."""
    text = next(one["content"] for one in request.messages if one["role"] == "user")
    parts = [part.split("</answer")[0] for part in text.split("<answer ")[2:]]
    return [part.partition(">\n")[2].removesuffix("\n") for part in parts]


def longer_wins(request: Request) -> Reply:
    answers = ask_of(request)
    if len(answers) == 1:
        return Reply(text=f"[[{min(5, len(answers[0]))}]]", finish_reason="stop")
    a, b = map(len, answers)
    return Reply(text=f"[[{'A' if a > b else 'B' if b > a else 'C'}]]", finish_reason="stop")


def run_bench(folder: Path, **fields: Any) -> Result:
    with open_run(folder, seed=0) as run:
        return run.finish(bench(BenchConfig(**fields), run))


def by_name(result: Result) -> dict[str, Number]:
    return {one.name: one for one in result.numbers}


# -- formats ---------------------------------------------------------------------------------------


def test_the_option_offers_every_benchmark():
    assert set(get_args(BenchFormat)) == {"auto", *BENCHES}


@pytest.mark.parametrize("name", ROWS)
def test_a_benchmark_is_told_by_the_fields_of_its_rows(tmp_path: Path, name: str):
    assert guess_format(jsonl(tmp_path / "rows.jsonl", ROWS[name])) == name
    (tmp_path / "rows.json").write_text(json.dumps([ROWS[name]], indent=1))
    assert guess_format(tmp_path / "rows.json") == name


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_of_arrays_is_the_bias_benchmark(tmp_path: Path, indent: int | None):
    row = {"bias": "x", "instruction": "i", "response1": "a", "response2": "b", "label": "1"}
    (tmp_path / "biasbench.json").write_text(json.dumps({"length": [row, row]}, indent=indent))
    assert guess_format(tmp_path / "biasbench.json") == "bias_bench"


def test_folders_are_told_by_their_files(tmp_path: Path):
    jsonl(tmp_path / "bar" / "Natural" / "dataset.json", LLM_BAR)
    jsonl(tmp_path / "jb" / "gpt.jsonl", ROWS["judge_bench"])
    (tmp_path / "jd").mkdir()
    (tmp_path / "jd" / "x_test_1.csv").write_text("instruction,text1,text2,target\n")
    jsonl(tmp_path / "fe" / "question.jsonl", {"question_id": 1})
    found = [guess_format(tmp_path / name) for name in ("bar", "jb", "jd", "fe")]
    assert found == ["llm_bar", "judge_bench", "judge_deceiver", "fair_eval"]


def test_rows_of_no_benchmark_are_refused_with_their_fields(tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", {"question": "q", "answer": "a"})
    with pytest.raises(InputError, match=r'\["answer", "question"\], and no benchmark') as told:
        guess_format(path)
    assert "--format" in str(told.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file of a benchmark"):
        guess_format(tmp_path / "empty")
    with pytest.raises(InputError, match="no such file"):
        guess_format(tmp_path / "none.jsonl")


# -- judging ---------------------------------------------------------------------------------------


def test_a_judge_of_length_scores_as_the_longest_answer_does(tmp_path: Path):
    rows = [judge_bench_row(str(n), "a long one", "short", label)
            for n, label in enumerate(("A>B", "A>B", "B>A", "A>B"))]  # fmt: skip
    rows.append(judge_bench_row("same", "equal", "equal", "A>B", source="livecodebench"))
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    with ScriptedServer(longer_wins) as server:
        result = run_bench(tmp_path / "run", items=path, judge=f"{server.url}#length")
    found = by_name(result)
    assert found["accuracy"].value == 60.0 and found["accuracy"].n == 5
    assert found["knowledge: accuracy"].value == 75.0 and found["code: accuracy"].value == 0.0
    assert found["accuracy (rule: longest)"].value == 60.0
    assert found["accuracy (rule: shortest)"].value == 20.0
    # In both orders the first slot is every pair's tie, which JudgeBench counts as wrong.
    assert found["accuracy (rule: first slot)"].value == 0.0
    assert found["accuracy"].baseline == 60.0 and found["knowledge: accuracy"].baseline == 75.0
    assert found["accuracy (published: o1-preview)"].value == 75.4
    assert found["right, good answer longer"].value == 100.0
    assert found["right, good answer shorter"].value == 0.0
    assert found["right, balanced over the strata"].value == 50.0
    assert "not shown to be better than the rule: longest." in result.remarks
    assert any("JudgeBench, 350 pairs" in one for one in result.remarks)
    table = Table.load(tmp_path / "run" / "artefacts" / "bench.json")
    assert table.columns[-3:] == ["rule: longest", "rule: shortest", "rule: first slot"]
    assert list(table.rows[0][:2]) == ["accuracy", 60.0]


def test_unread_verdicts_are_counted_and_are_no_votes(tmp_path: Path):
    def mute_on_b(request: Request) -> Reply:
        text = "[[A]]" if ask_of(request)[0] == "a long one" else "Hm."
        return Reply(text=text, finish_reason="stop")

    path = jsonl(tmp_path / "r.jsonl", judge_bench_row("p", "a long one", "short", "A>B"))
    with ScriptedServer(mute_on_b) as server:
        result = run_bench(tmp_path / "run", items=path, judge=f"{server.url}#half")
    found = by_name(result)
    assert found["unread verdicts"].value == 1 and found["unread verdicts"].n == 2
    assert found["accuracy"].value == 100.0  # the other order decides alone
    assert found["failed: no_verdict"].value == 1


def test_scores_are_held_against_peoples_and_each_item_has_its_own_rubric(tmp_path: Path):
    seen = []

    def rate(request: Request) -> Reply:
        seen.append(request.messages[-1]["content"])
        return longer_wins(request)

    rows = [
        {**ROWS["prometheus_scores"], "idx": n, "gpt4_score": [n, n, n],
         "instruction": PROMPT.format(answer="x" * n, rubric=f"Is it kind {n}?")}
        for n in range(1, 6)
    ]  # fmt: skip
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    with ScriptedServer(rate) as server:
        result = run_bench(tmp_path / "run", items=path, judge=f"{server.url}#length")
    found = by_name(result)
    assert found["pearson, pooled"].value == pytest.approx(1.0)
    assert found["pearson, pooled (rule: shortest)"].value == pytest.approx(-1.0)
    assert all(sum(f"Is it kind {n}?" in text for text in seen) == 1 for n in range(1, 6))


def test_best_of_four_is_rated_one_by_one_beside_lengths(tmp_path: Path):
    rows = [{**ROWS["reward_bench_2"], "id": str(n), "chosen": ["x" * 4],
             "rejected": ["x", "xx", "xxx"]} for n in range(3)]  # fmt: skip
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    with ScriptedServer(longer_wins) as server:
        found = by_name(run_bench(tmp_path / "run", items=path, judge=f"{server.url}#length"))
    told = estimate_bench(BenchConfig(items=path, judge=server.url), Settings())
    looks = next(one.value for one in told if one.name == "looks of the judge at most")
    assert found["overall"].value == 100.0 and found["verdicts"].value == looks == 12
    assert found["overall (rule: longest)"].value == 100.0
    assert found["overall (rule: shortest)"].value == 0.0
    assert "overall (rule: first slot)" not in found


def test_pairs_may_be_judged_point_by_point_and_points_never_in_pairs(tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", judge_bench_row("p", "abcd", "a", "A>B"))
    with ScriptedServer(longer_wins) as server:
        config = {"items": path, "judge": f"{server.url}#length", "mode": "point"}
        assert by_name(run_bench(tmp_path / "run", **config))["accuracy"].value == 100.0
    path = jsonl(tmp_path / "summ.jsonl", ROWS["summ_eval"])
    with pytest.raises(ConfigError, match="no pairs"):
        run_bench(tmp_path / "r2", items=path, mode="pair", judge="http://127.0.0.1:1/v1#m")


def test_where_the_good_answer_always_stands_first_the_first_slot_is_worth_a_coin(tmp_path: Path):
    rows = [{**ROWS["reward_bench"], "id": n, "chosen": "x" * n, "rejected": "xxx"}
            for n in (1, 2, 4, 5)]  # fmt: skip
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    with ScriptedServer(longer_wins) as server:
        found = by_name(run_bench(tmp_path / "run", items=path, judge=f"{server.url}#length"))
    assert found["math-prm"].value == 50.0
    table = Table.load(tmp_path / "run" / "artefacts" / "bench.json")
    [row] = [dict(zip(table.columns, one, strict=True)) for one in table.rows
             if one[0] == "math-prm"]  # fmt: skip
    assert row["rule: first slot"] == 50.0


# -- recorded --------------------------------------------------------------------------------------


def test_recorded_decisions_are_scored_without_any_call(tmp_path: Path):
    rows = [
        decided(judge_bench_row("right", "long answer", "short", "A>B"), "A>B", "B>A"),
        decided(judge_bench_row("one order", "long answer", "short", "A>B"), "A>B", None),
        decided(judge_bench_row("slot", "long answer", "short", "B>A"), "A>B", "A>B"),
    ]
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    config = {"items": path, "recorded": True, "judge": "http://127.0.0.1:1/v1#nobody"}
    result = run_bench(tmp_path / "run", **config)
    found = by_name(result)
    assert found["accuracy"].value == pytest.approx(200 / 3)
    assert found["unread verdicts"].value == 1 and found["undecided pairs"].value == 1
    assert found["accuracy (rule: longest)"].value == pytest.approx(200 / 3)
    assert not list((tmp_path / "run").glob("*.sqlite"))


@pytest.mark.parametrize(
    ("name", "row", "measure", "value"),
    [
        ("llm_bar", {"results": [HALF_READ]}, "Natural: accuracy", 50.0),
        ("alpaca_eval", {"preference": 1.75}, "ours: win rate", 75.0),
        ("mt_bench_pairs", {}, "same winner in both orders", 100.0),
        ("selective", {}, "agreement with people", 0.0),
    ],
)
def test_other_results_are_scored_where_they_record_verdicts(
    tmp_path: Path, name: str, row: Row, measure: str, value: float
):
    path = jsonl(tmp_path / "Natural" / "rows.jsonl", {**ROWS[name], **row})
    found = by_name(run_bench(tmp_path / "run", items=path, recorded=True))
    assert found[measure].value == value


def test_failed_annotations_are_counted(tmp_path: Path):
    rows = [{**RECORD, "instruction": str(n), "preference": p} for n, p in enumerate((1.9, None))]
    path = jsonl(tmp_path / "annotations.json", *rows)
    found = by_name(run_bench(tmp_path / "run", items=path, recorded=True))
    assert found["ours: failed annotations"].value == 1
    assert found["ours: win rate"].value == pytest.approx(90.0)


def test_games_of_mt_bench_are_held_against_peoples_votes(tmp_path: Path):
    votes = jsonl(tmp_path / "votes.jsonl", VOTE, {**VOTE, "question_id": 82, "winner": "model_b"})
    games = jsonl(tmp_path / "games.jsonl", GAMES, {**GAMES, "question_id": 99})
    found = by_name(run_bench(tmp_path / "run", items=votes, games=games))
    measure = found["turn 1: gpt pair-v2 and people, with ties"]
    assert (measure.value, measure.n) == (100.0, 1)


def test_what_records_nothing_is_said(tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", judge_bench_row("p", "a", "b", "A>B"))
    with pytest.raises(InputError, match="no row records a verdict"):
        run_bench(tmp_path / "one", items=path, recorded=True)
    path = jsonl(tmp_path / "auto.jsonl", ROWS["auto_j"])
    with pytest.raises(ConfigError, match="files of auto_j record no verdicts"):
        run_bench(tmp_path / "two", items=path, recorded=True)
    with pytest.raises(ConfigError, match="--games goes with"):
        run_bench(tmp_path / "three", items=path, games=path)
    games = jsonl(tmp_path / "games.jsonl", GAMES)
    with pytest.raises(InputError, match="verdicts and no answers"):
        run_bench(tmp_path / "four", items=games, judge="http://127.0.0.1:1/v1#m")


def test_attacks_are_held_against_the_same_pairs_without_them(tmp_path: Path):
    """A judge of length is won over by suffixes that are longer than what the good answer leads."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = ["instruction,text1,text2,target"]
    for name, bad in (("one", "bad"), ("two", "bad2")):
        rows.append(f"# Instruction: {name},a good answer,{bad},Output (b) is better.")
    (folder / "x_test_1.csv").write_text("\n".join(rows) + "\n")
    attacks = [{"question_id": n, "question": "q", "bad_answer": bad, "llama": suffix}
               for n, (bad, suffix) in enumerate((("bad", "!" * 30), ("bad2", "!")))]  # fmt: skip
    suffixes = jsonl(tmp_path / "suffixes.json", *attacks)
    with ScriptedServer(longer_wins) as server:
        config = {"items": folder, "judge": f"{server.url}#l", "suffixes": suffixes,
                  "suffixes_of": "llama"}  # fmt: skip
        found = by_name(run_bench(tmp_path / "run", **config))
    both = found["the worse answer wins in both slots"]
    assert (both.value, both.baseline, both.n) == (50.0, 0.0, 2)
    slot = found["the worse answer wins in slot 1"]
    assert (slot.value, slot.baseline) == (50.0, 0.0)
    assert found["the worse answer wins in slot 1 (rule: longest)"].value == 50.0
    assert found["verdicts"].value == 8
    with pytest.raises(ConfigError, match="go together"):
        BenchConfig(items=folder, suffixes=suffixes)
    other = jsonl(tmp_path / "rows.jsonl", ROWS["auto_j"])
    with pytest.raises(ConfigError, match="goes with judge_deceiver"):
        run_bench(tmp_path / "r2", **{**config, "items": other})
