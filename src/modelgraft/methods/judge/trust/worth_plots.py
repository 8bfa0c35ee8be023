"""Pictures of what confidences are worth: reliability, and risk by coverage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array, wilson
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.methods.judge.method.reliability import risk_coverage

_BINS = 10
_MOST_POINTS = 500


def reliability_plot(
    run: Run, name: str, title: str, before: Array, after: Array, is_right: Array
) -> None:
    """How often verdicts are right by their confidence, before and after calibration."""
    if not before.size:
        return
    named = {"as stated": before, "calibrated, cross-fitted": after}
    series = [_binned(label, values, is_right) for label, values in named.items()]
    diagonal = Series("what is stated", (0.0, 1.0), (0.0, 1.0))
    plot = Plot(
        "line",
        title,
        Axis("confidence", low=0.0, high=1.0),
        Axis("share that is right", low=0.0, high=1.0),
        [diagonal, *series],
    )
    plot.save(run.add("plot", f"reliability-{name}.json", title))


def _binned(name: str, confidence: Array, is_right: Array) -> Series:
    """Ten bins of as many verdicts each; those of equal confidence share one."""
    order = np.argsort(confidence, kind="stable")
    edges = np.unique(confidence[order[np.linspace(0, len(order) - 1, _BINS + 1).astype(int)]])
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = [place == one for one in np.unique(place)]
    shares = [wilson(is_right[one].sum(), int(one.sum())) for one in bins]
    return Series(
        name,
        [float(confidence[one].mean()) for one in bins],
        [one.value for one in shares],
        [one.low for one in shares],
        [one.high for one in shares],
    )


def risk_plot(run: Run, named: Mapping[str, tuple[Array, Array]]) -> None:
    """The error rate among the surest verdicts, by the share of verdicts that is kept."""
    series = []
    for name, (confidence, is_right) in named.items():
        if confidence.size:
            curve = risk_coverage(confidence, is_right)
            last = len(curve.risk) - 1
            kept = np.unique(np.linspace(0, last, min(last + 1, _MOST_POINTS)).astype(int))
            series.append(Series(name, curve.coverage[kept].tolist(), curve.risk[kept].tolist()))
    if not series:
        return
    title = "Errors among the surest verdicts"
    plot = Plot(
        "line",
        title,
        Axis("share of verdicts kept", low=0.0, high=1.0),
        Axis("share that is wrong", low=0.0),
        series,
    )
    plot.save(run.add("plot", "risk-coverage.json", title))
