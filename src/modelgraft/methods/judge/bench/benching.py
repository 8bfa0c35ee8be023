"""A judge on a public benchmark: its score by the benchmark's own rule, beside simple rules.

The rules that need no judge (the longest answer, the shortest, the first slot) are scored in the
same way on the same items, so that a judge that only repeats one of them is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.report.formats import Cell, Table
from modelgraft.language.endpoints.calls import Calls
from modelgraft.methods.judge.bench.alpaca_eval import PREFERENCE
from modelgraft.methods.judge.bench.fields import GIVEN, ORDERS
from modelgraft.methods.judge.bench.formats import BENCHES, Bench, Judged
from modelgraft.methods.judge.bench.guessing import guess_format
from modelgraft.methods.judge.bench.judge_deceiver import attacked, read_suffixes
from modelgraft.methods.judge.bench.mt_bench import JUDGE, read_mt_bench_pairs
from modelgraft.methods.judge.bench.orders import recorded_orders, require_texts
from modelgraft.methods.judge.bench.published import PERCENT, settings
from modelgraft.methods.judge.bench.scores import attack_numbers, mt_bench_numbers
from modelgraft.methods.judge.bench.selective import PROBABILITY
from modelgraft.methods.judge.bench.summ_eval import RECORDED
from modelgraft.methods.judge.config import BenchConfig
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging import judgments as judging
from modelgraft.methods.judge.judging.judgments import (
    BOTH_ORDERS,
    TIE,
    Asking,
    Judgment,
    pair_judgment,
)
from modelgraft.methods.judge.method.benchmarks import Pair
from modelgraft.methods.judge.opening import (
    asking_of,
    open_judge,
    store_of,
    with_references,
)
from modelgraft.methods.judge.probes.measured import Measured
from modelgraft.methods.judge.probes.strata import (
    BASELINES,
    axes_of,
    balanced_mean,
    baseline_rights,
    by_stratum,
    first_slot,
    is_better,
    rights,
)
from modelgraft.methods.judge.summaries import (
    failure_numbers,
    unanswered,
    write_judgments,
    write_rows,
)

POINT_WISE = ("prometheus_scores", "summ_eval", "reward_bench_2")
"""The benchmarks whose items are no pairs: each candidate is judged by itself."""

_RECORDS = {ORDERS, GIVEN, PREFERENCE, PROBABILITY, RECORDED}
_LABELS = ("A", "B", "C")


@dataclass(frozen=True)
class Benched:
    """The score of a judge on a benchmark, and whatever says what it is worth."""

    numbers: list[Number]
    baselines: Mapping[str, list[Number]]
    remarks: list[str]


def bench(config: BenchConfig, run: Run) -> Result:
    """Judge a public benchmark, and score the judge by that benchmark's own rule."""
    name = guess_format(config.items) if config.format == "auto" else config.format
    found = BENCHES[name]
    mode = mode_of(config, name)
    if config.suffixes is not None and name != "judge_deceiver":
        raise ConfigError("suffixes", f"--suffixes goes with judge_deceiver, not {name}.")
    reject = run.reject if config.on_error == "skip" else None
    items = found.read(config.items, reject=reject)[: config.num]
    if config.recorded or config.games is not None:
        benched = _recorded(config, run, name, found, items)
        return _told(run, name, benched, [Number("items", len(items))])
    require_texts(items)
    asking = replace(asking_of(config, mode), own_rubrics=True)
    with store_of(config, run) as store:
        calls = Calls(config, run, store)
        items = with_references(config, run, items, calls)
        judge = open_judge(config, run, store, calls=calls)
        judged = _judged(config, items, judge, asking)
        scored = found.score(items, judged)
        shown, last = items, judged
        if config.suffixes is not None:
            shown = _attacked(config, run, items)
            last = _judged(config, shown, judge, asking)
            scored = attack_numbers(items, last.orders(shown), plain=judged.orders(items))
            write_rows(run, "attacked", last.judgments, "Judgments of the pairs under attack")
    write_judgments(run, judged.judgments, judged.verdicts)
    verdicts = [*judged.verdicts, *(last.verdicts if last is not judged else ())]
    benched = beside_rules(shown, last.judgments, scored, name, judge.name)
    further = [Number("items", len(items)), *failure_numbers(verdicts)]
    return replace(_told(run, name, benched, further), partial=unanswered(verdicts))


def mode_of(config: BenchConfig, name: str) -> Literal["pair", "point"]:
    """How the items of a benchmark are shown; `ConfigError` for pairs where there are none."""
    if config.mode == "pair" and name in POINT_WISE:
        raise ConfigError(
            "mode", f"--mode pair: the items of {name} are no pairs; judge them with --mode point."
        )
    if config.mode != "auto":
        return config.mode
    return "point" if name in POINT_WISE else "pair"


def _judged(config: BenchConfig, items: Sequence[Item], judge: Judge, asking: Asking) -> Judged:
    """What the judge says of the items."""
    if asking.template.mode == "point":
        return Judged(judge.name, *judging.score(items, judge, asking))
    return Judged(judge.name, *judging.compare(items, judge, asking, swap=config.swap))


def _attacked(config: BenchConfig, run: Run, items: Sequence[Item]) -> list[Item]:
    """The items with the suffix that was optimised against a judge behind the worse answers."""
    assert config.suffixes is not None
    reject = run.reject if config.on_error == "skip" else None
    return attacked(items, read_suffixes(config.suffixes, config.suffixes_of, reject=reject))


# -- recorded verdicts -----------------------------------------------------------------------------


def _recorded(
    config: BenchConfig, run: Run, name: str, found: Bench, items: Sequence[Item]
) -> Benched:
    """The scores of verdicts that files hold; no judge is opened."""
    if config.games is not None:
        if name != "mt_bench":
            raise ConfigError("games", f"--games goes with people's votes of MT-Bench, not {name}.")
        reject = run.reject if config.on_error == "skip" else None
        games = read_mt_bench_pairs(config.games, reject=reject)
        judge = " ".join(sorted({str(one.meta[JUDGE]) for one in games}))
        orders = recorded_orders(games)
        held = [replace(one, meta={**one.meta, ORDERS: orders[one.id]}) for one in items
                if one.id in orders]  # fmt: skip
        if not held:
            raise InputError(f"{config.games}: no judgment is about a pair in {config.items}.")
        scored = mt_bench_numbers(held, orders, judge=judge)
        return beside_rules(held, _recorded_judgments(held), scored, name, judge)
    if found.recorded is None:
        raise ConfigError(
            "recorded",
            f"--recorded: files of {name} record no verdicts; leave it out to judge the items.",
        )
    told = [item for item in items if item.meta.keys() & _RECORDS]
    if not told:
        raise InputError(
            f"{config.items}: no row records a verdict.\n"
            "  Give a file of results, or leave out --recorded to judge the items."
        )
    return beside_rules(told, _recorded_judgments(told), found.recorded(told), name, "")


def _recorded_judgments(items: Sequence[Item]) -> list[Judgment]:
    """What recorded verdicts in both orders come to; no winner where an order is unread."""
    found = []
    for item in items:
        pair: Pair = item.meta.get(ORDERS) or (None, None)
        found.append(_of_slots(item, pair))
    return found


def _of_slots(item: Item, slots: Pair) -> Judgment:
    about = Judgment(item.id, item.group, item.label)
    if None in slots:
        return about
    verdicts = {
        order: [_verdict(item, order, (2, 0, 1)[slot or 0])]
        for order, slot in zip(BOTH_ORDERS, slots, strict=True)
    }
    return pair_judgment(item, verdicts, "score")


# -- rules without a judge -------------------------------------------------------------------------


def beside_rules(
    items: Sequence[Item],
    judgments: Sequence[Judgment],
    scored: Sequence[Number],
    name: str,
    judge: str,
) -> Benched:
    """A judge's numbers, with the best simple rule as baseline of its headline and its like.

    `judge` is the name under which the numbers know it. Then come accuracies by shortcut stratum.
    """
    remarks = [f"published scores are those of: {one}." for one in settings(name)]
    if not all(any(one.text for one in item.candidates) for item in items):
        return Benched(list(scored), {}, remarks)
    rules = {
        rule: BENCHES[name].score(items, Judged(judge, *_by_rule(items, pick)))
        for rule, pick in _rules(items).items()
    }
    head = _measure(scored[0].name) if scored else ""
    numbers = []
    for one in scored:
        theirs = [
            other.value
            for found in rules.values()
            for other in found
            if other.name == one.name and _measure(one.name) == head
        ]
        best = max if one.better == "higher" else min
        has_none = one.baseline is None and theirs
        numbers.append(replace(one, baseline=best(theirs)) if has_none else one)
    for rule, found in rules.items():
        first = next((one for one in found if scored and one.name == scored[0].name), None)
        if first is not None:
            numbers.append(replace(first, name=f"{first.name} (rule: {rule})"))
    strata, worse = _strata(items, judgments)
    return Benched([*numbers, *strata], rules, [*remarks, *worse])


def _measure(name: str) -> str:
    """What a number measures, whatever part of the benchmark it is about."""
    return name.rpartition(": ")[2]


def _rules(items: Sequence[Item]) -> dict[str, Callable[[Item], str]]:
    """Those that say something here: of items that are no pairs there are no slots."""
    if all(len(item.candidates) == 2 for item in items):
        return BASELINES
    return {rule: pick for rule, pick in BASELINES.items() if pick is not first_slot}


def _by_rule(
    items: Sequence[Item], pick: Callable[[Item], str]
) -> tuple[list[Judgment], list[Verdict]]:
    """What a rule says of items: of pairs in both orders, of others by scores.

    Where the good answer always stands first, the first slot is looked at in both orders, which
    makes a tie of it; elsewhere in the order of the file.
    """
    judgments, verdicts = [], []
    places = {item.label == item.candidates[0].id for item in items if item.label is not None}
    is_sorted = pick is first_slot and places == {True}
    for item in items:
        if len(item.candidates) != 2:
            judgments.append(_by_length(item, pick))
            continue
        own = {order: [_by_slot(item, order, pick)] for order in BOTH_ORDERS}
        verdicts += [one for found in own.values() for one in found]
        judged = pair_judgment(item, own, "score")
        winner = judged.winner if is_sorted else pick(item)
        judgments.append(replace(judged, winner=winner))
    return judgments, verdicts


def _by_length(item: Item, pick: Callable[[Item], str]) -> Judgment:
    """Scores that grow with the length if the rule takes the longest, and fall if not."""
    sign = 1 if pick is BASELINES["longest"] else -1
    scores = {one.id: float(sign * len(one.text)) for one in item.candidates}
    winner = pick(item) if len(scores) > 1 else None
    return Judgment(item.id, item.group, item.label, winner, scores=scores)


def _by_slot(item: Item, order: tuple[int, int], pick: Callable[[Item], str]) -> Verdict:
    shown = item.with_candidates([item.candidates[place] for place in order])
    names = [*(one.id for one in shown.candidates), TIE]
    return _verdict(item, order, names.index(pick(shown)))


def _verdict(item: Item, order: tuple[int, int], place: int) -> Verdict:
    """The verdict for the first shown (0), the second (1), or a tie (2)."""
    return Verdict(item.id, order, _LABELS, _LABELS[place], "ok")


# -- shortcuts -------------------------------------------------------------------------------------


def _strata(items: Sequence[Item], judgments: Sequence[Judgment]) -> tuple[list[Number], list[str]]:
    """Accuracy where a shortcut leads to the good answer and where not, and what it is worse than.

    None for items without a labelled candidate of two.
    """
    pairs = [
        (item, one)
        for item, one in zip(items, judgments, strict=True)
        if len(item.candidates) == 2 and isinstance(item.label, str) and item.label != TIE
    ]
    if not any(one.winner for _, one in pairs):
        return [], []
    own = [item for item, _ in pairs]
    right = rights([one for _, one in pairs])
    axes = axes_of(own)
    del axes["slot"]  # both orders are averaged
    found = by_stratum(axes, right)
    numbers = [
        number
        for one in found
        for side, measured in one.sides.items()
        for number in _share(f"right, good answer {side}", measured)
    ]
    numbers += _share("right, balanced over the strata", balanced_mean(found))
    remarks = [
        f"not shown to be better than the rule: {rule}."
        for rule, pick in BASELINES.items()
        if not is_better(axes, right, baseline_rights(own, pick))
    ]
    return numbers, remarks


def _share(name: str, found: Measured) -> list[Number]:
    if np.isnan(found.value):
        return []
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return [Number(name, 100 * found.value, low, high, found.n, PERCENT)]


# -- files -----------------------------------------------------------------------------------------


def _told(run: Run, name: str, benched: Benched, further: Sequence[Number]) -> Result:
    """The result, and the whole table of the judge beside the rules."""
    rules = {
        rule: {one.name: one.value for one in found} for rule, found in benched.baselines.items()
    }
    rows: list[list[Cell]] = [
        [one.name, one.value, one.low, one.high, one.n, one.unit,
         *(found.get(one.name) for found in rules.values())]
        for one in benched.numbers
    ]  # fmt: skip
    columns = ["measure", "value", "low", "high", "n", "unit", *(f"rule: {rule}" for rule in rules)]
    table = Table(columns, rows, "The judge beside rules that need none.")
    table.save(run.add("table", "bench.json", f"Scores on {name}, with 95 % intervals"))
    return Result((*benched.numbers, *further), remarks=tuple(benched.remarks))
