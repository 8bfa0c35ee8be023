"""E1: what the order of two answers does to a judge, and what is left without it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.load import Loaded
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.experiments.simulated import mean_number, share_number
from modelgraft.methods.judge.experiments.subject import POINT, described, plainly, subject
from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge, Report
from modelgraft.methods.judge.method.pairwise import (
    content_and_position,
    decide,
    decide_one,
    shows_b_first,
    slot_prior,
)
from modelgraft.methods.judge.world.pairs import GOOD, PLAIN, world_pairs

EACH = 40
_POLICIES = ("one order", "random order", "average", "consensus", "prior removed")
CALIBRATION = 0.1  # of the items, for the prior of one order
# Thresholds of the verdict, in percent.
INCONSISTENT, STAYS_BELOW = 80.0, 60.0


def log_odds(judge: ChoiceJudge, items: Sequence[Item]) -> tuple[Array, Array, float]:
    """Log-odds of the first slot [items, 2] with the good answer first and second; mass [items]."""
    asking = plainly()
    calls = []
    for item in items:
        good = [one.id for one in item.candidates].index(GOOD)
        calls += [asking.call(item, good, 1 - good), asking.call(item, 1 - good, good)]
    verdicts = judge.read(calls)
    odds = np.array([one.log_odds for one in verdicts]).reshape(-1, 2)
    return odds[:, 0], odds[:, 1], float(np.mean([one.mass for one in verdicts]))


def policies(good_first: Array, bad_first: Array, items: Sequence[Item]) -> dict[str, list[bool]]:
    """Whether each pair is judged rightly, by what is done about the order.

    The good answer is candidate a. One order and a coin show it where the item has it, or where the
    texts' hash says.
    """
    is_first = [item.candidates[0].id == GOOD for item in items]
    num = max(5, round(CALIBRATION * len(items)))
    spread = np.linspace(0, len(items) - 1, num).astype(int)
    prior = slot_prior(good_first[spread], bad_first[spread])
    found = {name: list[bool]() for name in _POLICIES}
    for item, s1, s2, first in zip(items, good_first, bad_first, is_first, strict=True):
        texts = {one.id: one.text for one in item.candidates}
        coin = shows_b_first(texts[GOOD], next(t for name, t in texts.items() if name != GOOD))
        for name, swapped, own in (
            ("one order", not first, 0.0),
            ("random order", coin, 0.0),
            ("prior removed", coin, prior),
        ):
            odds = float(s2 if swapped else s1)
            found[name].append(decide_one(odds, own, is_swapped=swapped).winner == "a")
        for name in ("average", "consensus"):
            found[name].append(decide(float(s1), float(s2), name).winner == "a")
    return found


def _run(run: Run, quick: bool) -> Findings:
    loaded = subject(run)

    def report(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, loaded.name)

    items = world_pairs(2 if quick else EACH, seed=run.seed, categories=PLAIN)
    judge = ChoiceJudge(loaded.model, loaded.tokenizer, name=loaded.name, report=report)
    good_first, bad_first, mass = log_odds(judge, items)
    d, u = content_and_position(good_first, bad_first)
    flips = (good_first > 0) == (bad_first > 0)
    firsts = np.concatenate([good_first > 0, bad_first > 0])
    right = policies(good_first, bad_first, items)
    numbers = [
        share_number("first slot is preferred", firsts.tolist(), baseline=50.0),
        share_number("right, good answer first", (good_first > 0).tolist(), baseline=50.0),
        share_number("right, good answer second", (bad_first < 0).tolist(), baseline=50.0),
        share_number("verdicts that turn with the order", flips.tolist(), better="lower",
                     baseline=0.0),
        mean_number("gain of the first slot", u.tolist(), unit="nats", baseline=0.0),
        mean_number("lead of the good answer", d.tolist(), unit="nats", baseline=0.0),
        Number("probability on the labels", mass, n=2 * len(items), baseline=1.0),
        *(share_number(f"right, {name}", found, baseline=50.0) for name, found in right.items()),
        *_other_readers(loaded, items, report),
        Number("tokens computed", judge.counts.computed, n=2 * len(items), unit="tokens",
               baseline=float(judge.counts.alone), better="lower"),
    ]  # fmt: skip
    _draw(run, d, u)
    average = 100 * float(np.mean(right["average"]))
    holds = 100 * flips.mean() >= INCONSISTENT and average < STAYS_BELOW
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=(run.seed,),
        subject=described(loaded),
    )


def _other_readers(loaded: Loaded, items: Sequence[Item], report: Report) -> list[Number]:
    """The same model asked about each answer alone, the likelihood baseline, and lengths."""
    likelihood = LikelihoodJudge(loaded.model, loaded.tokenizer, name="", report=report)
    asking = plainly()
    places = [[one.id for one in item.candidates].index(GOOD) for item in items]
    calls = [asking.call(item, g, 1 - g) for item, g in zip(items, places, strict=True)]
    by_likelihood = [(one.score or 0.0) > 0 for one in likelihood.read(calls)]
    point = ChoiceJudge(loaded.model, loaded.tokenizer, name="", report=report)
    alone = plainly(POINT)
    verdicts = point.read([
        alone.call(item, place)
        for item, g in zip(items, places, strict=True)
        for place in (g, 1 - g)
    ])  # fmt: skip
    odds = np.array([one.log_odds for one in verdicts]).reshape(-1, 2)
    lengths = np.array(
        [[len(item.candidates[place].text) for place in (g, 1 - g)]
         for item, g in zip(items, places, strict=True)]
    )  # fmt: skip
    return [
        share_number("right, each answer alone (Yes or No)", (odds[:, 0] > odds[:, 1]).tolist(),
                     baseline=50.0),
        share_number("says Yes to good answers", (odds[:, 0] > 0).tolist(), baseline=100.0),
        share_number("says Yes to bad answers", (odds[:, 1] > 0).tolist(), better="lower",
                     baseline=0.0),
        share_number("right, by the likelihood of the answer", by_likelihood, baseline=50.0),
        share_number("right, by taking the longer answer",
                     (lengths[:, 0] > lengths[:, 1]).tolist(), baseline=50.0),
    ]  # fmt: skip


def _draw(run: Run, d: Array, u: Array) -> None:
    plot = Plot(
        "dots",
        "What the order does, and what the answers do",
        Axis("lead of the good answer (nats)"),
        Axis("gain of the first slot (nats)"),
        [Series("pairs", d.tolist(), u.tolist())],
    )
    caption = "One dot for each pair, from both orders: what is content and what is position."
    plot.save(run.add("plot", "E1-position.json", caption))


POSITION = Experiment(
    "E1",
    "A small chat model's verdicts on pairs turn with the order in four of five cases, and with "
    "the order averaged out they are hardly better than chance.",
    "GPT-4 is consistent under a swap in about 65 % of MT-Bench's pairs (2306.05685); ChatGPT's "
    "verdicts conflict in 82.5 % (2305.17926).",
    _run,
)
