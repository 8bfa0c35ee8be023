"""Acceptance 27: each format of the benchmarks is read, and what is wrong is named by line.

All rows are written here, in the shape of the published files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.rows import Row
from modelgraft.methods.judge.bench.formats import BENCHES
from modelgraft.methods.judge.bench.judge_deceiver import attacked, read_suffixes
from modelgraft.methods.judge.bench.mt_bench import (
    people_ballots,
    read_mt_bench_pairs,
    read_mt_bench_scores,
)
from modelgraft.methods.judge.bench.orders import recorded_orders, require_texts
from modelgraft.methods.judge.bench.prometheus import read_prometheus_scores
from modelgraft.methods.judge.bench.summ_eval import read_summ_eval
from modelgraft.methods.judge.data import Item

Write = Callable[[Path, list[Row]], None]


def jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def array(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps(rows, indent=0))


def table(path: Path, rows: list[Row]) -> None:
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def prompt(task: str, answer: str, reference: str = "") -> str:
    """A prompt under the headings of Prometheus."""
    example = f"###Reference Answer (Score 5):\n{reference}\n\n" if reference else ""
    return (
        f"###Task Description:\nScore it.\n\n###The instruction to evaluate:\n{task}\n\n"
        f"###Response to evaluate:\n{answer}\n\n{example}"
        "###Score Rubrics:\n[Is it kind?]\nScore 1: No.\nScore 5: Yes.\n\n###Feedback: "
    )


def game(score: str | None, first: str, second: str) -> Row:
    text = (
        "<|User Prompt|>\nWhy?\n\n<|The Start of Assistant A's Answer|>\n"
        f"{first}\n<|The End of Assistant A's Answer|>\n\n"
        f"<|The Start of Assistant B's Answer|>\n{second}\n<|The End of Assistant B's Answer|>"
    )
    return {"score": score, "judgment": {"answer": "..."}, "prompt": [{"content": text}]}


def talk(*texts: str) -> list[Row]:
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]


@dataclass(frozen=True)
class Case:
    """A format: two rows, how they are written, what becomes of the first, and a wrong field."""

    rows: tuple[Row, Row]
    write: Write
    first: Item | dict[str, Any]
    wrong: Row
    message: str
    name: str = "rows.jsonl"
    twice: str = ""
    row_lines: tuple[int, int] = (1, 2)


LLM_BAR = {"input": "Write a word.", "output_1": "word", "output_2": "no", "label": 1}
VOTE = {
    "question_id": 81,
    "model_a": "vicuna",
    "model_b": "alpaca",
    "winner": "model_b",
    "judge": "expert_1",
    "conversation_a": talk("Hello?", "v1", "And?", "v2"),
    "conversation_b": talk("Hello?", "a1", "And?", "a2"),
    "turn": 1,
}
CASES: dict[str, Case] = {
    "judge_bench": Case(
        (
            {"pair_id": "p1", "original_id": 7, "source": "mmlu-pro-law", "question": "Q?",
             "response_model": "m", "response_A": "yes", "response_B": "no", "label": "B>A"},
            {"pair_id": "p2", "original_id": "x", "source": "livecodebench", "question": "Q?",
             "response_model": "m", "response_A": "1", "response_B": "2", "label": "A>B"},
        ),
        jsonl,
        {"id": "p1", "label": "b", "group": "mmlu-pro-law", "texts": ("yes", "no")},
        {"label": "A>>B"},
        'field "label": "A>>B" is none of "A>B", "B>A"',
        twice='field "pair_id": p1 stands already in line 1',
    ),
    "llm_bar": Case(
        (LLM_BAR, {**LLM_BAR, "label": 2}),
        array,
        {"id": "Natural-1", "label": "a", "group": "Natural", "texts": ("word", "no")},
        {"label": "1"},
        'field "label": "1" is none of 1, 2',
        name="Natural/dataset.json",
        row_lines=(2, 8),
    ),
    "bias_bench": Case(
        (
            {"bias": "length", "instruction": "Sum?", "response1": "2", "response2": "A lot",
             "label": "1"},
            {"bias": "length", "instruction": "Sum?", "response1": "4", "response2": "Some",
             "label": "1"},
        ),
        lambda path, rows: path.write_text(json.dumps({"length bias": rows}, indent=0)) and None,
        {"id": "length bias-1", "label": "a", "group": "length bias", "texts": ("2", "A lot")},
        {"label": "3"},
        'field "label": "3" is none of',
        name="biasbench.json",
        row_lines=(3, 10),
    ),
    "mt_bench": Case(
        (VOTE, {**VOTE, "turn": 2, "winner": "tie (inconsistent)"}),
        jsonl,
        {"id": "81:1:alpaca:vicuna", "label": "alpaca", "group": "81", "texts": ("a1", "v1")},
        {"winner": "alpaca"},
        'field "winner": "alpaca" is none of "model_a", "model_b", "tie", "tie (inconsistent)"',
    ),
    "mt_bench_pairs": Case(
        (
            {"question_id": 81, "model_1": "vicuna", "model_2": "alpaca", "g1_winner": "model_1",
             "g2_winner": "error", "judge": ["gpt-4", "pair-v2"], "turn": 1},
            {"question_id": 81, "model_1": "vicuna", "model_2": "alpaca", "g1_winner": "tie",
             "g2_winner": "model_2", "judge": ["gpt-4", "pair-v2"], "turn": 2},
        ),
        jsonl,
        {"id": "81:1:alpaca:vicuna", "label": None, "group": "81", "texts": ("", "")},
        {"g1_winner": "vicuna"},
        'field "g1_winner": "vicuna" is none of "model_1", "model_2", "tie", "error"',
        twice='field "question_id": 81 stands already in line 1',
    ),
    "panda_lm": Case(
        (
            {"idx": 4, "motivation_app": "Mail", "cmp_key": "x-7b_y-6b", "instruction": "Shorten.",
             "input": "A long one.", "response1": "Long.", "response2": True,
             "annotator1": 1, "annotator2": 2, "annotator3": 1},
            {"idx": 5, "motivation_app": "Mail", "cmp_key": "x-7b_y-6.9b", "instruction": "Greet.",
             "input": None, "response1": "Hi", "response2": "Hi.",
             "annotator1": 0, "annotator2": 1, "annotator3": 2},
        ),
        array,
        {"id": "4", "label": "a", "group": "Mail", "texts": ("Long.", "True"),
         "instruction": "Shorten.\n\nA long one."},
        {"annotator2": 3},
        'field "annotator2": 3 is none of 0, 1, 2',
        name="testset.json",
        row_lines=(2, 14),
        twice='field "idx": 4 stands already in line 2',
    ),
    "auto_j": Case(
        (
            {"scenario": "poems", "label": 2, "prompt": "A poem.", "response 1": "Oh",
             "response 2": "Ah"},
            {"scenario": "poems", "label": 0, "prompt": "A poem.", "response 1": "Oh",
             "response 2": "Uh"},
        ),
        jsonl,
        {"id": "row-1", "label": "tie", "group": "poems", "texts": ("Oh", "Ah")},
        {"response 2": None},
        'field "response 2": null is not text',
        name="pairs.json",
    ),
    "prometheus_scores": Case(
        (
            {"idx": 9, "response_source": "m", "category": "writing",
             "instruction": prompt("Greet.", "Hi.", "Hello."), "gpt4_score": [4, 5, 3]},
            {"idx": 9, "response_source": "n", "category": "writing",
             "instruction": prompt("Greet.", "Yo."), "gpt4_score": [2, 1, 1]},
        ),
        array,
        {"id": "9:m", "label": 4.0, "group": "writing", "texts": ("Hi.",), "reference": "Hello.",
         "instruction": "Greet."},
        {"gpt4_score": [4, 5]},
        'field "gpt4_score": [4, 5] is not a list of 3',
        name="eval.json",
        row_lines=(2, 13),
        twice='field "idx": 9 stands already in line 2',
    ),
    "prometheus_pairs": Case(
        (
            {"source": "harmless", "chosen_instruction": prompt("How?", "No."),
             "rejected_instruction": prompt("How?", "So.")},
            {"source": "honest", "chosen_instruction": prompt("Who?", "Me."),
             "rejected_instruction": prompt("Who?", "You.")},
        ),
        array,
        {"id": "harmless-1", "label": "chosen", "group": "harmless", "texts": ("No.", "So.")},
        {"rejected_instruction": prompt("Else?", "You.")},
        "they differ in more than the answer",
        name="hhh.json",
        row_lines=(2, 7),
    ),
    "alpaca_eval": Case(
        (
            {"instruction": "Name one.", "output_1": "Ann", "generator_1": "base",
             "output_2": "Bob", "generator_2": "model", "annotator": "judge", "preference": 1.75},
            {"instruction": "Name two.", "output_1": "Ann", "generator_1": "base",
             "output_2": "Bob", "generator_2": "model", "annotator": "judge", "preference": None},
        ),
        array,
        {"id": "row-1", "label": None, "group": "", "texts": ("Ann", "Bob")},
        {"preference": 2.5},
        'field "preference": 2.5 is neither 0 nor from 1 to 2',
        name="annotations.json",
        row_lines=(2, 11),
        twice='field "instruction": Name one. stands already in line 2',
    ),
    "arena_hard": Case(
        (
            {"uid": "u1", "category": "hard", "judge": "j", "model": "new", "baseline": "old",
             "games": [game("A>>B", "from old", "from new"), game("B=A", "from new", "from old")]},
            {"uid": "u2", "category": "hard", "judge": "j", "model": "new", "baseline": "old",
             "games": [None, {"score": "A<B"}]},
        ),
        jsonl,
        {"id": "u1:new", "label": None, "group": "hard", "texts": ("from old", "from new"),
         "instruction": "Why?"},
        {"games": [{"score": "A"}, None]},
        'field "score": "A" is none of A>>B, A>B, A=B, B>A, B>>A',
        twice='field "uid": u1 stands already in line 1',
    ),
    "selective": Case(
        (
            {"instruction": "Why?", "outputs": ["a1", "b1"], "preferences": {"human": 2},
             "probs": [0.25, 0.75]},
            {"instruction": "Why?", "outputs": ["a2", "b2"], "preferences": {"human": 1},
             "probs": [0.5, 0.5]},
        ),
        jsonl,
        {"id": "row-1", "label": "b", "group": "", "texts": ("a1", "b1")},
        {"probs": [1.5, -0.5]},
        'field "probs": [1.5, -0.5] are no two probabilities',
    ),
    "summ_eval": Case(
        (
            {"doc_id": "d1", "system_id": "s1", "source": "A long text.", "reference": "Short.",
             "system_output": "Brief.", "scores": {"relevance": 4.5, "fluency": 5},
             "all_responses": ["4", " 5.0", "Score: 3"]},
            {"doc_id": "d1", "system_id": "s2", "source": "A long text.", "reference": "Short.",
             "system_output": "", "scores": {"relevance": 1, "fluency": 2}, "all_responses": []},
        ),
        array,
        {"id": "d1:s1", "label": 4.5, "group": "d1", "texts": ("Brief.",), "reference": "Short."},
        {"scores": {"fluency": 2}},
        'field "scores": there is no relevance in ["fluency"]',
        name="summeval.json",
        row_lines=(2, 18),
        twice='field "doc_id": d1 stands already in line 2',
    ),
    "judge_deceiver": Case(
        (
            {"instruction": "Select.# Instruction: Greet.\n", "text1": "Hi", "text2": "Bah",
             "target": "Output (b) is better."},
            {"instruction": "Select.# Instruction: Greet.\n", "text1": "Bah", "text2": "Hi, you",
             "target": "Output (a) is better."},
        ),
        table,
        {"id": "test_1-1", "label": "good", "group": "test_1", "texts": ("Hi", "Bah"),
         "instruction": "Greet."},
        {"target": "b"},
        'field "target": "b" is none of "Output (a) is better.", "Output (b) is better."',
        name="test_1.csv",
        row_lines=(2, 4),
    ),
    "reward_bench": Case(
        (
            {"id": 3, "prompt": "P", "chosen": "good", "rejected": "", "subset": "hep-go"},
            {"id": 3, "prompt": "P", "chosen": "good", "rejected": "bad", "subset": "math-prm"},
        ),
        jsonl,
        {"id": "hep-go:3", "label": "chosen", "group": "hep-go", "texts": ("good", "")},
        {"subset": "hep-c"},
        'field "subset": "hep-c" is none of',
        twice='field "id": 3 stands already in line 1',
    ),
    "reward_bench_2": Case(
        (
            {"id": "1", "prompt": "P", "chosen": ["good"], "rejected": ["x", "y", "z"],
             "subset": "Math", "num_correct": 1},
            {"id": "tied:7", "prompt": "P", "chosen": ["a", "b"], "rejected": ["c"],
             "subset": "Ties", "num_correct": 2},
        ),
        jsonl,
        {"id": "Math:1", "label": "chosen-1", "group": "Math", "texts": ("good", "x", "y", "z")},
        {"id": "7"},
        'field "id": "7" of Ties is no "ref:7" or "tied:7"',
        twice='field "id": 1 stands already in line 1',
    ),
}  # fmt: skip
ROW_CASES = sorted(CASES)


def put(folder: Path, case: Case, rows: list[Row]) -> Path:
    path = folder / case.name
    path.parent.mkdir(exist_ok=True)
    case.write(path, rows)
    return path


@pytest.mark.parametrize("name", ROW_CASES)
def test_a_row_becomes_its_item(tmp_path: Path, name: str):
    case = CASES[name]
    items = BENCHES[name].read(put(tmp_path, case, list(case.rows)), reject=None)
    assert len(items) == 2 and len({one.id for one in items}) == 2
    wanted = dict(case.first)
    assert tuple(one.text for one in items[0].candidates) == wanted.pop("texts")
    assert {name: getattr(items[0], name) for name in wanted} == wanted


@pytest.mark.parametrize("name", ROW_CASES)
def test_a_wrong_field_is_named_by_its_line(tmp_path: Path, name: str):
    case = CASES[name]
    rows = [case.rows[0], {**case.rows[1], **case.wrong}]
    path = put(tmp_path, case, rows)
    with pytest.raises(InputError) as caught:
        BENCHES[name].read(path, reject=None)
    assert f"{path}:{case.row_lines[1]}: " in str(caught.value)
    assert case.message in str(caught.value)
    rejected: list[tuple[Any, ...]] = []
    kept = BENCHES[name].read(path, reject=lambda *one: rejected.append(one))
    assert len(kept) == 1 and rejected[0][:2] == (path, case.row_lines[1])


@pytest.mark.parametrize("name", ROW_CASES)
def test_a_missing_field_and_an_empty_file_are_errors(tmp_path: Path, name: str):
    case = CASES[name]
    [needed] = [one for one in case.wrong if one in case.rows[1]][:1]
    rows = [{key: one for key, one in row.items() if key != needed} for row in case.rows]
    with pytest.raises(InputError, match=f'"{needed}"'):
        BENCHES[name].read(put(tmp_path, case, rows), reject=None)
    path = tmp_path / case.name
    path.write_text("" if path.suffix in (".csv", ".jsonl") else "[]")
    with pytest.raises(InputError, match=f"{path.name}: there is no row in this file"):
        BENCHES[name].read(path, reject=None)


@pytest.mark.parametrize("name", [name for name in ROW_CASES if CASES[name].twice])
def test_a_second_row_of_an_id_is_bad(tmp_path: Path, name: str):
    case = CASES[name]
    path = put(tmp_path, case, [*case.rows, case.rows[0]])
    with pytest.raises(InputError) as caught:
        BENCHES[name].read(path, reject=None)
    assert case.twice in str(caught.value)


@pytest.mark.parametrize("name", [name for name in ROW_CASES if not CASES[name].twice])
def test_where_rows_have_no_ids_equal_ones_are_all_kept(tmp_path: Path, name: str):
    case = CASES[name]
    path = put(tmp_path, case, [*case.rows, case.rows[0]])
    items = BENCHES[name].read(path, reject=None)
    votes = len(people_ballots(items)) if name == "mt_bench" else 0
    assert len(items) == 3 or votes == 3


# -- what single formats have of their own ---------------------------------------------------------


def test_judge_bench_decisions_are_in_the_letters_that_were_shown(tmp_path: Path):
    rows = [
        {**CASES["judge_bench"].rows[0], "pair_id": str(place), "judgments": both}
        for place, both in enumerate(
            ([{"decision": "B>A"}, {"decision": "A>B"}], [{"decision": None}, None],
             [{"decision": "A=B"}, {"decision": "B>>A"}])
        )
    ]  # fmt: skip
    jsonl(tmp_path / "rows.jsonl", rows)
    items = BENCHES["judge_bench"].read(tmp_path / "rows.jsonl", reject=None)
    assert list(recorded_orders(items).values()) == [(2, 1), (None, None), (0, 2)]


def test_llm_bar_winners_are_swapped_back_to_slots_and_the_last_result_counts(tmp_path: Path):
    def result(one: str | None, other: str | None) -> Row:
        return {"swap = False": {"winner": one}, "swap = True": {"winner": other}}

    path = tmp_path / "Manual" / "evaluators" / "judge" / "result.json"
    path.parent.mkdir(parents=True)
    results = [[result("2", "2"), result("1", "1")], [result(None, "2")], [result("2", "1")]]
    array(path, [{**LLM_BAR, "results": one} for one in results])
    items = BENCHES["llm_bar"].read(path, reject=None)
    assert list(recorded_orders(items).values()) == [(1, 2), (None, 1), (2, 2)]
    assert items[0].group == "Manual" and items[0].id == "Manual-1"


def test_a_folder_of_llm_bar_holds_its_subsets(tmp_path: Path):
    for subset in ("Natural", "Adversarial/Manual"):
        (tmp_path / subset).mkdir(parents=True)
        array(tmp_path / subset / "dataset.json", [LLM_BAR])
    items = BENCHES["llm_bar"].read(tmp_path, reject=None)
    assert [one.id for one in items] == ["Manual-1", "Natural-1"]


def test_mt_bench_votes_on_a_pair_are_one_item_whichever_model_is_named_first(tmp_path: Path):
    turned = {
        **VOTE,
        "model_a": "alpaca",
        "model_b": "vicuna",
        "conversation_a": VOTE["conversation_b"],
        "conversation_b": VOTE["conversation_a"],
        "judge": ["gpt-4", "pair-v2"],
    }
    jsonl(tmp_path / "votes.jsonl", [VOTE, turned, {**VOTE, "turn": 2, "winner": "tie"}])
    first, second = BENCHES["mt_bench"].read(tmp_path / "votes.jsonl", reject=None)
    assert [(one["rater"], one["choice"]) for one in first.meta["votes"]] == [
        ("expert_1", "alpaca"),
        ("gpt-4 pair-v2", "vicuna"),
    ]
    assert first.label is None, "two choices lead"
    assert second.candidates[0].text == "a1\n\nUser: And?\n\nAssistant: a2"
    assert second.instruction == "Hello?" and second.label == "tie"


def test_mt_bench_needs_both_turns_of_a_second_turn(tmp_path: Path):
    short = {**VOTE, "turn": 2, "conversation_b": talk("Hello?", "a1")}
    jsonl(tmp_path / "votes.jsonl", [short])
    with pytest.raises(InputError, match='"conversation_b": 2 messages; turn 2 needs 4'):
        BENCHES["mt_bench"].read(tmp_path / "votes.jsonl", reject=None)


def test_mt_bench_games_are_turned_with_the_models(tmp_path: Path):
    game = {"question_id": 81, "judge": ["gpt-4", "pair-v2"], "turn": 1}
    rows = [
        {**game, "model_1": "x", "model_2": "y", "g1_winner": "model_1", "g2_winner": "model_1"},
        {**game, "model_1": "z", "model_2": "y", "g1_winner": "model_1", "g2_winner": "tie"},
        {**game, "model_1": "z", "model_2": "x", "g1_winner": "error", "g2_winner": "model_2"},
    ]
    jsonl(tmp_path / "pairs.jsonl", rows)
    items = read_mt_bench_pairs(tmp_path / "pairs.jsonl", reject=None)
    assert recorded_orders(items) == {
        "81:1:x:y": (1, 2),  # x wins: it stands in slot 1, then in slot 2
        "81:1:y:z": (0, 1),  # y first is game 2, a tie; z first is game 1, which z wins
        "81:1:x:z": (1, None),
    }
    with pytest.raises(InputError, match="holds verdicts and no answers"):
        require_texts(items)


def test_a_failed_score_of_mt_bench_is_no_number(tmp_path: Path):
    row = {"question_id": 81, "model": "x", "judge": ["gpt-4", "single-v1"], "turn": 1}
    jsonl(tmp_path / "s.jsonl", [{**row, "score": 7.5}, {**row, "turn": 2, "score": -1}])
    found = read_mt_bench_scores(tmp_path / "s.jsonl", reject=None)
    assert [one.score for one in found] == [7.5, None]
    jsonl(tmp_path / "s.jsonl", [{**row, "score": 11}])
    with pytest.raises(InputError, match=r's\.jsonl:1: field "score": 11.0 is neither'):
        read_mt_bench_scores(tmp_path / "s.jsonl", reject=None)


def test_the_first_game_of_arena_hard_shows_the_baseline_first(tmp_path: Path):
    jsonl(tmp_path / "rows.jsonl", list(CASES["arena_hard"].rows))
    one, other = BENCHES["arena_hard"].read(tmp_path / "rows.jsonl", reject=None)
    assert [candidate.id for candidate in one.candidates] == ["old", "new"]
    assert one.meta["grades"] == ["A>>B", "A=B"] and one.meta["orders"] == [1, 0]
    assert other.meta["orders"] == [None, 2]
    require_texts([one])
    with pytest.raises(InputError, match="item u2:new has no texts"):
        require_texts([other])


def test_peoples_rows_of_alpaca_eval_are_votes_on_one_item(tmp_path: Path):
    row = {"instruction": "Name one.", "output_1": "Ann", "output_2": "Bob"}
    rows = [{**row, "annotator_index": place, "preference": one}
            for place, one in enumerate((1, 2, 2, 0))]  # fmt: skip
    array(tmp_path / "annotations.json", rows)
    [item] = BENCHES["alpaca_eval"].read(tmp_path / "annotations.json", reject=None)
    assert item.label == "b"
    assert [one["choice"] for one in item.meta["votes"]] == ["a", "b", "b", "tie"]


def test_samples_of_summ_eval_that_are_no_number_are_counted_and_no_zeros(tmp_path: Path):
    array(tmp_path / "rows.json", list(CASES["summ_eval"].rows))
    one, other = read_summ_eval(tmp_path / "rows.json", reject=None, dimension="fluency")
    assert (one.label, one.meta["recorded_score"], one.meta["num_unread"]) == (5.0, 4.5, 1)
    assert other.meta["recorded_score"] is None


def test_systems_without_names_are_numbered_within_their_document(tmp_path: Path):
    rows = [dict(CASES["summ_eval"].rows[0], doc_id=doc) for doc in ("d1", "d1", "d2")]
    for row in rows:
        del row["system_id"]
    array(tmp_path / "rows.json", rows)
    items = read_summ_eval(tmp_path / "rows.json", reject=None)
    assert [one.id for one in items] == ["d1:system-1", "d1:system-2", "d2:system-1"]


def test_prompts_of_prometheus_without_their_headings_are_bad(tmp_path: Path):
    rows = [{**CASES["prometheus_scores"].rows[0], "instruction": "Greet."}]
    array(tmp_path / "rows.json", rows)
    with pytest.raises(InputError, match='"instruction": the headings of the task'):
        read_prometheus_scores(tmp_path / "rows.json", reject=None)


def test_the_two_slots_of_a_pair_of_judge_deceiver_are_one_item(tmp_path: Path):
    good = {"instruction": "# Instruction: Greet.", "text1": "Hi", "text2": "Bah",
            "target": "Output (b) is better."}  # fmt: skip
    turned = {**good, "text1": "Bah", "text2": "Hi", "target": "Output (a) is better."}
    table(tmp_path / "t.csv", [good, turned, turned, good, {**good, "text1": "Hey"}])
    items = BENCHES["judge_deceiver"].read(tmp_path / "t.csv", reject=None)
    assert [one.candidates[0].text for one in items] == ["Hi", "Hi", "Hey"]


def test_a_suffix_goes_behind_the_worse_answer_it_was_made_for(tmp_path: Path):
    table(tmp_path / "t.csv", [CASES["judge_deceiver"].rows[0]])
    items = BENCHES["judge_deceiver"].read(tmp_path / "t.csv", reject=None)
    array(tmp_path / "s.json", [{"question_id": 1, "question": "Greet.", "bad_answer": "Bah ",
                                 "judge-7b": "xyz"}])  # fmt: skip
    suffixes = read_suffixes(tmp_path / "s.json", "judge-7b", reject=None)
    [found] = attacked(items, suffixes)
    assert [one.text for one in found.candidates] == ["Hi", "Bah xyz"] and found.label == "good"
    with pytest.raises(InputError, match="item t-1: no suffix is known"):
        attacked(items, {})


def test_reward_bench_2_keeps_the_right_answers_of_ties(tmp_path: Path):
    jsonl(tmp_path / "r.jsonl", list(CASES["reward_bench_2"].rows))
    _, tied = BENCHES["reward_bench_2"].read(tmp_path / "r.jsonl", reject=None)
    assert tied.label is None and tied.meta["correct"] == ["chosen-1", "chosen-2"]
    short = {**CASES["reward_bench_2"].rows[0], "rejected": ["x"]}
    jsonl(tmp_path / "r.jsonl", [short])
    with pytest.raises(InputError, match="1 and 1 answers; 1 and 3 are needed in Math"):
        BENCHES["reward_bench_2"].read(tmp_path / "r.jsonl", reject=None)


# -- FairEval, which is a folder -------------------------------------------------------------------


def fair_eval(
    folder: Path, votes: str = "CHATGPT\nTIE\n", answered: tuple[int, ...] = (1, 2)
) -> None:
    (folder / "answer").mkdir(exist_ok=True)
    (folder / "review").mkdir(exist_ok=True)
    questions = [{"question_id": one, "text": f"q{one}", "category": "fermi"} for one in (1, 2)]
    jsonl(folder / "question.jsonl", questions)
    for model, ids in (("gpt35", (1, 2)), ("vicuna-13b", answered)):
        rows = [{"question_id": one, "text": f"{model} {one}", "model_id": model} for one in ids]
        jsonl(folder / "answer" / f"answer_{model}.jsonl", rows)
    (folder / "review" / "review_gpt35_vicuna-13b_human.txt").write_text(votes)


def test_fair_eval_reads_answers_and_peoples_words(tmp_path: Path):
    fair_eval(tmp_path)
    one, other = BENCHES["fair_eval"].read(tmp_path, reject=None)
    assert (one.id, one.instruction, one.label, one.group) == ("1", "q1", "gpt35", "fermi")
    assert [candidate.text for candidate in one.candidates] == ["gpt35 1", "vicuna-13b 1"]
    assert other.label == "tie"
    (tmp_path / "review" / "review_gpt35_vicuna-13b_human.txt").unlink()
    assert BENCHES["fair_eval"].read(tmp_path, reject=None)[0].label is None


def test_fair_eval_names_a_wrong_word_a_missing_answer_and_a_missing_verdict(tmp_path: Path):
    fair_eval(tmp_path, votes="CHATGPT\nGPT9\n")
    with pytest.raises(InputError, match=r"human\.txt:2: 'GPT9' is none of"):
        BENCHES["fair_eval"].read(tmp_path, reject=None)
    fair_eval(tmp_path, votes="TIE\n")
    with pytest.raises(InputError, match="1 verdicts of people on 2 questions"):
        BENCHES["fair_eval"].read(tmp_path, reject=None)
    fair_eval(tmp_path, answered=(1,))
    message = "question 2 has no answer in answer_vicuna-13b.jsonl"
    with pytest.raises(InputError, match=message):
        BENCHES["fair_eval"].read(tmp_path, reject=None)
    rejected: list[tuple[Any, ...]] = []
    kept = BENCHES["fair_eval"].read(tmp_path, reject=lambda *one: rejected.append(one))
    assert len(kept) == 1 and rejected == [(tmp_path / "question.jsonl", 2, "2", message)]


def test_every_benchmark_has_a_case_here():
    assert set(BENCHES) == {*CASES, "fair_eval"}
