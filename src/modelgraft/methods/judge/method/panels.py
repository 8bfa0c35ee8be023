"""Several judges of one thing: votes and means, weights by what they got right, and what they add.

A verdict that could not be read is None among labels and nan among scores, and takes no part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtrc, betainc

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import Coefficient, undefined
from modelgraft.methods.judge.method.windows import preferences

TieRule = Literal["tie", "chair", "random"]
Pooling = Literal["mean", "median", "trimmed", "min"]

_SAME = 1e-12


# -- votes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vote:
    """What a panel decided; `label` is None on a tie that the rule left and without any vote.

    `share` is that of the leading label in the weight of all `num` votes.
    """

    label: Hashable | None
    is_tied: bool
    num: int
    share: float


def vote(
    labels: Sequence[Hashable | None],
    *,
    tie: TieRule,
    weights: ArrayLike | None = None,
    offered: Sequence[Hashable] = (),
    key: str = "",
) -> Vote:
    """The label with the most votes, or with the most weight of them.

    Of labels that lead together the rule takes none (`tie`), that of the first judge if it is among
    them (`chair`), or one by a hash of `key` (`random`), which names the item and the seed.
    `offered` labels without a vote have the weight 0, and can win over one that only judges of
    negative weight voted for.
    """
    given = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (len(labels),):
        raise InputError(f"{given.size} weights for {len(labels)} judges: one a judge is needed.")
    totals: dict[Hashable, float] = dict.fromkeys(offered, 0.0)
    cast = zip(labels, given.tolist(), strict=True)
    read = [(label, weight) for label, weight in cast if label is not None]
    for label, weight in read:
        totals[label] = totals.get(label, 0.0) + weight
    if not read:
        return Vote(None, False, 0, np.nan)
    most = max(totals.values())
    leading = [label for label, total in totals.items() if total >= most - _SAME]
    weight = sum(abs(one) for _, one in read)
    share = most / weight if weight else np.nan
    if len(leading) == 1:
        return Vote(leading[0], False, len(read), share)
    return Vote(_break_tie(leading, labels[0], tie, key), True, len(read), share)


def _break_tie(
    leading: list[Hashable], chair: Hashable | None, tie: TieRule, key: str
) -> Hashable | None:
    if tie == "chair":
        return chair if chair in leading else None
    if tie == "random":
        # By name, so that neither the order of the judges nor that of the labels decides.
        names = sorted(leading, key=repr)
        digest = hashlib.sha256(f"{key}\0{names!r}".encode(errors="surrogatepass")).digest()
        return names[int.from_bytes(digest[:8], "big") % len(names)]
    return None


def unanimous(labels: Sequence[Hashable | None]) -> Hashable | None:
    """The label that every judge gave; None when they differ or one could not be read."""
    return labels[0] if labels and len(set(labels)) == 1 else None


def pool(scores: ArrayLike, how: Pooling, *, trim: float = 0.2) -> Array:
    """One score an item [items] from those of judges [items, judges]; nan where none was read.

    `trimmed` leaves out a share `trim` of the judges at either end, rounded down; `min` is for
    safety, where one judge's alarm is enough.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2:
        raise InputError(f"scores have shape {table.shape}: a row an item, a column a judge.")
    if not 0 <= trim < 0.5:
        raise ConfigError("trim", f"trim {trim:g}: from 0 to below 0.5 of the judges.")
    ordered = np.sort(table, axis=1)  # nan last
    num = (~np.isnan(table)).sum(axis=1, keepdims=True)
    cut = {"mean": 0 * num, "median": (num - 1) // 2, "trimmed": (trim * num).astype(int)}
    place = np.arange(table.shape[1])
    if how == "min":
        is_kept = (place == 0) & (num > 0)
    else:
        is_kept = (place >= cut[how]) & (place < num - cut[how])
    with np.errstate(invalid="ignore"):
        return np.where(is_kept, ordered, 0.0).sum(axis=1) / is_kept.sum(axis=1)


def copeland(rankings: Sequence[Sequence[int]], n: int) -> list[int]:
    """By the items that more than half of the rankings put lower, a draw counting half.

    Equal ones stay in the items' order. `windows.borda` and `windows.kemeny` are the other ways.
    """
    before = preferences(rankings, n)
    points = (before > before.T).sum(axis=1) + 0.5 * ((before == before.T).sum(axis=1) - 1)
    return sorted(range(n), key=lambda item: -points[item])


def log_odds_weights(num_right: ArrayLike, num: ArrayLike) -> Array:
    """The weight ln(a / (1 - a)) of each judge, a = (right + 1) / (all + 2) of held-out verdicts.

    The best weights for independent judges of two labels; negative for one that is worse than a
    coin.
    """
    right, total = np.asarray(num_right, dtype=np.float64), np.asarray(num, dtype=np.float64)
    if ((right < 0) | (right > total)).any():
        raise InputError("weights: of a judge's held-out verdicts 0 to all are right.")
    return np.log((right + 1) / (total - right + 1))


# -- what a panel is worth -------------------------------------------------------------------------


@dataclass(frozen=True)
class PanelWorth:
    """What a panel's majority reaches, beside what its judges would reach if they were independent.

    `accuracies` [judges] on `num` items; `correlation` is the mean of the pairs' error
    correlations. `size` is the number of independent judges they amount to, nan if that is
    undefined. `if_independent` and `predicted` are the accuracies of a majority of equal judges,
    as many as there are and as many as they amount to; `observed` is that of the majority itself,
    in which a draw is half right.
    """

    num: int
    accuracies: Array
    correlation: Coefficient
    size: float
    if_independent: float
    predicted: float
    observed: float


def panel_worth(is_right: ArrayLike) -> PanelWorth:
    """The report on verdicts [items, judges], 1 where right and 0 where wrong."""
    table = np.asarray(is_right, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isin(table, (0, 1)).all():
        raise InputError(
            f"verdicts of shape {table.shape}: 0 or 1 of every judge for every item is needed."
        )
    num_judges = table.shape[1]
    accuracies = table.mean(axis=0)
    correlation = error_correlation(table)
    size = effective_size(num_judges, correlation.value)
    mean = float(accuracies.mean())
    margin = table.mean(axis=1) - 0.5
    return PanelWorth(
        len(table),
        accuracies,
        correlation,
        size,
        panel_accuracy(mean, num_judges),
        panel_accuracy(mean, size),
        float(np.mean((margin > 0) + 0.5 * (margin == 0))),
    )


def error_correlation(is_right: ArrayLike) -> Coefficient:
    """The mean correlation of the errors of two judges, from verdicts [items, judges].

    Pairs with a judge that is always right or always wrong have none and are skipped.
    """
    table = np.asarray(is_right, dtype=np.float64)
    moving = table[:, np.ptp(table, axis=0) > 0]
    num_pairs = table.shape[1] * (table.shape[1] - 1) // 2
    used = list(combinations(range(moving.shape[1]), 2))
    if not used:
        return undefined("no two judges are right in some items and wrong in others", 0, num_pairs)
    between = np.corrcoef(moving, rowvar=False)
    mean = float(np.mean([between[pair] for pair in used]))
    return Coefficient(mean, len(used), num_pairs - len(used))


def effective_size(num_judges: int, correlation: float) -> float:
    """n / (1 + (n - 1) rho): clones amount to one judge, judges of opposite errors to many."""
    shared = 1 + (num_judges - 1) * correlation
    return np.inf if shared <= 0 else float(num_judges / shared)


def majority_accuracy(accuracy: float, num_judges: int) -> float:
    """How often more than half of independent judges of this accuracy are right (Condorcet).

    The sum of C(n, k) a^k (1 - a)^(n - k) over k > n / 2, so a draw of an even number is not.
    """
    return float(bdtrc(num_judges // 2, num_judges, accuracy))


def panel_accuracy(accuracy: float, size: float) -> float:
    """The same with draws decided by a coin, for any size; nan for a size that is nan.

    An even panel is then worth as much as one judge less. Between odd sizes it is the incomplete
    beta function that equals the sum at each of them.
    """
    if np.isinf(size):
        return 1.0 if accuracy > 0.5 else 0.5 if accuracy == 0.5 else 0.0
    half = (size if size % 2 == 0 else size + 1) / 2
    return float(betainc(half, half, accuracy))


# -- judges that judge each other ------------------------------------------------------------------


def peer_rank(scores: ArrayLike, *, tolerance: float = 1e-9, max_steps: int = 1000) -> Array:
    """Ratings [judges] that sum to 1, from scores [reviewer, reviewed] of judges by each other.

    A rating is the mean of the others' scores, each weighted by its own rating, brought to a fixed
    point (PRD, Li et al. 2023). Nobody reviews themselves: the diagonal is not read. Raises
    InputError for scores that are missing, below 0, or all 0.
    """
    table = np.asarray(scores, dtype=np.float64).copy()
    n = len(table)
    if table.shape != (n, n) or n < 3:
        raise InputError(f"scores of shape {table.shape}: three or more judges of each other.")
    np.fill_diagonal(table, 0)
    if not (table >= 0).all() or not table.any():
        raise InputError("peer rank: every judge scores every other one, at 0 or above, not all 0.")
    others = 1 - np.eye(n)
    weights = np.full(n, 1 / n)
    for _ in range(max_steps):
        received = weights @ table / np.maximum(weights @ others, 1e-300)
        following = received / received.sum()
        if np.abs(following - weights).max() < tolerance:
            return following
        # Half a step: two judges that swap their places would go on for ever with whole ones.
        weights = (weights + following) / 2
    raise InputError(f"peer rank: no fixed point in {max_steps} steps.\n  Take borda of rankings.")
