"""The benchmarks by name: how each is read, and how a judge's verdicts on it are scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from modelgraft.core.results import Number
from modelgraft.core.rows import Reject
from modelgraft.methods.judge.bench.alpaca_eval import (
    PREFERENCE,
    preference_of,
    read_alpaca_eval,
)
from modelgraft.methods.judge.bench.arena_hard import read_arena_hard
from modelgraft.methods.judge.bench.bias_bench import read_bias_bench
from modelgraft.methods.judge.bench.fair_eval import read_fair_eval
from modelgraft.methods.judge.bench.judge_bench import read_judge_bench
from modelgraft.methods.judge.bench.judge_deceiver import read_judge_deceiver
from modelgraft.methods.judge.bench.llm_bar import read_llm_bar
from modelgraft.methods.judge.bench.mt_bench import read_mt_bench_pairs, read_mt_bench_votes
from modelgraft.methods.judge.bench.orders import (
    Orders,
    pointwise_orders,
    read_orders,
    recorded_orders,
)
from modelgraft.methods.judge.bench.panda_lm import read_auto_j, read_panda_lm
from modelgraft.methods.judge.bench.prometheus import (
    read_prometheus_pairs,
    read_prometheus_scores,
)
from modelgraft.methods.judge.bench.rating_scores import (
    arena_hard_numbers,
    meta_evaluation_numbers,
    win_rate_numbers,
)
from modelgraft.methods.judge.bench.reward_scores import (
    reward_bench_2_numbers,
    reward_bench_numbers,
)
from modelgraft.methods.judge.bench.reward_sets import read_reward_bench, read_reward_bench_2
from modelgraft.methods.judge.bench.scores import (
    attack_numbers,
    choice_numbers,
    game_numbers,
    judge_bench_numbers,
    mt_bench_numbers,
    two_order_numbers,
)
from modelgraft.methods.judge.bench.selective import PROBABILITY, read_selective
from modelgraft.methods.judge.bench.summ_eval import RECORDED, SYSTEM, read_summ_eval
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging.judgments import Judgment


@dataclass(frozen=True)
class Judged:
    """What a judge said about the items of a benchmark."""

    judge: str
    judgments: Sequence[Judgment]
    verdicts: Sequence[Verdict] = ()

    def orders(self, items: Sequence[Item]) -> Orders:
        """The slots it preferred in both orders; from scores alone where it saw no pairs."""
        if any(len(one.order) == 2 for one in self.verdicts):
            return read_orders(items, self.verdicts)
        return pointwise_orders(items, self.judgments)


class Read(Protocol):
    """The reader of a benchmark."""

    def __call__(self, path: Path, *, reject: Reject | None) -> list[Item]:
        """The items of a file or a folder."""
        ...


@dataclass(frozen=True)
class Bench:
    """A benchmark: its reader, its scores, and those of verdicts that its files may record."""

    read: Read
    score: Callable[[Sequence[Item], Judged], list[Number]]
    recorded: Callable[[Sequence[Item]], list[Number]] | None = None


# -- scores by kind --------------------------------------------------------------------------------


def _judge_bench(items: Sequence[Item], judged: Judged) -> list[Number]:
    return judge_bench_numbers(items, judged.orders(items))


def _two_orders(items: Sequence[Item], judged: Judged, *, benchmark: str) -> list[Number]:
    return two_order_numbers(items, judged.orders(items), benchmark=benchmark)


def _mt_bench(items: Sequence[Item], judged: Judged) -> list[Number]:
    return mt_bench_numbers(items, judged.orders(items), judge=judged.judge)


def _choices(items: Sequence[Item], judged: Judged, *, benchmark: str = "") -> list[Number]:
    return choice_numbers(items, judged.judgments, benchmark=benchmark)


def _attacks(items: Sequence[Item], judged: Judged) -> list[Number]:
    return attack_numbers(items, judged.orders(items))


def _win_rates(items: Sequence[Item], judged: Judged) -> list[Number]:
    """Of each model, the second candidate of its pairs, against the first."""
    by_id = {one.item: one for one in judged.judgments}
    by_model: dict[str, list[float | None]] = defaultdict(list)
    for item in items:
        model = str(item.candidates[1].meta.get("generator", item.candidates[1].id))
        by_model[model].append(preference_of(item, by_id.get(item.id)))
    return _named(by_model)


def _named(by_model: Mapping[str, Sequence[float | None]]) -> list[Number]:
    return [
        replace(one, name=f"{model}: {one.name}")
        for model, preferences in by_model.items()
        for one in win_rate_numbers(preferences)
    ]


def _alpaca_eval(items: Sequence[Item], judged: Judged) -> list[Number]:
    """Agreement where there are people's labels, and win rates where there are none."""
    if any(item.label is not None for item in items):
        return _choices(items, judged, benchmark="alpaca_eval")
    return _win_rates(items, judged)


def _ratings(items: Sequence[Item], judged: Judged, *, systems: str = "") -> list[Number]:
    scores = {one.item: one.scores.get("a") for one in judged.judgments}
    return meta_evaluation_numbers(items, scores, systems=systems)


# -- recorded verdicts -----------------------------------------------------------------------------


def _recorded_probabilities(items: Sequence[Item]) -> list[Number]:
    judgments = []
    for item in items:
        p = item.meta[PROBABILITY]
        winner = "a" if p > 0.5 else "b" if p < 0.5 else "tie"
        judgments.append(Judgment(item.id, item.group, item.label, winner, p))
    return choice_numbers(items, judgments)


def _recorded_scores(items: Sequence[Item]) -> list[Number]:
    scores = {item.id: item.meta.get(RECORDED) for item in items}
    return meta_evaluation_numbers(items, scores, systems=SYSTEM)


def _recorded_preferences(items: Sequence[Item]) -> list[Number]:
    by_model: dict[str, list[float | None]] = defaultdict(list)
    for item in items:
        model = str(item.candidates[1].meta.get("generator", item.candidates[1].id))
        by_model[model].append(item.meta[PREFERENCE])
    return _named(by_model)


# -- the benchmarks --------------------------------------------------------------------------------

BENCHES: dict[str, Bench] = {
    "judge_bench": Bench(
        read_judge_bench,
        _judge_bench,
        lambda items: judge_bench_numbers(items, recorded_orders(items)),
    ),
    "llm_bar": Bench(
        read_llm_bar,
        partial(_two_orders, benchmark="llm_bar"),
        lambda items: two_order_numbers(items, recorded_orders(items), benchmark="llm_bar"),
    ),
    "bias_bench": Bench(read_bias_bench, partial(_two_orders, benchmark="bias_bench")),
    "mt_bench": Bench(read_mt_bench_votes, _mt_bench),
    "mt_bench_pairs": Bench(
        read_mt_bench_pairs,
        lambda items, judged: game_numbers(items, judged.orders(items)),
        lambda items: game_numbers(items, recorded_orders(items)),
    ),
    "fair_eval": Bench(read_fair_eval, _choices),
    "panda_lm": Bench(read_panda_lm, partial(_choices, benchmark="panda_lm")),
    "auto_j": Bench(read_auto_j, _choices),
    "prometheus_scores": Bench(read_prometheus_scores, _ratings),
    "prometheus_pairs": Bench(
        read_prometheus_pairs, partial(_two_orders, benchmark="prometheus_pairs")
    ),
    "alpaca_eval": Bench(read_alpaca_eval, _alpaca_eval, _recorded_preferences),
    "arena_hard": Bench(read_arena_hard, _win_rates, arena_hard_numbers),
    "selective": Bench(read_selective, _choices, _recorded_probabilities),
    "summ_eval": Bench(read_summ_eval, partial(_ratings, systems=SYSTEM), _recorded_scores),
    "judge_deceiver": Bench(read_judge_deceiver, _attacks),
    "reward_bench": Bench(
        read_reward_bench, lambda items, judged: reward_bench_numbers(items, judged.judgments)
    ),
    "reward_bench_2": Bench(
        read_reward_bench_2,
        lambda items, judged: reward_bench_2_numbers(items, judged.judgments),
    ),
}
"""By the name of the benchmark."""
