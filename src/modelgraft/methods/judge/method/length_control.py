"""Win rates with the length of the answers held constant (AlpacaEval 2, arXiv 2404.04475).

logit P(y = 1) = phi . x + psi gamma + theta: x are covariates that are 0 where model and baseline
are alike (length first), gamma is the difficulty of the instruction, theta the model. The length
controlled win rate (LC) is the mean of sigma(psi gamma + theta): what the model would win if its
answers were like the baseline's in all covariates. Letters: n items, k covariates. Win rates are in
percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array, Interval, percentile_bounds
from modelgraft.methods.judge.method.comparison import (
    Comparison,
    discrete_win_rate,
    raw_win_rate,
)
from modelgraft.methods.judge.method.difficulty import fit_difficulty
from modelgraft.methods.judge.method.logistic import Penalty, choose_strength, fit_logistic

# The seed of the released code, here of the folds.
_SEED = 123
# lambda = 0.2, shared among the sets of gamed rows.
_GAMED_WEIGHT = 0.2
# With fewer models a difficulty is little more than the verdicts it is to explain.
_MODELS_FOR_DIFFICULTY = 5
_FEWEST_ITEMS = 5
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class LengthControlled:
    """LC and raw win rates of a model, with the coefficients behind them.

    `standard_error` is that of the mean of the predictions. It knows nothing of the noise of the
    fit, and is 0 without difficulties: `length_controlled_interval` gives the honest interval.
    `discrete` counts wins and half the ties. `num_missing` items had no verdict and are in nothing.
    """

    win_rate: float
    standard_error: float
    raw: float
    discrete: float
    bias: float
    slopes: Array
    difficulty_slope: float
    difficulty: Array | None
    penalty: Penalty | None
    strength: float
    num_items: int
    num_missing: int
    warnings: tuple[str, ...] = ()


def length_controlled(
    comparison: Comparison,
    *,
    gamed: Sequence[Comparison] = (),
    penalty: Penalty | None = "l2",
    seed: int = _SEED,
) -> LengthControlled:
    """The length-controlled win rate of one model.

    `gamed` are comparisons of the baseline, told to be verbose and told to be concise, with itself.
    They carry no theta and weigh 0.2 together for each item, so they tie phi to what length does to
    the baseline's own answers; without them short answers gain too much.

    l1 penalises all coefficients, as AlpacaEval does. l2 (ours) leaves theta alone, so a stronger
    penalty moves LC towards the raw win rate and not towards 50; None has no penalty. The strength
    comes from a cross-validation. InputError below five items with a verdict.
    """
    known = np.isfinite(comparison.preference)
    if known.sum() < _FEWEST_ITEMS:
        raise InputError(
            f"length control: {int(known.sum())} of {known.size} items have a verdict, and at "
            f"least {_FEWEST_ITEMS} are needed to fit anything."
        )
    design, targets, weights = _rows(comparison, gamed)
    penalised = np.ones(design.shape[1])
    if penalty != "l1":
        penalised[-1] = 0
    strength = 0.0
    if penalty is not None:
        strength = choose_strength(design, targets, weights, penalised, penalty, seed)
    (point,) = fit_logistic(
        design, targets, weights[None], strength * penalised[None], penalty or "l2"
    )
    return _summarise(comparison, point, penalty, strength)


def length_controlled_interval(
    comparison: Comparison,
    fitted: LengthControlled,
    *,
    gamed: Sequence[Comparison] = (),
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """LC with its bootstrap interval over items, the fit made anew for every resample.

    The strength of the penalty and the difficulties stay those of `fitted`, which must come from
    the same `comparison` and `gamed`. Gamed rows are resampled within their sets.
    """
    design, targets, weights = _rows(comparison, gamed)
    sizes = [int(np.isfinite(rows.preference).sum()) for rows in (comparison, *gamed)]
    num, k = sizes[0], fitted.slopes.size
    hardness = design[:num, k:-1].T  # no row without difficulties
    penalised = np.ones(design.shape[1])
    if fitted.penalty != "l1":
        penalised[-1] = 0
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS_AT_ONCE // weights.size)
    found = []
    for begin in range(0, rounds, block):
        count = min(block, rounds - begin)
        drawn = np.hstack(
            [rng.multinomial(size, np.full(size, 1 / size), size=count) for size in sizes]
        )
        strength = np.tile(fitted.strength * penalised, (count, 1))
        points = fit_logistic(design, targets, weights * drawn, strength, fitted.penalty or "l2")
        logits = points[:, -1:] + points[:, k:-1] @ hardness
        found.append((drawn[:, :num] * expit(logits)).sum(axis=1) * 100 / num)
    low, high = percentile_bounds(np.concatenate(found), num, level=level)
    return Interval(fitted.win_rate, float(low), float(high), num)


def win_rate_between(model: LengthControlled, other: LengthControlled) -> float:
    """The length-controlled win rate of `model` against `other`, both fitted on the same items.

    The mean of sigma(d theta + d psi gamma): 50 for a model against itself, and 100 together with
    the rate of the other way round.
    """
    hardness = np.zeros(1)
    if model.difficulty is not None and other.difficulty is not None:
        if not np.array_equal(model.difficulty, other.difficulty, equal_nan=True):
            raise InputError("length control: both models must be fitted with one difficulty.")
        hardness = model.difficulty[np.isfinite(model.difficulty)]
    elif model.difficulty is not other.difficulty:
        raise InputError("length control: one of the models was fitted without difficulties.")
    gap = model.bias - other.bias
    slope = model.difficulty_slope - other.difficulty_slope
    # Antisymmetric to the last bit: half the difference of both directions.
    there, back = expit(gap + slope * hardness).mean(), expit(-gap - slope * hardness).mean()
    return 50 + 50 * float(there - back)


def length_controlled_board(
    comparisons: Sequence[Comparison],
    *,
    gamed: Sequence[Comparison] = (),
    penalty: Penalty | None = "l2",
) -> list[LengthControlled]:
    """LC of many models on the same items, with difficulties from a joint fit where five exist.

    With fewer models psi is left out. Difficulties given with the comparisons are not used.
    """
    hardness = None
    if len(comparisons) >= _MODELS_FOR_DIFFICULTY:
        preferences = np.stack([one.preference for one in comparisons])
        covariates = np.stack([one.covariates for one in comparisons])
        hardness = fit_difficulty(preferences, covariates).difficulty
    together = [replace(one, difficulty=hardness) for one in comparisons]
    tied = [replace(one, difficulty=hardness) for one in gamed]
    return [length_controlled(one, gamed=tied, penalty=penalty) for one in together]


def is_extreme(raw: float, controlled: float) -> bool:
    """Whether LC leaves [min(w - w/4, w - 10), max(w + (100 - w)/4, w + 10)] for the raw rate w."""
    low = min(raw - raw / 4, raw - 10)
    high = max(raw + (100 - raw) / 4, raw + 10)
    return not low <= controlled <= high


def _rows(comparison: Comparison, gamed: Sequence[Comparison]) -> tuple[Array, Array, Array]:
    """Design [rows, k + 1 or k + 2], targets and weights: (x, gamma if known, theta)."""
    designs, targets, weights = [], [], []
    for place, rows in enumerate((comparison, *gamed)):
        own = place == 0
        known = np.isfinite(rows.preference)
        columns = [rows.covariates[known]]
        if comparison.difficulty is not None:
            assert rows.difficulty is not None, "gamed rows need the difficulties as well"
            columns.append(rows.difficulty[known, None])
        columns.append(np.full((int(known.sum()), 1), float(own)))
        designs.append(np.hstack(columns))
        targets.append(rows.preference[known])
        weights.append(np.full(int(known.sum()), 1.0 if own else _GAMED_WEIGHT / len(gamed)))
    return np.vstack(designs), np.concatenate(targets), np.concatenate(weights)


def _summarise(
    comparison: Comparison, point: Array, penalty: Penalty | None, strength: float
) -> LengthControlled:
    known = np.isfinite(comparison.preference)
    k = comparison.covariates.shape[1]
    has_difficulty = comparison.difficulty is not None
    slope = float(point[k]) if has_difficulty else 0.0
    hardness = comparison.difficulty[known] if has_difficulty else np.zeros(int(known.sum()))
    predicted = 100 * expit(point[-1] + slope * hardness)
    rate, raw = float(predicted.mean()), raw_win_rate(comparison.preference)
    warnings = ()
    if is_extreme(raw, rate):
        warnings = (
            f"length control moves the win rate from {raw:.1f} to {rate:.1f} %: the lengths differ "
            "so much that this is extrapolation; look at the raw rate as well.",
        )
    return LengthControlled(
        win_rate=rate,
        standard_error=float(predicted.std(ddof=1) / np.sqrt(predicted.size)),
        raw=raw,
        discrete=discrete_win_rate(comparison.preference),
        bias=float(point[-1]),
        slopes=point[:k],
        difficulty_slope=slope,
        difficulty=comparison.difficulty,
        penalty=penalty,
        strength=strength,
        num_items=predicted.size,
        num_missing=int((~known).sum()),
        warnings=warnings,
    )
