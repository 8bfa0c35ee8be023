"""Ratings with intervals and ranges of ranks, by the rule that a person chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelgraft.evaluation.intervals import Array, percentile_bounds
from modelgraft.methods.judge.leaderboard.fought import (
    STYLES,
    Fought,
    battles_of,
    styles_of,
)
from modelgraft.methods.judge.method.battles import (
    Battles,
    Places,
    components,
    describe_components,
    win_matrix,
)
from modelgraft.methods.judge.method.pair_model import Ratings
from modelgraft.methods.judge.method.rating_intervals import (
    normal_bounds,
    outcome_bootstrap,
    prompt_bootstrap,
    rank_intervals,
)
from modelgraft.methods.judge.method.ratings import (
    POINTS,
    bradley_terry,
    elo,
    elo_bootstrap,
    elo_scale,
)
from modelgraft.methods.judge.method.style import style_controlled, style_covariates
from modelgraft.methods.judge.method.ties import davidson


@dataclass(frozen=True)
class Slope:
    """What one standard deviation of a style adds to the log-odds of winning, with its bounds."""

    style: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Rated:
    """Ratings [models] on Elo's scale, mean 1000, with 95 % bounds, nan where they are not known.

    `ranks` [models, 2] are the best and the worst that the bounds leave open.
    """

    models: tuple[str, ...]
    rating: Array
    low: Array
    high: Array
    ranks: Places
    slopes: tuple[Slope, ...] = ()
    remarks: tuple[str, ...] = ()


def rate(
    found: Sequence[Fought],
    *,
    by: str = "bradley_terry",
    style: str = "none",
    rounds: int = 1000,
    seed: int = 0,
) -> Rated:
    """The ratings of all models in decided battles.

    Intervals resample prompts (bradley_terry) or battles (elo), or are those of the sandwich
    covariance clustered by prompt (davidson, and where a style is held constant).
    """
    battles = battles_of(found)
    if style != "none":
        return _styled(battles, found, style)
    if by == "davidson":
        ratings = davidson(battles)
        remarks = (*ratings.warnings, f"Davidson's tie parameter is {ratings.tie:.3g}.")
        return _by_covariance(ratings, remarks=remarks)
    if by == "elo":
        return _elo(battles, rounds, seed)
    return _bradley_terry(battles, rounds, seed)


def _bradley_terry(battles: Battles, rounds: int, seed: int) -> Rated:
    ratings = bradley_terry(battles)
    assert battles.prompt is not None
    has_prompts = len(np.unique(battles.prompt)) > 1
    bootstrap = prompt_bootstrap if has_prompts else outcome_bootstrap
    draws = bootstrap(battles, ratings, rounds=rounds, seed=seed)
    low, high = percentile_bounds(elo_scale(draws.theta), draws.num_drawn)
    remarks = [*ratings.warnings]
    if draws.num_held and not ratings.ridge:
        remarks.append(
            f"{draws.num_held} of {rounds} resamples were not linked by wins in both directions "
            "and are held by a ridge; the bounds of models at the ends are too narrow."
        )
    return _rated(battles.models, elo_scale(ratings.theta), low, high, tuple(remarks))


def _elo(battles: Battles, rounds: int, seed: int) -> Rated:
    rating = elo(battles)
    low, high = percentile_bounds(
        elo_bootstrap(battles, rounds=rounds, seed=seed), battles.outcome.size
    )
    remarks = ["Elo depends on the order of the battles; the bounds hold what another order does."]
    groups = components(win_matrix(battles))
    if groups.any():
        remarks.append(
            f"{int(groups.max()) + 1} groups of models are not linked by wins in both directions: "
            f"{describe_components(battles.models, groups)}; the distance between groups says "
            "little."
        )
    return _rated(battles.models, rating, low, high, tuple(remarks))


def _styled(battles: Battles, found: Sequence[Fought], style: str) -> Rated:
    first, second = styles_of(found)
    num = 1 if style == "length" else len(STYLES)
    # Every battle from both sides: else whoever always stands first has its own style for the mean
    # that is taken off, and is rated with it.
    both_sides = np.concatenate((first, second)), np.concatenate((second, first))
    covariates = style_covariates(*(one[:, :num] for one in both_sides))[: len(found)]
    varies = np.ptp(covariates, axis=0) > 0
    ratings = style_controlled(battles, covariates[:, varies])
    names = [name for name, one in zip(STYLES, varies, strict=False) if one]
    both = np.concatenate((ratings.theta, ratings.beta))
    bounds = np.column_stack(normal_bounds(both, ratings.robust))[len(ratings.models) :]
    slopes = tuple(
        Slope(name, float(value), *(float(end) if np.isfinite(end) else None for end in ends))
        for name, value, ends in zip(names, ratings.beta, bounds, strict=True)
    )
    return _by_covariance(ratings, slopes, remarks=ratings.warnings)


def _by_covariance(
    ratings: Ratings, slopes: tuple[Slope, ...] = (), *, remarks: tuple[str, ...] = ()
) -> Rated:
    rating = elo_scale(ratings.theta)
    low, high = normal_bounds(ratings.theta, ratings.robust)
    down, up = POINTS * (ratings.theta - low), POINTS * (high - ratings.theta)
    return _rated(ratings.models, rating, rating - down, rating + up, remarks, slopes)


def _rated(
    models: tuple[str, ...],
    rating: Array,
    low: Array,
    high: Array,
    remarks: tuple[str, ...],
    slopes: tuple[Slope, ...] = (),
) -> Rated:
    # Battles that all end alike give resamples that do: that is no knowledge of the rating.
    is_known = high > low
    low, high = np.where(is_known, low, np.nan), np.where(is_known, high, np.nan)
    if not is_known.all():
        remarks = (
            *remarks,
            "Where battles all end alike so do resamples: no bounds there.",
        )
    return Rated(models, rating, low, high, rank_intervals(low, high), slopes, remarks)
