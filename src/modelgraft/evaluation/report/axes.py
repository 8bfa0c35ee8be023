"""Scales, ticks and the frame around a plot's data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from modelgraft.evaluation.report.figures import label, minus
from modelgraft.evaluation.report.plots import Axis, Plot
from modelgraft.evaluation.report.svg import path, text_width, write


@dataclass(frozen=True)
class Scale:
    """Maps values from `low`..`high` to pixels from `start`..`end`, evenly or by logarithm.

    `ticks` are the values a reader sees named.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: tuple[float, ...] = ()

    def __call__(self, value: float) -> float:
        """The pixel of a value; it never leaves the drawing."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        share = (value - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def labels(self) -> list[str]:
        """One text for each tick, all with the same number of decimals."""
        if self.log or len(self.ticks) < 2:
            return [label(tick) for tick in self.ticks]
        step = self.ticks[1] - self.ticks[0]
        if max(map(abs, self.ticks)) >= 1e7 or step < 1e-5:
            return [minus(f"{tick:.3g}") for tick in self.ticks]
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        if abs(round(step, decimals) - step) > step * 1e-6:  # a step of 2.5
            decimals += 1
        return [minus(f"{tick:,.{decimals}f}") for tick in self.ticks]


@dataclass(frozen=True)
class Frame:
    """The pixels a plot's data may use inside a drawing of `width` x `height`."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


def scale(
    axis: Axis,
    values: Iterable[float],
    start: float,
    end: float,
    *,
    zero: bool = False,
    exact: bool = False,
) -> Scale:
    """A scale that holds the data and the ends the axis asks for, rounded to ticks elsewhere.

    `zero` takes zero in; `exact` keeps the data's own ends.
    """
    found = [float(value) for value in values] or [1.0]
    low = min([*found, *([] if axis.low is None else [axis.low])])
    high = max([*found, *([] if axis.high is None else [axis.high])])
    near_zero = not exact and axis.low is None and 0 < low < 0.6 * high
    if not axis.log and (zero or near_zero):
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-12 * abs(low) + 1e-100:  # one value: room on both sides
        pad = abs(low) / 2 or 0.5
        low, high = (low / 2, low * 2) if axis.log else (low - pad, low + pad)
    count = 5 if abs(end - start) > 220 else 4
    ticks = log_ticks(low, high) if axis.log else linear_ticks(low, high, count)
    if not exact:
        low = low if low == axis.low else ticks[0]
        high = high if high == axis.high else ticks[-1]
    slack = (high - low) * 1e-6
    inside = tuple(tick for tick in ticks if low - slack <= tick <= high + slack)
    return Scale(low, high, start, end, axis.log, inside)


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round values that cover `low`..`high`; the outer two may lie outside."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that cover `low`..`high`, with 2 and 5 between them over short spans."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = 1 + (last - first) // 7
    units = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [u * 10.0**power for power in range(first, last + step, step) for u in units]
    lowest = max((tick for tick in ticks if tick <= low * 1.001), default=ticks[0])
    highest = min((tick for tick in ticks if tick >= high * 0.999), default=ticks[-1])
    return [tick for tick in ticks if lowest <= tick <= highest]


def value_scale(plot: Plot, width: float, height: float, *, zero: bool) -> tuple[Frame, Scale]:
    """The frame that leaves room for the labels of y, and the upright scale in it."""
    top, bottom = 34.0, height - 46.0
    upright = scale(plot.y, plot.values(), bottom, top, zero=zero)
    left = 12 + max(map(text_width, upright.labels()), default=0.0)
    return Frame(width, height, left, width - 14, top, bottom), upright


def grid(frame: Frame, upright: Scale) -> Markup:
    """Horizontal lines at the ticks of y, with their labels."""
    parts = []
    for tick, text in zip(upright.ticks, upright.labels(), strict=True):
        y = upright(tick)
        parts.append(path(f"M{frame.left:.1f} {y:.1f}H{frame.right:.1f}", "gridline"))
        parts.append(write(text, frame.left - 8, y + 4, "tick end"))
    return Markup("").join(parts)


def names(frame: Frame, plot: Plot, ticks: Sequence[tuple[float, str]]) -> Markup:
    """The names of both axes and the labels under x."""
    above = write(plot.y.label, 0, 14, "label", room=frame.width)
    return above + below(frame, plot.x.label, ticks)


def below(frame: Frame, name: str, ticks: Sequence[tuple[float, str]]) -> Markup:
    """The labels under a plot that stand clear of each other, and the axis' name."""
    parts = []
    for x, text in clear(ticks):
        half = text_width(text) / 2
        x = max(half, min(x, frame.width - half))
        parts.append(write(text, x, frame.bottom + 18, "tick middle", room=frame.width))
    parts.append(write(name, frame.right, frame.height - 6, "label end", room=frame.width))
    return Markup("").join(parts)


def clear(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The labels (centre pixel, text) that stand clear of the ones kept before them."""
    kept: list[tuple[float, str]] = []
    edge = -math.inf
    for centre, text in sorted(ticks):
        half = text_width(text) / 2
        if centre - half >= edge:
            kept.append((centre, text))
            edge = centre + half + 6
    return kept
