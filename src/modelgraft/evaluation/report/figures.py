"""How numbers are written on a page.

An interval decides how many decimals mean anything: its width keeps two significant digits, and
the value and its baseline are written with the same decimals.
"""

from __future__ import annotations

import math
import numbers
from typing import TypeGuard

from modelgraft.core.results import format_value


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a finite number (True and False are not)."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def minus(text: str) -> str:
    """The text of a number with a typographic minus, and none before zero."""
    if not text.startswith("-"):
        return text
    return "\u2212" + text[1:] if text.strip("-0.,") else text[1:]


def decimals(low: float, high: float) -> int | None:
    """The decimals that an interval of this width supports; None when it says nothing."""
    width = high - low
    if not 1e-6 < width < 1e9 or max(abs(low), abs(high)) >= 1e9:
        return None
    return max(0, 1 - math.floor(math.log10(width)))


def figure(value: object, places: int | None = None) -> str:
    """A value with this many decimals, or with four significant digits when None."""
    if not is_number(value):
        return "not measured"
    return minus(format_value(value) if places is None else f"{value:,.{places}f}")


def with_interval(value: object, low: object = None, high: object = None) -> str:
    """A value and its interval, as `0.41 [0.38, 0.44]`."""
    if not (is_number(value) and is_number(low) and is_number(high)):
        return figure(value)
    places = decimals(low, high)
    return f"{figure(value, places)} [{figure(low, places)}, {figure(high, places)}]"


def label(x: float | str) -> str:
    """A value of an axis: categories as they are, numbers with thousands separated."""
    if isinstance(x, str):
        return x
    if x and not 1e-4 <= abs(x) < 1e7:
        return minus(f"{x:.3g}")
    return minus(f"{x:,.10g}")
