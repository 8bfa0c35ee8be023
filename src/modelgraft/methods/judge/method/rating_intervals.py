"""How sure ratings are: bootstraps over outcomes and over prompts, bounds, and ranges of ranks.

The sandwich covariance stands in `Ratings.robust`. Letters: n models, r rounds of a bootstrap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.special import ndtri

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.battles import Battles, Places, collapse, components
from modelgraft.methods.judge.method.pair_model import DEFAULT_RIDGE, Ratings
from modelgraft.methods.judge.method.ratings import fit_wins

# Small blocks of fits stay in the cache of a core.
_CELLS_AT_ONCE = 250_000


class Draws(NamedTuple):
    """Strengths [r, n] fitted to resamples; `num_drawn` units each, `num_held` held by a ridge."""

    theta: Array
    num_drawn: int
    num_held: int


def outcome_bootstrap(
    battles: Battles, ratings: Ratings, *, rounds: int = 1000, seed: int = 0
) -> Draws:
    """Bradley-Terry strengths of battles drawn with replacement.

    How often each unique outcome is drawn is one multinomial draw, and every fit starts from
    `ratings`, so the cost does not grow with the number of battles. A resample whose win graph is
    not strongly connected is fitted with the default ridge, as the battles themselves would be.
    """
    unique = collapse(battles)
    rows = _win_rows(unique, np.arange(unique.count.size), unique.weight)
    return _bootstrap(rows, unique.count, ratings, rounds, seed)


def prompt_bootstrap(
    battles: Battles, ratings: Ratings, *, rounds: int = 1000, seed: int = 0
) -> Draws:
    """The same with whole prompts drawn, for battles on one prompt are not independent.

    InputError if the battles do not name their prompts.
    """
    if battles.prompt is None:
        raise InputError(
            "prompt bootstrap: the battles do not name their prompts.\n"
            "  Give each battle its prompt, or resample the outcomes."
        )
    rows = _win_rows(battles, battles.prompt, battles.mass)
    return _bootstrap(rows, np.ones(rows.shape[0]), ratings, rounds, seed)


def normal_bounds(values: Array, covariance: Array, *, level: float = 0.95) -> tuple[Array, Array]:
    """`values` [q] -+ z standard errors, by the first q diagonal entries of `covariance`."""
    half = ndtri((1 + level) / 2) * np.sqrt(np.diag(covariance)[: values.size])
    return values - half, values + half


def rank_intervals(low: Array, high: Array) -> Places:
    """The best and the worst rank [n, 2] that the bounds [n] of all models leave open.

    The best is 1 + how many have their lower bound above one's upper bound (Chatbot Arena); the
    worst is n - how many have their upper bound below one's lower bound.
    """
    above = low[None, :] > high[:, None]
    return _ranks(above)


def pairwise_rank_intervals(theta: Array, covariance: Array, *, level: float = 0.95) -> Places:
    """The same [n, 2], where a model is above another if the interval of their difference says so.

    Narrower ranges than by each model's own interval, since a difference is known better than the
    two intervals together suggest.
    """
    n = theta.size
    variance = np.diag(covariance)[:n]
    spread = variance[:, None] + variance[None, :] - 2 * covariance[:n, :n]
    half = ndtri((1 + level) / 2) * np.sqrt(np.maximum(spread, 0))
    above = theta[None, :] - theta[:, None] > half
    np.fill_diagonal(above, False)
    return _ranks(above)


def _ranks(above: NDArray[np.bool_]) -> Places:
    """From above[i, j], whether j surely stands above i."""
    best = 1 + above.sum(axis=1)
    worst = above.shape[0] - above.sum(axis=0)
    return np.column_stack((best, worst))


def _win_rows(battles: Battles, unit: Places, mass: Array) -> csr_array:
    """The win matrix of each unit as a row [units, n * n], a battle counting its `mass` [m]."""
    n = len(battles.models)
    cells = np.concatenate((battles.first * n + battles.second, battles.second * n + battles.first))
    values = np.concatenate((mass * battles.outcome, mass * (1 - battles.outcome)))
    units = np.concatenate((unit, unit))
    shape = (int(unit.max()) + 1, n * n)
    return csr_array(coo_array((values, (units, cells)), shape=shape))


def _bootstrap(rows: csr_array, counts: Array, ratings: Ratings, rounds: int, seed: int) -> Draws:
    rng = np.random.default_rng(seed)
    n = len(ratings.models)
    total = round(counts.sum())
    shares = counts / counts.sum()
    block = max(1, _CELLS_AT_ONCE // max(n * n, shares.size))
    seen = (counts @ rows).reshape(n, n) > 0
    found, num_held = [], 0
    for begin in range(0, rounds, block):
        drawn = rng.multinomial(total, shares, size=min(block, rounds - begin))
        wins = (drawn.astype(np.float64) @ rows).reshape(-1, n, n)
        ridge = np.full(wins.shape[0], ratings.ridge)
        if ratings.ridge == 0:
            # A sample in which every pair kept its outcomes is linked as the battles are.
            for place in np.flatnonzero(((wins > 0) != seen).any(axis=(1, 2))):
                ridge[place] = DEFAULT_RIDGE if components(wins[place]).any() else 0.0
        num_held += int((ridge > 0).sum())
        found.append(fit_wins(wins, ridge=ridge, start=ratings.theta))
    return Draws(np.concatenate(found), total, num_held)
