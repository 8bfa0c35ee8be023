"""Dawid-Skene: perfect judges, rising likelihood, and better labels than the majority."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method.dawid_skene import dawid_skene
from modelgraft.methods.judge.method.panels import vote


def judged(
    seed: int, accuracies: list[float], n: int = 400, k: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Truth [n] and labels [n, j] of judges who err evenly."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    wrong = (truth[:, None] + rng.integers(1, k, size=(n, len(accuracies)))) % k
    return truth, np.where(rng.random(wrong.shape) < accuracies, truth[:, None], wrong)


def test_perfect_raters_get_their_labels_back():
    """Acceptance 20."""
    truth, labels = judged(0, [1.0, 1.0, 1.0])
    found = dawid_skene(labels)
    assert np.array_equal(found.labels, truth) and found.is_settled
    assert found.accuracies == pytest.approx(np.ones(3), abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_likelihood_never_decreases(seed):
    """Acceptance 20: with smoothing it is the objective that EM raises, its prior included."""
    _, labels = judged(seed, [0.8, 0.6, 0.5, 0.4], n=60)
    for smoothing in (0.01, 1e-9):
        steps = dawid_skene(labels, smoothing=smoothing).objective
        assert len(steps) > 3 and (np.diff(steps) >= -1e-9).all()


def test_renaming_the_classes_renames_the_result():
    """Acceptance 20."""
    _, labels = judged(1, [0.8, 0.7, 0.6])
    found = dawid_skene(labels)
    order = np.array([2, 0, 1])
    renamed = dawid_skene(order[labels])
    assert renamed.posterior[:, order] == pytest.approx(found.posterior)
    assert renamed.prior[order] == pytest.approx(found.prior)
    assert renamed.confusions[:, order][:, :, order] == pytest.approx(found.confusions)
    words = np.array(["bad", "fair", "good"])
    assert dawid_skene(words[labels].tolist()).labels.tolist() == words[found.labels].tolist()


def test_it_is_right_more_often_than_the_majority_when_accuracies_differ():
    truth, labels = judged(2, [0.95, 0.9, 0.45, 0.45, 0.45], n=600)
    majority = [
        vote(row, tie="random", key=str(place)).label for place, row in enumerate(labels.tolist())
    ]
    found = dawid_skene(labels)
    assert (found.labels == truth).mean() > np.mean(np.array(majority) == truth) + 0.02
    assert found.accuracies == pytest.approx([0.95, 0.9, 0.45, 0.45, 0.45], abs=0.06)


def test_it_learns_confusions_that_go_one_way():
    rng = np.random.default_rng(3)
    truth = rng.integers(2, size=1500)
    lenient = np.where(rng.random(1500) < 0.5, 1, truth)  # calls half of the bad ones good
    exact = np.where(rng.random((2, 1500)) < 0.9, truth, 1 - truth)
    found = dawid_skene(np.stack([lenient, *exact], axis=1))
    assert found.confusions[0] == pytest.approx(np.array([[0.5, 0.5], [0, 1]]), abs=0.06)


def test_a_step_equals_the_published_formulas():
    _, labels = judged(4, [0.8, 0.6, 0.6], n=20)
    start = np.array([[(row == k).mean() for k in range(3)] for row in labels])
    prior = (start.sum(axis=0) + 0.01) / (20 + 0.03)
    posterior = np.empty((20, 3))
    for i, row in enumerate(labels):
        for k in range(3):
            value = prior[k]
            for j, given in enumerate(row):
                counts = [start[labels[:, j] == one, k].sum() + 0.01 for one in range(3)]
                value *= counts[given] / sum(counts)
            posterior[i, k] = value
    posterior /= posterior.sum(axis=1, keepdims=True)
    found = dawid_skene(labels, max_steps=1)
    assert found.posterior == pytest.approx(posterior) and not found.is_settled
    assert found.prior == pytest.approx(prior)


def test_missing_labels_take_no_part_and_an_item_without_any_is_refused():
    truth, labels = judged(5, [0.95, 0.9, 0.9])
    table = labels.astype(float)
    table[np.random.default_rng(5).random(table.shape) < 0.3] = np.nan
    table[0] = [1, np.nan, np.nan]
    kept = ~np.isnan(table).all(axis=1)
    found = dawid_skene(table[kept])
    assert (found.labels == truth[kept]).mean() > 0.85
    table[7] = np.nan
    with pytest.raises(InputError, match=r"no label of any judge"):
        dawid_skene(table)
