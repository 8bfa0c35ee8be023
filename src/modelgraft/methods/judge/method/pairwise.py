"""Two candidates in two orders: what is content, what is position, and who wins.

s1 is the log-odds that the candidate shown first wins in the order (a, b), s2 the same in the order
(b, a). Their half difference d is the log-odds that a wins, their half sum u what the first slot
gains (positive: it is preferred). Arrays hold one entry for each item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from scipy.special import expit, logsumexp

from modelgraft.core.errors import ConfigError

Array = NDArray[np.float64]
Winner = Literal["a", "b", "tie"]
Policy = Literal["average", "consensus", "score", "random", "none"]

_KNOTS = 101


def content_and_position(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    """d [items], the log-odds that a wins, and u [items], those of the first slot.

    Exchanging a and b exchanges `first` and `second`: d changes its sign and u stays.
    """
    s1, s2 = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return (s1 - s2) / 2, (s1 + s2) / 2


@dataclass(frozen=True)
class Outcome:
    """Who wins, with the probability that a does; `is_consistent` if both orders say so."""

    winner: Winner
    probability: float
    is_consistent: bool


def decide(first: float, second: float, policy: Policy = "average") -> Outcome:
    """The winner by the log-odds of the first slot in both orders.

    average: the sign of d, with sigma(d). consensus: whoever wins in both orders, else a tie
    (MT-Bench). score: each order gives its winner a point; who has more (JudgeBench). An order of
    even odds has no winner. random and none read one order alone and are `decide_one`.
    """
    # Of two certain verdicts for one slot the difference is 0, and not that of infinities.
    d = 0.0 if first == second else (first - second) / 2
    votes = int(np.sign(first)) - int(np.sign(second))
    is_consistent = np.sign(first) == -np.sign(second)
    if policy == "average":
        lead = float(np.sign(d))
    elif policy == "consensus":
        lead = votes if is_consistent else 0
    elif policy == "score":
        lead = votes
    else:
        raise ConfigError("swap", f"--swap {policy}: it reads one order, and two were read.")
    return Outcome(_winner(lead), float(expit(d)), bool(is_consistent))


def decide_one(first: float, prior: float = 0.0, *, is_swapped: bool = False) -> Outcome:
    """The winner by one order, less what the first slot gains; `is_swapped` when b stood first."""
    d = (prior - first) if is_swapped else (first - prior)
    return Outcome(_winner(float(np.sign(d))), float(expit(d)), False)


def _winner(lead: float) -> Winner:
    return "tie" if lead == 0 else "a" if lead > 0 else "b"


def shows_b_first(text_a: str, text_b: str, *, seed: int = 0) -> bool:
    """Whether the random policy shows b first.

    A coin that depends on the two texts alone and not on which of them is called a: the one of
    smaller hash is shown first or second by a further bit.
    """
    one, other = sorted((text_a, text_b))
    digest = hashlib.sha256(f"{seed}\0{one}\0{other}".encode(errors="surrogatepass")).digest()
    first = one if digest[0] % 2 else other
    return first != text_a


def average_samples(
    scores_a: Sequence[ArrayLike], scores_b: Sequence[ArrayLike], *, tie: float = 0.1
) -> tuple[float, float, Winner]:
    """Balanced position calibration (FairEval, equation 2): both orders' k scores of each side.

    `scores_a` and `scores_b` hold the samples [k] of order (a, b) and those of order (b, a); nan is
    a sample that could not be read, and does not count. The means, and who wins by more than `tie`.
    Raises `ConfigError` when a side has no score in one of the orders.
    """
    means = []
    for side in (scores_a, scores_b):
        orders = [np.asarray(one, dtype=np.float64) for one in side]
        kept = [one[~np.isnan(one)] for one in orders]
        if not all(len(one) for one in kept):
            raise ConfigError("samples", "a candidate has no score that could be read in an order.")
        means.append(float(np.mean([one.mean() for one in kept])))
    lead = means[0] - means[1]
    return means[0], means[1], _winner(0.0 if abs(lead) <= tie else lead)


def diversity_entropy(wins: int, ties: int, losses: int) -> float:
    """Entropy in nats of the outcomes over samples and orders (FairEval, equation 4).

    The items of the highest go to people first.
    """
    counts = np.array([wins, ties, losses], dtype=np.float64)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


GRADES: dict[str, tuple[float, int]] = {
    "A>>B": (1.0, 3),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "B>A": (0.0, 1),
    "B>>A": (0.0, 3),
}
"""What a graded verdict says of A, 0 to 1, and how often it counts (Arena-Hard)."""


def mix_coin(probability: ArrayLike, flip: float) -> Array:
    """Probabilities of a judge that tosses a fair coin in a share 2 `flip` of its verdicts."""
    if not 0 <= flip <= 0.5:
        raise ConfigError("flip", f"flip {flip:g}: from 0 to 0.5 is possible.")
    return (1 - 2 * flip) * np.asarray(probability, dtype=np.float64) + flip


# -- what the first slot gains ---------------------------------------------------------------------


def slot_prior(first: ArrayLike, second: ArrayLike) -> float:
    """PriDe for two slots: the mean of u over calibration items judged in both orders."""
    return float(content_and_position(first, second)[1].mean())


def one_order_prior(log_odds: ArrayLike) -> float:
    """The mean log-odds of the first slot in one order.

    Of candidates without content (equal, empty, or "N/A") it is contextual calibration, of a batch
    of items in random order batch calibration.
    """
    return float(np.asarray(log_odds, dtype=np.float64).mean())


def option_prior(logprobs: ArrayLike) -> Array:
    """PriDe for K options: the labels' prior [K], from log-probabilities [items, rotations, K].

    Each item is judged in its K cyclic orders, so that every content stands once at every label
    (Zheng et al. 2024, equation 3).
    """
    values = np.asarray(logprobs, dtype=np.float64)
    assert values.ndim == 3 and values.shape[1] == values.shape[2], "all cyclic orders are needed"
    of_items = values - logsumexp(values, axis=2, keepdims=True)
    prior = of_items.mean(axis=(0, 1))
    return np.exp(prior - logsumexp(prior))


def without_prior(logprobs: ArrayLike, prior: ArrayLike) -> Array:
    """Probabilities [..., K] of options with the labels' prior [K] divided out."""
    values = np.asarray(logprobs, dtype=np.float64) - np.log(np.asarray(prior, dtype=np.float64))
    return np.exp(values - logsumexp(values, axis=-1, keepdims=True))


@dataclass(frozen=True)
class Calibration:
    """A monotone map of the probability that the first slot wins, by its values at `knots`."""

    knots: Array
    values: Array

    def __call__(self, probability: ArrayLike) -> Array:
        """The calibrated probabilities."""
        return np.interp(np.asarray(probability, dtype=np.float64), self.knots, self.values)


def calibrate_swaps(first: ArrayLike, second: ArrayLike, *, stiffness: float = 1.0) -> Calibration:
    """The map g after which the two orders of an item agree best, without any labels.

    After CalibraEval (Li et al. 2024), by an objective of our own: minimise the sum of
    (g(p1) + g(p2) - 1)^2 over items plus `stiffness` times that of (g(x) - x)^2 over 101 knots x,
    with g monotone and g(1/2) = 1/2. `first` and `second` are the probabilities [items] that the
    first slot wins in each order. The problem is one of least squares in the increments of g, which
    are not negative.
    """
    knots = np.linspace(0.0, 1.0, _KNOTS)
    middle = _KNOTS // 2
    # g at the knots is 1/2 + steps @ increments.
    steps = np.zeros((_KNOTS, _KNOTS - 1))
    for place in range(_KNOTS):
        if place > middle:
            steps[place, middle:place] = 1.0
        else:
            steps[place, place:middle] = -1.0
    pairs = sum(_weights(np.asarray(one, dtype=np.float64)) for one in (first, second)) @ steps
    stiff = np.sqrt(stiffness)
    rows = np.concatenate([pairs, stiff * steps])
    target = np.concatenate([np.zeros(len(pairs)), stiff * (knots - 0.5)])
    # The triangle of a QR decomposition has the same minimum, whatever the number of items.
    q, r = np.linalg.qr(rows)
    increments, _ = nnls(r, q.T @ target)
    values = np.clip(0.5 + steps @ increments, 0.0, 1.0)
    return Calibration(knots, values)


def _weights(probability: Array) -> Array:
    """Weights [items, knots] of linear interpolation."""
    place = np.clip(probability, 0.0, 1.0) * (_KNOTS - 1)
    low = np.minimum(place.astype(int), _KNOTS - 2)
    weights = np.zeros((len(place), _KNOTS))
    rows = np.arange(len(place))
    weights[rows, low] = 1 - (place - low)
    weights[rows, low + 1] = place - low
    return weights
