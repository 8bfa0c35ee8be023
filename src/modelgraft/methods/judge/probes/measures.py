"""How far verdicts follow what they should not: place, repetition, length, lists, inserted text.

Verdicts are any labels, None or nan where there is none. `lead` [pairs] is above 0 where the first
candidate of a pair wins, below where the second does, and 0 for a tie; its size does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.evaluation.intervals import Array, wilson
from modelgraft.methods.judge.method.coefficients import (
    Coefficient,
    Labels,
    as_labels,
    bootstrap,
    encode,
    undefined,
)
from modelgraft.methods.judge.method.pairwise import content_and_position
from modelgraft.methods.judge.probes.measured import (
    Measured,
    Names,
    difference,
    gain,
    mean,
    of_items,
    share,
    unknown,
)

Verdicts = Sequence[object] | NDArray[Any]
# Pairs that differ by less are of equal length (AlpacaEval).
LEAST_CHARACTERS = 30

_NEITHER = "no pair has a verdict in both orders"
_UNPAIRED = "no item has a verdict before and after"

# -- the two orders of a pair ----------------------------------------------------------------------
# `first` and `second` [pairs] are the log-odds that the candidate shown first wins, in the order
# (a, b) and in the order (b, a); written verdicts are infinite.


def consistency(first: ArrayLike, second: ArrayLike) -> Measured:
    """The share of pairs on which both orders say the same."""
    s1, s2, num_skipped = _in_both(first, second)
    return share(np.sign(s1) == -np.sign(s2), num_skipped=num_skipped, empty=_NEITHER)


def first_slot_share(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> Measured:
    """The share of verdicts, ties apart, that go to the candidate shown first."""
    odds = np.concatenate([np.asarray(one, dtype=np.float64) for one in (first, second)])
    pairs = np.tile(np.arange(odds.size // 2), 2)
    is_decided = ~np.isnan(odds) & (odds != 0)
    return share(
        odds[is_decided] > 0,
        pairs[is_decided].tolist(),
        num_skipped=int((~is_decided).sum()),
        empty="no order of any pair has a winner",
        seed=seed,
    )


def mean_position(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> Measured:
    """The mean of u in nats: what the first slot gains; written verdicts have no size."""
    s1, s2, num_skipped = _in_both(first, second)
    is_sized = np.isfinite(s1) & np.isfinite(s2)
    u = content_and_position(s1[is_sized], s2[is_sized])[1]
    reason = "written verdicts say who wins, and not by how much" if s1.size else _NEITHER
    return mean(u, num_skipped=num_skipped + int((~is_sized).sum()), empty=reason, seed=seed)


def preference_fairness(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> Measured:
    """PF: inconsistent pairs that the first slot wins twice less those of the second, by them all.

    1 is a judge that always takes the first when its orders disagree, -1 one that takes the second,
    and 0 favours neither (Shi et al. 2024). A pair with a tie in one order favours neither.
    """
    s1, s2, num_skipped = _in_both(first, second)
    votes, others = np.sign(s1), np.sign(s2)
    is_split = votes != -others
    lean = np.where(votes == others, votes, 0.0)[is_split]
    num_skipped += int((~is_split).sum())
    if not lean.size:
        return unknown("no pair has orders that disagree", num_skipped)
    if (lean != 0).all():
        found = wilson(int((lean > 0).sum()), lean.size)
        low, high = 2 * float(found.low or 0.0) - 1, 2 * float(found.high or 0.0) - 1
        return Measured(2 * found.value - 1, low, high, found.n, num_skipped)
    return mean(lean, num_skipped=num_skipped, empty="", seed=seed)


def _in_both(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array, int]:
    """The log-odds of pairs with a verdict in both orders, and how many pairs have none."""
    s1, s2 = (np.asarray(one, dtype=np.float64) for one in (first, second))
    is_known = ~np.isnan(s1) & ~np.isnan(s2)
    return s1[is_known], s2[is_known], int((~is_known).sum())


# -- the same again, or something changed ----------------------------------------------------------


def repetition_stability(verdicts: Labels, *, seed: int = 0) -> Measured:
    """The share of the commonest verdict among verdicts [items, runs], in the mean of the items.

    Items with fewer than two verdicts are skipped.
    """
    codes, _ = encode(verdicts)
    kept = [row[row >= 0] for row in codes]
    shares = [np.bincount(row).max() / row.size for row in kept if row.size >= 2]
    return share(
        shares,
        num_skipped=len(kept) - len(shares),
        empty="no item has two verdicts",
        seed=seed,
    )


def verdict_change_rate(
    before: Verdicts, after: Verdicts, items: Names | None = None, *, seed: int = 0
) -> Measured:
    """The share of rows whose verdict after a change is another than before."""
    (one, other), names, num_skipped = _known(items, before, after)
    return share(one != other, names, num_skipped=num_skipped, empty=_UNPAIRED, seed=seed)


def mode_gap(points: Verdicts, pairs: Verdicts, *, seed: int = 0) -> Measured:
    """How often the winner by scores is another than the winner by comparison, ties included."""
    return verdict_change_rate(points, pairs, seed=seed)


@dataclass(frozen=True)
class Robustness:
    """RR, the share of verdicts that a change leaves; CR, that of asking again; CR - RR."""

    rate: Measured
    consistency: Measured
    delta: Measured


def robustness(
    before: Verdicts,
    again: Verdicts,
    after: Verdicts,
    items: Names | None = None,
    *,
    seed: int = 0,
) -> Robustness:
    """Whether inserted text moves verdicts more than asking again does (CALM, 2410.02736).

    A row holds the verdict on an item, that of a second run, and that of one changed version; what
    was changed in several ways has as many rows.
    """
    (one, second, other), names, num_skipped = _known(items, before, again, after)
    stable, kept, delta = gain(
        one == second, one == other, names, empty=_UNPAIRED, num_skipped=num_skipped, seed=seed
    )
    return Robustness(kept, stable, delta)


def delta_score(
    before: ArrayLike, after: ArrayLike, items: Names | None = None, *, seed: int = 0
) -> Measured:
    """The mean of the score after a change less that before."""
    numbers = [np.asarray(one, dtype=np.float64) for one in (before, after)]
    gap = numbers[1] - numbers[0]
    is_known = np.isfinite(gap)
    names = _names(items, is_known)
    num_skipped = int((~is_known).sum())
    return mean(gap[is_known], names, num_skipped=num_skipped, empty=_UNPAIRED, seed=seed)


def detection_rate(lead: ArrayLike) -> Measured:
    """The share of pairs of a sound and a flawed answer that the sound one wins.

    `lead` [pairs] is above 0 where it does, as is `strata.rights` of the judgments of a probe that
    expects a loss; a tie has seen no flaw.
    """
    values = np.asarray(lead, dtype=np.float64)
    is_known = ~np.isnan(values)
    return share(
        values[is_known] > 0, num_skipped=int((~is_known).sum()), empty="no pair has a verdict"
    )


def share_explained(scores: ArrayLike, *, seed: int = 0) -> Measured:
    """The share of the variance of scores [items, wordings] that lies within the items.

    That is what the wording explains, since nothing else differs there. Items that lack a score are
    skipped.
    """
    table = np.asarray(scores, dtype=np.float64)
    kept = table[np.isfinite(table).all(axis=1)]
    num_skipped = len(table) - len(kept)
    found = bootstrap(_within, kept, seed=seed)
    if found.reason:
        return unknown(found.reason, num_skipped)
    return Measured(found.value, found.low, found.high, found.n, num_skipped)


def _within(table: Array) -> Coefficient:
    if not table.size or np.ptp(table) == 0:
        return undefined("all scores are the same", len(table))
    inner = ((table - table.mean(axis=1, keepdims=True)) ** 2).sum()
    return Coefficient(float(inner / ((table - table.mean()) ** 2).sum()), len(table))


def _known(
    items: Names | None, *columns: Verdicts
) -> tuple[list[NDArray[np.int64]], Names | None, int]:
    """Codes of the verdicts of rows in which every column has one, their items, and the others."""
    together = np.concatenate([as_labels(list(column)).astype(object) for column in columns])
    codes = encode(together)[0].reshape(len(columns), -1)
    is_known: NDArray[np.bool_] = np.all(codes >= 0, axis=0)
    kept = list(codes[:, is_known])
    return kept, _names(items, is_known), int((~is_known).sum())


def _names(items: Names | None, is_known: NDArray[np.bool_]) -> Names | None:
    if items is None:
        return None
    return [name for name, is_kept in zip(items, is_known, strict=True) if is_kept]


# -- what is preferred -----------------------------------------------------------------------------


def prefers(lead: ArrayLike, excess: ArrayLike, *, least: float = 0.0) -> Measured:
    """How often the winner is the candidate that has more of something.

    `excess` [pairs] is what the first has more than the second; pairs that differ by no more than
    `least` are skipped, and so are ties.
    """
    won, more = (np.asarray(one, dtype=np.float64) for one in (lead, excess))
    is_asked = (np.abs(more) > least) & ~np.isnan(won) & (won != 0)
    hits = np.sign(won[is_asked]) == np.sign(more[is_asked])
    return share(
        hits, num_skipped=int((~is_asked).sum()), empty="no pair that differs has a winner"
    )


def prefers_longer(lead: ArrayLike, lengths: ArrayLike) -> Measured:
    """P(prefer longer): among pairs whose lengths [2, pairs] differ by more than 30 characters."""
    first, second = np.asarray(lengths, dtype=np.float64)
    return prefers(lead, first - second, least=LEAST_CHARACTERS)


def prefers_list(lead: ArrayLike, lists: ArrayLike) -> Measured:
    """P(prefer list): among pairs of which exactly one has a list, as `lists` [2, pairs] says."""
    first, second = np.asarray(lists, dtype=np.float64)
    return prefers(lead, first - second)


def equal_opportunity_gap(judge_own: ArrayLike, human_own: ArrayLike) -> Measured:
    """P(judge picks its own | people do) - P(judge picks the other | people do).

    Both [pairs] are 1 where the answer of the judge's own model is picked, 0 where the other is,
    and nan where neither is.
    """
    judge, human = (np.asarray(one, dtype=np.float64) for one in (judge_own, human_own))
    is_known = ~np.isnan(judge) & ~np.isnan(human)
    kept = [
        share(judge[is_known & (human == side)] == side, empty=f"people never pick {whose}")
        for side, whose in ((1, "the judge's own answer"), (0, "the other answer"))
    ]
    found = difference(*kept)
    return Measured(
        found.value, found.low, found.high, found.n, int((~is_known).sum()), found.reason
    )


# -- do the verdicts fit together? -----------------------------------------------------------------


def cycle_rate(tables: Sequence[ArrayLike], *, seed: int = 0) -> Measured:
    """Triples of candidates that beat each other in a circle, among those without tie or gap.

    The table [k, k] of an item holds a number above 0 in row i and column j > i where candidate i
    beats j, and below 0 where j does; what is under the diagonal is not read. Bounds are over
    items, so that those of a single one say little or nothing.
    """
    cyclic, decided = [], []
    for table in tables:
        upper = np.triu(np.nan_to_num(np.asarray(table, dtype=np.float64)), 1)
        beats = ((upper > 0) | (upper.T < 0)).astype(np.float64)
        known = beats + beats.T
        cyclic.append(np.trace(beats @ beats @ beats) / 3)
        decided.append(np.trace(known @ known @ known) / 6)
    return of_items(np.rint(cyclic), np.rint(decided), empty="no triple is decided", seed=seed)
