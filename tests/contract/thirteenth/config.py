"""The options of the thirteenth method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelgraft.core.options import opt


@dataclass(frozen=True, kw_only=True)
class Optim:
    """A nested group."""

    lr: float = opt(0.1, "Learning rate.", min=0, max=1)


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    """Count words."""

    file: Path = opt(help="The text to count in.", positional=True)
    repeats: int = opt(1, "How often to count.", min=1, max=100, unit="rounds")
    question: tuple[str, ...] = opt((), "A word to look for.")
    sizes: tuple[int, ...] = opt((1, 2), "Lengths of words.", unit="letters")
    case: Literal["keep", "lower"] = opt("keep", "What to do with capitals.")
    quick: bool = opt(False, "Count only the first line.")
    label: str | None = opt(None, "A name for the result.")
    secret_factor: float = opt(1.0, "Only for experts.", advanced=True)
    optim: Optim = Optim()


@dataclass(frozen=True, kw_only=True)
class CopyConfig:
    """Write a text."""

    text: tuple[str, ...] = opt(help="What to write, a line each.")


@dataclass(frozen=True, kw_only=True)
class WaitConfig:
    """Work in steps."""

    steps: int = opt(3, "Number of steps.", min=1)
    seconds: float = opt(0.0, "Length of a step.", min=0, unit="s")


@dataclass(frozen=True, kw_only=True)
class FailConfig:
    """End badly."""

    how: Literal["bug", "input", "partial", "raise-partial", "unavailable", "memory"] = opt(
        "bug", "In which way.", positional=True
    )
