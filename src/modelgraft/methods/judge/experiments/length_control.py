"""E3: win rates that length cannot buy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit
from scipy.stats import kendalltau

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.judge.experiments.simulated import SUBJECT, mean_number, seeds_of
from modelgraft.methods.judge.method.comparison import (
    Comparison,
    length_covariate,
    raw_win_rate,
)
from modelgraft.methods.judge.method.length_control import length_controlled_board

MODELS, ITEMS = 12, 300
PULL = 0.9  # nats of the judge for tanh(length difference / sd)
VERBOSITY = (-0.6, 0.0, 0.6)  # concise, usual, verbose, in log length
ATTACK = 68.0  # characters of a cut answer
RAW, CONTROLLED, UNTIED = "raw", "length-controlled", "length-controlled, no penalty, no gamed rows"
# Thresholds of the verdict: gain in tau, and by how much gaming has to shrink.
TAU, SHRINK = 0.1, 2.0


class Arena:
    """A judge that goes by quality, difficulty and length, over answers to the same items."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(rng_seed("judge", "E3", seed))
        self.quality = self.rng.normal(0, 0.7, MODELS)
        self.habit = self.rng.normal(0, 0.5, MODELS)  # of writing long, whatever the quality
        self.difficulty = self.rng.normal(0, 0.8, ITEMS)
        self.base = np.exp(self.rng.normal(6.5, 0.5, ITEMS))

    def lengths(self, scale: float) -> Array:
        """Characters of answers that are so much longer in the logarithm."""
        return self.base * np.exp(scale + self.rng.normal(0, 0.25, ITEMS))

    def compare(self, quality: float, lengths: Array) -> Comparison:
        """Verdicts on answers of a quality against the baseline's, which has 0."""
        usual = self.lengths(0.0)
        covariate = length_covariate(lengths, usual)
        odds = quality - PULL * covariate + quality * self.difficulty
        preference = expit(odds + self.rng.normal(0, 0.3, ITEMS))
        return Comparison(preference, covariate[:, None])

    def gamed(self) -> list[Comparison]:
        """The baseline against itself, told to be verbose and told to be concise."""
        return [self.compare(0.0, self.lengths(scale)) for scale in (0.6, -0.6)]


def boards(arena: Arena) -> tuple[dict[str, Array], dict[str, float]]:
    """Win rates [verbosity, models] by each rule, and those of an attack by cut answers."""
    comparisons = [
        arena.compare(quality, arena.lengths(habit + scale))
        for scale in VERBOSITY
        for quality, habit in zip(arena.quality, arena.habit, strict=True)
    ]
    weak = int(arena.quality.argmin())
    cut = arena.compare(arena.quality[weak] - 1.0, np.full(ITEMS, ATTACK))
    gamed = arena.gamed()
    rates: dict[str, Sequence[float]] = {
        RAW: [raw_win_rate(one.preference) for one in (*comparisons, cut)],
        CONTROLLED: [
            one.win_rate for one in length_controlled_board([*comparisons, cut], gamed=gamed)
        ],
        UNTIED: [
            one.win_rate for one in length_controlled_board([*comparisons, cut], penalty=None)
        ],
    }
    shape = (len(VERBOSITY), MODELS)
    found = {name: np.array(values[:-1]).reshape(shape) for name, values in rates.items()}
    honest = 100 * float(expit((arena.quality[weak] - 1.0) * (1 + arena.difficulty)).mean())
    return found, {name: abs(values[-1] - honest) for name, values in rates.items()}


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run.seed, 2 if quick else 20)
    names = (RAW, CONTROLLED, UNTIED)
    tau: dict[str, list[float]] = {name: [] for name in names}
    gaming: dict[str, list[float]] = {name: [] for name in names}
    attack: dict[str, list[float]] = {name: [] for name in names}
    for seed in seeds:
        run.check()
        arena = Arena(seed)
        rates, gains = boards(arena)
        truth = np.tile(arena.quality, len(VERBOSITY))
        for name in names:
            tau[name].append(float(kendalltau(rates[name].ravel(), truth).statistic))
            gaming[name].append(float((rates[name].std(axis=0) / rates[name].mean(axis=0)).mean()))
            attack[name].append(gains[name])
    numbers: list[Number] = []
    for name in names:
        numbers += [
            mean_number(f"{name}: Kendall's tau with quality", tau[name],
                        baseline=float(np.mean(tau[RAW]))),
            mean_number(f"{name}: change by verbosity, of the win rate",
                        [100 * one for one in gaming[name]], unit="%", better="lower",
                        baseline=100 * float(np.mean(gaming[RAW]))),
            mean_number(f"{name}: error on cut answers", attack[name], unit="points",
                        better="lower", baseline=float(np.mean(attack[RAW]))),
        ]  # fmt: skip
    holds = (
        np.mean(tau[CONTROLLED]) - np.mean(tau[RAW]) >= TAU
        and np.mean(gaming[RAW]) / np.mean(gaming[CONTROLLED]) >= SHRINK
        and np.mean(attack[UNTIED]) / np.mean(attack[CONTROLLED]) >= SHRINK
    )
    return Findings(tuple(numbers), HOLDS if holds else DOES_NOT_HOLD, seeds=seeds, subject=SUBJECT)


LENGTH_CONTROL = Experiment(
    "E3",
    "Length-controlled win rates rank models more like their quality than raw ones do, verbosity "
    "changes them less than half as much, and gamed rows halve the error on cut answers.",
    "AlpacaEval 2 (2404.04475): Spearman with Chatbot Arena 0.94 to 0.98, gameability by verbosity "
    "25 to 10 %.",
    _run,
)
