"""SVG elements for plots and interval bars.

No element carries a `style` attribute: colours come from classes of the page's style sheet, so
that a strict content security policy holds and the same drawing serves light and dark.
"""

from __future__ import annotations

import math

from markupsafe import Markup, escape

CHAR_PX = 7.0  # a generous mean width of a character at 12 px, whatever the system font is
NUM_COLOURS = 8


def tag(name: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """An SVG element; text children and attribute values are escaped.

    `class_` and `stroke_width` become `class` and `stroke-width`; numbers keep one decimal.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
    )
    inside = Markup("").join(children)
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704 - escaped above


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def drawing(width: float, height: float, *parts: Markup, label: str, class_: str = "") -> Markup:
    """An `<svg>` with a label for people who do not see it; without a label it is decoration."""
    spoken = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    size = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": width, "height": round(height)}
    return tag("svg", *parts, class_=class_, **size, **spoken)


def path(d: str, class_: str, *children: Markup) -> Markup:
    """A `<path>`; a child `<title>` is what hovering shows."""
    return tag("path", *children, d=d, class_=class_)


def write(text: str, x: float, y: float, class_: str, *, room: float = math.inf) -> Markup:
    """A text element, cut with an ellipsis (and its whole text as hover title) beyond `room`."""
    if text_width(text) <= room:
        return tag("text", text, x=x, y=y, class_=class_)
    cut = text[: max(1, int(room / CHAR_PX) - 1)] + "\u2026"
    return tag("text", tag("title", text), cut, x=x, y=y, class_=class_)


def text_width(text: str) -> float:
    """About how many pixels the text takes at 12 px."""
    return len(text) * CHAR_PX


def colour(index: int) -> str:
    """The class that gives series number `index` its colour."""
    return f"c{index % NUM_COLOURS}"


def marker(x: float, y: float, index: int) -> Markup:
    """A point in the shape and colour of series number `index`."""
    class_ = f"mark {colour(index)}"
    if index % 4 == 0:
        return tag("circle", cx=x, cy=y, r=3.5, class_=class_)
    if index % 4 == 1:
        return tag("rect", x=x - 3.2, y=y - 3.2, width=6.4, height=6.4, class_=class_)
    if index % 4 == 2:
        return path(f"M{x:.1f} {y - 4.5:.1f}l4.5 4.5l-4.5 4.5l-4.5 -4.5z", class_)
    return path(f"M{x:.1f} {y - 4.5:.1f}l4.5 8h-9z", class_)
