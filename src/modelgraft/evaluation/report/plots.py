"""Plots as data: an action says what was measured, the page draws it.

The file is JSON::

    {"kind": "line", "title": "Prefill time",
     "x": {"label": "length (tokens)", "log": true}, "y": {"label": "seconds", "low": 0},
     "series": [{"name": "dense", "x": [1024, 2048], "y": [0.9, 2.1],
                 "low": [0.8, 2.0], "high": [1.0, 2.3]}]}

- `line`: points joined in the order given, with a band from `low` to `high`.
- `dots`: the points alone, with a bar from `low` to `high`.
- `bar`: one group for each value of x, one bar for each series, from zero.
- `heatmap`: one row for each series; x names the columns, y is the value of each cell, the row
  axis is called `y.label`, and `value` labels the colour and may widen its range.

x is all numbers or all text (categories in order of first appearance). A missing measurement is
null in y. `log`, `low` and `high` of an axis are optional; an axis reaches at least from `low` to
`high`, and further where the data does.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from modelgraft.core.errors import InputError
from modelgraft.core.files import write_json
from modelgraft.evaluation.report.figures import is_number, label, with_interval
from modelgraft.evaluation.report.formats import Cell, Table, json_cell, read_object, require_small

PlotKind = Literal["line", "bar", "heatmap", "dots"]
MAX_POINTS = 20_000
LARGEST = 1e100  # beyond this, distances between values leave the range of floats


@dataclass(frozen=True)
class Axis:
    """What an axis measures (with its unit in the label), and the ends it reaches at least."""

    label: str = ""
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One named run of points; `low` and `high` bound the interval of each y."""

    name: str
    x: Sequence[float | str]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The series as plain JSON values."""
        value: dict[str, Any] = {"name": self.name}
        for name in ("x", "y", "low", "high"):
            points = getattr(self, name)
            if points is not None:
                value[name] = [json_cell(point) for point in points]
        return value

    def value(self, i: int) -> float | None:
        """The measured y of point `i`; None where nothing was measured."""
        point = self.y[i]
        return float(point) if point is not None and is_number(point) else None

    def interval(self, i: int) -> tuple[float, float] | None:
        """The interval of point `i`, where both ends are known."""
        if self.low is None or self.high is None:
            return None
        low, high = self.low[i], self.high[i]
        if low is None or high is None or not (is_number(low) and is_number(high)):
            return None
        return float(low), float(high)

    def text(self, i: int) -> str:
        """Point `i` in words, as `0.41 [0.38, 0.44]`."""
        return with_interval(self.value(i), *(self.interval(i) or ()))


@dataclass(frozen=True)
class Plot:
    """A plot of one of four kinds; `value` is the colour axis of a heat map."""

    kind: PlotKind
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    value: Axis = field(default_factory=Axis)

    def __post_init__(self) -> None:
        _check(self)

    def as_dict(self) -> dict[str, Any]:
        """The plot as plain JSON values."""
        axes = {"x": asdict(self.x), "y": asdict(self.y), "value": asdict(self.value)}
        series = [one.as_dict() for one in self.series]
        return {"kind": self.kind, "title": self.title, **axes, "series": series}

    def save(self, path: Path) -> None:
        """Write the plot's file; a value that is not finite becomes null."""
        write_json(path, self.as_dict())

    def is_categorical(self) -> bool:
        """Whether x is text."""
        return any(isinstance(x, str) for one in self.series for x in one.x)

    def categories(self) -> list[float | str]:
        """The distinct values of x: text in order of first appearance, numbers by size."""
        found = list(dict.fromkeys(x for one in self.series for x in one.x))
        return found if self.is_categorical() else sorted(found)

    def values(self) -> list[float]:
        """Every measured y and every end of an interval."""
        ends = [
            end for one in self.series for i in range(len(one.x)) for end in one.interval(i) or ()
        ]
        found = [one.value(i) for one in self.series for i in range(len(one.x))]
        return ends + [value for value in found if value is not None]

    def table(self) -> Table:
        """The data in rows, for people who read rather than look."""
        if any(len(set(one.x)) < len(one.x) for one in self.series):
            columns = ["series", self.x.label or "x", self.y.label or "y"]
            rows = [[s.name, x, _cell(s, i)] for s in self.series for i, x in enumerate(s.x)]
            return Table(columns, rows)
        cells = [{x: _cell(one, i) for i, x in enumerate(one.x)} for one in self.series]
        xs = self.categories()
        if self.kind == "heatmap":
            named = zip(self.series, cells, strict=True)
            across = [[one.name, *(row.get(x) for x in xs)] for one, row in named]
            return Table([self.y.label or "row", *map(label, xs)], across)
        down = [[x, *(column.get(x) for column in cells)] for x in xs]
        return Table([self.x.label or "x", *(one.name for one in self.series)], down)

    @classmethod
    def load(cls, path: Path) -> Plot:
        """The plot in a file; `InputError` names what is wrong with it."""
        require_small(path)
        value = read_object(path, "a plot")
        try:
            return cls(
                kind=value["kind"],
                title=value["title"],
                x=Axis(**value["x"]),
                y=Axis(**value["y"]),
                series=[Series(**one) for one in value["series"]],
                value=Axis(**value.get("value", {})),
            )
        except KeyError as error:
            raise InputError(f"{path.name}: a plot needs {error}.") from None
        except TypeError as error:
            raise InputError(f"{path.name}: not a plot: {error}.") from None
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None


def _cell(series: Series, i: int) -> Cell:
    return series.value(i) if series.interval(i) is None else series.text(i)


def _check(plot: Plot) -> None:
    if plot.kind not in get_args(PlotKind):
        raise InputError(f"plot kind {plot.kind!r}; there are: {', '.join(get_args(PlotKind))}.")
    for name in ("x", "y", "value"):
        _check_axis(name, getattr(plot, name))
    if not isinstance(plot.title, str):
        raise InputError(f"a plot needs a title, not {plot.title!r}.")
    for series in plot.series:
        _check_series(plot, series)
    num_points = sum(len(series.x) for series in plot.series)
    if num_points == 0:
        raise InputError("a plot needs at least one series with one point.")
    if num_points > MAX_POINTS:
        raise InputError(f"a plot holds at most {MAX_POINTS:,} points; thin them before saving.")
    if any(abs(value) > LARGEST for value in plot.values()):
        raise InputError(f"a plot shows values up to {LARGEST:g}.")
    texts = {isinstance(x, str) for series in plot.series for x in series.x}
    if len(texts) > 1:
        raise InputError("x mixes numbers and text; categories must all be text.")
    if plot.x.log and True in texts:
        raise InputError("a logarithmic x needs numbers, not categories.")


def _check_axis(name: str, axis: Axis) -> None:
    if not isinstance(axis.label, str) or not isinstance(axis.log, bool):
        raise InputError(f"axis {name}: label must be text and log true or false.")
    for end in (axis.low, axis.high):
        if end is not None and not is_number(end):
            raise InputError(f"axis {name}: low and high must be numbers, not {end!r}.")
        if end is not None and axis.log and end < 1 / LARGEST:
            raise InputError(f"axis {name}: a logarithmic axis ends above zero, not at {end}.")
        if end is not None and abs(end) > LARGEST:
            raise InputError(f"axis {name}: {end} is too far away to draw.")
    if axis.low is not None and axis.high is not None and not axis.low < axis.high:
        raise InputError(f"axis {name}: low {axis.low} must be below high {axis.high}.")


def _check_series(plot: Plot, series: Series) -> None:
    name = f"series {series.name!r}"
    if not isinstance(series.name, str):
        raise InputError(f"{name}: a name must be text.")
    for key in ("x", "y", "low", "high"):
        points = getattr(series, key)
        if points is None:
            continue
        if isinstance(points, (str, dict)) or len(points) != len(series.x):
            raise InputError(f"{name}: {key} must be a list as long as x ({len(series.x)}).")
    for x in series.x:
        if not isinstance(x, str) and not (is_number(x) and abs(x) <= LARGEST):
            raise InputError(f"{name}: x holds {x!r}, which is neither a usable number nor text.")
        if plot.x.log and not isinstance(x, str) and x < 1 / LARGEST:
            raise InputError(f"{name}: a logarithmic x cannot show {x}.")
    for key in ("y", "low", "high"):
        points = getattr(series, key)
        for point in () if points is None else points:
            if point is not None and not isinstance(point, numbers.Real):
                raise InputError(f"{name}: {key} holds {point!r}, which is not a number.")
            if plot.y.log and is_number(point) and point < 1 / LARGEST:
                raise InputError(f"{name}: a logarithmic y cannot show {point}.")
