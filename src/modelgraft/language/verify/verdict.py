"""What every check answers, and what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """Whether a response passed, its score from 0 to 1, and why in one line.

    `is_error` marks a check that came to no end (an exception, the time limit): it counts as not
    passed, and apart from wrong answers.
    """

    passed: bool
    score: float
    detail: str
    is_error: bool = False

    @staticmethod
    def of(passed: bool, detail: str) -> Verdict:
        """A verdict whose score is 1 or 0."""
        return Verdict(passed, float(passed), detail)


@dataclass(frozen=True)
class Case:
    """One response to check: the verifier's name, its ground truth and its keyword arguments."""

    verifier: str
    response: str
    truth: Any
    options: Mapping[str, Any] = field(default_factory=dict)
