"""Tables and numbers of a benchmark, from predictions and laps written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.race import Lap
from modelgraft.methods.star_attention.evaluate.ruler import Prediction
from modelgraft.methods.star_attention.evaluate.scores import RULER_13
from modelgraft.methods.star_attention.evaluate.summary import (
    depth_plot,
    place_rows,
    prefill_plot,
    race_numbers,
    score_interval,
    summarise,
)

ARMS = ("star", "dense")


def predictions(
    task: str, arm: str, scores: Sequence[float], nlls: Sequence[float], **fields: Any
) -> list[Prediction]:
    texts = fields.pop("texts", ["words"] * len(scores))
    return [
        Prediction(arm, task, index, text, nll, score, **fields)
        for index, (text, nll, score) in enumerate(zip(texts, nlls, scores, strict=True))
    ]


def both(task: str, star: float, dense: float, **fields: Any) -> list[Prediction]:
    """Four samples of each arm whose mean scores are `star` and `dense`."""
    return [
        *predictions(task, "star", [star] * 4, [0.5, 0.7, 0.9, 0.7]),
        *predictions(task, "dense", [dense] * 4, [0.4, 0.5, 0.6, 0.5], **fields),
    ]


def numbers(found: Sequence[Prediction], arms: Sequence[str] = ARMS) -> dict[str, Any]:
    return {one.name: one for one in summarise(found, arms).numbers}


# -- scores ----------------------------------------------------------------------------------------


def test_every_task_has_a_score_and_a_likelihood_beside_those_of_dense():
    found = numbers(both("vt", 0.5, 0.75))
    assert (found["vt: score"].value, found["vt: score"].baseline) == (50, 75)
    assert found["vt: score"].n == 4 and found["vt: score"].unit == "%"
    nll = found["vt: answer NLL"]
    assert (nll.value, nll.baseline) == (pytest.approx(0.7), pytest.approx(0.5))
    gap = found["vt: answer NLL above dense"]
    assert gap.value == pytest.approx(0.2) and gap.baseline == 0
    assert gap.low <= 0.2 <= gap.high


def test_one_arm_alone_has_no_baseline():
    found = numbers(predictions("vt", "star", [1, 0], [0.1, 0.2]), ["star"])
    assert set(found) == {"vt: score", "vt: answer NLL"}
    assert all(one.baseline is None for one in found.values())


def test_right_or_wrong_items_get_the_interval_of_wilson_and_shares_a_bootstrap():
    whole = score_interval(predictions("vt", "star", [1, 1, 1, 1], [0.1] * 4))
    assert whole.value == 100 and whole.high == 100
    assert whole.low == pytest.approx(51.01, abs=0.01)
    shares = score_interval(predictions("vt", "star", [0.2, 0.4, 1, 0.4], [0.1] * 4))
    assert shares.value == 50 and 20 <= shares.low < 50 < shares.high <= 100


def test_rows_hold_tasks_then_families_for_every_arm():
    tasks = {"niah_single_1": 1.0, "niah_single_3": 0.5, "vt": 0.25, "qa1": 1.0}
    found = [one for task, mean in tasks.items() for one in both(task, mean, 1.0)]
    rows = summarise(found, ARMS).rows
    assert [row[:3] for row in rows if row[1] == "star"] == [
        ["niah_single_1", "star", 100],
        ["niah_single_3", "star", 50],
        ["vt", "star", 25],
        ["qa1", "star", 100],
        ["Single-NIAH", "star", 75],
        ["Tracing", "star", 25],
    ]
    assert [row[2] for row in rows if row[1] == "dense"] == [100] * 6
    assert all(row[5] == 4 for row in rows[:8]) and all(row[3:] == [None] * 3 for row in rows[8:])


def test_replies_that_hold_nothing_to_score_are_counted_as_empty():
    texts = ["", " \n", "\x00\x1f", "a", " \x01b"]
    found = predictions("vt", "star", [0] * 5, [0.1] * 5, texts=texts)
    (row,) = [row for row in summarise(found, ["star"]).rows if row[0] == "vt"]
    assert row[4] == 3


# -- the average -----------------------------------------------------------------------------------


def test_the_ruler_average_needs_all_thirteen_tasks():
    found = [one for task in RULER_13 for one in both(task, 0.5, 0.75)]
    found[0:4] = predictions(RULER_13[0], "star", [1] * 4, [0.1] * 4)
    summary = summarise(found, ARMS)
    (average,) = [one for one in summary.numbers if one.name == "RULER average"]
    assert average.value == pytest.approx((100 + 12 * 50) / 13) and average.baseline == 75
    assert summary.remarks == ()
    fewer = [one for one in found if one.task != "cwe"]
    assert "RULER average" not in numbers(fewer)


def test_stand_ins_in_the_average_are_named():
    named = [task.replace("qa_", "qa_syn_") for task in RULER_13]
    summary = summarise([one for task in named for one in both(task, 1, 1)], ARMS)
    assert any(one.name == "RULER average" for one in summary.numbers)
    assert summary.remarks == ("Invented questions stand in: qa_syn_1, qa_syn_2.",)


def test_other_benchmarks_have_no_ruler_average():
    assert "RULER average" not in numbers(both("qa1", 1, 1))


# -- beside dense ----------------------------------------------------------------------------------


def test_agreement_with_dense_is_reported_where_it_was_measured():
    found = numbers(both("vt", 1, 1, same_token=0.75, divergence=0.02))
    assert found["vt: same likeliest token as dense"].value == 75
    assert found["vt: same likeliest token as dense"].n == 4
    assert found["vt: KL divergence from dense"].value == pytest.approx(0.02)
    assert found["vt: KL divergence from dense"].better == "lower"
    assert not [name for name in numbers(both("vt", 1, 1)) if "likeliest" in name or "KL" in name]


# -- places ----------------------------------------------------------------------------------------


def needles(*depths: float) -> list[Sample]:
    return [
        Sample(index, "niah_single_1", "c", "q", ("x",), depths=(depth,))
        for index, depth in enumerate(depths)
    ]


def test_scores_are_grouped_by_quarters_of_the_depth_and_by_blocks_of_ours():
    samples = needles(0.0, 0.2, 0.5, 1.0)
    found = []
    for index, (block, score) in enumerate([(0, 1.0), (0, 0.0), (2, 1.0), (3, 0.0)]):
        for arm in ARMS:
            own = block if arm == "star" else 0
            found.append(
                Prediction(arm, "niah_single_1", index, "x", float(index), score, block=own)
            )
    rows = place_rows(samples, found, ARMS)
    assert [row for row in rows if row[1] == "star"] == [
        ["depth 0 to 0.25", "star", 50, 0.5, 2],
        ["depth 0.5 to 0.75", "star", 100, 2, 1],
        ["depth 0.75 to 1", "star", 0, 3, 1],
        ["block 1", "star", 50, 0.5, 2],
        ["block 3", "star", 100, 2, 1],
        ["block 4", "star", 0, 3, 1],
    ]
    assert [row[0] for row in rows if row[1] == "dense"] == [row[0] for row in rows[::2]]


def test_samples_of_several_facts_have_no_place():
    sample = Sample(0, "vt", "c", "q", ("x",), depths=(0.1, 0.9))
    found = predictions("vt", "star", [1], [0.1])
    assert place_rows([sample], found, ["star"]) == []
    assert depth_plot([sample], found, ["star"]) is None


def test_the_depth_plot_has_a_point_for_each_needle_and_arm():
    found = [
        *predictions("niah_single_1", "star", [1, 1], [0.3, 0.1]),
        *predictions("niah_single_1", "dense", [1, 1], [0.2, 0.4]),
    ]
    plot = depth_plot(needles(0.9, 0.1), found, ARMS)
    assert [(one.name, list(one.x), list(one.y)) for one in plot.series] == [
        ("star", [0.1, 0.9], [0.1, 0.3]),
        ("dense", [0.1, 0.9], [0.4, 0.2]),
    ]


# -- race ------------------------------------------------------------------------------------------


def test_a_race_is_the_median_ratio_of_its_rounds_under_the_name_of_the_arm():
    laps = {
        "dense": [Lap(2.0, 0.2, 400), Lap(4.0, 0.2, 500), Lap(2.0, 0.2, 500)],
        "local": [Lap(1.0, 0.1, 250), Lap(1.0, 0.1, 250), Lap(2.0, 0.1, 250)],
    }
    found = {one.name: one for one in race_numbers("9", laps, 11, arm="local", called="local")}
    assert found["9: prefill time, local/dense"].value == 0.5
    assert found["9: decoding speed, local/dense"].value == 2
    assert found["9: end to end with 11 tokens, times faster"].value == 2
    assert found["9: peak memory, local/dense"].value == 0.5
    unnamed = race_numbers("9", {**laps, "m=4": laps["local"]}, 11, arm="m=4")
    assert unnamed[0].name == "9: prefill time, star/dense"


def test_memory_that_was_not_measured_is_left_out():
    laps = {arm: [Lap(1.0, 0.1, None)] * 2 for arm in ARMS}
    assert not [one for one in race_numbers("9", laps, 3) if "memory" in one.name]


def test_the_prefill_plot_has_medians_with_the_fastest_and_slowest_round():
    plot = prefill_plot({"star": {200: [3.0, 1.0, 2.0], 100: [1.0]}})
    (series,) = plot.series
    assert (list(series.x), list(series.y)) == ([100, 200], [1.0, 2.0])
