"""Bounds, walks and cascades: golden values, and how often the promise is broken on known risk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.method.cascades import (
    cascade_by_path,
    cascade_by_tier,
    cheapest_route,
    cost_per_verdict,
    deciding_tier,
)
from modelgraft.methods.judge.method.guarantees import (
    DEFAULT_GRID,
    certify,
    clopper_pearson_upper,
    labels_needed,
    last_pass,
)

GRID = np.array([0.9, 0.8, 0.7, 0.6])


def labelled(*groups: tuple[float, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Items by (confidence, how many, how many of them wrong)."""
    confidence = np.concatenate([np.full(num, sure) for sure, num, _ in groups])
    right = [np.arange(num) >= wrong for _, num, wrong in groups]
    return confidence, np.concatenate(right).astype(float)


# -- the bound -------------------------------------------------------------------------------------


def test_published_values_of_the_upper_bound():
    """Acceptance 16."""
    found = clopper_pearson_upper([3, 0], [50, 30], 0.1)
    assert found == pytest.approx([0.128756, 0.073881], abs=5e-7)


@given(st.integers(1, 60), st.integers(0, 60), st.sampled_from([0.05, 0.1, 0.3]))
def test_at_the_bound_so_few_errors_have_the_probability_delta(n, k, delta):
    bound = float(clopper_pearson_upper(min(k, n), n, delta))
    if k < n:
        assert binom.cdf(k, n, bound) == pytest.approx(delta)
    else:
        assert bound == 1


@pytest.mark.parametrize("n", [100, 400])
def test_the_bound_is_wrong_in_at_most_delta_of_samples_and_hardly_less(n):
    """Exactly: the chance of a pass where the true error rate is alpha."""
    errors = np.arange(n + 1)
    is_passed = clopper_pearson_upper(errors, n, 0.1) <= 0.1
    chance = binom.pmf(errors, n, 0.1)[is_passed].sum()
    assert 0.05 < chance <= 0.1


def test_no_items_and_nothing_but_errors_have_no_bound():
    assert clopper_pearson_upper([0, 5], [0, 5], 0.1).tolist() == [1, 1]


# -- the walk --------------------------------------------------------------------------------------


def test_the_walk_keeps_the_last_pass():
    confidence, right = labelled((0.9, 200, 2), (0.8, 200, 10), (0.7, 100, 60))
    found = certify(confidence, right, alpha=0.1, grid=GRID)
    assert (found.status, found.threshold) == ("certified", 0.8)
    assert (found.num_accepted, found.num_errors, found.num) == (400, 12, 500)
    assert found.bound == clopper_pearson_upper(12, 400, 0.1) and found.coverage == 0.8


def test_a_point_after_a_failed_one_is_never_certified():
    """Acceptance 17: the looser point alone would pass."""
    confidence, right = labelled((0.9, 120, 12), (0.8, 2000, 0))
    assert clopper_pearson_upper(12, 2120, 0.1) < 0.1
    found = certify(confidence, right, alpha=0.1, grid=GRID)
    assert found.status == "uncertifiable" and found.threshold == np.inf
    assert (found.num_accepted, found.num_errors) == (120, 12)


def test_without_a_certificate_it_says_how_many_labels_would_do():
    """Acceptance 16: 5 % errors are below 10 %, but 100 items are too few to show it."""
    confidence, right = labelled((0.9, 100, 6), (0.5, 100, 50))
    found = certify(confidence, right, alpha=0.1, grid=GRID)
    assert found.status == "uncertifiable" and found.bound > 0.1
    accepted = found.num_needed // 2  # half of the items are accepted
    assert clopper_pearson_upper(np.ceil(0.06 * accepted), accepted, 0.1) < 0.105
    assert clopper_pearson_upper(0.06 * accepted, accepted, 0.1) <= 0.1
    assert clopper_pearson_upper(0.06 * (accepted - 2), accepted - 2, 0.1) > 0.1


@pytest.mark.parametrize(("alpha", "delta"), [(0.1, 0.1), (0.05, 0.1), (0.2, 0.01)])
def test_an_error_free_start_needs_what_the_formula_says(alpha, delta):
    expected = int(np.ceil(np.log(delta) / np.log(1 - alpha)))
    assert labels_needed(0, 10, alpha=alpha, delta=delta) == expected
    assert labels_needed(0, 10, alpha=alpha, delta=delta, at_least=1000) == 1000


def test_too_many_errors_need_no_number_of_labels():
    confidence, right = labelled((0.9, 200, 20), (0.6, 10, 0))
    assert certify(confidence, right, alpha=0.1, grid=GRID).num_needed is None
    assert labels_needed(3, 30, alpha=0.1, delta=0.1) is None


def test_too_few_items_are_never_tested():
    confidence, right = labelled((0.9, 60, 0))
    found = certify(confidence, right, alpha=0.1, grid=GRID)
    assert (found.status, found.num_needed) == ("uncertifiable", 100)
    assert certify(confidence, right, alpha=0.1, grid=GRID, at_least=30).threshold == 0.6
    # One confident error in a start of 30 ends the walk; at 100 it does not.
    confidence, right = labelled((0.9, 30, 1), (0.8, 200, 2))
    assert certify(confidence, right, alpha=0.1, grid=GRID, at_least=30).status != "certified"
    assert certify(confidence, right, alpha=0.1, grid=GRID).threshold == 0.6


def test_nothing_accepted_is_uncertifiable_without_a_number():
    found = certify([0.2, 0.3], [1, 1], alpha=0.1, grid=GRID)
    assert (found.status, found.bound, found.num_needed) == ("uncertifiable", 1.0, None)


@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 60),
)
def test_the_walk_equals_the_loop(steps, at_least):
    num = np.cumsum([new for new, _ in steps])
    errors = np.minimum(np.cumsum([new for _, new in steps]), num)
    expected = -1
    for place, (n, k) in enumerate(zip(num, errors, strict=True)):
        if n < at_least:
            continue
        if clopper_pearson_upper(k, n, 0.1) > 0.1:
            break
        expected = place
    assert last_pass(errors, num, alpha=0.1, delta=0.1, at_least=at_least) == expected


def test_grids_and_levels_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="must fall from strict to loose"):
        certify([0.9], [1], alpha=0.1, grid=[0.5, 0.9])
    with pytest.raises(ConfigError, match="above 0"):
        certify([0.9], [1], alpha=0.1, grid=[0.5, 0.0])
    with pytest.raises(ConfigError, match=r"alpha 1\.5"):
        certify([0.9], [1], alpha=1.5)
    with pytest.raises(InputError, match="truth of item 0"):
        certify([0.9], [2], alpha=0.1)
    assert len(DEFAULT_GRID) == 26 and DEFAULT_GRID[5] == 0.9


# -- cascades --------------------------------------------------------------------------------------


def test_the_first_tier_that_is_sure_enough_decides():
    confidence = np.array([[0.9, 0.5, 0.5, np.nan], [0.9, 0.9, 0.5, 0.8]])
    assert deciding_tier(confidence, [0.8, 0.8]).tolist() == [0, 1, -1, 1]
    assert deciding_tier(confidence, [np.inf, 0.8]).tolist() == [1, 1, -1, 1]
    both = deciding_tier(confidence, [[0.8, 0.8], [0.5, 0.5]])
    assert both.tolist() == [[0, 1, -1, 1], [0, 0, 0, 1]]


def test_a_cascade_of_one_tier_is_the_walk():
    confidence, right = labelled((0.9, 200, 2), (0.8, 200, 10), (0.7, 100, 60))
    alone = certify(confidence, right, alpha=0.1, grid=GRID)
    by_tier = cascade_by_tier(confidence[None], right[None], alpha=0.1, grid=GRID)
    by_path = cascade_by_path(confidence[None], right[None], alpha=0.1, path=GRID)
    assert by_tier.certificates == by_path.certificates == (alone,)
    assert by_tier.thresholds.tolist() == by_path.thresholds.tolist() == [0.8]
    assert by_tier.coverage == 0.8 and by_tier.error_rate == pytest.approx(12 / 400)


def test_delta_is_split_over_tiers_and_whole_along_a_path():
    """Acceptance 17: 120 items without an error pass at 0.1 but not at 0.1 / 2 for alpha 0.02."""
    confidence, right = labelled((0.9, 120, 0))
    twice = np.stack([confidence, confidence]), np.stack([right, right])
    assert clopper_pearson_upper(0, 120, 0.1) <= 0.02 < clopper_pearson_upper(0, 120, 0.05)
    assert cascade_by_path(*twice, alpha=0.02).is_certified
    by_tier = cascade_by_tier(*twice, alpha=0.02)
    assert not by_tier.is_certified and by_tier.coverage == 0 and np.isnan(by_tier.error_rate)
    assert [one.bound for one in by_tier.certificates] == pytest.approx(
        [float(clopper_pearson_upper(0, 120, 0.05))] * 2
    )


def test_a_tier_that_fails_accepts_nothing_and_the_next_sees_its_items():
    confidence = np.array([np.full(300, 0.9), np.full(300, 0.8)])
    right = np.array([np.arange(300) >= 100, np.arange(300) >= 3], dtype=float)
    found = cascade_by_tier(confidence, right, alpha=0.1, grid=GRID)
    assert found.thresholds.tolist() == [np.inf, 0.6]
    assert found.certificates[1].num == 300 and found.error_rate == pytest.approx(0.01)


def test_a_later_tier_is_certified_on_what_earlier_ones_passed_on():
    confidence = np.array([np.repeat([0.9, 0.4], 150), np.full(300, 0.8)])
    right = np.ones((2, 300))
    right[1, :50] = 0  # wrong where the first tier decides
    found = cascade_by_tier(confidence, right, alpha=0.1, grid=GRID)
    assert [one.num for one in found.certificates] == [300, 150]
    assert found.coverage == 1 and found.error_rate == 0
    settled = cascade_by_tier(np.full((2, 200), 0.9), np.ones((2, 200)), alpha=0.1)
    assert settled.certificates[1].num == 0 and settled.coverage == 1


def test_a_path_may_hold_its_own_thresholds_for_every_tier():
    confidence = np.array([np.full(300, 0.7), np.full(300, 0.9)])
    right = np.array([np.zeros(300), np.ones(300)])
    careful = [[np.inf, 0.9], [np.inf, 0.8]]
    found = cascade_by_path(confidence, right, alpha=0.1, path=careful)
    assert found.coverage == 1 and found.error_rate == 0
    assert found.thresholds.tolist() == [np.inf, 0.8]
    with pytest.raises(ConfigError, match="2 thresholds a point above 0, none above"):
        cascade_by_path(confidence, right, alpha=0.1, path=[[0.8, 0.8], [0.9, 0.7]])
    with pytest.raises(InputError, match="every tier for every item"):
        cascade_by_path(confidence[0], right[0], alpha=0.1)


# -- cost ------------------------------------------------------------------------------------------


def test_an_item_pays_for_every_tier_that_was_asked():
    confidence = np.array([[0.9, 0.5, 0.5], [0.9, 0.9, 0.5]])
    right = np.ones((2, 3))
    found = cascade_by_path(confidence, right, alpha=0.9, delta=0.5, path=[0.8], at_least=1)
    # The first pays 1, the others 1 + 10, and two verdicts stand.
    assert cost_per_verdict(found, confidence, [1, 10]) == pytest.approx((1 + 11 + 11) / 2)
    nothing = cascade_by_path(confidence, right, alpha=0.01, path=[0.8])
    assert cost_per_verdict(nothing, confidence, [1, 10]) == np.inf


def test_the_cheapest_route_that_accepts_enough_wins():
    rng = np.random.default_rng(0)
    confidence = np.stack([rng.uniform(0.5, 1, 800), np.full(800, 0.95)])
    right = np.stack([rng.random(800) < confidence[0], np.ones(800)])
    options = [(1,), (0, 1), (0,)]
    found = cheapest_route(options, confidence, right, costs=[1, 10], alpha=0.1, coverage=0.9)
    assert found.tiers == (0, 1) and found.cost < 10 and found.cascade.coverage >= 0.9
    some = cheapest_route(options, confidence, right, costs=[1, 10], alpha=0.1)
    assert some.tiers == (0,) and some.cascade.coverage < 0.9 and some.cost < found.cost
    costly = cheapest_route(options, confidence, right, costs=[5, 10], alpha=0.01, coverage=0.9)
    assert costly.tiers == (1,) and costly.cost == pytest.approx(10)
    assert costly.cascade.certificates[0].bound == clopper_pearson_upper(0, 800, 0.1 / 3)
    most = cheapest_route([(0,)], confidence, right, costs=[1, 10], alpha=0.1, coverage=0.9)
    assert most.tiers == (0,)


# -- E6: how often the promise is broken -----------------------------------------------------------

ALPHA, DELTA, REPETITIONS, LABELS = 0.1, 0.1, 1000, 500


@dataclass(frozen=True)
class Population:
    """Two tiers of known risk: overconfident ones, of which the second is better."""

    seed: int
    num: int

    @cached_property
    def confidence(self) -> np.ndarray:
        """[2, num], on hundredths."""
        rng = np.random.default_rng(self.seed)
        ease = rng.beta(2, 1, self.num)
        noise = rng.uniform(-0.2, 0.2, (2, self.num))
        return np.round(np.clip(0.5 + 0.5 * ease + noise, 0.5, 1), 2)

    @cached_property
    def chance(self) -> np.ndarray:
        """Of being right [2, num]."""
        shift = np.array([[0.03], [0.0]])
        return np.clip(0.45 + 0.62 * (self.confidence - 0.5) * 2 - shift, 0, 0.995)

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Labelled items."""
        rng = np.random.default_rng(seed)
        rows = rng.integers(self.num, size=LABELS)
        right = rng.random((2, LABELS)) < self.chance[:, rows]
        return self.confidence[:, rows], right.astype(float)

    def risk(self, thresholds: tuple[float, ...], tiers: tuple[int, ...]) -> tuple[float, float]:
        """True error rate and coverage of these thresholds."""
        return _risk(self, thresholds, tiers)


@cache
def _risk(
    population: Population, thresholds: tuple[float, ...], tiers: tuple[int, ...]
) -> tuple[float, float]:
    tier = deciding_tier(population.confidence[list(tiers)], thresholds)
    rows = np.flatnonzero(tier >= 0)
    if not rows.size:
        return 0.0, 0.0
    chance = population.chance[list(tiers)][tier[rows], rows]
    return float(1 - chance.mean()), rows.size / population.num


def naive_threshold(confidence: np.ndarray, right: np.ndarray) -> float:
    """The loosest threshold of the grid at which the labelled items err in at most alpha."""
    is_accepted = confidence >= DEFAULT_GRID[:, None]
    num_errors = is_accepted @ (1 - right)
    passed = DEFAULT_GRID[num_errors <= ALPHA * is_accepted.sum(axis=1)]
    return float(passed[-1]) if passed.size else np.inf


def test_the_promise_is_kept_by_the_walks_and_broken_by_the_naive_threshold():
    """Acceptance 17: E6 with 1,000 draws of 500 labels from a population of known risk."""
    population = Population(seed=1, num=20_000)
    outcomes: dict[str, list[tuple[float, float]]] = {
        name: [] for name in ("naive", "walk", "by tier", "path")
    }
    for seed in range(REPETITIONS):
        confidence, right = population.draw(seed)
        naive = naive_threshold(confidence[1], right[1])
        walk = certify(confidence[1], right[1], alpha=ALPHA, delta=DELTA).threshold
        by_tier = cascade_by_tier(confidence, right, alpha=ALPHA, delta=DELTA)
        path = cascade_by_path(confidence, right, alpha=ALPHA, delta=DELTA)
        outcomes["naive"].append(population.risk((naive,), (1,)))
        outcomes["walk"].append(population.risk((walk,), (1,)))
        outcomes["by tier"].append(population.risk(tuple(by_tier.thresholds.tolist()), (0, 1)))
        outcomes["path"].append(population.risk(tuple(path.thresholds.tolist()), (0, 1)))
    tables = {name: np.array(one) for name, one in outcomes.items()}
    broken = {name: (one[:, 0] > ALPHA).mean() for name, one in tables.items()}
    coverage = {name: one[:, 1].mean() for name, one in tables.items()}
    allowed = DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / REPETITIONS)
    assert max(broken["walk"], broken["by tier"], broken["path"]) <= allowed
    assert broken["naive"] > DELTA
    assert coverage["path"] >= coverage["by tier"] > 0.1
    assert coverage["walk"] > 0.1
