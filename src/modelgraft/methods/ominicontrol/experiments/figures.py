"""Numbers of experiments: an arm beside its baseline, over seeds and scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import (
    Array,
    Interval,
    bootstrap_mean,
    percentile_bounds,
    wilson,
)
from modelgraft.methods.ominicontrol.evaluate import IS_BETTER_LOW
from modelgraft.methods.ominicontrol.experiments.arms import losses
from modelgraft.methods.ominicontrol.experiments.drawn import over_seeds

Rows = Mapping[str, Array]
_RESAMPLES = 2000
_WINDOW = 100


def figure(name: str, rows: Rows, measure: str, baseline: Rows | None = None) -> Number:
    """The mean of a measure over seeds and scenes [seeds, n], beside that of another arm."""
    values = rows[measure]
    found = _mean(values)
    return Number(
        f"{name}: {measure}",
        found.value,
        found.low,
        found.high,
        int((~np.isnan(values)).sum()),
        baseline=None if baseline is None else float(np.nanmean(baseline[measure])),
        better="lower" if measure in IS_BETTER_LOW else "higher",
    )


def gain(name: str, ours: Rows, theirs: Rows, measure: str) -> tuple[Number, Interval]:
    """How much better an arm is than another, scene by scene; above 0 is better."""
    sign = -1.0 if measure in IS_BETTER_LOW else 1.0
    found = over_seeds(sign * ours[measure], sign * theirs[measure])
    number = Number(f"{name}: gain in {measure}", found.value, found.low, found.high, found.n,
                    baseline=0.0)  # fmt: skip
    return number, found


def share_kept(name: str, rows: Rows, single: Rows, base: Rows, measure: str) -> Number:
    """Per cent of what `single` gains over `base` that `rows` still gain, with its interval.

    Seeds and scenes are resampled together in all three, so what they share cancels.
    """
    both, alone = (one[measure] - base[measure] for one in (rows, single))
    value = 100 * float(both.mean() / alone.mean())
    low = high = None
    num_seeds, num_scenes = both.shape
    if num_seeds > 1:
        rng = np.random.default_rng(0)
        seeds = rng.integers(num_seeds, size=(_RESAMPLES, num_seeds, 1))
        scenes = rng.integers(num_scenes, size=(_RESAMPLES, 1, num_scenes))
        draws = both[seeds, scenes].mean(axis=(1, 2)) / alone[seeds, scenes].mean(axis=(1, 2))
        low, high = (100 * float(one) for one in percentile_bounds(draws, num_seeds))
    return Number(f"{name}: share of the gain kept", value, low, high, both.size, "%",
                  baseline=100.0)  # fmt: skip


def loss_gain(name: str, ours: Sequence[Path], theirs: Sequence[Path]) -> list[Number]:
    """How much lower the loss of our arms is, in their first and last hundred steps.

    An arm's steps see the same pictures, times and noise in every way of training, and neighbours
    are alike, so a seed is one observation.
    """
    numbers = []
    for window, place in (("first", slice(_WINDOW)), ("last", slice(-_WINDOW, None))):
        apart = [
            float(np.mean(losses(their)[place]) - np.mean(losses(our)[place]))
            for our, their in zip(ours, theirs, strict=True)
        ]
        found = bootstrap_mean(np.array(apart))
        numbers.append(
            Number(f"{name}: gain in the loss of the {window} {_WINDOW} steps", found.value,
                   found.low, found.high, found.n, baseline=0.0)
        )  # fmt: skip
    return numbers


def is_above(one: Interval) -> bool:
    """Whether the whole interval lies above 0; of one seed, whether the mean does."""
    return (one.value if one.low is None else one.low) > 0


def _mean(values: Array) -> Interval:
    whole = ~np.isnan(values).any(axis=0)
    if len(values) > 1 and whole.any():
        found = over_seeds(values, np.zeros_like(values))
        if found.low is not None:
            return found
    single = values[~np.isnan(values)]
    if np.isin(single, (0, 1)).all():
        return wilson(float(single.sum()), len(single))
    return bootstrap_mean(single)


def texts(name: str, rows: Rows, baseline: Rows) -> list[Number]:
    """What outputs show of their captions, and where they show it."""
    return [figure(name, rows, measure, baseline) for measure in ("text", "place")]


def ceilings(rows: Rows, measures: Sequence[str]) -> list[Number]:
    """What the judges read from true renders: the most that any arm can reach."""
    return [figure("true renders", rows, measure) for measure in measures]
