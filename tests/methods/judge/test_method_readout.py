"""Label probabilities: exact sequence scores, prefixes of each other, nothing made of no mass."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.method.readout import LabelTrie, Listed, listed, read

TOKENS = range(4)


def chain(seed: int):
    """A random language model: log-probabilities [4] of the next token after any prefix."""

    def after(prefix):
        rng = np.random.default_rng([seed, 7, *(token + 1 for token in prefix)])
        return np.log(rng.dirichlet(np.ones(len(TOKENS))))

    return after


def told(trie: LabelTrie, after) -> np.ndarray:
    return trie.probabilities(
        {prefix: after(prefix)[list(trie.children[prefix])] for prefix in trie.prefixes}
    )


def test_expectation_weighs_scores_by_their_probabilities():
    """Acceptance 1: divided by the mass that the labels have."""
    reading = read("12345", [0.05, 0.10, 0.20, 0.40, 0.15])
    assert reading.mass == pytest.approx(0.90)
    mean, variance = reading.expectation([1, 2, 3, 4, 5])
    assert mean == pytest.approx(3.5556, abs=5e-5)
    assert variance == pytest.approx(
        sum(
            p / 0.9 * (v - mean) ** 2
            for p, v in zip((0.05, 0.1, 0.2, 0.4, 0.15), range(1, 6), strict=True)
        )
    )
    assert reading.label == "4"


def test_a_label_that_begins_another_keeps_what_does_not_go_on_to_it():
    """Acceptance 2: P("10") = p("1") p("0" | "1"), and P("1") is without it."""
    trie = LabelTrie.of({"1": [(1,)], "10": [(1, 0)], "2": [(2,)]})
    after = chain(0)
    first, second = np.exp(after(())), np.exp(after((1,)))
    expected = [first[1] * (1 - second[0]), first[1] * second[0], first[2]]
    assert told(trie, after) == pytest.approx(expected, abs=1e-12)
    assert trie.prefixes == ((), (1,))


@given(st.integers(0, 10_000), st.data())
def test_probabilities_are_those_of_all_continuations_one_by_one(seed, data):
    """A label's share: all texts of three tokens that begin with it and with no longer label."""
    sequences = [s for n in (1, 2, 3) for s in itertools.product(TOKENS, repeat=n)]
    chosen = data.draw(st.lists(st.sampled_from(sequences), min_size=1, max_size=6, unique=True))
    names = [data.draw(st.sampled_from("ABC")) for _ in chosen]
    variants: dict[str, list] = {}
    for name, tokens in zip(names, chosen, strict=True):
        variants.setdefault(name, []).append(tokens)
    after = chain(seed)
    expected = dict.fromkeys(variants, 0.0)
    owner = dict(zip(chosen, names, strict=True))
    prefixes = {tokens[:n] for tokens in chosen for n in range(len(tokens))}
    for text in itertools.product(TOKENS, repeat=3):
        value = math.exp(sum(after(text[:n])[text[n]] for n in range(3)))
        node = ()
        while node in prefixes and text[: len(node) + 1] in {*prefixes, *owner}:
            node = text[: len(node) + 1]
        if node in owner:  # where the walk leaves the trie a label ends, or nothing does
            expected[owner[node]] += value
    found = dict(zip(variants, told(LabelTrie.of(variants), after), strict=True))
    assert found == pytest.approx(expected, abs=1e-9)


def test_variants_add_up_and_never_across_labels():
    trie = LabelTrie.of({"A": [(0,), (1,)], "B": [(2,)]})
    after = chain(3)
    p = np.exp(after(()))
    assert told(trie, after) == pytest.approx([p[0] + p[1], p[2]])
    with pytest.raises(ConfigError, match="'A' and 'B' are the same tokens"):
        LabelTrie.of({"A": [(0,)], "B": [(0,)]})
    with pytest.raises(ConfigError, match="label 'A': it has no tokens"):
        LabelTrie.of({"A": [()]})


def test_no_mass_is_no_verdict_and_never_a_number():
    """Acceptance 3."""
    reading = read("AB", [0.0, 0.0])
    assert reading.status == "no_verdict" and reading.label is None and reading.mass == 0
    assert np.isnan(reading.expectation([1, 2])).all() and np.isnan(reading.entropy)
    assert np.isnan(reading.log_odds("A", "B"))


def test_the_first_of_equal_labels_and_odds_of_a_label_without_mass():
    reading = read("AB", [0.2, 0.2])
    assert reading.label == "A" and reading.entropy == pytest.approx(math.log(2))
    assert read("AB", [0.2, 0.0]).log_odds("A", "B") == math.inf


# -- what an endpoint lists ------------------------------------------------------------------------

SCALE = {label: (label,) for label in "123"}


def test_a_label_that_is_not_listed_is_bounded_by_the_least_that_is():
    found = listed(SCALE, [("1", math.log(0.5)), ("2", math.log(0.3)), ("x", math.log(0.1))])
    assert found.low == pytest.approx([0.5, 0.3, 0.0])
    assert found.high == pytest.approx([0.5, 0.3, 0.1])
    low, high = found.expectation([1, 2, 3])
    assert low == pytest.approx(1.1 / 0.8) and high == pytest.approx(1.4 / 0.9)
    assert found.reading([1, 2, 3], tolerance=0.01).status == "truncated"
    assert found.reading([1, 2, 3], tolerance=0.5).status == "ok"


def test_a_list_that_holds_all_probability_is_whole():
    found = listed(SCALE, [("1", math.log(0.6)), ("x", math.log(0.4))])
    assert found.high == pytest.approx(found.low) and found.reading([1, 2, 3]).status == "ok"


def test_labels_of_which_none_is_listed_are_no_verdict():
    found = listed(SCALE, [("x", 0.0)])
    assert found.reading([1, 2, 3]).status == "no_verdict"


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_any_weights_within_the_bounds_have_a_mean_within_the_bounds(seed, num):
    rng = np.random.default_rng(seed)
    low = rng.random(num)
    found = Listed(tuple("abcde"[:num]), low, low + rng.random(num))
    values = rng.normal(size=num)
    least, most = found.expectation(values)
    weights = low + (found.high - low) * rng.random((200, num))
    means = weights @ values / weights.sum(axis=1)
    assert least - 1e-12 <= means.min() and means.max() <= most + 1e-12
    corners = np.array(list(itertools.product(*zip(low, found.high, strict=True))))
    exact = corners @ values / corners.sum(axis=1)
    assert (least, most) == pytest.approx((exact.min(), exact.max()))
