"""Numbers of experiments: an arm beside its baseline, over seeds of training and objects.

Rows are [seeds, objects]; models that are trained once have one row, and their intervals are over
objects alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import (
    Array,
    Interval,
    paired_bootstrap,
    paired_bootstrap_over_seeds,
    percentile_bounds,
)

Rows = Mapping[str, Array]
HIGHER = ("PSNR", "coverage", "spread")
"""Ends of the names of measures of which more is better; of all others less is."""
UNITS = {"PSNR": "dB", "angle": "deg", "coverage": "%", "spread": "/ 255"}
_RESAMPLES = 4000


def is_higher_better(measure: str) -> bool:
    """Whether more of a measure is better."""
    return measure.endswith(HIGHER)


def figure(name: str, rows: Rows, measure: str, baseline: Rows | None = None) -> Number:
    """The mean of a measure over seeds and objects, beside that of another arm."""
    values = _whole(rows[measure])[0]
    found = _paired(values, np.zeros_like(values))
    unit = next((unit for end, unit in UNITS.items() if measure.endswith(end)), "")
    return Number(
        f"{name}: {measure}",
        *found,
        unit,
        baseline=None if baseline is None else float(np.nanmean(baseline[measure])),
        better="higher" if is_higher_better(measure) else "lower",
    )


def figures(
    name: str, rows: Rows, measures: Sequence[str], baseline: Rows | None = None
) -> list[Number]:
    """`figure` of several measures."""
    return [figure(name, rows, one, baseline) for one in measures]


def gain(name: str, ours: Rows, theirs: Rows, measure: str) -> tuple[Number, Interval]:
    """How much better an arm is than another, object by object; above 0 is better."""
    sign = 1.0 if is_higher_better(measure) else -1.0
    found = _paired(*_whole(sign * ours[measure], sign * theirs[measure]))
    return Number(f"{name}: gain in {measure}", *found, baseline=0.0), found


def reduction(name: str, ours: Rows, theirs: Rows, measure: str) -> tuple[Number, Interval]:
    """Per cent by which the mean of a measure is lower than that of another arm."""
    found = _resampled(
        _whole(ours[measure], theirs[measure]), lambda means: 100 * (1 - means[0] / means[1])
    )
    return Number(f"{name}: reduction of {measure}", *found, "%", baseline=0.0), found


def share(name: str, ours: Array, theirs: Array, *, unit: str = "x") -> tuple[Number, Interval]:
    """The mean of values over the mean of others, [seeds, objects] each; less is better."""
    found = _resampled(_whole(ours, theirs), lambda means: means[0] / means[1])
    return Number(name, *found, unit, baseline=1.0, better="lower"), found


def is_above(one: Interval, least: float = 0.0) -> bool:
    """Whether the whole interval lies above 0, and the value reaches `least`.

    Where the sample gives no interval the value speaks for itself.
    """
    return (one.value if one.low is None else one.low) > 0 and one.value >= least


def is_no_worse(one: Interval) -> bool:
    """Whether a gain is above 0 or a tie: its interval does not lie below 0 as a whole."""
    return (one.value if one.high is None else one.high) >= 0


def _whole(*rows: Array) -> list[Array]:
    """Rows of one shape without the objects that lack a value in any of them."""
    shape = np.broadcast_shapes(*(one.shape for one in rows))
    wide = [np.broadcast_to(one, shape) for one in rows]
    kept = ~np.any([np.isnan(one).any(0) for one in wide], axis=0)
    return [one[:, kept] for one in wide]


def _paired(ours: Array, theirs: Array) -> Interval:
    if len(ours) == 1:
        return paired_bootstrap(ours[0], theirs[0])
    return paired_bootstrap_over_seeds(ours, theirs, same_items=True)


def _resampled(rows: Sequence[Array], statistic: Callable[[Array], Array]) -> Interval:
    """A statistic of the means [rows, ...] with its interval.

    Seeds and objects are drawn together for all rows, so what they share cancels.
    """
    values = np.stack(rows)
    _, num_seeds, num_items = values.shape
    value = float(statistic(values.mean((1, 2))))
    units = num_seeds if num_seeds > 1 else num_items
    if units == 1:
        return Interval(value, None, None, values[0].size)
    rng = np.random.default_rng(0)
    seeds = rng.integers(num_seeds, size=(_RESAMPLES, num_seeds, 1))
    items = rng.integers(num_items, size=(_RESAMPLES, 1, num_items))
    draws = statistic(values[:, seeds, items].mean((2, 3)))
    low, high = percentile_bounds(draws, units)
    return Interval(value, float(low), float(high), values[0].size)
