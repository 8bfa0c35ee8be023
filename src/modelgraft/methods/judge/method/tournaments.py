"""Rankings from fewer than all comparisons, each chosen by the ratings so far.

Generators as in `sorting`: they yield batches of pairs and are sent the probabilities that the
first is better, which count as that share of a win. Ratings are Bradley-Terry with a small ridge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil, log2

import numpy as np
from scipy.special import expit

from modelgraft.core.errors import ConfigError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.ratings import fit_wins
from modelgraft.methods.judge.method.sorting import Pair, Ranker, Ranking

_RIDGE = 0.1
_Z = 1.96


def swiss(n: int, *, rounds: int | None = None, seed: int = 0) -> Ranker:
    """Rounds of n / 2 pairs of items with like ratings, none of which met before.

    ceil(log2 n) + 2 rounds unless said otherwise; with an odd number one item rests.
    """
    num = rounds if rounds is not None else (ceil(log2(n)) + 2 if n > 1 else 0)
    wins = np.zeros((n, n))
    order = np.random.default_rng(seed).permutation(n).tolist()
    for _ in range(num):
        pairs = _neighbours(order, wins)
        if not pairs:
            break
        _note(wins, pairs, (yield pairs))
        order = ranked(rate(wins))
    return ranked(rate(wins)) if n else []


def active(n: int, budget: int, *, batch: int | None = None, seed: int = 0) -> Ranker:
    """The pairs that tell most, until neighbours are told apart or `budget` pairs were asked.

    What a pair tells is p (1 - p) times the variance of the difference of its ratings. A first ring
    lets every item meet two others; then `batch` pairs (n / 4) of different items are asked at a
    time, none twice. Raises `ConfigError` for a budget that is not enough for the ring.
    """
    if n > 2 and budget < n:
        raise ConfigError("comparisons", f"{budget} comparisons: {n} items need {n} to begin with.")
    if n < 2:
        return list(range(n))
    ring = np.random.default_rng(seed).permutation(n).tolist()
    pairs = list(zip(ring, [*ring[1:], ring[0]], strict=True))[: n if n > 2 else 1]
    wins = np.zeros((n, n))
    _note(wins, pairs, (yield pairs))
    asked = len(pairs)
    while asked < budget:
        theta, covariance = rate(wins), covariance_of(wins)
        if is_separated(theta, covariance):
            break
        size = min(batch or max(1, n // 4), budget - asked)
        pairs = _most_telling(theta, covariance, wins, size)
        if not pairs:
            break
        _note(wins, pairs, (yield pairs))
        asked += len(pairs)
    return ranked(rate(wins))


def rate(wins: Array) -> Array:
    """Strengths [n] from shares of wins [n, n]."""
    return fit_wins(wins[None], ridge=_RIDGE)[0]


def covariance_of(wins: Array) -> Array:
    """The inverse of the information [n, n] about the strengths, ridge included."""
    theta = rate(wins)
    p = expit(theta[:, None] - theta[None, :])
    weights = (wins + wins.T) * p * (1 - p)
    information = np.diag(weights.sum(axis=1) + _RIDGE) - weights
    return np.linalg.inv(information)


def ranked(theta: Array) -> Ranking:
    """Items by falling strength; equal ones in their order."""
    return sorted(range(len(theta)), key=lambda item: -theta[item])


def is_separated(theta: Array, covariance: Array) -> bool:
    """Whether every item lies beyond the interval of the next one."""
    order = np.array(ranked(theta))
    gaps = -np.diff(theta[order])
    return bool((gaps > _Z * np.sqrt(spread_of(covariance)[order[:-1], order[1:]])).all())


def spread_of(covariance: Array) -> Array:
    """The variances [n, n] of all differences."""
    own = np.diag(covariance)
    return own[:, None] + own[None, :] - 2 * covariance


def _most_telling(theta: Array, covariance: Array, wins: Array, size: int) -> list[Pair]:
    p = expit(theta[:, None] - theta[None, :])
    gain = p * (1 - p) * spread_of(covariance)
    gain[(wins + wins.T) > 0] = -1.0
    first, second = np.triu_indices(len(theta), 1)
    order = np.argsort(-gain[first, second], kind="stable")
    pairs = ((int(first[k]), int(second[k])) for k in order if gain[first[k], second[k]] > 0)
    return _disjoint(pairs, size)


def _disjoint(pairs: Iterable[Pair], size: int) -> list[Pair]:
    """The first so many pairs that share no item."""
    chosen: list[Pair] = []
    used: set[int] = set()
    for pair in pairs:
        if len(chosen) == size:
            break
        if not used & set(pair):
            chosen.append(pair)
            used |= set(pair)
    return chosen


def _neighbours(order: Ranking, wins: Array) -> list[Pair]:
    """Pairs of items that stand near each other and have not met."""
    met = (wins + wins.T) > 0

    def candidates() -> Iterator[Pair]:
        for distance in range(1, len(order)):
            for place in range(len(order) - distance):
                one, other = order[place], order[place + distance]
                if not met[one, other]:
                    yield one, other

    return _disjoint(candidates(), len(order) // 2)


def _note(wins: Array, pairs: list[Pair], outcomes: Iterable[float]) -> None:
    for (i, j), p in zip(pairs, outcomes, strict=True):
        wins[i, j] += p
        wins[j, i] += 1 - p
