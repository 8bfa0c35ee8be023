"""The alternative annotator test: counted by hand, and how often it is passed by whom."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.method.annotators import alternative_annotator_test
from modelgraft.methods.judge.method.significance import benjamini_yekutieli

NAN = float("nan")


def people(seed: int, accuracy: float, num: int = 4, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """The truth of items and labels [items, humans] of three classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    wrong = (truth[:, None] + rng.integers(1, 3, size=(n, num))) % 3
    return truth, np.where(rng.random((n, num)) < accuracy, truth[:, None], wrong)


def test_advantages_and_p_values_equal_the_loop():
    truth, humans = people(0, 0.7)
    table = humans.astype(float)
    table[np.random.default_rng(1).random(table.shape) < 0.2] = NAN
    found = alternative_annotator_test(truth, table, advantage=0.1)
    p_values = []
    for j, test in enumerate(found.humans):
        ahead, behind = [], []
        for judge, row in zip(truth, table, strict=True):
            others = [one for k, one in enumerate(row) if k != j and not np.isnan(one)]
            if np.isnan(row[j]) or not others:
                continue
            of_judge = np.mean([judge == one for one in others])
            of_human = np.mean([row[j] == one for one in others])
            ahead.append(of_judge >= of_human)
            behind.append(of_human >= of_judge)
        assert test.num == len(ahead)
        assert test.judge_advantage == pytest.approx(np.mean(ahead))
        assert test.human_advantage == pytest.approx(np.mean(behind))
        difference = np.array(behind, dtype=float) - np.array(ahead, dtype=float)
        p_values.append(ttest_1samp(difference, 0.1, alternative="less").pvalue)
    assert [one.p for one in found.humans] == pytest.approx(benjamini_yekutieli(p_values))
    assert found.advantage == pytest.approx(np.mean([one.judge_advantage for one in found.humans]))


def test_a_judge_that_knows_replaces_people_and_one_that_guesses_does_not():
    truth, humans = people(2, 0.75)
    good = alternative_annotator_test(truth, humans, advantage=0.1)
    assert good.winning_rate == 1 and good.may_replace and good.advantage > 0.9
    guess = np.random.default_rng(3).integers(3, size=len(truth))
    bad = alternative_annotator_test(guess, humans, advantage=0.1)
    assert bad.winning_rate == 0 and not bad.may_replace


def test_a_human_that_is_worse_by_more_than_the_advantage_is_seldom_replaced_wrongly():
    """A judge behind each human by more than is allowed must not win in more than some cases."""
    wins = []
    for seed in range(60):
        truth, humans = people(seed, 0.9, num=3)
        rng = np.random.default_rng(1000 + seed)
        judge = np.where(rng.random(len(truth)) < 0.7, truth, (truth + 1) % 3)
        wins.append(alternative_annotator_test(judge, humans, advantage=0.1).winning_rate)
    assert np.mean(wins) <= 0.05


def test_a_larger_advantage_never_loses_what_a_smaller_one_won():
    truth, humans = people(5, 0.8)
    judge = np.where(np.random.default_rng(5).random(len(truth)) < 0.75, truth, (truth + 1) % 3)
    rates = [
        alternative_annotator_test(judge, humans, advantage=one).winning_rate
        for one in (0.0, 0.1, 0.2, 0.4)
    ]
    assert rates == sorted(rates)


def test_scores_are_compared_by_their_distance_to_the_others():
    rng = np.random.default_rng(6)
    truth = rng.normal(size=80)
    humans = truth[:, None] + rng.normal(size=(80, 3))
    exact = alternative_annotator_test(truth, humans, advantage=0.1, alignment="rmse")
    assert exact.may_replace and exact.advantage > 0.6
    far = alternative_annotator_test(truth + 5, humans, advantage=0.1, alignment="rmse")
    assert far.advantage < 0.05 and far.winning_rate == 0


def test_names_of_labels_do_not_matter_and_unread_items_are_counted():
    truth, humans = people(7, 0.8)
    names = np.array(["poor", "fair", "good"])
    judge = [None, *names[truth][1:].tolist()]
    found = alternative_annotator_test(judge, names[humans].tolist(), advantage=0.1)
    without = alternative_annotator_test(truth[1:], humans[1:], advantage=0.1)
    assert found.humans == without.humans and (found.num_unread, without.num_unread) == (1, 0)


def test_humans_with_few_shared_items_are_named_and_left_out():
    truth, humans = people(8, 0.8)
    table = humans.astype(float)
    table[29:, 3] = NAN
    found = alternative_annotator_test(truth, table, advantage=0.1)
    assert found.humans[3].reason == "29 shared items, 30 are needed"
    assert np.isnan(found.humans[3].p) and not found.humans[3].is_won
    assert found.winning_rate in (0, 1 / 3, 2 / 3, 1)
    with pytest.raises(InputError, match=r"2 humans share 30 .* 29, 29\)"):
        alternative_annotator_test(truth, table[:, [0, 1, 3, 3]], advantage=0.1)


def test_bad_arguments_are_refused():
    truth, humans = people(9, 0.8)
    with pytest.raises(ConfigError, match="advantage 1"):
        alternative_annotator_test(truth, humans, advantage=1.0)
    with pytest.raises(InputError, match="a column a human"):
        alternative_annotator_test(truth[:5], humans, advantage=0.1)
