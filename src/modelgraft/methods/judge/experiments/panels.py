"""E8: what a panel of judges is worth, and how to count its votes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.judge.experiments.simulated import SUBJECT, mean_number, seeds_of
from modelgraft.methods.judge.method.dawid_skene import dawid_skene
from modelgraft.methods.judge.method.panels import log_odds_weights, panel_worth

ITEMS, LABELLED = 400, 100
EQUAL = (0.75,) * 5
UNEQUAL = (0.95, 0.7, 0.65, 0.6, 0.55)
CORRELATIONS = (0.0, 0.3, 0.6)
MODE, WEIGHTED, SKENE = "majority", "weighted by labels", "Dawid-Skene"
# Thresholds of the verdict, in points of accuracy.
FORMULA = 2.0


def draw(
    accuracies: tuple[float, ...], rho: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The truth [items] and verdicts [items, judges], 0 or 1, whose errors go together.

    With the chance sqrt(rho) a judge errs as a common coin says, which is as hard for all: errors
    of equal judges then correlate by rho.
    """
    truth = (rng.random(ITEMS) < 0.5).astype(float)
    common = rng.random(ITEMS)
    columns = []
    for accuracy in accuracies:
        follows = rng.random(ITEMS) < np.sqrt(rho)
        luck = np.where(follows, common, rng.random(ITEMS))
        columns.append(np.where(luck < accuracy, truth, 1 - truth))
    return truth, np.stack(columns, axis=1)


def counted(truth: Array, verdicts: Array) -> dict[str, float]:
    """The accuracy of each way to count, on the items whose labels made no weights."""
    rest = verdicts[LABELLED:]
    signs = 2 * rest - 1
    right = (verdicts[:LABELLED] == truth[:LABELLED, None]).sum(axis=0)
    weights = log_odds_weights(right, LABELLED)
    totals = {MODE: signs.sum(axis=1), WEIGHTED: signs @ weights}
    found = {
        name: float(np.mean((total > 0) == (truth[LABELLED:] == 1)))
        for name, total in totals.items()
    }
    guessed = dawid_skene(verdicts).labels[LABELLED:]
    found[SKENE] = float(np.mean(guessed == truth[LABELLED:]))
    return found


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run.seed, 5 if quick else 200)
    accuracy: dict[tuple[str, str], list[float]] = defaultdict(list)
    predicted: dict[float, list[float]] = defaultdict(list)
    observed: dict[float, list[float]] = defaultdict(list)
    for seed in seeds:
        run.check()
        for rho in CORRELATIONS:
            rng = np.random.default_rng(rng_seed("judge", "E8", seed, f"{rho}"))
            truth, verdicts = draw(EQUAL, rho, rng)
            worth = panel_worth(verdicts == truth[:, None])
            predicted[rho].append(100 * worth.predicted)
            observed[rho].append(100 * worth.observed)
        for panel, judges in (("equal", EQUAL), ("unequal", UNEQUAL)):
            rng = np.random.default_rng(rng_seed("judge", "E8", seed, panel))
            truth, verdicts = draw(judges, 0.0, rng)
            for name, value in counted(truth, verdicts).items():
                accuracy[panel, name].append(100 * value)
    numbers = _numbers(accuracy, predicted, observed)
    gain = np.mean(accuracy["unequal", SKENE]) - np.mean(accuracy["unequal", MODE])
    error = abs(np.mean(predicted[0.0]) - np.mean(observed[0.0]))
    holds = gain >= 0 and error <= FORMULA
    return Findings(tuple(numbers), HOLDS if holds else DOES_NOT_HOLD, seeds=seeds, subject=SUBJECT)


def _numbers(
    accuracy: dict[tuple[str, str], list[float]],
    predicted: dict[float, list[float]],
    observed: dict[float, list[float]],
) -> list[Number]:
    numbers = []
    for panel, judges in (("equal", EQUAL), ("unequal", UNEQUAL)):
        for name in (MODE, WEIGHTED, SKENE):
            numbers.append(
                mean_number(f"{panel} judges, {name}: right", accuracy[panel, name], unit="%",
                            baseline=100 * max(judges))
            )  # fmt: skip
    for rho in CORRELATIONS:
        numbers.append(
            mean_number(f"errors correlate by {rho:g}: majority right", observed[rho], unit="%",
                        baseline=float(np.mean(predicted[rho])))
        )  # fmt: skip
    return numbers


PANELS = Experiment(
    "E8",
    "Five judges of different accuracy are counted better by Dawid and Skene's model than by "
    "majority, and the effective size of a panel predicts what its majority reaches.",
    "Panels of small judges agree better with people than one large one, at a seventh of the price "
    "(PoLL, 2404.18796).",
    _run,
)
