"""Agreement beyond chance: published values, naive loops, and nan with a reason where undefined."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.method.agreement import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    intraclass_correlation,
    krippendorff_alpha,
    scott_pi,
)
from modelgraft.methods.judge.method.coefficients import bootstrap, encode

NAN = float("nan")
# Four raters, twelve units, a point where a rating is missing.
RATERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
TABLE = np.array([[NAN if one == "." else float(one) for one in row] for row in RATERS]).T
SCALES = ("nominal", "ordinal", "interval", "ratio")
maybe = st.one_of(st.none(), st.integers(0, 3))
tables = st.lists(st.tuples(maybe, maybe, maybe), min_size=1, max_size=12)


def raters_of(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """The ratings of two raters that a table of counts comes from."""
    cells = [(i, j) for i, row in enumerate(table) for j, num in enumerate(row) for _ in range(num)]
    return [i for i, _ in cells], [j for _, j in cells]


@pytest.mark.parametrize(
    ("scale", "expected"),
    list(zip(SCALES, (0.743421, 0.815388, 0.849107, 0.797403), strict=True)),
)
def test_alpha_of_the_published_example(scale, expected):
    """Acceptance 15."""
    assert krippendorff_alpha(TABLE, scale=scale).value == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("table", "weights", "expected"),
    [
        ([[20, 5], [10, 15]], "nominal", 0.4),
        ([[10, 2, 0], [3, 8, 4], [1, 2, 10]], "quadratic", 0.71698),
        ([[10, 2, 0], [3, 8, 4], [1, 2, 10]], "linear", 0.63380),
    ],
)
def test_kappa_of_the_published_examples(table, weights, expected):
    """Acceptance 15."""
    found = cohen_kappa(*raters_of(table), weights=weights)
    assert found.value == pytest.approx(expected, abs=5e-6)
    assert found.num == sum(map(sum, table)) and not found.reason


def test_published_values_of_fleiss_gwet_and_shrout():
    psychiatrists = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    ratings = [np.repeat(range(5), row) for row in psychiatrists]
    assert fleiss_kappa(np.array(ratings)).value == pytest.approx(0.210, abs=5e-4)
    rare = raters_of([[118, 5], [2, 0]])
    assert cohen_kappa(*rare).value < 0
    assert gwet_ac1(np.array(rare).T).value == pytest.approx(0.9408, abs=5e-5)
    judges = [
        *([9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8]),
        *([7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]),
    ]
    assert intraclass_correlation(judges).value == pytest.approx(0.29, abs=5e-3)


# -- naive loops -----------------------------------------------------------------------------------


def naive_alpha(table, scale):
    """Krippendorff's alpha by all pairs of pairable values."""
    units = [[one for one in row if one is not None] for row in table]
    units = [unit for unit in units if len(unit) > 1]
    values = [one for unit in units for one in unit]
    counts = {one: values.count(one) for one in values}

    def apart(c, k):
        if scale == "nominal":
            return float(c != k)
        if scale == "ratio":
            return ((c - k) / (c + k)) ** 2 if c + k else 0.0
        if scale == "interval":
            return (c - k) ** 2
        between = sum(num for one, num in counts.items() if min(c, k) <= one <= max(c, k))
        return (between - (counts[c] + counts[k]) / 2) ** 2

    observed = sum(
        sum(apart(c, k) for c, k in permutations(unit, 2)) / (len(unit) - 1) for unit in units
    )
    expected = sum(apart(c, k) for c, k in permutations(values, 2)) / (len(values) - 1)
    return 1 - observed / expected


@settings(max_examples=60)
@given(tables, st.sampled_from(SCALES))
def test_alpha_equals_the_sum_over_all_pairs(table, scale):
    found = krippendorff_alpha([list(row) for row in table], scale=scale)
    if found.reason:
        assert np.isnan(found.value)
    else:
        assert found.value == pytest.approx(naive_alpha(table, scale))
    assert found.num + found.num_skipped == len(table)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=15))
def test_kappa_and_pi_equal_their_loops(pairs):
    first, second = zip(*pairs, strict=True)
    n = len(pairs)
    found, pooled = cohen_kappa(first, second), scott_pi(first, second)
    agreed = sum(a == b for a, b in pairs) / n
    if not found.reason:
        by_chance = sum(first.count(c) * second.count(c) for c in range(1, 5)) / n**2
        assert found.value == pytest.approx((agreed - by_chance) / (1 - by_chance))
        squares = sum((a - b) ** 2 for a, b in pairs) / n
        expected = sum((a - b) ** 2 for a in first for b in second) / n**2
        assert cohen_kappa(first, second, weights="quadratic").value == pytest.approx(
            1 - squares / expected
        )
    if not pooled.reason:
        by_chance = sum(((first + second).count(c) / (2 * n)) ** 2 for c in range(1, 5))
        assert pooled.value == pytest.approx((agreed - by_chance) / (1 - by_chance))


@settings(max_examples=60)
@given(tables)
def test_fleiss_and_gwet_equal_their_loops_with_missing_ratings(table):
    rows = [[one for one in row if one is not None] for row in table]
    rows = [row for row in rows if len(row) > 1]
    seen = {one for row in table for one in row if one is not None}
    fleiss, gwet = fleiss_kappa(table), gwet_ac1(table, num_labels=4)
    assert fleiss.num == gwet.num == len(rows)
    if not rows:
        assert fleiss.reason == gwet.reason == "no item has two ratings"
        return
    agreed = np.mean(
        [sum(a == b for a, b in permutations(row, 2)) / (len(row) * (len(row) - 1)) for row in rows]
    )
    shares = [np.mean([row.count(one) / len(row) for row in rows]) for one in sorted(seen)]
    by_chance = sum(one * (1 - one) for one in shares) / 3
    assert gwet.value == pytest.approx((agreed - by_chance) / (1 - by_chance))
    if not fleiss.reason:
        by_chance = sum(one**2 for one in shares)
        assert fleiss.value == pytest.approx((agreed - by_chance) / (1 - by_chance))


def test_agreement_does_not_depend_on_names_or_on_the_order_of_raters():
    names = {1.0: "poor", 2.0: "fair", 3.0: "good", 4.0: "very good", 5.0: "perfect"}
    words = [[names.get(one) for one in row] for row in TABLE.tolist()]
    for measure in (krippendorff_alpha, fleiss_kappa, gwet_ac1):
        assert measure(words).value == pytest.approx(measure(TABLE).value)
        assert measure(TABLE[:, ::-1]).value == pytest.approx(measure(TABLE).value)


def test_perfect_agreement_is_one_everywhere():
    labels = [1, 2, 3, 1, 2]
    twice = np.array([labels, labels]).T
    found = [cohen_kappa(labels, labels), scott_pi(labels, labels), fleiss_kappa(twice)]
    found += [gwet_ac1(twice), intraclass_correlation(twice)]
    found += [krippendorff_alpha(twice, scale=scale) for scale in SCALES]
    assert [one.value for one in found] == pytest.approx([1.0] * len(found))


# -- undefined -------------------------------------------------------------------------------------


def test_constant_raters_have_no_kappa_but_a_reason():
    for second in ([1, 1, 1], [2, 2, 2]):
        found = cohen_kappa([1, 1, 1], second)
        assert np.isnan(found.value) and "both raters are constant" in found.reason
    same = np.ones((4, 3))
    for found in (fleiss_kappa(same), gwet_ac1(same), krippendorff_alpha(same)):
        assert np.isnan(found.value) and "all ratings are the same" in found.reason
    assert "all ratings are the same" in intraclass_correlation(same).reason
    # On a scale of two labels the one that was never given makes AC1 a number.
    assert gwet_ac1(same, num_labels=2).value == 1.0


def test_missing_ratings_are_left_out_and_counted():
    found = cohen_kappa(["a", None, "b", "a"], ["a", "b", "b", NAN])
    assert (found.value, found.num, found.num_skipped) == (1.0, 2, 2)
    nothing = cohen_kappa([None, 1], [1, None])
    assert np.isnan(nothing.value) and nothing.reason == "no item has two ratings"
    scores = [[1, 2], [2, NAN], [3, 3], [5, 4]]
    without = intraclass_correlation([scores[0], *scores[2:]])
    assert intraclass_correlation(scores).value == without.value
    assert intraclass_correlation(scores).num_skipped == 1


def test_variances_that_cancel_leave_the_intraclass_correlation_undefined():
    assert "cancel" in intraclass_correlation([[1, 2], [2, 1]]).reason
    assert "two items" in intraclass_correlation([[1, 2]]).reason


def test_input_that_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="labels a, b are not numbers"):
        cohen_kappa(["a", "b"], ["b", "a"], weights="linear")
    for scale in SCALES[1:]:
        with pytest.raises(ConfigError, match=f"scale {scale}: labels a, b are not numbers"):
            krippendorff_alpha([["a", "b"], ["b", "b"]], scale=scale)
    with pytest.raises(InputError, match="a label an item"):
        cohen_kappa([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="none below zero"):
        krippendorff_alpha([[-1, 2], [2, 2]], scale="ratio")
    with pytest.raises(InputError, match="a column a rater"):
        fleiss_kappa([1, 2, 3])


def test_lists_keep_missing_labels_apart_from_words():
    codes, labels = encode(["b", NAN, "a", None, "b"])
    assert codes.tolist() == [1, -1, 0, -1, 1] and labels.tolist() == ["a", "b"]


# -- intervals -------------------------------------------------------------------------------------


def test_any_coefficient_has_a_bootstrap_interval_over_items():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=120)
    table = np.where(rng.random((120, 3)) < 0.8, truth[:, None], rng.integers(3, size=(120, 3)))
    cohen = bootstrap(cohen_kappa, table[:, 0], table[:, 1], rounds=300)
    assert cohen == bootstrap(cohen_kappa, table[:, 0], table[:, 1], rounds=300)
    for measure in (fleiss_kappa, gwet_ac1, krippendorff_alpha):
        found = bootstrap(measure, table, rounds=300)
        assert found.low < found.value < found.high and found.n == 120
        assert found.high - found.low < 0.3


def test_the_interval_of_kappa_covers_what_the_population_has():
    def covers(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        truth = rng.integers(2, size=80)
        other = np.where(rng.random(80) < 0.85, truth, 1 - truth)
        found = bootstrap(cohen_kappa, truth, other, rounds=100, seed=seed)
        return found.low <= 0.7 <= found.high

    assert np.mean([covers(seed) for seed in range(40)]) >= 0.85


def test_an_undefined_coefficient_has_no_interval_and_undefined_resamples_are_counted():
    constant = bootstrap(cohen_kappa, [1, 1, 1], [1, 1, 1])
    assert np.isnan(constant.value) and constant.low is None and "constant" in constant.reason
    rare = bootstrap(cohen_kappa, [1, 1, 1, 1, 2], [1, 1, 1, 2, 2], rounds=200)
    assert rare.num_undefined > 0 and rare.low < rare.high
