"""How steeply verdicts follow length, or the likelihood that the judge's own model gives answers.

The logit of P(a wins) is a sum of slopes times what a has more than b, without an intercept, so
exchanging a and b changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from modelgraft.evaluation.intervals import Array, percentile_bounds
from modelgraft.methods.judge.method.comparison import length_covariate
from modelgraft.methods.judge.method.logistic import fit_logistic
from modelgraft.methods.judge.probes.measured import Measured, unknown

# A slope that verdicts follow without exception has no end but for this penalty, as for ratings.
_RIDGE = 1e-2
_ROUNDS = 500


def length_slope(probability: ArrayLike, lengths: ArrayLike, *, seed: int = 0) -> Measured:
    """The slope on tanh((length of a - length of b) / sd), in nats (AlpacaEval's covariate).

    `probability` [pairs] is that of a winning, 1, 0 or 1/2 where only the winner is known, and nan
    without a verdict; `lengths` [2, pairs] are in characters.
    """
    of_a, of_b = np.asarray(lengths, dtype=np.float64)
    wins = np.asarray(probability, dtype=np.float64)
    covariate = np.full(wins.size, np.nan)
    is_known = np.isfinite(wins)
    covariate[is_known] = length_covariate(of_b[is_known], of_a[is_known])
    return _slope(wins, covariate[:, None], "the lengths do not differ", seed)


def likelihood_slope(
    probability: ArrayLike, likelihoods: ArrayLike, label: ArrayLike, *, seed: int = 0
) -> Measured:
    """The slope on the difference of log-likelihoods, given what people say, in nats a nat.

    `likelihoods` [2, pairs] are those that the judge's model gives a and b; `label` [pairs] is 1
    where people prefer a, 0 where they prefer b, 1/2 for a tie. A judge without self-preference
    has a slope of 0: what people like explains all that likelihood does.
    """
    of_a, of_b = np.asarray(likelihoods, dtype=np.float64)
    human = 2 * np.asarray(label, dtype=np.float64) - 1
    columns = np.stack([of_a - of_b, human], axis=1)
    wins = np.asarray(probability, dtype=np.float64)
    return _slope(wins, columns, "the likelihoods do not differ", seed)


def _slope(wins: Array, columns: Array, flat: str, seed: int) -> Measured:
    """The coefficient of the first column, with bounds by a bootstrap over pairs."""
    is_known = np.isfinite(wins) & np.isfinite(columns).all(axis=1)
    design, targets = columns[is_known], wins[is_known]
    num_skipped = int((~is_known).sum())
    if not targets.size:
        return unknown("no pair has a verdict and all that is asked of it", num_skipped)
    if not design[:, 0].any():
        return unknown(flat, num_skipped)
    n = targets.size
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_ROUNDS)
    weights = np.concatenate([np.ones((1, n)), drawn])
    ridge = np.full((_ROUNDS + 1, design.shape[1]), _RIDGE)
    slopes = fit_logistic(design, targets, weights, ridge, "l2")[:, 0]
    if n == 1 or np.ptp(slopes[1:]) == 0:
        return Measured(float(slopes[0]), None, None, n, num_skipped)
    low, high = percentile_bounds(slopes[1:], n)
    return Measured(float(slopes[0]), float(low), float(high), n, num_skipped)
