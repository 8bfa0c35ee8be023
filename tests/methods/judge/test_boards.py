"""Leaderboards: battles from any source, ratings that closed forms know, length held constant."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.evaluation.report.formats import Table
from modelgraft.evaluation.report.plots import Plot
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import compare, leaderboard
from modelgraft.methods.judge.config import CompareConfig, LeaderboardConfig
from modelgraft.methods.judge.estimates import estimate_leaderboard
from modelgraft.methods.judge.leaderboard.boards import world_contest
from modelgraft.methods.judge.leaderboard.fought import (
    Fought,
    read_annotated,
    read_fought,
    read_games,
    styles_of,
)
from modelgraft.methods.judge.leaderboard.rated import rate
from modelgraft.methods.judge.leaderboard.win_rates import (
    against_baseline,
    choose_baseline,
    win_rates,
)
from modelgraft.methods.judge.method.comparison import Comparison, length_covariate
from modelgraft.methods.judge.method.length_control import length_controlled
from modelgraft.methods.judge.world.pairs import CATEGORIES, category_of

Row = dict[str, Any]


def jsonl(path: Path, *rows: Row) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_board(folder: Path, **fields: Any) -> Result:
    fields.setdefault("rounds", 200)
    with open_run(folder, seed=0) as run:
        return run.finish(leaderboard(LeaderboardConfig(**fields), run))


def by_name(result: Result) -> dict[str, Number]:
    return {one.name: one for one in result.numbers}


def battle(a: str, b: str, winner: str | None, prompt: object, **fields: Any) -> Row:
    return {"model_a": a, "model_b": b, "winner": winner, "question_id": prompt, **fields}


def fights(first: str, second: str, wins: int, losses: int, start: int = 0) -> list[Row]:
    winners = ["model_a"] * wins + ["model_b"] * losses
    return [battle(first, second, one, start + n) for n, one in enumerate(winners)]


def longer_wins(request: Request) -> Reply:
    text = next(one["content"] for one in request.messages if one["role"] == "user")
    parts = [part.split("</answer")[0] for part in text.split("<answer ")[2:]]
    a, b = (len(part.partition(">\n")[2]) for part in parts)
    return Reply(text=f"[[{'A' if a > b else 'B' if b > a else 'C'}]]", finish_reason="stop")


# -- ratings ---------------------------------------------------------------------------------------

THREE = [*fights("a", "b", 6, 4), *fights("b", "c", 7, 3, 10), *fights("a", "c", 8, 2, 20)]


def test_ratings_are_those_of_the_closed_form(tmp_path: Path):
    """Acceptance 12: 7 to 3 are 147.191 points."""
    path = jsonl(tmp_path / "rows.jsonl", *fights("x", "y", 7, 3))
    found = by_name(run_board(tmp_path / "run", items=path))
    assert found["x: rating"].value - found["y: rating"].value == pytest.approx(147.191, abs=1e-3)
    path = jsonl(tmp_path / "three.jsonl", *THREE)
    found = by_name(run_board(tmp_path / "run3", items=path))
    theta = [(found[f"{one}: rating"].value - 1000) * np.log(10) / 400 for one in "abc"]
    assert theta == pytest.approx([0.591468, 0.149102, -0.740570], abs=1e-5)
    for one in "abc":
        number = found[f"{one}: rating"]
        assert number.low is not None and number.low < number.value < (number.high or 0)
        assert number.n == 20
    assert found["a: win rate"].value == 70.0 and found["battles"].value == 30


@pytest.mark.parametrize("rating", ["bradley_terry", "elo", "davidson"])
def test_whoever_wins_more_is_above_by_every_rule(tmp_path: Path, rating: str):
    rows = [*THREE, battle("a", "b", "tie", 40), battle("b", "c", "tie (bothbad)", 41)]
    result = run_board(tmp_path / "run", items=jsonl(tmp_path / "r.jsonl", *rows), rating=rating)
    table = Table.load(tmp_path / "run" / "artefacts" / "leaderboard.json")
    assert [row[1] for row in table.rows] == ["a", "b", "c"]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["battles"], row["wins"], row["ties"], row["losses"]) == (21, 14, 1, 6)
    assert row["low"] < row["rating"] < row["high"]
    assert row["best rank"] == 1 <= row["worst rank"] <= 3
    told = "\n".join(result.remarks)
    assert ("order of the battles" in told) == (rating == "elo")
    assert ("tie parameter" in told) == (rating == "davidson")


def test_the_table_is_there_for_spreadsheets_and_for_the_eye(tmp_path: Path):
    result = run_board(tmp_path / "run", items=jsonl(tmp_path / "r.jsonl", *THREE))
    folder = tmp_path / "run" / "artefacts"
    table = Table.load(folder / "leaderboard.json")
    with open(folder / "leaderboard.csv", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == list(table.columns) and len(rows) == 1 + len(table.rows)
    assert [row[1] for row in rows[1:]] == ["a", "b", "c"]
    plot = Plot.load(folder / "ratings.json")
    assert plot.kind == "dots" and list(plot.series[0].x) == ["a", "b", "c"]
    assert plot.series[0].interval(0) == (table.rows[0][3], table.rows[0][4])
    assert result.text.splitlines()[0].split()[:3] == ["rank", "model", "rating"]
    assert "70.0 %" in result.text


@pytest.mark.parametrize("rating", ["bradley_terry", "elo"])
def test_models_that_nothing_links_are_named(tmp_path: Path, rating: str):
    rows = [*fights("a", "b", 3, 2), *fights("c", "d", 3, 2, 10)]
    result = run_board(tmp_path / "run", items=jsonl(tmp_path / "r.jsonl", *rows), rating=rating)
    told = "\n".join(result.remarks)
    assert "2 groups of models are not linked" in told and "{a, b}, {c, d}" in told


def test_battles_on_one_prompt_know_less_than_battles_on_many():
    many = [Fought("x", "y", float(n % 3 > 0), str(n)) for n in range(60)]
    few = [Fought("x", "y", float(n % 3 > 0), str(n % 3)) for n in range(60)]
    one, other = (rate(found, rounds=500) for found in (many, few))
    assert one.rating == pytest.approx(other.rating)
    assert (other.high - other.low)[0] > 2 * (one.high - one.low)[0]


def test_unread_battles_are_counted_and_decide_nothing(tmp_path: Path):
    rows = [*THREE, battle("a", "c", None, 50), battle("c", "a", None, 51)]
    found = by_name(run_board(tmp_path / "run", items=jsonl(tmp_path / "r.jsonl", *rows)))
    assert found["battles without a verdict"].value == 2
    assert found["battles without a verdict"].n == 32
    assert found["a: win rate"].value == 70.0
    path = jsonl(tmp_path / "none.jsonl", battle("a", "b", None, 1))
    with pytest.raises(InputError, match="none of 1 battles has a verdict"):
        run_board(tmp_path / "none", items=path)


# -- style -----------------------------------------------------------------------------------------


def test_style_is_counted_in_both_answers():
    text = "# Title\n\n- one **bold**\n- two\n3. three __it__"
    counts = styles_of([Fought("a", "b", 1.0, "p", (text, "plain words"))])
    assert [one.tolist() for one in counts] == [[[10, 1, 3, 2]], [[2, 0, 0, 0]]]
    with pytest.raises(InputError, match="1 of 1 battles have no answers"):
        styles_of([Fought("a", "b", 1.0, "p")])


def test_a_model_that_only_writes_more_is_no_better_with_length_held_constant(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(600):
        sizes = {"long": int(rng.integers(40, 120)), "short": int(rng.integers(10, 90))}
        gap = (sizes["long"] - sizes["short"]) / (sum(sizes.values()) + 1)
        winner = "model_a" if rng.random() < 1 / (1 + np.exp(-4 * gap)) else "model_b"
        texts = {f"answer_{side}": "x " * sizes[name]
                 for side, name in (("a", "long"), ("b", "short"))}  # fmt: skip
        rows.append(battle("long", "short", winner, n, **texts))
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    raw, held = (
        by_name(run_board(tmp_path / style, items=path, style=style, baseline="short"))
        for style in ("none", "length")
    )

    def gap_of(found: dict[str, Number]) -> float:
        return found["long: rating"].value - found["short: rating"].value

    assert gap_of(raw) > 100 and abs(gap_of(held)) < 60
    slope = held["style, tokens"]
    assert slope.low is not None and slope.low > 0
    controlled = raw["long: win rate against short, length-controlled"]
    assert controlled.baseline is not None
    assert abs(controlled.value - 50) < abs(controlled.baseline - 50) / 2


def test_who_stands_first_changes_no_rating_with_style_held_constant():
    rng = np.random.default_rng(1)
    found = [
        Fought("x", "y", float(rng.random() < 0.6), str(n),
               ("w " * int(rng.integers(9, 40)), "w " * int(rng.integers(1, 30))))
        for n in range(80)
    ]  # fmt: skip
    turned = [Fought("y", "x", 1 - one.outcome, one.prompt, one.texts[::-1]) for one in found]
    mixed = [(found if n % 2 else turned)[n] for n in range(len(found))]
    for style in ("length", "format"):
        expected = rate(found, style=style)
        for other in (turned, mixed):
            assert rate(other, style=style).rating == pytest.approx(expected.rating)


def test_style_needs_answers_and_one_rule(tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", *THREE)
    with pytest.raises(InputError, match="have no answers to measure"):
        run_board(tmp_path / "run", items=path, style="format")
    with pytest.raises(ConfigError, match="are about a file"):
        LeaderboardConfig(format="battles")
    with pytest.raises(ConfigError, match="goes with --rating bradley_terry"):
        LeaderboardConfig(style="length", rating="elo")


# -- win rates -------------------------------------------------------------------------------------

scores = st.sampled_from([0.0, 0.5, 1.0])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(scores, st.integers(1, 60), st.integers(1, 60)), min_size=6, max_size=12))
def test_length_control_is_that_of_one_model_whichever_side_it_stands_on(
    rows: list[tuple[float, int, int]],
):
    found, turned = [], []
    for n, (y, model, baseline) in enumerate(rows):
        texts = ("m" * model, "b" * baseline)
        found.append(Fought("model", "base", y, str(n), texts))
        turned.append(Fought("base", "model", 1 - y, str(n), texts[::-1]))
    one, other = (against_baseline(x, "base", rounds=100).models["model"] for x in (found, turned))
    assert one == other
    y, model, baseline = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    expected = length_controlled(Comparison(y, length_covariate(model, baseline)[:, None]))
    assert one.controlled is not None
    assert one.controlled.value == pytest.approx(expected.win_rate)
    assert one.raw.value == pytest.approx(100 * y.mean())


def test_what_has_no_length_controlled_rate_is_said():
    found = [Fought("m", "base", 1.0, str(n), ("a", "b")) for n in range(4)]
    found += [Fought("n", "base", 0.0, str(n)) for n in range(9)]
    told = against_baseline(found, "base")
    assert told.models["m"].controlled is None and told.models["n"].controlled is None
    assert any("from 4 prompts; 5 are needed" in one for one in told.remarks)
    assert any("n: no length-controlled win rate, since answers" in one for one in told.remarks)
    assert choose_baseline(found) == "base"
    with pytest.raises(ConfigError, match="it fought no battle; base, m, n did"):
        choose_baseline(found, "other")


def test_win_rates_of_two_add_up_and_count_strong_verdicts_thrice():
    found = [Fought("x", "y", 1.0, "1", weight=3), Fought("x", "y", 0.0, "2")]
    rates = win_rates(found)
    assert rates["x"].value == 75.0 and rates["x"].value + rates["y"].value == 100


# -- sources ---------------------------------------------------------------------------------------


def test_battles_name_winners_by_side_or_by_model_and_talk_as_arenas_do(tmp_path: Path):
    talk = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "from x"}]
    path = jsonl(
        tmp_path / "rows.jsonl",
        battle("x", "y", "y", 1),
        battle("x", "y", "model_a", "p", conversation_a=talk, conversation_b=talk[:1]),
        battle("x", "y", "tie (inconsistent)", 2, answer_a="one", answer_b=""),
    )
    found = read_fought(path, reject=None)
    assert [one.outcome for one in found] == [0.0, 1.0, 0.5]
    assert [one.prompt for one in found] == ["1", "p", "2"]
    assert [one.texts for one in found] == [None, ("from x", ""), ("one", "")]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (battle("x", "x", "tie", 1), "both are x"),
        (battle("x", "y", "z", 1), '"z" is neither a model nor a tie'),
        ({"model_a": "x", "winner": "tie"}, '"model_b" is missing'),
    ],
)
def test_bad_battles_are_named_by_line(tmp_path: Path, row: Row, told: str):
    path = jsonl(tmp_path / "rows.jsonl", battle("x", "y", "tie", 0), row)
    with pytest.raises(InputError, match=f"rows.jsonl:2: .*{told}"):
        read_fought(path, reject=None)


def test_annotations_are_battles_with_the_baseline(tmp_path: Path):
    row = {"instruction": "i", "output_1": "a", "generator_1": "base", "output_2": "bb",
           "generator_2": "ours", "annotator": "j"}  # fmt: skip
    rows = [{**row, "instruction": str(n), "preference": p}
            for n, p in enumerate((1, 2, 1.5, 0, 1.75, None))]  # fmt: skip
    path = jsonl(tmp_path / "annotations.json", *rows)
    found = read_annotated(path, reject=None)
    assert [one.outcome for one in found] == [1.0, 0.0, 0.5, 0.5, 0.25, None]
    numbers = by_name(run_board(tmp_path / "run", items=path))
    assert numbers["ours: win rate"].value == pytest.approx(55.0)
    assert "ours: win rate against base, length-controlled" in numbers


def test_games_are_two_battles_in_which_much_better_counts_thrice(tmp_path: Path):
    def row(uid: str, *grades: str | None) -> Row:
        return {"uid": uid, "model": "ours", "baseline": "base", "judge": "j",
                "games": [{"score": one} for one in grades]}  # fmt: skip

    path = jsonl(tmp_path / "rows.jsonl", row("1", "B>>A", "A>B"), row("2", "A=B", None))
    found = read_games(path, reject=None)
    assert [(one.first, one.outcome, one.weight) for one in found] == [
        ("base", 0.0, 3),
        ("base", 0.0, 1),
        ("base", None, 1),
    ]
    assert [one.prompt for one in found] == ["1", "1", "2"]


ANSWERS = {"deep": "a long answer indeed", "middle": "an answer", "short": "no"}


def item(name: str, *writers: str) -> Row:
    candidates = [{"text": f"{ANSWERS[one]} {name}", "generator": one} for one in writers]
    return {"id": name, "instruction": f"Ask {name}", "candidates": candidates}


def test_items_are_judged_now_in_pairs_of_their_generators(tmp_path: Path):
    path = jsonl(tmp_path / "items.jsonl", *(item(str(n), *ANSWERS) for n in range(6)))
    with ScriptedServer(longer_wins) as server:
        result = run_board(tmp_path / "run", items=path, judge=f"{server.url}#length")
    found = by_name(result)
    assert found["battles"].value == 18 and found["prompts"].value == 6
    assert [found[f"{one}: win rate"].value for one in ANSWERS] == [100.0, 50.0, 0.0]
    assert found["verdicts"].value == 36
    told = estimate_leaderboard(LeaderboardConfig(items=path, judge=server.url), Settings())
    assert next(one.value for one in told if one.name == "looks of the judge at most") == 36
    assert (tmp_path / "run" / "artefacts" / "judgments.jsonl").exists()


def test_judgments_of_a_finished_comparison_are_not_made_again(tmp_path: Path):
    path = jsonl(tmp_path / "items.jsonl", *(item(str(n), "deep", "short") for n in range(3)))
    with ScriptedServer(longer_wins) as server, open_run(tmp_path / "compared") as run:
        result = run.finish(compare(CompareConfig(items=path, judge=f"{server.url}#l"), run))
    assert by_name(result)["deep: win rate"].value == 100.0
    rates = Table.load(tmp_path / "compared" / "artefacts" / "win_rates.json")
    assert [row[:2] for row in rates.rows] == [["deep", 100.0], ["short", 0.0]]
    judgments = tmp_path / "compared" / "artefacts" / "judgments.jsonl"
    found = by_name(run_board(tmp_path / "run", items=path, judgments=judgments))
    assert found["deep: win rate"].value == 100.0 and "verdicts" not in found
    other = jsonl(tmp_path / "other.jsonl", item("other", "deep", "short"))
    with pytest.raises(InputError, match="no judgment is about one of 1 items"):
        run_board(tmp_path / "r2", items=other, judgments=judgments)
    with pytest.raises(ConfigError, match="--judgments goes with items"):
        rows = jsonl(tmp_path / "rows.jsonl", *THREE)
        run_board(tmp_path / "r3", items=rows, judgments=judgments)


def test_items_without_generators_and_other_rows_are_refused(tmp_path: Path):
    nameless = {"id": "x", "instruction": "q", "candidates": ["a", "b"]}
    path = jsonl(tmp_path / "items.jsonl", nameless)
    with pytest.raises(InputError, match="item x: its candidates do not all name"):
        run_board(tmp_path / "run", items=path, judge="http://127.0.0.1:1/v1#m")
    path = jsonl(tmp_path / "rows.jsonl", {"question": 1})
    with pytest.raises(InputError, match="these are no battles and no items"):
        run_board(tmp_path / "r2", items=path)


def test_the_worlds_contest_has_three_writers_of_known_worth(tmp_path: Path):
    items = world_contest(25, seed=0)
    assert len(items) == 25 and {category_of(one) for one in items} == set(CATEGORIES)
    assert items == world_contest(25, seed=0) != world_contest(25, seed=1)
    assert all({one.meta["generator"] for one in item.candidates} == {"careful", "hasty", "chatty"}
               for item in items)  # fmt: skip
    with ScriptedServer(longer_wins) as server:
        found = by_name(run_board(tmp_path / "run", judge=f"{server.url}#length", num=10))
    assert found["prompts"].value == 10 and found["chatty: win rate"].value == 100.0


def test_battles_that_all_end_alike_bound_nothing():
    won = [Fought("a", "b", 1.0, str(one)) for one in range(10)]
    rated = rate(won, rounds=100)
    assert np.isnan(rated.low).all() and np.isnan(rated.high).all()
    assert rated.ranks.tolist() == [[1, 2], [1, 2]]
    assert any("no bounds there" in one for one in rated.remarks)
