"""Plots as inline SVG, drawn before the page is written: it needs no script to show them.

Every plot is drawn for a given width, so a page can hold a wide and a narrow drawing and show
the one that fits, with letters of the same size in both.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from modelgraft.evaluation.report import axes
from modelgraft.evaluation.report.axes import Frame, Scale
from modelgraft.evaluation.report.figures import label
from modelgraft.evaluation.report.heatmap import draw_heatmap
from modelgraft.evaluation.report.plots import Axis, Plot, Series
from modelgraft.evaluation.report.svg import (
    colour,
    drawing,
    marker,
    path,
    tag,
    text_width,
    write,
)

MAX_MARKERS = 60  # a line of more points is drawn without them
MAX_HOVER = 400
Point = tuple[float, float, int]  # pixel of x, pixel of y, index in the series


def draw(plot: Plot, width: float) -> Markup:
    """The plot as one `<svg>` of this width; its data belongs beside it as a table."""
    if plot.kind == "heatmap":
        parts, height = draw_heatmap(plot, width)
    elif plot.kind != "bar":
        parts, height = _draw_points(plot, width)
    elif plot.is_categorical() and not _fit_side_by_side(plot, width):
        parts, height = _draw_lying_bars(plot, width)
    else:
        parts, height = _draw_bars(plot, width)
    named = ", ".join(one.name for one in plot.series[:8])
    words = f"{plot.title}: {plot.y.label} by {plot.x.label}, for {named}. A table follows."
    return drawing(width, height, *parts, label=words, class_="drawing")


def legend_mark(plot: Plot, index: int) -> Markup:
    """The small drawing that stands before a series' name in the legend."""
    if plot.kind == "bar":
        parts = [tag("rect", x=4, y=1, width=12, height=10, class_=f"bar {colour(index)}")]
    else:
        parts = [marker(10, 6, index)]
        if plot.kind == "line":
            parts.insert(0, path("M0 6h20", _line_class(index)))
    return drawing(20, 12, *parts, label="", class_="swatch")


def _draw_points(plot: Plot, width: float) -> tuple[list[Markup], float]:
    """Lines with bands, or dots with whiskers."""
    frame, y = axes.value_scale(plot, width, _height(width), zero=False)
    x, ticks = _across(plot, frame)
    parts = [axes.grid(frame, y), axes.names(frame, plot, ticks)]
    for index, series in enumerate(plot.series):
        if plot.kind == "line":
            parts += _line(series, index, x, y)
        else:
            parts += [_whisker(x[series.x[i]], series, i, y) for i in range(len(series.x))]
        parts.append(_marks(plot, series, index, x, y))
    return parts, frame.height


def _across(plot: Plot, frame: Frame) -> tuple[dict[float | str, float], list[tuple[float, str]]]:
    """The pixel of every x, and the ticks: at the measured values themselves when they are few."""
    found = plot.categories()
    if plot.is_categorical():
        room = (frame.right - frame.left) / len(found)
        places = {name: frame.left + room * (i + 0.5) for i, name in enumerate(found)}
        return places, [(place, label(name)) for name, place in places.items()]
    values = [float(x) for x in found]
    x = axes.scale(plot.x, values, frame.left + 10, frame.right - 10, exact=True)
    places = {name: x(value) for name, value in zip(found, values, strict=True)}
    if len(found) <= 9:
        return places, [(place, label(name)) for name, place in places.items()]
    return places, [(x(tick), text) for tick, text in zip(x.ticks, x.labels(), strict=True)]


def _line(series: Series, index: int, x: dict[float | str, float], y: Scale) -> list[Markup]:
    parts = []
    for stretch in _stretches(series, x, y):
        ends = [(px, series.interval(i)) for px, _, i in stretch]
        band = [(px, y(end[0]), y(end[1])) for px, end in ends if end]
        if len(band) > 1:
            outline = [(px, high) for px, _, high in band]
            outline += [(px, low) for px, low, _ in reversed(band)]
            parts.append(path(_through(outline) + "z", f"band {colour(index)}"))
        title = tag("title", series.name)
        points = [(px, py) for px, py, _ in stretch]
        parts.append(path(_through(points), _line_class(index), title))
    return parts


def _stretches(series: Series, x: dict[float | str, float], y: Scale) -> list[list[Point]]:
    """The points cut at missing values: a line must not claim what was not measured."""
    stretches: list[list[Point]] = [[]]
    for i, name in enumerate(series.x):
        value = series.value(i)
        if value is None:
            stretches.append([])
        else:
            stretches[-1].append((x[name], y(value), i))
    return [stretch for stretch in stretches if stretch]


def _marks(plot: Plot, series: Series, index: int, x: dict[float | str, float], y: Scale) -> Markup:
    """The points of a series, each with a wide invisible spot that shows its words on hover."""
    visible = plot.kind == "dots" or len(series.x) <= MAX_MARKERS
    parts = []
    for px, py, i in (point for stretch in _stretches(series, x, y) for point in stretch):
        mark = marker(px, py, index) if visible else Markup("")
        if len(series.x) <= MAX_HOVER:
            spot = tag("circle", cx=px, cy=py, r=9, class_="hit")
            mark = tag("g", _hover(plot, series, i), mark, spot)
        parts.append(mark)
    return Markup("").join(parts)


def _draw_bars(plot: Plot, width: float) -> tuple[list[Markup], float]:
    frame, y = axes.value_scale(plot, width, _height(width), zero=True)
    found = plot.categories()
    room = (frame.right - frame.left) / len(found)
    centre = {name: frame.left + room * (i + 0.5) for i, name in enumerate(found)}
    ticks = [(place, label(name)) for name, place in centre.items()]
    parts = [axes.grid(frame, y), axes.names(frame, plot, ticks)]
    thick = min(44.0, room * 0.76 / len(plot.series))
    base = y(y.low if plot.y.log else 0)
    for index, series in enumerate(plot.series):
        shift = (index - len(plot.series) / 2) * thick
        for i, name in enumerate(series.x):
            value, start = series.value(i), centre[name] + shift
            if value is None:
                continue
            top, bottom = sorted((y(value), base))
            box = {"x": start + 0.5, "width": max(0.6, thick - 1), "y": top, "height": bottom - top}
            hover = _hover(plot, series, i)
            parts.append(tag("rect", hover, class_=f"bar {colour(index)}", **box))
            parts.append(_whisker(start + thick / 2, series, i, y))
    parts.append(path(f"M{frame.left:.1f} {base:.1f}H{frame.right:.1f}", "zero"))
    return parts, frame.height


def _draw_lying_bars(plot: Plot, width: float) -> tuple[list[Markup], float]:
    """Bars that lie, for names too long to stand side by side; in little room below the names."""
    found = plot.categories()
    thick = max(8.0, min(18.0, 40 / len(plot.series)))
    left = max(text_width(label(name)) for name in found) + 10
    above = 0.0 if left < width * 0.4 else 18.0
    left = 2.0 if above else left
    room = thick * len(plot.series) + 12 + above
    bottom = 10 + room * len(found)
    frame = Frame(width, bottom + 46, left, width - 24, 10, bottom)
    x = axes.scale(plot.y, plot.values(), frame.left, frame.right, zero=True)
    centre = {name: frame.top + room * (i + 0.5) for i, name in enumerate(found)}
    parts = [_upright_grid(frame, x, plot.y)]
    for name, middle in centre.items():
        if above:
            parts.append(write(label(name), left + 4, middle - room / 2 + 18, "tick", room=width))
        else:
            parts.append(write(label(name), left - 8, middle + 4, "tick end"))
    base = x(x.low if plot.y.log else 0)
    for index, series in enumerate(plot.series):
        shift = (index - len(plot.series) / 2) * thick
        for i, name in enumerate(series.x):
            value, start = series.value(i), centre[name] + above / 2 + shift
            if value is None:
                continue
            first, last = sorted((x(value), base))
            box = {"x": first, "width": last - first, "y": start + 0.5, "height": thick - 1}
            hover = _hover(plot, series, i)
            parts.append(tag("rect", hover, class_=f"bar {colour(index)}", **box))
            parts.append(_whisker(start + thick / 2, series, i, x, lying=True))
    parts.append(path(f"M{base:.1f} {frame.top:.1f}V{frame.bottom:.1f}", "zero"))
    return parts, frame.height


def _upright_grid(frame: Frame, x: Scale, axis: Axis) -> Markup:
    ticks = [(x(tick), text) for tick, text in zip(x.ticks, x.labels(), strict=True)]
    lines = [path(f"M{px:.1f} {frame.top:.1f}V{frame.bottom:.1f}", "gridline") for px, _ in ticks]
    return Markup("").join(lines) + axes.below(frame, axis.label, ticks)


def _fit_side_by_side(plot: Plot, width: float) -> bool:
    found = plot.categories()
    return max(text_width(label(name)) for name in found) <= (width - 70) / len(found) - 6


def _whisker(at: float, series: Series, i: int, scale: Scale, *, lying: bool = False) -> Markup:
    ends = series.interval(i)
    if ends is None:
        return Markup("")
    a, b = scale(ends[0]), scale(ends[1])
    d = f"M{at:.1f} {a:.1f}V{b:.1f}M{at - 3:.1f} {a:.1f}h6M{at - 3:.1f} {b:.1f}h6"
    if lying:
        d = f"M{a:.1f} {at:.1f}H{b:.1f}M{a:.1f} {at - 3:.1f}v6M{b:.1f} {at - 3:.1f}v6"
    return path(d, "whisker")


def _hover(plot: Plot, series: Series, i: int) -> Markup:
    where = f"{plot.x.label} {label(series.x[i])}".strip()
    return tag("title", f"{series.name}, {where}: {series.text(i)}")


def _through(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _height(width: float) -> float:
    return 320 if width > 500 else 250


def _line_class(index: int) -> str:
    return f"line {colour(index)}" + (" dashed" if index % 8 >= 4 else "")
