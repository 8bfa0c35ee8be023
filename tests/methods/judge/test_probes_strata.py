"""Accuracy by shortcut: length alone is called so, and a reader is better only when balanced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.method.probe import both_orders, fit_probe, swap_averaged
from modelgraft.methods.judge.probes.strata import (
    BASELINES,
    SIDES,
    axes_of,
    balanced_gains,
    balanced_mean,
    baseline_rights,
    by_stratum,
    is_better,
    rights,
    shortcut_of,
)
from modelgraft.methods.judge.world.pairs import world_pairs

NAN = float("nan")


def planted(num: int, *, seed: int, shorter: float = 0.8) -> list[Item]:
    """Pairs about nothing whose good answer is the shorter one in a share of them."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(num):
        short, long = sorted(rng.choice(np.arange(10, 200), 2, replace=False).tolist())
        if rng.random() > shorter:
            short, long = long, short
        pair = [Candidate("good", "x" * short), Candidate("bad", "x" * long)]
        if rng.random() < 0.5:
            pair.reverse()
        items.append(Item(f"i{number}", "q", tuple(pair), label="good"))
    return items


def states(items: list[Item], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states of both orders that know the lengths, beside a lot of noise."""
    pairs = [[len(one.text) for one in item.candidates] for item in items]
    gap = np.array([first - second for first, second in pairs]) / 50
    noise = rng.normal(size=(2, len(items), 12))
    return np.c_[gap, noise[0]], np.c_[-gap, noise[1]]


def test_a_reader_of_length_alone_is_called_so_and_its_balanced_mean_is_chance():
    """Acceptance 28: a planted length-only data set, read by a probe that was fitted to it."""
    rng = np.random.default_rng(0)
    train, held_out = planted(300, seed=1), planted(400, seed=2)
    first, second = states(train, rng)
    wins = [one.candidates[0].id == "good" for one in train]
    probe = fit_probe(*both_orders(first, second, wins))
    d = swap_averaged(*states(held_out, rng), probe)
    right = [(value > 0) == (one.candidates[0].id == "good")
             for value, one in zip(d, held_out, strict=True)]  # fmt: skip
    assert np.mean(right) > 0.7
    axes = axes_of(held_out)
    found = shortcut_of(axes, right)
    assert found.text == "shortcut: length" and found.prefers == "shorter"
    balanced = balanced_mean(by_stratum(axes, right))
    assert abs(balanced.value - 0.5) <= 0.05 and balanced.low < 0.5 < balanced.high
    for pick in BASELINES.values():
        assert not is_better(axes, right, baseline_rights(held_out, pick))


def test_a_sound_reader_has_no_shortcut_and_is_better():
    items = planted(400, seed=3)
    rng = np.random.default_rng(0)
    axes = axes_of(items)
    # Good on both sides, and better where length helps: a weakness, and not all there is.
    right = rng.random(400) < np.where(axes["length"] < 0, 0.95, 0.75)
    assert shortcut_of(axes, right) is None
    assert all(is_better(axes, right, baseline_rights(items, pick)) for pick in BASELINES.values())


def test_a_reader_at_chance_is_seldom_said_to_follow_anything():
    items = planted(120, seed=4)
    axes = axes_of(items, np.random.default_rng(1).normal(size=(2, 120)))
    rng = np.random.default_rng(2)
    said = [shortcut_of(axes, rng.random(120) < 0.5) is not None for _ in range(200)]
    assert np.mean(said) < 0.08


def test_the_sides_are_those_of_the_good_answer():
    listed = "- a\n- b"
    items = [
        Item("1", "q", (Candidate("good", "ab"), Candidate("bad", listed)), label="good"),
        Item("2", "q", (Candidate("bad", "ab"), Candidate("good", listed)), label="good"),
        Item("3", "q", (Candidate("bad", "ab"), Candidate("good", "cd")), label="good"),
        Item("4", "q", (Candidate("x", "ab"), Candidate("y", "abc")), label="tie"),
    ]
    axes = axes_of(items, [[-1, -2, NAN, 0], [-2, -1, -1, 0]])
    expected = {"length": [-1, 1, 0, 0], "list": [-1, 1, 0, 0], "likelihood": [1, 1, 0, 0],
                "slot": [1, -1, -1, 0]}  # fmt: skip
    assert list(axes) == list(SIDES)
    for name, sides in expected.items():
        assert axes[name].tolist() == sides, name
    assert "likelihood" not in axes_of(items)
    turned = axes_of([one.with_candidates(one.candidates[::-1]) for one in items])
    for name in ("length", "list"):
        assert turned[name].tolist() == expected[name]
    assert turned["slot"].tolist() == [-1, 1, 1, 0]


maybe = st.sampled_from([0.0, 1.0, NAN])
sides = st.sampled_from([-1.0, 0.0, 1.0])


@given(st.lists(st.tuples(sides, maybe, maybe), min_size=1, max_size=15))
@settings(deadline=None)
def test_balanced_means_and_gains_are_those_of_naive_loops(rows):
    side, ours, theirs = (np.array(column) for column in zip(*rows, strict=True))
    axes = {"length": side}
    means = {
        sign: [right for at, right, _ in rows if at == sign and right == right] for sign in (-1, 1)
    }
    both = {
        sign: [a - b for at, a, b in rows if at == sign and a == a and b == b] for sign in (-1, 1)
    }
    strata = by_stratum(axes, ours)
    assert bool(strata) == bool(side.any())
    if not strata:
        assert balanced_mean(strata).reason and not balanced_gains(axes, ours, theirs)
        return
    [one] = strata
    for found, values, weight in (
        (one.balanced, means, 0.5),
        (one.gap, means, None),
        (balanced_gains(axes, ours, theirs)["length"], both, 0.5),
    ):
        if not values[-1] or not values[1]:
            assert np.isnan(found.value) and found.reason
            continue
        low, high = np.mean(values[-1]), np.mean(values[1])
        assert found.value == pytest.approx((low + high) * weight if weight else high - low)
        assert found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9
    assert list(one.sides) == ["shorter", "longer"]
    assert one.sides["longer"].n == len(means[1])


def test_data_with_one_side_alone_cannot_show_what_a_reader_is_worth():
    items = world_pairs(30, categories=("short_right",))
    axes = axes_of(items)
    right = np.ones(len(items))
    assert "longer" in balanced_mean(by_stratum(axes, right)).reason
    assert not is_better(axes, right, baseline_rights(items, BASELINES["longest"]))
    del axes["length"]
    assert balanced_mean(by_stratum(axes, right)).value == 1
    assert is_better(axes, right, baseline_rights(items, BASELINES["longest"]))


def test_the_balanced_mean_is_that_of_the_axis_on_which_the_reader_fares_worst():
    items = planted(200, seed=5)
    axes = axes_of(items)
    right = baseline_rights(items, BASELINES["shortest"])
    by_axis = {one.axis: one.balanced.value for one in by_stratum(axes, right)}
    assert by_axis["length"] == 0.5 and by_axis["slot"] > 0.7
    assert balanced_mean(by_stratum(axes, right)).value == 0.5


def test_baselines_pick_by_length_or_place_and_tie_where_they_cannot():
    item = Item("1", "q", (Candidate("a", "xxx"), Candidate("b", "x")), label="b")
    equal = Item("2", "q", (Candidate("a", "x"), Candidate("b", "y")), label="a")
    free = Item("3", "q", (Candidate("a", "x"), Candidate("b", "yy")))
    picks = {name: [pick(item), pick(equal)] for name, pick in BASELINES.items()}
    assert picks == {"longest": ["a", "tie"], "shortest": ["b", "tie"], "first slot": ["a", "a"]}
    found = baseline_rights([item, equal, free], BASELINES["shortest"])
    np.testing.assert_equal(found, [1, 0, NAN])
    judgments = [Judgment("1", "", "b", "b"), Judgment("2", "", "a", "tie"), Judgment("3", "", "a")]
    np.testing.assert_equal(rights(judgments), [1, 0, NAN])
