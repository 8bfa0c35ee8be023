"""A model against one baseline, item by item: preferences, covariates, and win rates as they are.

Letters: n items, k covariates. Win rates are in percent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array


@dataclass(frozen=True)
class Comparison:
    """The verdicts on one model against the baseline.

    `preference` [n] is 1 where the model is better, 0 where the baseline is, and NaN where there is
    no verdict; `covariates` [n, k] are 0 where both answers are alike; `difficulty` [n] or None.
    InputError for another preference, or for a verdict with an unknown covariate or difficulty.
    """

    preference: Array
    covariates: Array
    difficulty: Array | None = None

    def __post_init__(self) -> None:
        known = np.isfinite(self.preference)
        strange = (self.preference < 0) | (self.preference > 1)
        if strange.any():
            row = int(np.argmax(strange))
            raise InputError(
                f"preference {row} is {self.preference[row]:g}: it must lie between 0 (the "
                "baseline is better) and 1 (the model is)."
            )
        hardness = np.zeros(known.size) if self.difficulty is None else self.difficulty
        columns = np.column_stack((self.covariates, hardness))
        broken = known & ~np.isfinite(columns).all(axis=1)
        if broken.any():
            raise InputError(
                f"item {int(np.argmax(broken))} has a verdict but a covariate or difficulty that "
                f"is not a number ({int(broken.sum())} of {known.size} items).\n"
                "  Give the lengths of both answers, or NaN as its preference to leave it out."
            )


def read_preferences(recorded: ArrayLike) -> Array:
    """y [n] from AlpacaEval's records: 1 the baseline is better, 2 the model, 0 or 1.5 a tie.

    Values in between are the probabilities of a weighted judge; NaN stays NaN. Raises InputError
    for anything else.
    """
    values = np.asarray(recorded, dtype=np.float64)
    strange = (values != 0) & ((values < 1) | (values > 2))
    if strange.any():
        row = int(np.argmax(strange))
        raise InputError(
            f"preference {row} is {values[row]:g}: it must be 0 (a tie), or lie between 1 (the "
            "baseline is better) and 2 (the model is)."
        )
    return np.where(values == 0, 0.5, values - 1)


def length_covariate(model_lengths: ArrayLike, baseline_lengths: ArrayLike) -> Array:
    """x [n] = tanh((length of the baseline's answer - length of the model's) / sd).

    Lengths are in characters; sd is the sample deviation of the difference over the set. Where all
    differences are equal there is nothing to learn from, and x is 0. A length that is NaN (no
    answer came) leaves NaN.
    """
    gap = np.asarray(baseline_lengths, dtype=np.float64) - np.asarray(model_lengths)
    known = gap[np.isfinite(gap)]
    if known.size < 2 or np.ptp(known) == 0:
        return np.where(np.isfinite(gap), 0.0, np.nan)
    return np.tanh(gap / known.std(ddof=1))


def raw_win_rate(preference: Array) -> float:
    """100 times the mean preference of the items with a verdict."""
    return 100 * float(np.nanmean(preference))


def discrete_win_rate(preference: Array) -> float:
    """100 times the share of items that the model wins, ties being half wins."""
    known = preference[np.isfinite(preference)]
    return 50 * float(1 + np.sign(known - 0.5).mean())
