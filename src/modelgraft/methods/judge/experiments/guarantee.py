"""E6: a promised error rate, kept over many draws of the labels that it was certified on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.judge.experiments.simulated import (
    SUBJECT,
    mean_number,
    seeds_of,
    share_number,
)
from modelgraft.methods.judge.method.cascades import (
    cascade_by_path,
    cascade_by_tier,
    deciding_tier,
)
from modelgraft.methods.judge.method.guarantees import DEFAULT_GRID

ALPHA, DELTA = 0.1, 0.1
LABELS, POPULATION = 500, 200_000
TIERS = 2
NAIVE, WALK, BY_TIER, BY_PATH = "naive threshold", "fixed sequence", "per tier", "joint path"


def draw(num: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Confidences and chances to be right [tiers, num] of a weak judge and a better one.

    Both are surer than they are right, and find the same items easy.
    """
    ease = rng.beta(2, 1, size=num)
    noise = rng.uniform(-0.2, 0.2, size=(TIERS, num))
    confidence = np.round(np.clip(0.5 + 0.5 * ease + noise, 0.5, 1), 2)
    worse = np.array([[0.03], [0.0]])
    return confidence, np.clip(0.45 + 1.24 * (confidence - 0.5) - worse, 0, 0.995)


def naive_threshold(confidence: Array, is_right: Array) -> Array:
    """For each tier the loosest threshold whose labelled items keep the rate, with no margin."""
    tier = deciding_tier(confidence, np.repeat(DEFAULT_GRID[:, None], len(confidence), axis=1))
    right = np.take_along_axis(is_right, np.maximum(tier, 0), axis=0)
    num = (tier >= 0).sum(axis=1)
    errors = ((tier >= 0) & (right == 0)).sum(axis=1)
    fits = np.flatnonzero((num > 0) & (errors <= ALPHA * num))
    return np.full(len(confidence), DEFAULT_GRID[fits[-1]] if fits.size else np.inf)


def walk(confidence: Array, is_right: Array) -> Array:
    """The strong judge alone, certified."""
    found = cascade_by_tier(confidence[1:], is_right[1:], alpha=ALPHA, delta=DELTA)
    return np.array([np.inf, *found.thresholds])


RULES: dict[str, Callable[[Array, Array], Array]] = {
    NAIVE: naive_threshold,
    WALK: walk,
    BY_TIER: lambda p, y: cascade_by_tier(p, y, alpha=ALPHA, delta=DELTA).thresholds,
    BY_PATH: lambda p, y: cascade_by_path(p, y, alpha=ALPHA, delta=DELTA).thresholds,
}


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run.seed, 20 if quick else 1000)
    everyone = draw(POPULATION, np.random.default_rng(rng_seed("judge", "E6", "all", run.seed)))
    broken: dict[str, list[bool]] = {name: [] for name in RULES}
    covered: dict[str, list[float]] = {name: [] for name in RULES}
    known: dict[tuple[float, ...], tuple[float, float]] = {}
    for seed in seeds:
        run.check()
        rng = np.random.default_rng(rng_seed("judge", "E6", seed))
        confidence, chance = draw(LABELS, rng)
        labelled = confidence, (rng.random(chance.shape) < chance).astype(float)
        for name, rule in RULES.items():
            thresholds = tuple(rule(*labelled).tolist())
            if thresholds not in known:
                known[thresholds] = risk_of(thresholds, *everyone)
            error, coverage = known[thresholds]
            broken[name].append(error > ALPHA)
            covered[name].append(coverage)
    margin = 2 * np.sqrt(DELTA * (1 - DELTA) / len(seeds))
    shares = {name: float(np.mean(found)) for name, found in broken.items()}
    holds = (
        all(shares[name] <= DELTA + margin for name in (WALK, BY_TIER, BY_PATH))
        and shares[NAIVE] > DELTA
        and np.mean(covered[BY_PATH]) >= np.mean(covered[BY_TIER])
    )
    return Findings(
        tuple(_numbers(broken, covered)),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=seeds,
        subject=SUBJECT,
    )


def risk_of(thresholds: tuple[float, ...], confidence: Array, chance: Array) -> tuple[float, float]:
    """The true error rate among accepted items, 0 without any, and the share that is accepted."""
    tier = deciding_tier(confidence, np.array(thresholds))
    is_accepted = tier >= 0
    right = np.take_along_axis(chance, np.maximum(tier, 0)[None], axis=0)[0]
    if not is_accepted.any():
        return 0.0, 0.0
    return float(1 - right[is_accepted].mean()), float(is_accepted.mean())


def _numbers(broken: dict[str, list[bool]], covered: dict[str, list[float]]) -> list[Number]:
    numbers = []
    for name in RULES:
        numbers += [
            share_number(f"{name}: draws that break the promise", broken[name], better="lower",
                         baseline=100 * float(np.mean(broken[NAIVE]))),
            mean_number(f"{name}: share of verdicts that stand",
                        [100 * one for one in covered[name]], unit="%",
                        baseline=100 * float(np.mean(covered[WALK]))),
        ]  # fmt: skip
    return numbers


GUARANTEE = Experiment(
    "E6",
    "Of 1,000 sets of labels at most one in ten certifies thresholds whose true error rate is "
    "above the promised one, and a threshold without a margin breaks the promise more often; "
    "testing all tiers along one path lets more verdicts stand than testing each.",
    "Jung et al. (2407.18370): at least 80 % agreement with people at about 80 % coverage.",
    _run,
)
