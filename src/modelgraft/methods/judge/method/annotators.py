"""Whether a judge may take the place of a human annotator (Calderon et al. 2025, 2501.10970)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import Labels, as_labels, as_numbers, encode
from modelgraft.methods.judge.method.significance import benjamini_yekutieli

Alignment = Literal["accuracy", "rmse"]

_FEWEST = 3


@dataclass(frozen=True)
class AnnotatorTest:
    """The judge against one human, both held to the other humans.

    On `num` shared items the judge agrees with the others at least as well as this human in a share
    `judge_advantage`, the human in a share `human_advantage` (draws count for both). `p` is that of
    the human being better by more than the judge is allowed, adjusted over humans; nan with a
    `reason` where this human could not be compared.
    """

    num: int
    judge_advantage: float
    human_advantage: float
    p: float
    is_won: bool
    reason: str = ""


@dataclass(frozen=True)
class AlternativeTest:
    """The tests by human, in the order of the columns, and what they say together.

    `winning_rate` is the share of compared humans that the judge wins against: from one half on it
    `may_replace` one of them. `advantage` is the mean advantage of the judge. `num_unread` items
    had no verdict.
    """

    humans: tuple[AnnotatorTest, ...]
    winning_rate: float
    advantage: float
    num_unread: int

    @property
    def may_replace(self) -> bool:
        """The paper's rule."""
        return self.winning_rate >= 0.5


def alternative_annotator_test(
    judge: Labels,
    humans: Labels,
    *,
    advantage: float,
    level: float = 0.05,
    at_least: int = 30,
    alignment: Alignment = "accuracy",
) -> AlternativeTest:
    """The test of `judge` [items] against `humans` [items, humans], None or nan where missing.

    Each human is left out in turn, and judge and human are compared by their agreement with the
    others on the items that both and another human rated: the share of equal labels (`accuracy`) or
    less the root of the mean squared difference (`rmse`). The one-sided t test asks whether the
    judge is better or behind by less than `advantage`, which is what its lower cost is worth (0.1
    for crowd workers, 0.15 to 0.2 for experts); Benjamini and Yekutieli hold the false discovery
    rate to `level`. A human of fewer than `at_least` such items is not compared. Raises InputError
    when fewer than three are.
    """
    if not 0 <= advantage < 1:
        raise ConfigError("advantage", f"advantage {advantage:g}: it lies from 0 to below 1.")
    ratings, said = as_labels(humans), as_labels(judge)
    if ratings.ndim != 2 or said.shape != ratings.shape[:1]:
        raise InputError(
            f"labels of shape {said.shape} by the judge and {ratings.shape} by humans: a row an "
            "item with a column a human is needed."
        )
    table = _numbered(np.column_stack([said.astype(object), ratings.astype(object)]), alignment)
    found = [_against(table, column, alignment) for column in range(1, table.shape[1])]
    is_compared = [len(ahead) >= at_least for ahead, _ in found]
    if sum(is_compared) < _FEWEST:
        nums = ", ".join(str(len(ahead)) for ahead, _ in found)
        raise InputError(
            f"alternative annotator test: {sum(is_compared)} humans share {at_least} items or more "
            f"with the judge and another human (they share {nums}), and {_FEWEST} are needed.\n"
            "  Have more items labelled by the same people."
        )
    p_values = [
        _p_value(behind.astype(np.float64) - ahead, advantage)
        for (ahead, behind), is_used in zip(found, is_compared, strict=True)
        if is_used
    ]
    adjusted = iter(benjamini_yekutieli(p_values).tolist())
    tests = []
    for (ahead, behind), is_used in zip(found, is_compared, strict=True):
        if is_used:
            p = next(adjusted)
            tests.append(
                AnnotatorTest(len(ahead), float(ahead.mean()), float(behind.mean()), p, p <= level)
            )
        else:
            reason = f"{len(ahead)} shared items, {at_least} are needed"
            tests.append(AnnotatorTest(len(ahead), np.nan, np.nan, np.nan, False, reason))
    compared = [one for one in tests if not one.reason]
    return AlternativeTest(
        tuple(tests),
        float(np.mean([one.is_won for one in compared])),
        float(np.mean([one.judge_advantage for one in compared])),
        int(np.isnan(table[:, 0]).sum()),
    )


def _numbered(table: NDArray[np.object_], alignment: Alignment) -> Array:
    """Labels as numbers, the judge's first, nan where missing."""
    codes, labels = encode(table)
    is_score = alignment == "rmse"
    numbers = as_numbers(labels, "alignment", alignment) if is_score else np.arange(len(labels))
    return np.append(numbers, np.nan)[codes]  # the code of a missing label is -1


def _against(
    table: Array, human: int, alignment: Alignment
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the judge, and where the human, agrees with the others at least as well."""
    others = np.delete(table, (0, human), axis=1)
    is_shared = (
        ~np.isnan(table[:, 0]) & ~np.isnan(table[:, human]) & (~np.isnan(others)).any(axis=1)
    )
    of_judge, of_human = (
        _alignment(table[is_shared, column], others[is_shared], alignment) for column in (0, human)
    )
    return of_judge >= of_human, of_human >= of_judge


def _alignment(own: Array, others: Array, alignment: Alignment) -> Array:
    if alignment == "rmse":
        return -np.sqrt(np.nanmean((others - own[:, None]) ** 2, axis=1))
    return (others == own[:, None]).sum(axis=1) / (~np.isnan(others)).sum(axis=1)


def _p_value(behind: Array, advantage: float) -> float:
    """Of a mean of at least `advantage`, by Student's t."""
    gap, spread = behind.mean() - advantage, behind.std(ddof=1)
    if spread == 0:
        return 0.0 if gap < 0 else 1.0
    return float(stdtr(behind.size - 1, gap / spread * np.sqrt(behind.size)))
