"""Scores of public judge benchmarks: pairs in both orders, and votes that are set beside others.

Verdicts on a pair are those of the slots as they were shown: 1 or 2, 0 for a tie, None where
nothing could be read. In the second order the slots are exchanged, so there 2 is the answer that
stands first in the data. An unread verdict is never a right one, and is counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Interval, bootstrap_mean, wilson
from modelgraft.methods.judge.method.significance import clustered_mean

Shown = int | None
Pair = tuple[Shown, Shown]

_EXCHANGED: Mapping[Shown, Shown] = {1: 2, 2: 1, 0: 0, None: None}


# -- pairs in both orders --------------------------------------------------------------------------


@dataclass(frozen=True)
class TwoOrders:
    """What both orders of pairs give.

    `accuracy` is the mean of the two orders', `both` the share right in both, `agreement` the share
    with the same winner in both among the pairs read twice, None without any. `num_unread` of the
    2 n verdicts could not be read.
    """

    accuracy: Interval
    both: Interval
    agreement: Interval | None
    num_unread: int


def two_orders(labels: Sequence[int], first: Sequence[Shown], second: Sequence[Shown]) -> TwoOrders:
    """The measures of LLMBar (Zeng et al. 2024) and EvalBiasBench (Park et al. 2024).

    `labels` [pairs] are 1 or 2, the better answer as it stands in the data. Ties in both orders
    agree. LLMBar's own script also takes two unread verdicts for agreement; here such pairs are
    left out of it.
    """
    winners = _winners(labels, first, second)
    right = np.array(
        [[one == label for one in pair] for pair, label in zip(winners, labels, strict=True)],
        dtype=np.float64,
    )
    read = [pair for pair in winners if None not in pair]
    num_same = sum(one == other for one, other in read)
    return TwoOrders(
        bootstrap_mean(right.mean(axis=1)),
        wilson(right.all(axis=1).sum(), len(right)),
        wilson(num_same, len(read)) if read else None,
        _num_unread(winners),
    )


def two_orders_by(
    kinds: Sequence[str], labels: Sequence[int], first: Sequence[Shown], second: Sequence[Shown]
) -> dict[str, TwoOrders]:
    """The same for each kind of pair: a subset of LLMBar, a bias of EvalBiasBench."""
    return {
        kind: two_orders(
            [labels[row] for row in rows],
            [first[row] for row in rows],
            [second[row] for row in rows],
        )
        for kind, rows in _rows_by(kinds).items()
    }


JUDGE_BENCH_KINDS = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "maths",
    "livecodebench": "code",
}
"""What the sources of JudgeBench that begin so are about."""


@dataclass(frozen=True)
class JudgeBench:
    """The share of pairs judged rightly, over all and by kind of source.

    `num_undecided` pairs spoke as much for one answer as for the other, which is wrong.
    `num_unread` of the 2 n verdicts could not be read; the other one of the pair decides alone.
    """

    accuracy: Interval
    by_kind: dict[str, Interval]
    num_undecided: int
    num_unread: int


def judge_bench(
    labels: Sequence[int],
    first: Sequence[Shown],
    second: Sequence[Shown],
    *,
    sources: Sequence[str],
) -> JudgeBench:
    """JudgeBench (Tan et al. 2025): +1 for an order with the label, -1 for one with the other.

    A pair is right when the sum is above 0; ties and unread verdicts add nothing. A source that is
    none of `JUDGE_BENCH_KINDS` is a kind of its own.
    """
    winners = _winners(labels, first, second)
    sums = np.array(
        [
            sum((one == label) - (one == 3 - label) for one in pair)
            for pair, label in zip(winners, labels, strict=True)
        ]
    )
    kinds = [
        next((kind for name, kind in JUDGE_BENCH_KINDS.items() if source.startswith(name)), source)
        for source in sources
    ]
    return JudgeBench(
        wilson((sums > 0).sum(), len(sums)),
        {kind: wilson((sums[row] > 0).sum(), len(row)) for kind, row in _rows_by(kinds).items()},
        int((sums == 0).sum()),
        _num_unread(winners),
    )


def _winners(labels: Sequence[int], first: Sequence[Shown], second: Sequence[Shown]) -> list[Pair]:
    """Which answer of the data won in each order."""
    if not len(labels) == len(first) == len(second) or not len(labels):
        raise InputError(
            f"{len(labels)} labels, {len(first)} verdicts in the first order and {len(second)} in "
            "the second: one of each is needed for every pair, and a pair."
        )
    for place, label in enumerate(labels):
        if label not in (1, 2):
            raise InputError(f"pair {place}: its label is {label!r}; 1 or 2 says which is better.")
    for place, shown in enumerate([*first, *second]):
        if shown not in _EXCHANGED:
            raise InputError(
                f"pair {place % len(labels)}: a verdict is {shown!r}; 1, 2, 0 for a tie or None is "
                "possible."
            )
    return [(one, _EXCHANGED[other]) for one, other in zip(first, second, strict=True)]


def _num_unread(winners: Sequence[Pair]) -> int:
    return sum(one is None for pair in winners for one in pair)


def _rows_by(kinds: Sequence[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, kind in enumerate(kinds):
        rows.setdefault(kind, []).append(row)
    return rows


# -- votes on pairs of models ----------------------------------------------------------------------


@dataclass(frozen=True)
class Ballot:
    """One vote of MT-Bench; `winner` is the name of a model, "tie" or "tie (inconsistent)"."""

    question: Hashable
    turn: int
    models: tuple[str, str]
    winner: str
    judge: str


@dataclass(frozen=True)
class VoteAgreement:
    """The share of compared votes that are equal, None where none could be compared.

    In `with_ties` any two ties are equal; `without_ties` leaves out a comparison with a tie in it.
    Their intervals take questions for the independent units.
    """

    with_ties: Interval | None
    without_ties: Interval | None


def vote_agreement(
    ballots: Iterable[Ballot], others: Iterable[Ballot] | None = None
) -> VoteAgreement:
    """How far votes on the same question, turn and two models agree (Zheng et al. 2023).

    Every one of `ballots` is compared with every one of `others`; without those, every two of
    different judges among `ballots`, as people are compared with people.
    """
    compared: list[tuple[Hashable, str, str]] = []
    own = _by_comparison(ballots)
    if others is None:
        for key, votes in own.items():
            pairs = combinations(votes, 2)
            compared += [(key[0], one[1], two[1]) for one, two in pairs if one[0] != two[0]]
    else:
        foreign = _by_comparison(others)
        for key, votes in own.items():
            compared += [(key[0], one[1], two[1]) for one, two in product(votes, foreign[key])]
    decided = [one for one in compared if "tie" not in one[1:]]
    return VoteAgreement(_share_equal(compared), _share_equal(decided))


def _share_equal(compared: Sequence[tuple[Hashable, str, str]]) -> Interval | None:
    if not compared:
        return None
    found = clustered_mean(
        [one == other for _, one, other in compared], [question for question, _, _ in compared]
    )
    if found.low is None or found.high is None:
        return found
    return found._replace(low=max(0.0, found.low), high=min(1.0, found.high))


def _by_comparison(
    ballots: Iterable[Ballot],
) -> defaultdict[tuple[Hashable, int, frozenset[str]], list[tuple[str, str]]]:
    """(judge, winner) by question, turn and the two models, whichever of them is named first."""
    votes: defaultdict[tuple[Hashable, int, frozenset[str]], list[tuple[str, str]]] = defaultdict(
        list
    )
    for one in ballots:
        winner = "tie" if one.winner.startswith("tie") else one.winner
        if winner not in (*one.models, "tie"):
            raise InputError(
                f"question {one.question}, turn {one.turn}, vote of {one.judge}: winner "
                f"{one.winner!r} is none of {', '.join(one.models)} or a tie."
            )
        votes[one.question, one.turn, frozenset(one.models)].append((one.judge, winner))
    return votes
