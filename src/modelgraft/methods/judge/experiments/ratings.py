"""E4: ratings whose intervals hold what they say."""

from __future__ import annotations

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array, wilson
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.judge.method.battles import Battles, read_battles
from modelgraft.methods.judge.method.rating_intervals import normal_bounds
from modelgraft.methods.judge.method.ratings import POINTS, bradley_terry, elo
from modelgraft.methods.judge.method.ties import davidson

MODELS, BATTLES = 20, 5000
TIES, SLOT = 0.5, 0.4  # Davidson's nu, and what the first slot gains in nats
# Thresholds of the verdict: coverage of 95 % intervals, and share of slot effects within 2 errors.
COVERED = (0.93, 0.97)
WITHIN = 0.90


def simulated(seed: int, num: int) -> tuple[Battles, Array, Array]:
    """Battles of models of known strength, with ties and a slot that is preferred.

    The battles, the slot [battles] of a column of ones, and the true strengths with mean 0.
    """
    rng = np.random.default_rng(rng_seed("judge", "E4", seed))
    theta = rng.normal(size=MODELS)
    theta -= theta.mean()
    first = rng.integers(MODELS, size=num)
    second = (first + rng.integers(1, MODELS, size=num)) % MODELS
    gap = theta[first] - theta[second] + SLOT
    tie = TIES * np.ones(num)
    weights = np.stack([np.exp(gap / 2), tie, np.exp(-gap / 2)])
    drawn = (rng.random(num) * weights.sum(axis=0))[None] > weights.cumsum(axis=0)
    outcome = np.array([1.0, 0.5, 0.0])[drawn.sum(axis=0)]
    names = [f"m{place:02}" for place in range(MODELS)]
    battles = read_battles([names[i] for i in first], [names[i] for i in second], outcome)
    return battles, np.ones((num, 1)), theta


def _run(run: Run, quick: bool) -> Findings:
    seeds = range(run.seed, run.seed + (3 if quick else 200))
    covered: dict[str, list[bool]] = {"Davidson with the slot": [], "Bradley-Terry": []}
    errors: dict[str, list[float]] = {name: [] for name in (*covered, "Elo")}
    within, slots = [], []
    for seed in seeds:
        run.check()
        battles, slot, theta = simulated(seed, 1000 if quick else BATTLES)
        fits = {
            "Davidson with the slot": davidson(battles, covariates=slot),
            "Bradley-Terry": bradley_terry(battles),
        }
        for name, found in fits.items():
            low, high = normal_bounds(found.theta, found.robust[:MODELS, :MODELS])
            covered[name] += ((low <= theta) & (theta <= high)).tolist()
            errors[name].append(float(np.sqrt(((found.theta - theta) ** 2).mean())) * POINTS)
        rated = elo(battles)
        errors["Elo"].append(float(np.sqrt((((rated - rated.mean()) / POINTS - theta) ** 2).mean()))
                             * POINTS)  # fmt: skip
        beta = float(fits["Davidson with the slot"].beta[0])
        error = float(np.sqrt(fits["Davidson with the slot"].robust[MODELS, MODELS]))
        slots.append(beta)
        within.append(abs(beta - SLOT) <= 2 * error)
    return _findings(covered, errors, within, slots, tuple(seeds))


def _findings(
    covered: dict[str, list[bool]],
    errors: dict[str, list[float]],
    within: list[bool],
    slots: list[float],
    seeds: tuple[int, ...],
) -> Findings:
    numbers = []
    for name, found in covered.items():
        share = wilson(sum(found), len(found))
        numbers.append(Number(f"{name}: 95 % intervals that hold the truth", 100 * share.value,
                              _percent(share.low), _percent(share.high), share.n, unit="%",
                              baseline=95.0))  # fmt: skip
    for name, found in errors.items():
        numbers.append(Number(f"{name}: error of a rating", float(np.mean(found)), n=len(found),
                              unit="points", baseline=float(np.mean(errors["Elo"])),
                              better="lower"))  # fmt: skip
    share = wilson(sum(within), len(within))
    numbers += [
        Number("slot effect within two errors", 100 * share.value, _percent(share.low),
               _percent(share.high), share.n, unit="%", baseline=95.0),
        Number("slot effect", float(np.mean(slots)), n=len(slots), unit="nats", baseline=SLOT),
    ]  # fmt: skip
    ours = np.mean(covered["Davidson with the slot"])
    holds = COVERED[0] <= ours <= COVERED[1] and np.mean(within) >= WITHIN
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=seeds,
        subject={"model": "simulated", "dtype": "none", "device": "cpu"},
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


RATINGS = Experiment(
    "E4",
    "Intervals of ratings fitted with ties and a slot effect hold the true strengths in 95 % of "
    "the cases, and find the slot effect.",
    "Chatbot Arena's ratings are Bradley-Terry with bootstrap intervals; coverage is not reported.",
    _run,
)
