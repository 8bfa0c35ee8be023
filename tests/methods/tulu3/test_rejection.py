"""Rejection sampling, and the verdict on what the original answer in the list is worth (E7)."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from modelgraft.core.runs import open_run
from modelgraft.evaluation.reproduction import Findings
from modelgraft.methods.tulu3.experiments.rejection import (
    ERROR_RATES,
    REJECTION,
    SAMPLER,
    Arms,
    is_confirmed,
    measure,
)
from modelgraft.methods.tulu3.preferences.rejection import Kept, Rated, keep_best

SAMPLES = [Rated("a", 2), Rated("b", 4), Rated("c", 3)]


def test_the_highest_rating_is_kept_wherever_it_stands():
    rng = random.Random(0)
    assert keep_best(SAMPLES, None, rng) == Kept("b", 4, False)
    assert keep_best(SAMPLES, Rated("o", 5), rng) == Kept("o", 5, True)
    assert keep_best(SAMPLES, Rated("o", 1), rng) == Kept("b", 4, False)
    assert keep_best([], Rated("o", 1), rng) == Kept("o", 1, True)


def test_equal_ratings_are_drawn_from_evenly():
    draws = [keep_best(SAMPLES, Rated("o", 4), random.Random(seed)) for seed in range(2000)]
    counts = Counter(kept.text for kept in draws)
    assert {*counts} == {"b", "o"} and abs(counts["o"] - 1000) < 100
    assert all(kept.is_original == (kept.text == "o") for kept in draws)


def test_a_judge_without_error_never_loses_by_the_original():
    arms = measure("lost-short", 0.0, (0, 1), 40)
    assert arms.with_original.shape == (2, 40)
    # The judge's ratings are rounded quality, so a loss is below half a step of the scale.
    assert (arms.with_original - arms.without).min() >= -1 / 8
    assert arms.gap.value > 0.1


def test_both_arms_see_the_same_samples_with_the_same_ratings():
    arms = measure(SAMPLER, 0.6, (0, 1), 60)
    is_kept = arms.with_original == arms.original
    differs = arms.with_original != arms.without
    # Where the arms differ, the original was kept, but for draws among samples of equal ratings.
    assert (differs & is_kept).sum() > 3 * (differs & ~is_kept).sum()


def drawn(gaps: tuple[float, ...], *, spread: float = 0.05) -> list[Arms]:
    """Arms whose mean gap is exactly as given, at each error rate."""
    rng = np.random.default_rng(0)
    without = rng.normal(0.8, spread, (3, 200))
    found = []
    for gap in gaps:
        noise = rng.normal(0, spread, without.shape)
        found.append(Arms(without + gap + noise - noise.mean(), without, without))
    return found


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ((0.001, 0.02, 0.04), True),
        ((0.001, -0.02, 0.04), False),  # the original harms in between
        ((0.04, 0.04, 0.04), False),  # no growth
        ((0.06, 0.04, 0.02), False),
        ((0.001, 0.001, 0.0015), False),  # growth within the noise
    ],
)
def test_the_verdict_falls_when_the_original_harms_or_its_worth_does_not_grow(gaps, expected):
    assert is_confirmed(drawn(gaps)) is expected


def test_a_quick_pass_measures_both_arms_at_every_error_rate(tmp_path):
    with open_run(tmp_path, seed=0) as run:
        found = REJECTION.run(run, True)
    assert isinstance(found, Findings) and len(found.seeds) >= 3
    names = [number.name for number in found.numbers]
    for error_rate in ERROR_RATES:
        assert f"{SAMPLER}, judge errs in {error_rate:.0%}: quality with the original" in names
    assert all(number.baseline is not None for number in found.numbers if "quality" in number.name)
    assert (tmp_path / "artefacts/E7-rejection.json").exists()
