"""Headline numbers: verdicts and differences claim no more than the intervals carry."""

from __future__ import annotations

import re

import pytest

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import wilson
from modelgraft.evaluation.report.numbers import change_rows, difference, number_rows, verdict


def test_a_difference_has_the_interval_of_independent_estimates() -> None:
    a, b = Number("x", 10.0, 7.0, 13.0), Number("x", 15.0, 11.0, 19.0)
    assert difference(a, b) == pytest.approx((5.0, 0.0, 10.0))  # hypot(3, 4) on both sides
    lopsided = Number("x", 0.9, 0.7, 0.95)
    gap, low, high = difference(lopsided, b)
    back, back_low, back_high = difference(b, lopsided)
    assert (gap, low, high) == pytest.approx((-back, -back_high, -back_low))


def test_a_difference_of_shares_matches_newcombe_1998() -> None:
    # His table II, method 10: 56/70 against 48/80 gives 0.0524 to 0.3339.
    a, b = wilson(48, 80), wilson(56, 70)
    one, two = Number("x", 48 / 80, a.low, a.high), Number("x", 56 / 70, b.low, b.high)
    assert difference(one, two) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_verdicts_say_only_what_the_interval_carries() -> None:
    assert verdict(Number("x", 0.5, 0.4, 0.6, baseline=0.3)) == "better"
    assert verdict(Number("x", 0.5, 0.4, 0.6, baseline=0.3, better="lower")) == "worse"
    assert verdict(Number("x", 0.5, 0.4, 0.6, baseline=0.6)) == "no clear difference"
    assert verdict(Number("x", 0.5, baseline=0.3)) == "better without interval"
    assert verdict(Number("x", 0.5, baseline=0.5)) == "same"
    assert verdict(Number("x", 0.5)) == ""
    assert verdict(Number("x", float("nan"), baseline=1.0)) == "not measured"


def test_numbers_of_two_runs_are_paired_by_name_and_none_is_lost() -> None:
    one, two = Number("x", 1.0), Number("x", 2.0)
    rows = change_rows([one, two, Number("a", 1.0)], [one, Number("x", 3.0), Number("b", 1.0)])
    assert [(row.name, row.a, row.b, row.verdict) for row in rows] == [
        ("x", "1", "1", "same"),
        ("x", "2", "3", "better without interval"),
        ("a", "1", "none", "not measured"),
        ("b", "none", "1", "not measured"),
    ]


def test_bars_of_one_unit_share_a_scale_and_small_values_keep_their_own() -> None:
    rows = number_rows([Number("a", 50.0, 40, 60, unit="s"), Number("b", 30.0, 25, 35, unit="s")])
    tiny = number_rows([Number("a", 50.0, 40, 60, unit="s"), Number("b", 0.3, 0.2, 0.4, unit="s")])
    (alone,) = number_rows([Number("b", 0.3, 0.2, 0.4, unit="s")])
    assert points(rows[1].bar) == pytest.approx(6 + 138 * 30 / 60, abs=0.1)
    assert tiny[1].bar == alone.bar
    assert points(alone.bar) == pytest.approx(6 + 138 * 0.3 / 0.4, abs=0.1)
    assert not number_rows([Number("blocks", 8)])[0].bar


def points(bar: str) -> float:
    found = re.search(r'<circle cx="([0-9.]+)"', bar)
    assert found is not None
    return float(found[1])
