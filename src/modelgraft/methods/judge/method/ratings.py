"""From battles to ratings: sequential Elo and the Bradley-Terry maximum likelihood.

Letters: m rows, n models, b fits made at once. Strengths theta are natural logarithms with mean 0;
`elo_scale` turns them into the numbers of rating lists.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.battles import Battles, Places, collapse
from modelgraft.methods.judge.method.pair_model import (
    Ratings,
    choose_ridge,
    covariances,
    fit_pairs,
    gaps,
    logistic,
)

# 400 points are odds of ten to one.
POINTS = 400 / math.log(10)
_CENTRE = 1000.0
_DRAWS_AT_ONCE = 4_000_000
_MAX_STEPS = 200
_TOLERANCE = 1e-14


def elo(battles: Battles, *, k: float = 4.0, start: float = 1000.0) -> Array:
    """Elo ratings [n] after the battles in the order of their rows.

    E = 1 / (1 + 10^((R_b - R_a) / 400)), R_a += k (y - E), R_b -= the same. Whoever fought last
    counts most, so the order matters: `elo_bootstrap` shows how much. A row of mass 3 is fought
    three times; InputError if a mass is not whole, for then there is no sequence.
    """
    rows = _sequence(battles)
    ratings = [start] * len(battles.models)
    columns = (battles.first[rows], battles.second[rows], battles.outcome[rows])
    for a, b, y in zip(*(column.tolist() for column in columns), strict=True):
        change = k * (y - 1 / (1 + 10 ** ((ratings[b] - ratings[a]) / 400)))
        ratings[a] += change
        ratings[b] -= change
    return np.array(ratings)


def elo_bootstrap(
    battles: Battles, *, rounds: int = 1000, seed: int = 0, k: float = 4.0, start: float = 1000.0
) -> Array:
    """Elo ratings [rounds, n] of the battles drawn with replacement, in the order of the draw.

    Their spread holds both what the sample and what the order of battles does. All rounds advance
    together, a battle at a time.
    """
    rows = _sequence(battles)
    rng = np.random.default_rng(seed)
    n = len(battles.models)
    ratings = np.full(rounds * n, start)
    origin = np.arange(rounds) * n
    block = max(1, _DRAWS_AT_ONCE // rounds)
    for begin in range(0, rows.size, block):
        draws = rng.integers(rows.size, size=(min(block, rows.size - begin), rounds))
        for row in rows[draws]:
            a, b = origin + battles.first[row], origin + battles.second[row]
            share = expit((ratings[a] - ratings[b]) / POINTS)
            change = k * (battles.outcome[row] - share)
            ratings[a] += change
            ratings[b] -= change
    return ratings.reshape(rounds, n)


def bradley_terry(battles: Battles, *, ridge: float | None = None) -> Ratings:
    """The strengths that maximise sum w [y ln sigma(d) + (1 - y) ln sigma(-d)], d = th_a - th_b.

    Ties are half wins. A maximum exists if the win graph is strongly connected; elsewhere `ridge`
    None takes 1/2 lambda |theta|^2 with lambda = 0.01 and a warning that names the groups, and 0
    raises InputError (R. A. Bradley and M. E. Terry, Biometrika 39, 1952; Ford, 1957).
    """
    collapsed = collapse(battles)
    strength, warnings = choose_ridge(collapsed, ridge)
    none = np.zeros((collapsed.outcome.size, 0))
    theta, curvature = fit_pairs(collapsed, none, logistic, ridge=strength)
    rows = collapsed if battles.prompt is None else battles
    none = np.zeros((rows.outcome.size, 0))
    local = logistic(gaps(rows, none, theta), rows.outcome)
    covariance, robust = covariances(rows, none, local, curvature)
    return Ratings(battles.models, theta, theta[:0], None, covariance, robust, strength, warnings)


def fit_wins(wins: Array, *, ridge: ArrayLike = 0.0, start: Array | None = None) -> Array:
    """Bradley-Terry strengths [b, n] of many win matrices [b, n, n] at once, from `start` [n].

    Batched Newton steps; for `start` near the answer, as a bootstrap has it, three or four do. A
    step is shortened by ln(1 + r) / r, r being the largest change of a gap, which makes it climb
    from anywhere (F. Bach, Self-concordant analysis for logistic regression, 2010). `ridge` is one
    number or one for each matrix. It must be above zero where the win graph is not strongly
    connected, for without it the strengths are infinite.
    """
    b, n = wins.shape[:2]
    theta = np.tile(np.zeros(n) if start is None else start - start.mean(), (b, 1))
    strength = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (b,))[:, None]
    met = wins + wins.swapaxes(1, 2)
    total = met.sum(axis=(1, 2))
    diagonal = np.arange(n)
    for _ in range(_MAX_STEPS):
        share = expit(theta[:, :, None] - theta[:, None, :])
        slope = (wins - met * share).sum(axis=2) - strength * theta
        links = met * share * (1 - share)
        curvature = 1 / n - links
        curvature[:, diagonal, diagonal] += links.sum(axis=2) + strength
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        reach = np.maximum(np.ptp(step, axis=1), 1e-300)
        gain = (slope * step).sum(axis=1)
        theta += step * (np.log1p(reach) / reach)[:, None]
        if (gain <= _TOLERANCE * total).all():
            break
    return theta - theta.mean(axis=1, keepdims=True)


def elo_scale(theta: Array, *, anchor: tuple[int, float] | None = None) -> Array:
    """1000 + 400 / ln 10 (theta - mean), or moved so that model `anchor[0]` has rating `anchor[1]`.

    `theta` is [..., n]: one fit or a bootstrap of them.
    """
    points = POINTS * theta
    if anchor is None:
        return _CENTRE + points - points.mean(axis=-1, keepdims=True)
    place, rating = anchor
    return rating + points - points[..., place, None]


def _sequence(battles: Battles) -> Places:
    """The rows to fight, each as often as its mass says."""
    whole = battles.mass == np.round(battles.mass)
    if not whole.all():
        row = int(np.argmin(whole))
        raise InputError(
            f"elo: battle {row} has the mass {battles.mass[row]:g}, and a battle is fought a whole "
            "number of times.\n  Take Bradley-Terry, which knows weights."
        )
    return np.repeat(np.arange(battles.mass.size), battles.mass.astype(np.int64))
