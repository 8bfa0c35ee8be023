"""E7: rates by a judge, corrected by a few labels of people."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import wilson
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.judge.experiments.simulated import (
    SUBJECT,
    mean_number,
    seeds_of,
    share_number,
)
from modelgraft.methods.judge.method.correction import prediction_powered_mean, rogan_gladen

QUALITIES = ((0.7, 0.7), (0.9, 0.9), (0.7, 0.9), (0.9, 0.7))  # specificity, sensitivity
SHARES = (0.2, 0.5, 0.8)
ITEMS, LABELS = 500, 100
RAW, ROGAN, POWERED, HUMAN = "judge alone", "Rogan-Gladen", "prediction-powered", "labels alone"
# Thresholds of the verdict, in percent: what intervals of 95 % may cover, and the judge's own.
COVERED = (92.5, 97.5)
RAW_AT_MOST = 45.0


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run.seed, 20 if quick else 500)
    held: dict[str, list[bool]] = defaultdict(list)
    width: dict[str, list[float]] = defaultdict(list)
    for (specificity, sensitivity), share in product(QUALITIES, SHARES):
        run.check()
        for seed in seeds:
            key = rng_seed("judge", "E7", f"{specificity}", f"{sensitivity}", f"{share}", seed)
            rng = np.random.default_rng(key)
            for name, (low, high) in intervals(specificity, sensitivity, share, rng).items():
                held[name].append(low <= share <= high)
                width[name].append(high - low)
    numbers = []
    for name in (RAW, ROGAN, POWERED, HUMAN):
        numbers += [
            share_number(f"{name}: 95 % intervals that hold the true share", held[name],
                         baseline=100 * float(np.mean(held[RAW]))),
            mean_number(f"{name}: width of an interval", [100 * one for one in width[name]],
                        unit="points", better="lower",
                        baseline=100 * float(np.mean(width[HUMAN]))),
        ]  # fmt: skip
    share = {name: 100 * float(np.mean(found)) for name, found in held.items()}
    holds = (
        share[RAW] <= RAW_AT_MOST
        and all(COVERED[0] <= share[name] <= COVERED[1] for name in (ROGAN, POWERED))
        and np.mean(width[POWERED]) <= np.mean(width[HUMAN])
    )
    return Findings(tuple(numbers), HOLDS if holds else DOES_NOT_HOLD, seeds=seeds, subject=SUBJECT)


def intervals(
    specificity: float, sensitivity: float, share: float, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """The interval of each estimate for one draw of items, labels and verdicts."""
    truth = rng.random(ITEMS + LABELS) < share
    says = np.where(truth, rng.random(truth.size) < sensitivity,
                    rng.random(truth.size) > specificity)  # fmt: skip
    y, f, g = truth[:LABELS], says[:LABELS], says[LABELS:]
    raw = wilson(int(g.sum()), ITEMS)
    found = {RAW: (raw.low or 0.0, raw.high or 1.0)}
    try:
        corrected = rogan_gladen(
            float(g.mean()),
            ITEMS,
            specificity=float((~f[~y]).mean()) if (~y).any() else 0.5,
            num_wrong=int((~y).sum()),
            sensitivity=float(f[y].mean()) if y.any() else 0.5,
            num_right=int(y.sum()),
        )
        found[ROGAN] = (corrected.low or 0.0, 1.0 if corrected.high is None else corrected.high)
    except InputError:  # labels by which the judge is no better than a coin
        found[ROGAN] = (0.0, 1.0)
    for name, power in ((POWERED, None), (HUMAN, 0.0)):
        one = prediction_powered_mean(y, f, g, power=power)
        found[name] = (
            one.value if one.low is None else one.low,
            one.value if one.high is None else one.high,
        )
    return found


CORRECTED = Experiment(
    "E7",
    "A judge's own interval seldom holds the true share; corrected by 100 labels, by its error "
    "rates or by prediction-powered inference, intervals hold it in about 95 % of the cases, and "
    "the latter are no wider than those of the labels alone.",
    "2511.21140: correcting by sensitivity and specificity restores the nominal coverage.",
    _run,
)
