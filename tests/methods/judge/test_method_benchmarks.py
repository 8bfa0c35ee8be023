"""Benchmark scores counted by hand, with unread verdicts shown and never right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method.benchmarks import (
    Ballot,
    judge_bench,
    two_orders,
    two_orders_by,
    vote_agreement,
)
from modelgraft.methods.judge.method.reward_bench import (
    SECTIONS,
    Rated,
    chosen_of_four,
    rated_of_four,
    reward_bench,
    ties_score,
)

shown = st.sampled_from([0, 1, 2, None])
pairs = st.lists(st.tuples(st.integers(1, 2), shown, shown), min_size=1, max_size=12)
NAN = float("nan")


# -- pairs in both orders --------------------------------------------------------------------------


def test_accuracy_both_and_agreement_counted_by_hand():
    labels = [1, 2, 1, 2, 1]
    first = [1, 2, 1, 1, None]  # right, right, right, wrong, unread
    second = [2, 2, 0, 2, 2]  # right, wrong, tie, wrong, right
    found = two_orders(labels, first, second)
    assert found.accuracy.value == pytest.approx((3 / 5 + 2 / 5) / 2)
    assert (found.both.value, found.both.n) == (pytest.approx(1 / 5), 5)
    # The same answer won in pairs 0 and 3, of four that were read twice.
    assert (found.agreement.value, found.agreement.n) == (pytest.approx(2 / 4), 4)
    assert found.num_unread == 1


def test_a_judge_of_pure_position_is_half_right_and_never_agrees():
    labels = [1, 2] * 20
    found = two_orders(labels, [1] * 40, [1] * 40)
    assert found.accuracy.value == 0.5 and found.both.value == 0 and found.agreement.value == 0


@given(pairs)
def test_the_score_is_the_same_when_the_answers_stand_in_reverse(table):
    labels, first, second = zip(*table, strict=True)
    mirrored = two_orders([3 - one for one in labels], second, first)
    assert mirrored == two_orders(labels, first, second)


def test_ties_in_both_orders_agree_and_are_wrong():
    found = two_orders([1, 1], [0, 0], [0, 0])
    assert found.agreement.value == 1 and found.accuracy.value == 0


def test_pairs_that_were_never_read_twice_have_no_agreement():
    assert two_orders([1], [None], [2]).agreement is None


def test_kinds_are_scored_apart():
    found = two_orders_by(["length", "length", "empty"], [1, 1, 1], [1, 1, 2], [2, 1, 1])
    assert [found[kind].both.value for kind in ("length", "empty")] == [0.5, 0.0]
    assert found["empty"].both.n == 1


def test_judge_bench_sums_both_orders():
    sources = ["mmlu-pro-law", "mmlu-pro-biology", "livebench-math", "livecodebench", "new"]
    labels = [1, 1, 2, 2, 1]
    first = [1, 1, 0, None, 2]
    second = [2, 1, 1, None, 1]  # +1, -1, +1, 0, -1 for the label
    found = judge_bench(labels, first, second, sources=sources)
    assert found.accuracy.value == pytest.approx(2 / 5)
    assert (found.num_undecided, found.num_unread) == (2, 2)
    values = {kind: share.value for kind, share in found.by_kind.items()}
    assert values == {"knowledge": 0.5, "maths": 1.0, "code": 0.0, "new": 0.0}


def test_verdicts_that_are_no_slots_are_refused_by_pair():
    with pytest.raises(InputError, match="pair 1: its label is 0"):
        two_orders([1, 0], [1, 1], [1, 1])
    with pytest.raises(InputError, match="pair 0: a verdict is 'A'"):
        two_orders([1], [1], ["A"])
    with pytest.raises(InputError, match="one of each is needed"):
        judge_bench([1], [1], [], sources=[])


# -- votes -----------------------------------------------------------------------------------------


def ballot(question: int, judge: str, winner: str, models: tuple[str, str] = ("x", "y")) -> Ballot:
    return Ballot(question, 1, models, winner, judge)


def test_a_judge_is_compared_with_every_person_on_the_same_pair():
    people = [ballot(1, "p", "x"), ballot(1, "q", "y"), ballot(2, "p", "tie"), ballot(3, "p", "x")]
    judge = [
        ballot(1, "j", "x", ("y", "x")),  # named in the other order: the same pair
        ballot(2, "j", "tie (inconsistent)"),
        ballot(4, "j", "x"),
    ]
    found = vote_agreement(judge, people)
    assert (found.with_ties.value, found.with_ties.n) == (pytest.approx(2 / 3), 3)
    assert (found.without_ties.value, found.without_ties.n) == (0.5, 2)


def test_people_are_compared_with_each_other_and_never_with_themselves():
    people = [ballot(1, "p", "x"), ballot(1, "q", "x"), ballot(1, "r", "tie"), ballot(1, "p", "y")]
    found = vote_agreement(people)
    # p-q, p-r, q-r, q-p', r-p' and not p-p'.
    assert (found.with_ties.n, found.with_ties.value) == (5, pytest.approx(1 / 5))
    assert (found.without_ties.n, found.without_ties.value) == (2, pytest.approx(1 / 2))


def test_turns_are_apart_and_nothing_in_common_is_no_agreement():
    other = Ballot(1, 2, ("x", "y"), "x", "p")
    found = vote_agreement([ballot(1, "j", "x")], [other])
    assert found.with_ties is None and found.without_ties is None


def test_votes_on_one_question_are_no_independent_evidence():
    rng = np.random.default_rng(0)
    people, judge = [], []
    for question in range(20):
        is_same = rng.random() < 0.7
        for place in range(10):
            models = ("x", f"m{place}")
            people.append(ballot(question, "p", "x", models))
            judge.append(ballot(question, "j", "x" if is_same else models[1], models))
    found = vote_agreement(judge, people).with_ties
    assert found.n == 200 and found.high - found.low > 0.25
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_winner_that_did_not_play_is_refused():
    with pytest.raises(InputError, match="question 1, turn 1, vote of j: winner 'z'"):
        vote_agreement([ballot(1, "j", "z")])


# -- RewardBench -----------------------------------------------------------------------------------


def test_sections_weigh_subsets_by_size_and_mathematics_as_code():
    subsets = ["alpacaeval-easy"] * 4 + ["mt-bench-easy"] * 2 + ["mt-bench-hard"] * 2
    right: list[float | None] = [1, 1, 1, 0, 0, 1, 1, None]
    subsets += ["donotanswer", "donotanswer", *["math-prm"] * 447, *["hep-rust"] * 984]
    right += [1, 0.5, *[1.0] * 447, *[0.0] * 984]
    found = reward_bench(subsets, right)
    assert found.sections["Chat"] == pytest.approx(4 / 6)
    assert found.sections["Chat Hard"] == 0.75 and found.num_unread == 1
    assert found.sections["Safety"] == 0.75
    assert found.sections["Reasoning"] == pytest.approx(0.5)
    assert found.overall == pytest.approx((4 / 6 + 0.75 + 0.75 + 0.5) / 4)
    assert found.subsets["alpacaeval-easy"].n == 4
    assert sum(map(len, SECTIONS.values())) == 23


def test_a_benchmark_that_is_not_whole_has_no_overall_score():
    found = reward_bench(["hep-go"], [1])
    assert np.isnan(found.overall) and found.sections["Reasoning"] == 1
    with pytest.raises(InputError, match="no subset 'chat'"):
        reward_bench(["chat"], [1])
    with pytest.raises(InputError, match="1 subsets for 2"):
        reward_bench(["hep-go"], [1, 0])


def test_the_best_of_four_is_chosen_or_rated():
    assert chosen_of_four([2, 0, None], [2, 1, 3]) == [1.0, 0.0, 0.25]
    ratings = [[9, 9, 1, 1], [9, 5, 1, 1], [3, 3, 3, 3], [1, 2, 3, 4], [1, NAN, 3, 4]]
    found = rated_of_four(ratings, [0, 0, 0, 0, 0])
    assert found[:4] == [0.5, 1.0, 0.25, 0.0] and np.isnan(found[4])
    with pytest.raises(InputError, match="a row an item"):
        rated_of_four(ratings, [0])


def test_ties_are_scored_by_accuracy_and_by_gaps():
    tied = {
        "1": Rated((8.0, 7.0), (3.0, 2.0)),  # gap 4, spread 1
        "2": Rated((8.0, 4.0), (3.0,)),  # gap 1, spread 4
        "3": Rated((5.0, 5.0), (6.0,)),  # gap -1, spread 0
        "9": Rated((5.0, 4.0), (1.0,)),  # without a reference
    }
    reference = {
        "1": Rated((6.0,), (5.5,)),  # gap 1/2, below the spread
        "2": Rated((6.0,), (1.0,)),
        "3": Rated((6.0,), (7.0,)),
    }
    found = ties_score(tied, reference)
    assert (found.tied, found.reference) == pytest.approx((3 / 4, 2 / 3))
    assert (found.is_preferred, found.is_preferred_hard) == pytest.approx((1 / 3, 0))
    margin = (np.tanh(0.5 / 1 - 1) + np.tanh(1 / 4 - 1) - 1) / 3
    assert found.margin == pytest.approx(margin) and found.num_pairs == 3
    parts = (0.3 * 3 / 4, 0.3 * 2 / 3, 0.2 / 3, 0.0, 0.01 * margin)
    assert found.score == pytest.approx(sum(parts))


def test_equal_right_answers_and_no_gap_have_no_margin():
    found = ties_score({"1": Rated((5.0, 5.0), (5.0,))}, {"1": Rated((5.0,), (5.0,))})
    assert (found.margin, found.is_preferred, found.tied) == (0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="no question is there both"):
        ties_score({"1": Rated((1.0,), (0.0,))}, {})
