"""E4: which preference loss keeps answers as long as they were (paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array, Interval
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.config import DpoConfig, PreferenceLoss
from modelgraft.methods.tulu3.data import world_pairs
from modelgraft.methods.tulu3.evaluate.suites import Outcome
from modelgraft.methods.tulu3.experiments.arms import (
    SUBJECTS,
    arm,
    described,
    difference,
    is_above,
    mean,
    number,
    score,
    seeds_of,
    shares,
    world_suite,
    write_rows,
)

NORMALISED = "dpo_norm"
# Each with the values at which the paper reports it; epochs and learning rate are shared.
ARMS: dict[PreferenceLoss, dict[str, Any]] = {
    "dpo": {"beta": 0.1},
    NORMALISED: {"beta": 5.0},
    "simpo": {"beta": 2.0, "margin_ratio": 0.5},
}
BETTER, LONGER = 0.7, 0.8

# Threshold of the verdict: points of answers that pass, below the best of the other losses.
EQUAL = 5.0


def lengths(of_seeds: list[list[Outcome]]) -> Array:
    """Characters of each answer [seeds, items]."""
    return np.array([[float(len(one.answers[0])) for one in found] for found in of_seeds])


def nearer(ours: Array, other: Array, start: Array) -> Interval:
    """How much farther the mean length of `other` is from that of the start than ours is.

    All are [seeds, items], in characters.
    """
    away = [_away(one, start) for one in (other, ours)]
    return difference(*away)


def _away(values: Array, start: Array) -> Array:
    """Differences to the start, with the sign that makes their mean the distance of the means."""
    apart = values - start
    return apart if apart.mean() >= 0 else -apart


def is_confirmed(passed: Mapping[str, Array], long: Mapping[str, Array], start_long: Array) -> bool:
    """Whether dpo_norm keeps the length nearest to the start and passes no less than the others."""
    others = [name for name in ARMS if name != NORMALISED]
    best = max(float(passed[name].mean()) for name in others)
    is_as_good = float(passed[NORMALISED].mean()) >= best - EQUAL
    return is_as_good and all(
        is_above(nearer(long[NORMALISED], long[name], start_long)) for name in others
    )


def _run(run: Run, quick: bool) -> Findings:
    num, num_items = (32, 4) if quick else (1024, 64)
    seeds = seeds_of(run, quick)
    prompts = world_suite("dev", num_items, seed=run.seed)
    start = [score(run, "the start", SUBJECTS["sft"], prompts)] * len(seeds)
    outcomes: dict[str, list[list[Outcome]]] = {}
    for name, options in ARMS.items():
        outcomes[name] = []
        for seed in seeds:
            pairs = world_pairs(num, seed=seed, better=BETTER, longer=LONGER)
            data = write_rows(run, f"E4-{seed}", pairs)
            config = DpoConfig(data=data, model=SUBJECTS["sft"], loss=name, **options)
            model = arm(run, f"E4-{name}", seed, "dpo", config)
            outcomes[name].append(score(run, f"{name}, seed {seed}", model, prompts))
    passed = {name: shares(found) for name, found in outcomes.items()}
    long = {name: lengths(found) for name, found in outcomes.items()}
    numbers = _numbers(passed, long, shares(start), lengths(start))
    _draw(run, {"start": shares(start), **passed}, {"start": lengths(start), **long})
    verdict = HOLDS if is_confirmed(passed, long, lengths(start)) else DOES_NOT_HOLD
    return Findings(tuple(numbers), verdict, seeds=seeds, subject=described(run, "sft"))


def _numbers(
    passed: Mapping[str, Array],
    long: Mapping[str, Array],
    start_passed: Array,
    start_long: Array,
) -> list[Number]:
    numbers: list[Number] = []
    for name in ARMS:
        numbers += [
            number(f"{name}: passed", mean(passed[name]), unit="%",
                   baseline=float(start_passed.mean())),
            number(f"{name}: passed, above the start", difference(passed[name], start_passed),
                   unit="points", baseline=0.0),
            number(f"{name}: mean length", mean(long[name]), unit="characters",
                   baseline=float(start_long.mean()), better="lower"),
            number(f"{name}: length above the start", difference(long[name], start_long),
                   unit="characters", baseline=0.0, better="lower"),
        ]  # fmt: skip
    for name in ARMS:
        if name != NORMALISED:
            gap = nearer(long[NORMALISED], long[name], start_long)
            numbers.append(
                number(f"{name}: farther from the start's length than {NORMALISED}", gap,
                       unit="characters", baseline=0.0)
            )  # fmt: skip
    return numbers


def _draw(run: Run, passed: Mapping[str, Array], long: Mapping[str, Array]) -> None:
    plot = Plot(
        kind="dots",
        title="What preference losses do to answers",
        x=Axis("mean length (characters)"),
        y=Axis("passed (%)"),
        series=[
            Series(name, long[name].mean(axis=1).tolist(), passed[name].mean(axis=1).tolist())
            for name in passed
        ],
    )
    caption = "One point per seed; chosen answers are better in 70 % and longer in 80 % of pairs."
    plot.save(run.add("plot", "E4-losses.json", caption))


PREFERENCE_LOSSES = Experiment(
    "E4",
    "Of dpo, dpo_norm and simpo, dpo_norm keeps the length of answers nearest to that of the start "
    "while as many pass.",
    "UltraFeedback from an early SFT model, averages of the dev suite: start 55.7, dpo_norm 57.3, "
    "dpo 55.2, simpo 51.8 and 52.9.",
    _run,
)
