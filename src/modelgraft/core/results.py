"""What an action gives back: numbers with their intervals and baselines, files, and words."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from modelgraft.core.errors import InputError

Kind = Literal["image", "grid", "video", "mesh", "splats", "table", "plot", "text", "trace"]


@dataclass(frozen=True)
class Number:
    """One measured value.

    `low` and `high` bound its 95 % interval, `n` counts the items behind it, `baseline` is the
    value of the arm it is compared with, measured in the same run.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    baseline: float | None = None
    better: Literal["higher", "lower"] = "higher"

    def text(self) -> str:
        """The value with its interval, as `0.41 [0.38, 0.44]`."""
        value = format_value(self.value)
        if self.low is None or self.high is None:
            return value
        return f"{value} [{format_value(self.low)}, {format_value(self.high)}]"

    def as_dict(self) -> dict[str, Any]:
        """The number as plain JSON values."""
        return asdict(self)

    @property
    def is_sound(self) -> bool:
        """Whether every field is of its type and every figure finite."""
        ends = (self.low, self.high, self.baseline, self.n)
        return (
            isinstance(self.name, str)
            and isinstance(self.unit, str)
            and self.better in ("higher", "lower")
            and _is_finite(self.value)
            and all(end is None or _is_finite(end) for end in ends)
        )


@dataclass(frozen=True)
class Artefact:
    """One file of a run that a person may want to see; `path` is relative to the run folder."""

    kind: Kind
    path: str
    caption: str
    sha256: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether every field is of its type."""
        texts = (self.path, self.caption, self.sha256)
        return self.kind in get_args(Kind) and all(isinstance(text, str) for text in texts)


@dataclass(frozen=True)
class Result:
    """The outcome of an action.

    `text` is what the person asked for, `remarks` what a reader must know to judge it, and
    `partial` says what was not fulfilled (the command then ends with exit code 3).
    """

    numbers: tuple[Number, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    text: str = ""
    remarks: tuple[str, ...] = ()
    partial: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Result:
        """The result that `as_dict` wrote; `InputError` when the shape is another.

        What its parts hold is not looked at, so that a page can show the sound ones; see `fault`.
        """
        try:
            return cls(
                numbers=tuple(Number(**number) for number in value["numbers"]),
                artefacts=tuple(Artefact(**artefact) for artefact in value["artefacts"]),
                text=value["text"],
                remarks=tuple(value["remarks"]),
                partial=value["partial"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"result.json does not hold a result: {error}.") from None

    def fault(self) -> str:
        """What in this result is not of its type or not finite; nothing when all is sound."""
        for number in self.numbers:
            if not number.is_sound:
                return f"the number {number.name!r} is malformed"
        for artefact in self.artefacts:
            if not artefact.is_sound:
                return f"the artefact {artefact.path!r} is malformed"
        texts = (self.text, self.partial, *self.remarks)
        return "" if all(isinstance(text, str) for text in texts) else "its words are no text"


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def format_value(value: float) -> str:
    """A number for people: four significant digits, thousands separated, no exponent soup."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    if abs(value) >= 1000:
        return f"{value:,.1f}" if abs(value) < 1e9 else f"{value:.3e}"
    return f"{value:.4g}"
