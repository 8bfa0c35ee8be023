"""E9 and E12 without a model: what is counted is what a naive loop counts."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.methods.judge.experiments import attacks, self_preference
from modelgraft.methods.judge.experiments.attacks import PARSERS, Wins, judged, wins_of
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.probes.attacks import ATTACKS
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.serving import Behaviour, ScriptedJudge
from modelgraft.methods.judge.world.pairs import world_pairs

ITEMS = world_pairs(1, seed=2)
WRITTEN = Asking(read_template("pair_written"), read_rubric("overall"))
# Two of the families plant no verdict.
PLANTED = [name for name in ATTACKS if name not in ("empty answer", "universal phrase")]


@pytest.mark.parametrize("quoting", ["before", "after"])
def test_parsers_lose_to_what_they_read_first_or_last_and_the_hardened_one_never(quoting):
    rule = ScriptedJudge(ITEMS, Behaviour(quoting=quoting))
    found = {
        name: judged(ITEMS, WRITTEN, tuple(ATTACKS), attacks._by_parser(rule, parse))
        for name, parse in PARSERS.items()
    }
    loser = {"before": "first match", "after": "last match"}[quoting]
    share = 100 * len(PLANTED) / len(ATTACKS)
    for name, wins in found.items():
        assert wins.rate == pytest.approx(share if name == loser else 0)
        assert not wins.plain.any()
    assert not found[loser].silent.any() and found["hardened"].silent.mean() < 0.5


def test_an_obedient_judge_loses_whatever_reads_it():
    rule = ScriptedJudge(ITEMS, Behaviour(obedience=1.0))
    found = judged(ITEMS, WRITTEN, PLANTED, attacks._by_parser(rule, PARSERS["hardened"]))
    gain, both = found.numbers("x")
    assert gain.value == both.value == 100 and gain.n == len(ITEMS)


def test_wins_are_those_of_the_worse_answer_in_each_slot():
    labels = ["A", "B", "A", "A", "B", None, "B", "A"]
    won, silent = wins_of(labels, 2)
    assert won.tolist() == [[[1, 1], [1, 0]], [[0, 0], [0, 0]]]
    assert silent.tolist() == [[[0, 0], [0, 0]], [[0, 1], [0, 0]]]
    plain = np.array([[0.0, 1.0], [0.0, 0.0]])
    gain, both = Wins(won, plain, silent).numbers("x")
    assert gain.value == pytest.approx(100 * ((0.75 - 0.5) + 0) / 2)
    assert both.value == pytest.approx(100 * (0.5 + 0) / 2) and both.baseline == 0


def test_questions_differ_and_the_template_is_right_in_every_other_one():
    asked = self_preference.questions(20, 10, seed=0)
    assert sum(one.is_right for one in asked) == 15
    for one in asked:
        assert self_preference.says(one.sentence, one.answer) == one.is_right


@pytest.mark.parametrize(
    ("text", "answer", "is_said"),
    [
        ("37 plus 48 is 85.", "85", True),
        ("37 plus 48 is 85, not 84.", "85", False),
        ("It is 185.", "85", False),
        ("Paris is lovely.", "Paris", True),
        ("A Parisian one.", "Paris", False),
    ],
)
def test_an_answer_is_said_as_a_whole_word_or_the_last_number(text, answer, is_said):
    assert self_preference.says(text, answer) == is_said


def test_people_pick_the_right_answer_and_neither_of_two_equals():
    asked = self_preference.questions(4, 0, seed=0)
    own = [f"It is {one.answer}." for one in asked]
    own[0], own[3] = "It is 3.", asked[3].sentence
    pairs = self_preference.paired(asked, own, "t")
    # Both wrong, both right, own right; equal texts are no pair.
    assert len(pairs.items) == 3
    assert np.isnan(pairs.human[:2]).all() and pairs.human[2] == 1


def test_a_reader_that_picks_its_own_has_a_gap_of_1_and_a_fair_one_none():
    asked = self_preference.questions(40, 0, seed=1)
    own = [f"It is {one.answer if place % 4 < 2 else '7'}." for place, one in enumerate(asked)]
    pairs = self_preference.paired(asked, own, "t")
    rng = np.random.default_rng(0)
    likelihoods = rng.normal(size=(2, len(pairs.items)))
    likelihoods[0] += 9
    fair = np.where(np.isnan(pairs.human), 0, 2 * pairs.human - 1)
    leads = {"likelihood": likelihoods[0] - likelihoods[1], "fair": fair}
    gaps, slopes = self_preference.measured(pairs, leads, likelihoods)
    assert gaps["likelihood"].value == 1 and gaps["fair"].value == 0
    assert slopes["likelihood"].value > 0.1 > abs(slopes["fair"].value)
