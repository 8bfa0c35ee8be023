"""Heat maps: a grid of cells whose strength of colour is the value."""

from __future__ import annotations

from markupsafe import Markup

from modelgraft.evaluation.report import axes
from modelgraft.evaluation.report.axes import Scale
from modelgraft.evaluation.report.figures import figure, label
from modelgraft.evaluation.report.plots import Plot
from modelgraft.evaluation.report.svg import tag, text_width, write

TOP = 26
NUM_SHADES = 8
PALEST = 0.06


def draw_heatmap(plot: Plot, width: float) -> tuple[list[Markup], float]:
    """The parts of the drawing and its height: one row for each series, a key below."""
    found = plot.categories()
    shade = axes.scale(plot.value, plot.values(), PALEST, 1.0, exact=True)
    places = 0 if all(float(value).is_integer() for value in plot.values()) else 2
    left = min(max(text_width(one.name) for one in plot.series) + 12, width * 0.34)
    cell = (width - left) / len(found)
    tall = max(16.0, min(34.0, 420 / len(plot.series)))
    parts = [write(plot.y.label, 0, 14, "label", room=width)]
    for row, series in enumerate(plot.series):
        y = TOP + row * tall
        parts.append(write(series.name, left - 8, y + tall / 2 + 4, "tick end", room=left - 10))
        values = {x: series.value(i) for i, x in enumerate(series.x)}
        for column, x in enumerate(found):
            box = {"x": left + column * cell + 1, "width": max(0.5, cell - 2)}
            box |= {"y": y + 1, "height": tall - 2}
            parts.append(_cell(f"{series.name}, {label(x)}", values.get(x), box, shade, places))
    end = TOP + tall * len(plot.series)
    places = [(left + cell * (i + 0.5), label(x)) for i, x in enumerate(found)]
    parts += [write(text, px, end + 17, "tick middle") for px, text in axes.clear(places)]
    parts.append(write(plot.x.label, width - 1, end + 36, "label end", room=width))
    parts.append(_key(plot.value.label, shade, end + 50, width))
    return parts, end + 66


def _cell(
    where: str, value: float | None, box: dict[str, float], shade: Scale, places: int
) -> Markup:
    title = tag("title", f"{where}: {figure(value)}")
    if value is None:
        return tag("g", title, tag("rect", class_="hole", **box))
    opacity = f"{shade(value):.2f}"
    parts = [title, tag("rect", class_="cell", fill_opacity=opacity, **box)]
    text = figure(value, places if abs(value) < 10 else None)
    if text_width(text) <= box["width"] - 2:
        tone = "strong" if float(opacity) > 0.8 else "weak"
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + 4)
        parts.append(write(text, *middle, f"cell-value middle {tone}"))
    return tag("g", *parts)


def _key(name: str, shade: Scale, y: float, width: float) -> Markup:
    """What pale and strong stand for, against the right edge."""
    last = figure(shade.high)
    start = width - 7 - text_width(last) - NUM_SHADES * 12
    words = f"{name}  {figure(shade.low)}".strip()
    parts = [write(words, start - 6, y + 9, "tick end", room=start - 6)]
    for i in range(NUM_SHADES):
        opacity = f"{PALEST + (1 - PALEST) * i / (NUM_SHADES - 1):.2f}"
        box = {"x": start + i * 12, "y": y, "width": 12, "height": 10}
        parts.append(tag("rect", class_="cell", fill_opacity=opacity, **box))
    parts.append(write(last, start + NUM_SHADES * 12 + 6, y + 9, "tick"))
    return tag("g", *parts)
