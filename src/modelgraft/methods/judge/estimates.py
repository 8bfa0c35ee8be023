"""What judging would take, before it is paid for: looks, calls and characters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from modelgraft.core.results import Number
from modelgraft.core.settings import Settings
from modelgraft.language.endpoints.calls import call_numbers
from modelgraft.methods.judge.bench.benching import mode_of
from modelgraft.methods.judge.bench.formats import BENCHES
from modelgraft.methods.judge.bench.guessing import guess_format
from modelgraft.methods.judge.config import (
    AuditConfig,
    BenchConfig,
    CompareConfig,
    JudgeOptions,
    LeaderboardConfig,
    RankConfig,
    ScoreConfig,
    SelectConfig,
    SynthesiseConfig,
)
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.judges.calls import Call
from modelgraft.methods.judge.judging.exemplars import drawn_examples, without_examples
from modelgraft.methods.judge.judging.judgments import BOTH_ORDERS, Asking, pair_orders
from modelgraft.methods.judge.judging.listing import SET_SIZE
from modelgraft.methods.judge.judging.ranking import SHARE
from modelgraft.methods.judge.leaderboard.boards import items_to_judge
from modelgraft.methods.judge.leaderboard.fought import pairs_of
from modelgraft.methods.judge.method.pairwise import Policy
from modelgraft.methods.judge.method.windows import window_starts
from modelgraft.methods.judge.opening import asking_of, world_of
from modelgraft.methods.judge.prompts import Mode
from modelgraft.methods.judge.synthesis.synthesising import answered

# An item's candidates in an order that is shown so many times.
Look = tuple[Item, tuple[int, ...], int]

_DRAFT = 512  # tokens of what a judge writes before it scores, at most
_LETTERS = 8  # of a token, more than texts have in the mean
_SHOWN = {"windows": 20, "sets": SET_SIZE}  # candidates in a list; permutations show all


def estimate_score(config: ScoreConfig, settings: Settings) -> list[Number]:
    """What scoring every candidate would take; of a graph or of claims it is not known before."""
    items = _items(config, settings, at_least=1)
    num = config.questions if config.by == "checklist" else max(1, len(config.criteria))
    orders = [(item, (place,), num) for item in items for place in range(len(item.candidates))]
    drafts = max(1, len(config.criteria)) if config.steps else 0
    drafts += {"checklist": len(items), "claims": len(orders)}.get(config.by, 0)
    if config.by in ("claims", "graph"):
        drafts += _own_answers(config, items)
        return [
            Number("items", len(items)),
            Number("candidates", len(orders)),
            *call_numbers(Counter({config.judge: drafts}), drafts * _DRAFT),
        ]
    return [Number("items", len(items)), *_looks(config, "point", items, orders, drafts)]


def estimate_compare(config: CompareConfig, settings: Settings) -> list[Number]:
    """What comparing pairs would take."""
    items = [one for one in _items(config, settings, at_least=2) if len(one.candidates) == 2]
    asking = drawn_examples(
        asking_of(config, "pair"), config.examples, reject=lambda *_: None, seed=settings.seed
    )
    items = without_examples(items, asking)
    swap: Policy = "average" if config.swap in ("synthesise", "align") else config.swap
    rounds = {"synthesise": 2, "align": 3}.get(config.swap, 1)
    orders = [(item, order, rounds) for item in items for order in pair_orders(item, swap)]
    return [Number("pairs", len(items)), *_looks(config, "pair", items, orders, asking=asking)]


def estimate_rank(config: RankConfig, settings: Settings) -> list[Number]:
    """What ranking would take at most."""
    items = _items(config, settings, at_least=2)
    if config.shows_lists:
        lists = []
        for item in items:
            num = len(item.candidates)
            shown = _longest(item, _SHOWN.get(config.by, num))
            lists.append((item, shown, num_lists(config.by, num)))
        # A list is shown once, however many samples there are of a pair.
        asking = replace(asking_of(config, "list"), samples=1)
        return [Number("items", len(items)), *_looks(config, "list", items, lists, asking=asking)]
    orders = _pair_looks(items, config, config.by)
    return [Number("items", len(items)), *_looks(config, "pair", items, orders)]


def estimate_select(config: SelectConfig, settings: Settings) -> list[Number]:
    """What keeping the best candidate would take at most."""
    items = _items(config, settings, at_least=1)
    if config.by == "score":
        points = [(item, (place,), 1) for item in items for place in range(len(item.candidates))]
        return [Number("items", len(items)), *_looks(config, "point", items, points)]
    orders = _pair_looks(items, config, config.by)
    return [Number("items", len(items)), *_looks(config, "pair", items, orders)]


def estimate_audit(config: AuditConfig, settings: Settings) -> list[Number]:
    """What an audit would take at most: both orders, for each probe of either candidate as well."""
    items = [one for one in _items(config, settings, at_least=2) if len(one.candidates) == 2]
    rounds = 1 + 2 * len(config.probes) + len(config.attacks) + bool(config.names)
    orders = [(item, order, rounds) for item in items for order in BOTH_ORDERS]
    return [Number("pairs", len(items)), *_looks(config, "pair", items, orders)]


def estimate_bench(config: BenchConfig, settings: Settings) -> list[Number]:
    """What judging a benchmark would take; nothing where its recorded verdicts are scored."""
    name = guess_format(config.items) if config.format == "auto" else config.format
    items = BENCHES[name].read(config.items, reject=lambda *_: None)[: config.num]
    if config.recorded or config.games is not None:
        return [Number("items", len(items))]
    mode = mode_of(config, name)
    rounds = 2 if config.suffixes is not None else 1
    looks: list[Look] = []
    for item in items:
        places = [(place,) for place in range(len(item.candidates))]
        looks += [(item, order, rounds) for order in (BOTH_ORDERS if mode == "pair" else places)]
    return [Number("items", len(items)), *_looks(config, mode, items, looks)]


def estimate_leaderboard(config: LeaderboardConfig, settings: Settings) -> list[Number]:
    """What a leaderboard would take; nothing where the file holds battles."""
    items = items_to_judge(config, seed=settings.seed, reject=lambda *_: None)
    pairs = pairs_of(items)
    orders = [(item, order, 1) for item in pairs for order in pair_orders(item, "average")]
    return [Number("items to judge", len(items)), *_looks(config, "pair", pairs, orders)]


def estimate_synthesise(config: SynthesiseConfig, settings: Settings) -> list[Number]:
    """How many pairs rows can give at most, and what the model that writes some is asked."""
    rows = answered(config, seed=settings.seed, reject=lambda *_: None)
    num = len(rows)
    numbers = [
        Number("rows", num),
        Number("pairs at most", num * (len(set(config.ways)) + bool(config.judge))),
    ]
    if not config.judge:
        return numbers
    asked = Counter({config.judge: 2 * num})
    return [*numbers, *call_numbers(asked, 2 * num * config.max_new_tokens)]


def num_pairs(by: str, n: int, *, budget: int | None = None, top: int | None = None) -> int:
    """How many pairs of n candidates a ranker compares at most."""
    every = n * (n - 1) // 2
    levels = math.ceil(math.log2(n)) if n > 1 else 0
    merged = n * levels - 2**levels + 1
    bounds = {
        "all_pairs": every,
        "merge_sort": merged,
        "beam": every,
        "swiss": (levels + 2) * (n // 2),
        "active": budget or max(n, int(SHARE * every)),
        "sliding": sum(n - 1 - turn for turn in range(min(top or n, max(0, n - 1)))),
        "knock_out": n - 1,
    }
    return min(every, bounds[by])


def num_lists(by: str, n: int) -> int:
    """How many lists of n candidates a ranker shows at most."""
    if by == "windows":
        return len(window_starts(n, 20, 10))
    return 20 if by == "permutations" else math.ceil(n / 3) * max(1, math.ceil(math.log2(n)))


def _pair_looks(items: Sequence[Item], config: RankConfig | SelectConfig, by: str) -> list[Look]:
    budget, top = getattr(config, "comparisons", None), getattr(config, "top", None)
    num = 1 if config.swap in ("none", "random") else 2
    return [
        (
            item,
            _longest(item, 2),
            num * num_pairs(by, len(item.candidates), budget=budget, top=top),
        )
        for item in items
    ]


def _longest(item: Item, num: int) -> tuple[int, ...]:
    """The places of the longest candidates: which of them are shown is not known before."""
    places = range(len(item.candidates))
    return tuple(sorted(places, key=lambda place: -len(item.candidates[place].text))[:num])


def _items(config: JudgeOptions, settings: Settings, *, at_least: int) -> list[Item]:
    if config.items is None:
        return world_of(config, seed=settings.seed)
    return read_items(config.items, reject=lambda *_: None, at_least=at_least)[: config.num]


def _own_answers(config: JudgeOptions, items: Sequence[Item]) -> int:
    if config.reference == "given":
        return 0
    return sum(item.reference is None for item in items)


def _answered(config: JudgeOptions, item: Item) -> Item:
    """The item with a text as long as the judge's own answer can be, where it is to give one."""
    if config.reference == "given" or item.reference is not None:
        return item
    return replace(item, reference="x" * (_DRAFT * _LETTERS))


def _looks(
    config: JudgeOptions,
    mode: Mode,
    items: Sequence[Item],
    looks: Sequence[Look],
    drafts: int = 0,
    *,
    asking: Asking | None = None,
) -> list[Number]:
    """Looks of the judge, each with all samples, what they read, and the calls that they are.

    `drafts` are texts that it writes besides its own answers to the items.
    """
    asking = asking or asking_of(config, mode)
    drafts += _own_answers(config, items)
    # Samples differ by the examples that they show.
    samples = range(asking.samples if asking.examples else 1)
    each = asking.samples // len(samples)
    read = sum(
        times * each * _characters(asking.call(_answered(config, item), *order, sample=sample))
        for item, order, times in looks
        for sample in samples
    )
    num = sum(times for *_, times in looks) * asking.samples
    numbers = [
        Number("looks of the judge at most", num),
        Number("characters to read at most", read),
    ]
    if config.how not in ("written", "logprobs"):
        return numbers if not drafts else [*numbers, Number("texts to write at most", drafts)]
    tokens = config.max_new_tokens if config.how == "written" else 1
    asked = Counter({config.judge: num + drafts})
    return [*numbers, *call_numbers(asked, num * tokens + drafts * _DRAFT)]


def _characters(call: Call) -> int:
    messages, stem = call.shown()
    return len(stem) + sum(len(turn["content"]) for turn in messages)
