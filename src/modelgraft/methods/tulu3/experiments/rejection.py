"""E7: rejection sampling with and without the original answer in the list."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Interval, paired_bootstrap_over_seeds
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.preferences.rejection import Rated, keep_best
from modelgraft.methods.tulu3.world.checks import score
from modelgraft.methods.tulu3.world.replies import POOL, rate, respond
from modelgraft.methods.tulu3.world.tasks import Task, stream

NUM_SAMPLES = 4
ERROR_RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
# The original answers come from a stronger model than the samples, as in the paper. The claim is
# tested with samples of a model that was trained already; weaker ones are shown beside it.
AUTHOR = "careful-short"
SAMPLER = "steady-short"
WEAKER = ("hasty-short", "lost-short")

_MODELS = {model.name: model for model in POOL}


@dataclass(frozen=True)
class Arms:
    """Quality of what is kept [seeds, items] with and without the original, and of the original."""

    with_original: np.ndarray
    without: np.ndarray
    original: np.ndarray

    @property
    def gap(self) -> Interval:
        """What the original in the list is worth."""
        return paired_bootstrap_over_seeds(self.with_original, self.without, same_items=False)


def measure(sampler: str, error_rate: float, seeds: Sequence[int], num: int) -> Arms:
    """Both arms on `num` tasks for each seed; they share samples and ratings."""
    kept = [
        [_kept(task, sampler, error_rate, seed) for task in islice(stream("train", seed=seed), num)]
        for seed in seeds
    ]
    return Arms(*np.moveaxis(np.array(kept), -1, 0))


def _kept(task: Task, sampler: str, error_rate: float, seed: int) -> tuple[float, float, float]:
    """True quality of what is kept with and without the original, and of the original."""
    texts = [respond(_MODELS[sampler], task, seed=sample).text for sample in range(NUM_SAMPLES)]
    texts.append(respond(_MODELS[AUTHOR], task, seed=NUM_SAMPLES).text)
    rated = [
        # Each place in the list errs by itself, even where two texts are equal.
        Rated(text, rate(task, text, error_rate=error_rate, seed=rng_seed("E7", seed, place)))
        for place, text in enumerate(texts)
    ]
    *samples, original = rated
    with_original, without = (
        keep_best(samples, one, random.Random(rng_seed("E7", "ties", seed, task.id)))
        for one in (original, None)
    )
    kept = (with_original, without, original)
    first, second, third = (score(task, one.text) for one in kept)
    return first, second, third


def is_confirmed(arms: Sequence[Arms]) -> bool:
    """Whether the original never harms and is worth more at the highest error rate than at none.

    `arms` are in the order of their error rates.
    """
    growth = _growth(arms)
    never_harms = all(one.gap.value >= 0 for one in arms)
    return never_harms and growth.low is not None and growth.low > 0


def _growth(arms: Sequence[Arms]) -> Interval:
    first, last = ((one.with_original - one.without) for one in (arms[0], arms[-1]))
    return paired_bootstrap_over_seeds(last, first, same_items=False)


def _run(run: Run, quick: bool) -> Findings:
    num_seeds, num = (3, 40) if quick else (5, 500)
    seeds = tuple(range(run.seed, run.seed + num_seeds))
    numbers: list[Number] = []
    found: dict[str, list[Arms]] = {}
    samplers = (SAMPLER, *WEAKER)
    for place, sampler in enumerate(samplers):
        for step, error_rate in enumerate(ERROR_RATES):
            run.check()
            done = place * len(ERROR_RATES) + step
            run.progress(done, len(samplers) * len(ERROR_RATES), f"samples of {sampler}")
            arms = measure(sampler, error_rate, seeds, num)
            found.setdefault(sampler, []).append(arms)
            numbers += _numbers(sampler, error_rate, arms)
        growth = _growth(found[sampler])
        name = f"{sampler}: growth of the gain, error {ERROR_RATES[-1]:g} against none"
        numbers.append(Number(name, growth.value, growth.low, growth.high, growth.n))
    _draw(run, found)
    shrinks = [name for name in WEAKER if _growth(found[name]).value <= 0]
    remarks = [
        f"With samples of {name}, which are right in {_MODELS[name].accuracy:.0%} of cases, the "
        "gain shrinks as the judge errs: it is largest where the judge can tell the original from "
        "samples that are all wrong."
        for name in shrinks
    ]
    verdict = HOLDS if is_confirmed(found[SAMPLER]) else DOES_NOT_HOLD
    return Findings(
        tuple(numbers),
        verdict,
        seeds=seeds,
        remarks=tuple(remarks),
        subject={"model": "none", "dtype": "none", "device": "cpu"},
    )


def _numbers(sampler: str, error_rate: float, arms: Arms) -> list[Number]:
    """The gain with its interval, and what is kept beside the arm without the original."""
    label = f"{sampler}, judge errs in {error_rate:.0%}"
    gap = arms.gap
    over_original = paired_bootstrap_over_seeds(arms.with_original, arms.original, same_items=False)
    return [
        Number(f"{label}: quality with the original", float(arms.with_original.mean()),
               n=arms.with_original.size, baseline=float(arms.without.mean())),
        Number(f"{label}: gain by the original in the list", gap.value, gap.low, gap.high, gap.n),
        Number(f"{label}: gain over keeping every original", over_original.value,
               over_original.low, over_original.high, over_original.n),
    ]  # fmt: skip


def _draw(run: Run, found: dict[str, list[Arms]]) -> None:
    percent = [f"{error_rate:.0%}" for error_rate in ERROR_RATES]
    plot = Plot(
        kind="bar",
        title=f"What the original adds to {NUM_SAMPLES} samples",
        x=Axis("ratings that the judge draws blindly"),
        y=Axis("gain in quality (0 to 1)"),
        series=[
            Series(name, percent, [one.gap.value for one in arms]) for name, arms in found.items()
        ],
    )
    caption = "Gain in the quality of what is kept when the original answer is in the list."
    plot.save(run.add("plot", "E7-rejection.json", caption))


REJECTION = Experiment(
    "E7",
    "Where samples come from a model that was trained already (right in 75 %), rejection sampling "
    "with a better model's original in the list never chooses worse than among the samples alone, "
    "and the more the judge errs the more the original is worth.",
    "Among what did not help: a small gain for its cost, a strong judge needed, and much better "
    "with the original in the list; no figures given.",
    _run,
)
