"""E2, its first part: a probe on the states of a judge that cannot say what it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.results import Number
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array, Interval, paired_bootstrap
from modelgraft.language.load import Loaded
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.experiments.simulated import share_number
from modelgraft.methods.judge.experiments.subject import plainly
from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge, Report
from modelgraft.methods.judge.judges.probe import ProbeJudge, pair_states, tune_probe
from modelgraft.methods.judge.method.probe import (
    Probe,
    both_orders,
    cross_validated,
    fit_probe,
    swap_averaged,
)
from modelgraft.methods.judge.probes.pairs import good_places
from modelgraft.methods.judge.world.pairs import (
    ADVERSARIAL,
    CATEGORIES,
    PLAIN,
    category_of,
    world_pairs,
)

EACH = 20
BLOCK = 19  # where a probe reads whose block is not chosen
BLOCKS = (10, 13, 16, 19, 22, 25, 28, 30)
# Thresholds of the verdict, in percent of held-out pairs.
RIGHT, TURNS, GAIN = 85.0, 30.0, 30.0


def states_of(
    loaded: Loaded, items: Sequence[Item], blocks: Sequence[int], report: Report
) -> tuple[Array, Array]:
    """States [items, blocks, d] with the good answer first and with it second."""
    asking = plainly()
    calls = []
    for item, good in zip(items, good_places(items).tolist(), strict=True):
        calls += [asking.call(item, good, 1 - good), asking.call(item, 1 - good, good)]
    found = pair_states(loaded.model, loaded.tokenizer, calls, blocks, report=report)
    return found[0::2], found[1::2]


def tuned_on_world(loaded: Loaded, each: int, seed: int, report: Report) -> ProbeJudge:
    """A probe of one block that learnt from so many made pairs of every category."""
    asking = plainly()
    train = world_pairs(each, split="train", seed=seed)
    calls = [(asking.call(item, 0, 1), asking.call(item, 1, 0)) for item in train]
    wins = (good_places(train) == 0).tolist()
    model, tokenizer = loaded.model, loaded.tokenizer
    tuned = tune_probe(model, tokenizer, calls, wins, [BLOCK], report=report)
    return ProbeJudge(model, tokenizer, tuned.probe, name="", report=report)


def choose_block(first: Array, second: Array, seed: int) -> tuple[int, list[float]]:
    """The place of the best block by cross-validation over training pairs, and all accuracies."""
    num = len(first)
    accuracies = []
    for column in range(first.shape[1]):
        rows, targets = both_orders(first[:, column], second[:, column], np.ones(num))
        groups = [*range(num), *range(num)]
        odds = cross_validated(rows, targets, groups, seed=seed).reshape(2, -1)
        accuracies.append(float((odds[0] > odds[1]).mean()))
    return int(np.argmax(accuracies)), accuracies


@dataclass(frozen=True)
class Probed:
    """What the probes came to, in percent of the plain held-out pairs, with every number."""

    right: float
    turned: float
    gain: Interval
    numbers: tuple[Number, ...]

    @property
    def holds(self) -> bool:
        """Whether the probe from plain pairs keeps the thresholds."""
        low = self.gain.value if self.gain.low is None else self.gain.low
        is_above = self.gain.value >= GAIN and low > 0
        return self.right >= RIGHT and self.turned <= TURNS and is_above


def probe(loaded: Loaded, report: Report, *, seed: int, quick: bool) -> Probed:
    """Probes trained in several ways, on held-out pairs of every category."""
    each = 2 if quick else EACH
    categories = PLAIN if quick else tuple(CATEGORIES)
    train = world_pairs(each, split="train", seed=seed, categories=categories)
    test = world_pairs(each, split="held-out", seed=seed, categories=categories)
    blocks = BLOCKS[3:4] if quick else BLOCKS
    first, second = states_of(loaded, train, blocks, report)
    held_first, held_second = states_of(loaded, test, blocks, report)
    is_plain = np.array([category_of(one) in PLAIN for one in train])
    is_held_plain = np.array([category_of(one) in PLAIN for one in test])
    place, accuracies = choose_block(first[is_plain], second[is_plain], seed)
    said = _verbal(loaded, test, report)
    likelier = _likelier(loaded, test, report)
    found = _arms(first[:, place], second[:, place], held_first[:, place], held_second[:, place],
                  train, test, seed)  # fmt: skip
    last = _fit(first[is_plain, -1], second[is_plain, -1])
    right, turned = (100.0 * one[is_held_plain] for one in found["plain"])
    gain = paired_bootstrap(right, 100.0 * said[is_held_plain])
    numbers = (
        Number("probe: chosen block", blocks[place], n=len(blocks), baseline=float(BLOCKS[-1])),
        Number("probe: accuracy it was chosen by", 100 * accuracies[place], n=int(is_plain.sum()),
               unit="%", baseline=50.0),
        *_plain_numbers(found, is_held_plain, held_first[:, -1], held_second[:, -1], last,
                        said, likelier),
        *_by_category(found, test, said, likelier),
        Number("probe above the verbal verdict", gain.value, gain.low, gain.high, gain.n,
               unit="points", baseline=0.0),
    )  # fmt: skip
    return Probed(float(right.mean()), float(turned.mean()), gain, numbers)


Marks = NDArray[np.bool_]
Arm = tuple[Marks, Marks]  # right when averaged, and turned by the order, for each held-out pair


def _fit(first: Array, second: Array) -> Probe:
    rows, targets = both_orders(first, second, np.ones(len(first)))
    return fit_probe(rows, targets)


def _judged(probe: Probe, held_first: Array, held_second: Array) -> Arm:
    right = swap_averaged(held_first, held_second, probe) > 0
    turned = (probe(held_first) > 0) == (probe(held_second) > 0)
    return right, turned


def _arms(
    first: Array,
    second: Array,
    held_first: Array,
    held_second: Array,
    train: Sequence[Item],
    test: Sequence[Item],
    seed: int,
) -> dict[str, Arm]:
    """Probes trained in several ways, on the held-out pairs."""
    groups = np.array([category_of(one) for one in train])
    held_groups = np.array([category_of(one) for one in test])
    is_plain = np.isin(groups, PLAIN)
    arms = {"plain": _judged(_fit(first[is_plain], second[is_plain]), held_first, held_second)}
    if not is_plain.all():
        arms["all categories"] = _judged(_fit(first, second), held_first, held_second)
    rng = np.random.default_rng(rng_seed("judge", "E2", seed))
    coin = rng.random(len(first)) < 0.5
    rows = np.where(coin[:, None], first, second)[is_plain]
    one_order = fit_probe(rows, coin[is_plain].astype(float))
    arms["one random order"] = _judged(one_order, held_first, held_second)
    right, turned = np.zeros(len(test), dtype=bool), np.zeros(len(test), dtype=bool)
    for group in dict.fromkeys(groups):
        rest, own = groups != group, held_groups == group
        found = _judged(_fit(first[rest], second[rest]), held_first[own], held_second[own])
        right[own], turned[own] = found
    arms["own category left out"] = right, turned
    return arms


def _verbal(loaded: Loaded, items: Sequence[Item], report: Report) -> Marks:
    """Whether the model's own swap-averaged verdict is right."""
    asking = plainly()
    calls = []
    for item, good in zip(items, good_places(items).tolist(), strict=True):
        calls += [asking.call(item, good, 1 - good), asking.call(item, 1 - good, good)]
    judge = ChoiceJudge(loaded.model, loaded.tokenizer, name="", report=report)
    odds = np.array([one.log_odds for one in judge.read(calls)]).reshape(-1, 2)
    return odds[:, 0] > odds[:, 1]


def _likelier(loaded: Loaded, items: Sequence[Item], report: Report) -> Marks:
    """Whether the good answer is the likelier text."""
    asking = plainly()
    calls = [
        asking.call(item, good, 1 - good)
        for item, good in zip(items, good_places(items).tolist(), strict=True)
    ]
    judge = LikelihoodJudge(loaded.model, loaded.tokenizer, name="", report=report)
    return np.array([(one.score or 0.0) > 0 for one in judge.read(calls)])


def _plain_numbers(
    found: dict[str, Arm],
    is_plain: Marks,
    last_first: Array,
    last_second: Array,
    last: Probe,
    said: Marks,
    likelier: Marks,
) -> list[Number]:
    base = 100 * float(said[is_plain].mean())
    numbers = []
    for name, (right, turned) in found.items():
        numbers += [
            share_number(f"probe, {name}: right, averaged", right[is_plain].tolist(),
                         baseline=base),
            share_number(f"probe, {name}: turns with the order", turned[is_plain].tolist(),
                         better="lower"),
        ]  # fmt: skip
    right, turned = _judged(last, last_first[is_plain], last_second[is_plain])
    return [
        *numbers,
        share_number("probe, last block: right, averaged", right.tolist(), baseline=base),
        share_number("probe, last block: turns with the order", turned.tolist(), better="lower"),
        share_number(
            "plain pairs, verbal verdict: right, averaged", said[is_plain].tolist(), baseline=50.0
        ),
        share_number("plain pairs, likelihood: right", likelier[is_plain].tolist(), baseline=50.0),
    ]  # fmt: skip


def _by_category(
    found: dict[str, Arm], test: Sequence[Item], said: Marks, likelier: Marks
) -> list[Number]:
    """Every category, and the balanced mean over pairs whose good answer is likelier or is not."""
    groups = np.array([category_of(one) for one in test])
    name = "all categories" if "all categories" in found else "plain"
    right = found[name][0]
    numbers = [
        share_number(f"{group}: probe, {name}", right[groups == group].tolist(),
                     baseline=100 * float(likelier[groups == group].mean()))
        for group in dict.fromkeys(groups)
    ]  # fmt: skip
    adversarial = np.isin(groups, ADVERSARIAL)
    if adversarial.any():
        numbers.append(
            share_number(f"adversarial categories: probe, {name}", right[adversarial].tolist(),
                         baseline=100 * float(likelier[adversarial].mean()))
        )  # fmt: skip
    for kind, chosen in (("likelier", likelier), ("less likely", ~likelier)):
        if chosen.any():
            numbers.append(
                share_number(f"good answer is {kind}: probe, {name}", right[chosen].tolist(),
                             baseline=100 * float(said[chosen].mean()))
            )  # fmt: skip
    return numbers
