"""Scores of benchmarks counted by hand, with n and intervals, beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.methods.judge.bench import rating_scores
from modelgraft.methods.judge.bench.formats import BENCHES, Judged
from modelgraft.methods.judge.bench.mt_bench import judge_ballots, people_ballots
from modelgraft.methods.judge.bench.orders import (
    columns,
    pointwise_orders,
    read_orders,
    recorded_orders,
)
from modelgraft.methods.judge.bench.published import PUBLISHED, beside, settings
from modelgraft.methods.judge.bench.rating_scores import (
    arena_hard_numbers,
    meta_evaluation_numbers,
    win_rate_numbers,
)
from modelgraft.methods.judge.bench.reward_scores import (
    reward_bench_2_numbers,
    reward_bench_numbers,
)
from modelgraft.methods.judge.bench.scores import (
    attack_numbers,
    choice_numbers,
    judge_bench_numbers,
    mt_bench_numbers,
    rater_numbers,
    two_order_numbers,
)
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.method.meta_evaluation import meta_evaluate
from modelgraft.methods.judge.method.reward_bench import SECTIONS, Rated, reward_bench, ties_score

LABELS = ("A", "B")


def pair(name: str, label: Any = "a", group: str = "", **meta: Any) -> Item:
    both = Candidate("a", f"{name} one"), Candidate("b", f"{name} two")
    return Item(name, "q", both, label=label, group=group, meta=meta)


def verdict(item: str, order: tuple[int, int], label: str | None) -> Verdict:
    return Verdict(item, order, LABELS, label, "ok" if label else "no_verdict")


def judged(winners: Mapping[str, str | None], **fields: Any) -> list[Judgment]:
    return [Judgment(name, "", None, winner, **fields) for name, winner in winners.items()]


def by_name(numbers: list[Number]) -> dict[str, Number]:
    assert len({one.name for one in numbers}) == len(numbers)
    assert all(one.is_sound for one in numbers)
    return {one.name: one for one in numbers}


# -- verdicts by slot ------------------------------------------------------------------------------


def test_verdicts_become_the_slots_that_were_shown():
    items = [pair("x"), pair("y"), Item("z", "q", (Candidate("a", "=="), Candidate("b", "==")))]
    verdicts = [
        verdict("x", (0, 1), "A"),
        verdict("x", (1, 0), "B"),
        verdict("y", (0, 1), None),
        verdict("y", (1, 0), "A"),
    ]
    assert read_orders(items, verdicts) == {"x": (1, 2), "y": (None, 1), "z": (0, 0)}


def test_samples_of_an_order_vote():
    votes = [verdict("x", (0, 1), one) for one in ("A", "B", "A")]
    back = [verdict("x", (1, 0), one) for one in ("A", "B")]
    assert read_orders([pair("x")], [*votes, *back]) == {"x": (1, 0)}


def test_an_item_judged_in_one_order_is_refused_for_a_score_of_two():
    with pytest.raises(InputError, match=r"item x has no verdict in the order 2, 1"):
        read_orders([pair("x")], [verdict("x", (0, 1), "A")])


def test_point_wise_winners_are_the_same_answer_in_either_slot():
    items = [pair(name) for name in "wxyz"]
    judgments = judged({"w": "a", "x": "b", "y": "tie", "z": None})
    assert pointwise_orders(items, judgments) == {
        "w": (1, 2),
        "x": (2, 1),
        "y": (0, 0),
        "z": (None, None),
    }


def test_labels_that_name_no_candidate_are_refused():
    with pytest.raises(InputError, match="item x: its label is 'tie'; a or b is needed here"):
        columns([pair("x", "tie")], {})
    assert columns([pair("x", "b")], {}) == ([2], [None], [None])


# -- both orders -----------------------------------------------------------------------------------


def test_judge_bench_has_its_kinds_and_the_published_scores():
    items = [pair("x", group="mmlu-pro-law"), pair("y", group="livecodebench"), pair("z", "b")]
    numbers = by_name(judge_bench_numbers(items, {"x": (1, 2), "y": (1, 1), "z": (2, None)}))
    assert numbers["accuracy"].value == pytest.approx(200 / 3) and numbers["accuracy"].n == 3
    assert numbers["accuracy"].low < 200 / 3 < numbers["accuracy"].high
    assert numbers["code: accuracy"].value == 0 and numbers["knowledge: accuracy"].value == 100
    assert numbers["undecided pairs"].value == 1 and numbers["unread verdicts"].value == 1
    preview = numbers["accuracy (published: o1-preview)"]
    assert (preview.value, preview.n, preview.low, preview.unit) == (75.4, 350, None, "%")
    assert "350 pairs of GPT-4o" in settings("judge_bench")[0]


def test_two_orders_are_scored_over_all_and_by_group():
    items = [pair("x", group="Natural"), pair("y", "b", group="Natural"), pair("z", group="Manual")]
    orders = {"x": (1, 2), "y": (2, 2), "z": (2, 1)}
    numbers = by_name(two_order_numbers(items, orders, benchmark="llm_bar"))
    assert numbers["all pairs: accuracy"].value == pytest.approx(50)
    assert numbers["Natural: accuracy"].value == 75
    assert numbers["Natural: right in both orders"].value == 50
    assert numbers["Manual: same winner in both orders"].value == 100
    assert numbers["Natural: accuracy (published: ChatGPT, rules)"].value == 81.5
    assert not any("GPTOut" in name for name in numbers), "no score of ours to hold it against"


def test_a_single_group_is_not_said_twice():
    items = [pair("x", group="length bias")]
    names = by_name(two_order_numbers(items, {"x": (1, 2)}, benchmark="bias_bench"))
    assert "all pairs: accuracy" not in names and "length bias: accuracy" in names


def test_attacks_are_counted_by_slot_with_the_plain_pairs_as_baseline():
    items = [pair(name) for name in "wxyz"]
    attacked = {"w": (2, 1), "x": (2, 2), "y": (1, 2), "z": (None, 1)}
    plain = dict.fromkeys("wxyz", (1, 2)) | {"w": (2, 1)}
    numbers = by_name(attack_numbers(items, attacked, plain=plain))
    values = [numbers[f"the worse answer wins in {one}"] for one in ("slot 1", "slot 2")]
    assert [(one.value, one.baseline, one.better) for one in values] == [(50, 25, "lower")] * 2
    both = numbers["the worse answer wins in both slots"]
    assert (both.value, both.baseline, both.n) == (25, 25, 4)
    assert numbers["unread verdicts"].value == 1


# -- votes and choices -----------------------------------------------------------------------------


def vote_item(turn: int, *choices: str) -> Item:
    votes = [{"rater": f"p{place}", "choice": one} for place, one in enumerate(choices)]
    both = Candidate("x", "1"), Candidate("y", "2")
    meta = {"question": "81", "turn": turn, "votes": votes}
    return Item(f"81:{turn}:x:y", "q", both, group="81", meta=meta)


def test_a_judges_ballot_is_the_winner_of_both_orders():
    items = [vote_item(1, "x"), vote_item(2, "x")]
    orders = {"81:1:x:y": (1, 2), "81:2:x:y": (1, 1)}
    assert [one.winner for one in judge_ballots(items, orders, judge="j")] == ["x", "tie"]
    unread = {"81:1:x:y": (1, None), "81:2:x:y": (0, 0)}
    assert [one.winner for one in judge_ballots(items, unread, judge="j")] == ["tie"]
    assert [one.judge for one in people_ballots(items)] == ["p0", "p0"]


def test_mt_bench_compares_the_judge_with_people_and_people_with_each_other():
    items = [vote_item(1, "x", "x", "y"), vote_item(2, "tie")]
    orders = {"81:1:x:y": (1, 2), "81:2:x:y": (1, 1)}
    numbers = by_name(mt_bench_numbers(items, orders, judge="j"))
    first = numbers["turn 1: j and people, with ties"]
    assert (first.value, first.n) == (pytest.approx(200 / 3), 3)
    assert numbers["turn 1: two people, without ties"].value == pytest.approx(100 / 3)
    assert numbers["turn 2: j and people, with ties"].value == 100
    assert "turn 2: j and people, without ties" not in numbers
    assert numbers["unread verdicts"].value == 0


def test_choices_leave_out_the_unlabelled_and_count_the_unread():
    items = [
        pair("u", "a", "mail", votes=[{"rater": one, "choice": "a"} for one in ("r1", "r2")]),
        pair("v", "tie", "mail", votes=[{"rater": one, "choice": "b"} for one in ("r1", "r2")]),
        pair("w", "b", "web"),
        pair("x", None, "web"),
        pair("y", "a", "web"),
    ]  # fmt: skip
    judgments = judged({"u": "a", "v": "a", "w": "b", "x": "a", "y": None}, is_consistent=False)
    numbers = by_name(choice_numbers(items, judgments))
    whole = numbers["agreement with people"]
    assert (whole.value, whole.n) == (pytest.approx(200 / 3), 3)
    assert numbers["mail: agreement with people"].value == 50
    assert numbers["unread pairs"].value == 1 and numbers["unread pairs"].n == 4
    assert numbers["verdict changes with the order"].value == 100
    assert numbers["kappa of r1 and r2"].value == 1 and numbers["kappa of r1 and r2"].n == 2


def test_a_crowd_of_raters_is_not_compared_two_by_two():
    votes = [{"rater": f"r{place}", "choice": "a"} for place in range(6)]
    items = [pair("x", "a", votes=votes), pair("y", "b", votes=votes[:2])]
    assert rater_numbers(items) == []


def test_published_scores_stand_only_beside_one_of_ours():
    ours = [Number("kappa of annotator1 and annotator2", 0.8, n=9)]
    assert [one.name for one in beside(ours, "panda_lm")] == [
        "kappa of annotator1 and annotator2",
        "kappa of annotator1 and annotator2 (published: people)",
    ]
    assert beside(ours, "no_such") == ours
    assert set(PUBLISHED) <= set(BENCHES)


# -- RewardBench -----------------------------------------------------------------------------------


def reward_items(sizes: Mapping[str, int]) -> list[Item]:
    both = Candidate("chosen", "x"), Candidate("rejected", "y")
    return [
        Item(f"{subset}:{place}", "q", both, label="chosen", group=subset)
        for subset, num in sizes.items()
        for place in range(num)
    ]


def test_reward_bench_equals_its_formula_and_bounds_every_section():
    sizes = {names[0]: 6 for names in SECTIONS.values()} | {"hep-go": 10, "math-prm": 5}
    items = reward_items(sizes)
    rng = np.random.default_rng(0)
    winners = {
        one.id: rng.choice(["chosen", "rejected", "tie"], p=[0.6, 0.3, 0.1]) for one in items
    }
    unread = items[0].id
    judgments = judged({name: None if name == unread else one for name, one in winners.items()})
    numbers = by_name(reward_bench_numbers(items, judgments))
    points = {"chosen": 1.0, "rejected": 0.0, "tie": 0.5}
    right = [None if one.id == unread else points[winners[one.id]] for one in items]
    found = reward_bench([one.group for one in items], right)
    assert numbers["overall"].value == pytest.approx(100 * found.overall)
    for section, value in found.sections.items():
        number = numbers[section]
        assert number.value == pytest.approx(100 * value)
        assert number.low < number.value < number.high and number.n in (6, 15)
    assert numbers["overall"].n == len(items) and numbers["unread pairs"].value == 1
    assert numbers["overall"].high - numbers["overall"].low < 40


def test_reward_bench_without_a_section_has_no_overall_score():
    numbers = by_name(reward_bench_numbers(reward_items({"hep-go": 4}), []))
    assert "overall" not in numbers and "Chat" not in numbers
    assert numbers["Reasoning"].value == 50 and numbers["unread pairs"].value == 4


def four(name: str, subset: str = "Math") -> Item:
    found = [Candidate("chosen-1", "w"), *(Candidate(f"rejected-{n}", "x") for n in (1, 2, 3))]
    return Item(f"{subset}:{name}", "q", tuple(found), label="chosen-1", group=subset)


def tied(form: str, number: str, correct: int, wrong: int) -> Item:
    right = [Candidate(f"chosen-{one}", "w") for one in range(correct)]
    false = [Candidate(f"rejected-{one}", "x") for one in range(wrong)]
    meta = {"correct": [one.id for one in right]}
    return Item(f"Ties:{form}:{number}", "q", (*right, *false), group="Ties", meta=meta)


def scored(item: Item, *scores: float) -> Judgment:
    names = [one.id for one in item.candidates]
    return Judgment(item.id, item.group, item.label, scores=dict(zip(names, scores, strict=False)))


def test_ratings_of_reward_bench_2_share_the_top_and_ties_have_their_own_score():
    items = [four("1"), four("2"), four("3"), four("4", "Focus")]
    rated = {}
    judgments = [scored(items[0], 5, 5, 1, 1), scored(items[1], 4, 3, 2, 1), scored(items[2], 1),
                 scored(items[3], 1, 2, 3, 4)]  # fmt: skip
    for number in "7", "8":
        for form, scores in (("tied", (5.0, 4.0, 1.0)), ("ref", (5.0, 2.0))):
            item = tied(form, number, len(scores) - 1, 1)
            items.append(item)
            judgments.append(scored(item, *scores))
            rated[form, number] = Rated(scores[:-1], scores[-1:])
    numbers = by_name(reward_bench_2_numbers(items, judgments))
    assert numbers["Math"].value == 75 and numbers["Math"].n == 2
    assert numbers["Focus"].value == 0
    own = [{n: rated[form, n] for n in "78"} for form in ("tied", "ref")]
    ties = 100 * ties_score(*own).score
    assert numbers["Ties"].value == pytest.approx(ties)
    assert numbers["overall"].value == pytest.approx((75 + 0 + ties) / 3)
    assert numbers["unread items"].value == 1


def test_choices_of_four_count_a_quarter_where_nothing_was_read():
    items = [four(str(place)) for place in range(4)]
    winners = dict(zip([one.id for one in items], ("chosen-1", "rejected-2", None, "chosen-1"),
                       strict=True))  # fmt: skip
    numbers = by_name(reward_bench_2_numbers(items, judged(winners)))
    assert numbers["Math"].value == pytest.approx(100 * 2.25 / 4)
    assert numbers["unread items"].value == 1


# -- win rates and ratings -------------------------------------------------------------------------


def test_win_rates_leave_failures_out_and_count_them():
    numbers = by_name(win_rate_numbers([2, 1.75, None, 1, 0]))
    assert numbers["win rate"].value == pytest.approx(100 * (1 + 0.75 + 0 + 0.5) / 4)
    assert numbers["discrete win rate"].value == pytest.approx(62.5)
    assert numbers["win rate"].n == 4 and numbers["failed annotations"].value == 1
    assert by_name(win_rate_numbers([None]))["failed annotations"].value == 1


def arena(name: str, *grades: str | None) -> Item:
    both = Candidate("old", "1"), Candidate("new", "2")
    return Item(name, "q", both, meta={"grades": list(grades)})


def test_arena_hard_counts_from_the_models_side_and_much_better_three_times():
    # Game 1 shows the baseline as A: there B>A is a win of the model.
    items = [arena("x", "B>>A", "A>B"), arena("y", "A>B", "A=B"), arena("z", None, "A>>B")]
    numbers = by_name(arena_hard_numbers(items))
    wins = [1, 1, 1, 1, 0, 0.5]
    assert numbers["new: win rate"].value == pytest.approx(100 * np.mean(wins))
    assert numbers["new: win rate"].n == 2
    assert numbers["battles with an unread game"].value == 1


def summaries(human: Mapping[str, tuple[int, ...]]) -> list[Item]:
    return [
        Item(f"{document}:{place}", "q", (Candidate("a", "x"),), label=float(value),
             group=document, meta={"system": f"s{place}"})
        for document, values in human.items()
        for place, value in enumerate(values)
    ]  # fmt: skip


def test_scores_are_correlated_inside_documents_and_constant_ones_are_skipped(monkeypatch):
    monkeypatch.setattr(rating_scores, "_ROUNDS", 20)
    items = summaries({"d1": (1, 2, 3), "d2": (3, 1, 2), "d3": (2, 2, 2)})
    scores = {one.id: one.label * (2 if one.group == "d1" else -1) for one in items}
    scores["d3:0"] = None
    numbers = by_name(meta_evaluation_numbers(items, scores, systems="system"))
    assert numbers["spearman by document"].value == pytest.approx(0)
    assert numbers["spearman by document"].n == 2
    assert numbers["kendall: documents skipped"].value == 1
    assert numbers["unread scores"].value == 1 and numbers["unread scores"].n == 9
    assert numbers["pearson over all"].n == 8
    found = meta_evaluate(
        [one.group for one in items],
        [one.meta["system"] for one in items],
        [one.label for one in items],
        [np.nan if scores[one.id] is None else scores[one.id] for one in items],
        correlation="pearson",
    )
    assert numbers["pearson by system"].value == pytest.approx(found.by_system.value)
    assert numbers["pearson over all"].value == pytest.approx(found.pooled.value)


def test_scores_without_systems_are_correlated_over_all_items(monkeypatch):
    monkeypatch.setattr(rating_scores, "_ROUNDS", 20)
    items = summaries({"d1": (1, 2, 3, 5), "d2": (3, 1, 2, 4)})
    numbers = by_name(meta_evaluation_numbers(items, {one.id: one.label for one in items}))
    assert numbers["spearman, pooled"].value == pytest.approx(1)
    assert numbers["spearman, pooled"].n == 8 and "spearman by document" not in numbers


# -- by name ---------------------------------------------------------------------------------------


def test_every_benchmark_scores_what_a_judge_said_by_its_name():
    items = [pair("x", group="mmlu-pro-law"), pair("y", "b", group="livebench-math")]
    both = [verdict(name, order, "A") for name in "xy" for order in ((0, 1), (1, 0))]
    found = Judged("j", judged({"x": "tie", "y": "tie"}), both)
    numbers = by_name(BENCHES["judge_bench"].score(items, found))
    assert numbers["undecided pairs"].value == 2
    alone = Judged("reward", judged({"x": "a", "y": "b"}))
    assert by_name(BENCHES["judge_bench"].score(items, alone))["accuracy"].value == 100


def test_recorded_verdicts_are_scored_as_those_of_a_judge():
    items = [pair("x", orders=[1, 2], group="Manual"), pair("y", orders=[1, None], group="Manual")]
    numbers = by_name(BENCHES["llm_bar"].recorded(items))
    assert numbers["Manual: accuracy"].value == 75 and numbers["unread verdicts"].value == 1
    assert recorded_orders([pair("z")]) == {}
    known = [pair("x", probability=0.9), pair("y", "b", probability=0.6)]
    assert by_name(BENCHES["selective"].recorded(known))["agreement with people"].value == 50


def test_win_rates_come_from_judgments_where_nobody_labelled():
    items = [pair("x", None), pair("y", None), pair("z", None)]
    judgments = [Judgment("x", "", None, "b", 0.25), Judgment("y", "", None, "a"),
                 Judgment("z", "", None)]  # fmt: skip
    numbers = by_name(BENCHES["alpaca_eval"].score(items, Judged("j", judgments)))
    assert numbers["b: win rate"].value == pytest.approx(100 * (0.75 + 0) / 2)
    assert numbers["b: failed annotations"].value == 1
