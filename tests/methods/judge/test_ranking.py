"""Whether verdicts, and not the order in the file, put the first candidate first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest

from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.calls import Call, Verdict
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.judging.ranking import Outcomes, rank
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

ASKING = Asking(read_template("pair_written"), read_rubric("overall"))


def item_of(*texts: str) -> Item:
    return Item("i", "q", tuple(Candidate(f"c{n}", text) for n, text in enumerate(texts)))


def outcomes_of(item: Item, said: dict[tuple[int, int], int | None]) -> Outcomes:
    """Of all pairs those said have this winner or none, others the earlier candidate."""
    found = Outcomes(item)
    for pair in combinations(range(len(item.candidates)), 2):
        winner = said.get(pair, pair[0])
        loser = sum(pair) - winner if winner is not None else None
        wins = [] if loser is None or winner is None else [(winner, loser)]
        found.note(pair, wins, is_open=winner is None)
    return found


@pytest.mark.parametrize(
    ("said", "is_decided"),
    [
        ({}, True),
        ({(0, 1): None}, False),  # both beat the third: who of them is better is not known
        ({(0, 1): None, (1, 2): 2}, True),  # it beats the third, which beats the second
        ({(1, 2): None}, True),
        ({(0, 1): None, (0, 2): None}, False),
    ],
)
def test_the_first_place_is_decided_by_wins_or_by_way_of_others(said, is_decided):
    assert outcomes_of(item_of("x", "y", "z"), said).decide(0) == is_decided


def test_equal_texts_do_not_keep_each_other_from_the_first_place():
    assert outcomes_of(item_of("x", "x", "z"), {(0, 1): None}).decide(0)
    assert not outcomes_of(item_of("x", "x"), {(0, 1): None}).decide(0)
    assert Outcomes(item_of("x")).decide(0)


class Contrary:
    """Takes the first slot whatever stands in it, with more certainty for the later text."""

    name = "contrary"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        return [
            Verdict(call.item.id, call.order, call.labels[:2], "A", "ok", (p, 1 - p), 1.0)
            for call in calls
            for p in [0.9 if call.candidates[0].text > call.candidates[1].text else 0.6]
        ]


def test_what_the_policy_calls_a_tie_is_one_for_the_ranking():
    [found], _ = rank([item_of("a", "b", "c")], Contrary(), ASKING, "all_pairs", swap="consensus")
    assert found.winner is None and found.order == ("c0", "c1", "c2")
    [found], _ = rank([item_of("a", "b", "c")], Contrary(), ASKING, "all_pairs")
    assert found.winner == "c2"
