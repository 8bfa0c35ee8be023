"""Simulated experiments: their quick pass runs, and what they simulate is what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelgraft.core.runs import open_run
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS
from modelgraft.methods.judge.experiments import (
    acceleration,
    corrected,
    guarantee,
    length_control,
    panels,
    ratings,
)

EXPERIMENTS = (
    length_control.LENGTH_CONTROL,
    ratings.RATINGS,
    acceleration.ACCELERATION,
    guarantee.GUARANTEE,
    corrected.CORRECTED,
    panels.PANELS,
)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.id)
def test_a_quick_pass_tells_every_number_beside_a_baseline(tmp_path: Path, experiment):
    with open_run(tmp_path / "run", seed=3) as run:
        found = experiment.run(run, True)
    assert found.verdict in (HOLDS, DOES_NOT_HOLD) and found.seeds
    assert {"model", "dtype", "device"} <= found.subject.keys()
    assert all(one.baseline is not None and np.isfinite(one.value) for one in found.numbers)


def test_the_noisy_judge_is_right_as_often_as_it_says_and_repeats_itself():
    judge = acceleration.NoisyJudge(60, 0.75, 0)
    pairs = [(i, j) for i in range(60) for j in range(60) if i < j]
    says = np.array(judge.compare(pairs))
    right = np.array([(judge.place[i] < judge.place[j]) == (p > 0.5)
                      for (i, j), p in zip(pairs, says, strict=True)])  # fmt: skip
    assert abs(right.mean() - 0.75) < 0.03
    assert judge.compare([(j, i) for i, j in pairs]) == pytest.approx(1 - says)
    assert np.abs(says - 0.5)[right].mean() > np.abs(says - 0.5)[~right].mean() + 0.1


def test_errors_of_equal_judges_correlate_as_asked():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        truth, verdicts = panels.draw((0.75,) * 5, 0.3, rng)
        wrong = verdicts != truth[:, None]
        found.append(np.corrcoef(wrong.T)[np.triu_indices(5, 1)].mean())
    assert np.mean(found) == pytest.approx(0.3, abs=0.03)


def test_battles_are_drawn_by_davidsons_model():
    battles, _, theta = ratings.simulated(0, 200_000)
    gap = theta[battles.first] - theta[battles.second] + ratings.SLOT
    near = np.abs(gap) < 0.1
    ties = (battles.outcome[near] == 0.5).mean()
    assert ties == pytest.approx(ratings.TIES / (2 + ratings.TIES), abs=0.02)


def test_a_guarantee_that_fails_would_be_seen():
    """The naive threshold, held to the same promise, does not keep it."""
    rng = np.random.default_rng(0)
    everyone = guarantee.draw(50_000, rng)
    broken = 0
    for _ in range(60):
        confidence, chance = guarantee.draw(guarantee.LABELS, rng)
        right = (rng.random(chance.shape) < chance).astype(float)
        thresholds = guarantee.naive_threshold(confidence, right)
        broken += guarantee.risk_of(tuple(thresholds), *everyone)[0] > guarantee.ALPHA
    assert broken / 60 > 0.2
