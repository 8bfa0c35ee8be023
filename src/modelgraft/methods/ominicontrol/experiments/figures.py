"""Numbers of experiments: an arm beside its baseline, over seeds and scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Array, Interval, bootstrap_mean
from modelgraft.methods.ominicontrol.evaluate import IS_BETTER_LOW
from modelgraft.methods.ominicontrol.experiments.drawn import over_seeds

Rows = Mapping[str, Array]


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


def is_above(one: Interval) -> bool:
    """Whether the whole interval lies above 0; of one seed, whether the mean does."""
    return (one.value if one.low is None else one.low) > 0


def _mean(values: Array) -> Interval:
    whole = ~np.isnan(values).any(axis=0)
    if len(values) > 1 and whole.any():
        found = over_seeds(values, np.zeros_like(values))
        if found.low is not None:
            return found
    return bootstrap_mean(values[~np.isnan(values)])


def texts(name: str, rows: Rows, baseline: Rows) -> list[Number]:
    """What outputs show of their captions."""
    return [figure(name, rows, measure, baseline) for measure in ("text", "colour", "shape")]


def ceilings(rows: Rows, measures: Sequence[str]) -> list[Number]:
    """What the judges read from true renders: the most that any arm can reach."""
    return [figure("true renders", rows, measure) for measure in measures]
