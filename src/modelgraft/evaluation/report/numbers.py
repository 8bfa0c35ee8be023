"""Headline numbers: how each stands against its baseline, and its bar.

A verdict says only what the interval carries: `better` or `worse` when the whole interval lies on
one side of the baseline, `no clear difference` when the baseline lies inside. A number without an
interval is compared as it stands, and the verdict says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from markupsafe import Markup

from modelgraft.core.results import Number
from modelgraft.evaluation.report.axes import Scale
from modelgraft.evaluation.report.figures import decimals, figure, is_number, with_interval
from modelgraft.evaluation.report.svg import drawing, path, tag

Verdict = Literal[
    "better",
    "better without interval",
    "no clear difference",
    "same",
    "worse without interval",
    "worse",
    "not measured",
    "",
]
BAR_WIDTH, BAR_HEIGHT = 150, 20


@dataclass(frozen=True)
class NumberRow:
    """A number as a page shows it."""

    name: str
    value: str
    interval: str
    unit: str
    n: str
    baseline: str
    better: str
    verdict: Verdict
    bar: Markup


@dataclass(frozen=True)
class ChangeRow:
    """The same number of two runs, `b` against `a`."""

    name: str
    a: str
    b: str
    unit: str
    difference: str
    verdict: Verdict

    @property
    def changed(self) -> bool:
        """Whether the two values differ, or only one run has the number."""
        return self.verdict != "same"


def number_rows(numbers: Sequence[Number]) -> list[NumberRow]:
    """The rows of a run's numbers, each with its bar."""
    return [
        NumberRow(
            name=number.name,
            value=figure(number.value, _places(number)),
            interval=_text(number).partition(" ")[2] if _has_interval(number) else "",
            unit=number.unit,
            n=f"{number.n:,}" if number.n is not None else "",
            baseline=_baseline(number),
            better=number.better,
            verdict=verdict(number),
            bar=interval_bar(number, _scale(number, numbers)),
        )
        for number in numbers
    ]


def verdict(number: Number) -> Verdict:
    """How the number stands against its baseline; empty when it has none."""
    if not is_number(number.value):
        return "not measured"
    if number.baseline is None or not is_number(number.baseline):
        return ""
    low, high = _ends(number)
    known = _has_interval(number)
    return _side(low - number.baseline, high - number.baseline, number.better, known=known)


def tally(rows: Sequence[NumberRow | ChangeRow]) -> str:
    """The verdicts counted in one line, misses included."""
    counted = Counter(row.verdict for row in rows if row.verdict)
    return ", ".join(f"{counted[name]} {name}" for name in get_args(Verdict) if counted[name])


def change_rows(a: Sequence[Number], b: Sequence[Number]) -> list[ChangeRow]:
    """The numbers of two runs by name, in the order of `a`, then what only `b` has."""
    in_b = {_key(b, i): number for i, number in enumerate(b)}
    rows = [_change(number, in_b.pop(_key(a, i), None)) for i, number in enumerate(a)]
    return rows + [_change(None, number) for number in in_b.values()]


def difference(a: Number, b: Number) -> tuple[float, float, float]:
    """`b - a` with a 95 % interval from the two intervals, for independent runs.

    The ends are recovered from the ends of both intervals (Newcombe 1998, method 10, for shares;
    Zou and Donner 2008 in general), so lopsided intervals keep their shape.
    """
    (a_low, a_high), (b_low, b_high) = _ends(a), _ends(b)
    gap = b.value - a.value
    below = math.hypot(b.value - b_low, a_high - a.value)
    above = math.hypot(b_high - b.value, a.value - a_low)
    return gap, gap - below, gap + above


def interval_bar(number: Number, scale: Scale) -> Markup:
    """A small drawing: the interval as a band, the value as a point, the baseline as a tick.

    A number that has neither interval nor baseline needs none.
    """
    low, high = _ends(number)
    baseline = number.baseline
    if not is_number(number.value) or not (low < high or is_number(baseline)):
        return Markup("")
    middle = BAR_HEIGHT / 2
    parts = [path(f"M{scale.start:.1f} {middle:.1f}H{scale.end:.1f}", "track")]
    words = f"{number.name}: {_text(number)} {number.unit}".strip()
    if low < high:
        first, last = scale(low), scale(high)
        box = {"x": first, "width": max(1.0, last - first), "y": middle - 4, "height": 8}
        parts.append(tag("rect", class_="interval", rx=2, **box))
    if is_number(baseline):
        parts.append(path(f"M{scale(baseline):.1f} 1.5V{BAR_HEIGHT - 1.5}", "baseline"))
        words += f", baseline {_baseline(number)}"
    parts.append(tag("circle", cx=scale(number.value), cy=middle, r=4, class_="point"))
    parts.append(tag("title", words))
    return drawing(BAR_WIDTH, BAR_HEIGHT, *parts, label=words, class_="interval-bar")


def _scale(number: Number, numbers: Sequence[Number]) -> Scale:
    """From zero to the largest value of the numbers it can be compared with by eye.

    These are the numbers of its unit within a factor of ten; shares run to 1, or to 100 %.
    """
    whole = {"": 1.0, "%": 100.0}.get(number.unit)
    low, high = _reach(number)
    if whole is not None and low >= 0 and high <= whole:
        return Scale(0, whole, 6, BAR_WIDTH - 6)
    alike = [_reach(one) for one in numbers if one.unit == number.unit]
    size = max(high, -low)
    alike = [(a, b) for a, b in alike if size / 10 <= max(b, -a) <= size * 10]
    low, high = min(a for a, _ in alike), max(b for _, b in alike)
    return Scale(low, high if high > low else low + 1, 6, BAR_WIDTH - 6)


def _reach(number: Number) -> tuple[float, float]:
    """The smallest and largest value that the number's bar must show; zero is one of them."""
    shown = [0.0]
    shown += [end for end in (*_ends(number), number.baseline) if is_number(end)]
    return min(shown), max(shown)


def _change(a: Number | None, b: Number | None) -> ChangeRow:
    one = a or b
    assert one is not None
    row = {"name": one.name, "a": _text(a), "b": _text(b), "unit": one.unit}
    if a is None or b is None or not (is_number(a.value) and is_number(b.value)):
        both_missing = a is not None and b is not None and a.value == b.value
        return ChangeRow(**row, difference="", verdict="same" if both_missing else "not measured")
    if (a.value, *_ends(a)) == (b.value, *_ends(b)):
        return ChangeRow(**row, difference="0", verdict="same")
    gap, low, high = difference(a, b)
    known = _has_interval(a) and _has_interval(b)
    text = with_interval(gap, low, high) if known else figure(gap)
    side = _side(low, high, b.better) if known else _side(gap, gap, b.better, known=False)
    return ChangeRow(**row, difference=("+" if gap > 0 else "") + text, verdict=side)


def _side(low: float, high: float, better: str, *, known: bool = True) -> Verdict:
    """The verdict on a difference that lies between `low` and `high`."""
    if low <= 0 <= high:
        return "no clear difference" if known else "same"
    if (low > 0) == (better == "higher"):
        return "better" if known else "better without interval"
    return "worse" if known else "worse without interval"


def _has_interval(number: Number) -> bool:
    return is_number(number.low) and is_number(number.high)


def _ends(number: Number) -> tuple[float, float]:
    if is_number(number.low) and is_number(number.high):
        return number.low, number.high
    return number.value, number.value


def _key(numbers: Sequence[Number], i: int) -> tuple[str, int]:
    """Name and occurrence: a run may use one name twice."""
    return numbers[i].name, sum(one.name == numbers[i].name for one in numbers[:i])


def _places(number: Number) -> int | None:
    return decimals(*_ends(number)) if _has_interval(number) else None


def _text(number: Number | None) -> str:
    if number is None:
        return "none"
    return with_interval(number.value, number.low, number.high)


def _baseline(number: Number) -> str:
    return figure(number.baseline, _places(number)) if is_number(number.baseline) else ""
