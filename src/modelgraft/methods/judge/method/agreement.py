"""How far raters agree beyond chance: kappa and its relatives for labels, ICC for scores.

Labels are numbers or words; None and nan are missing. All but the two-rater functions take a table
[items, raters]. An item counts when it has at least two ratings. `coefficients.bootstrap` gives any
of them an interval over items: `bootstrap(cohen_kappa, first, second)`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import (
    Codes,
    Coefficient,
    Labels,
    as_labels,
    as_numbers,
    encode,
    encode_ratings,
    undefined,
)

Weights = Literal["nominal", "linear", "quadratic"]
Scale = Literal["nominal", "ordinal", "interval", "ratio"]

_CONSTANT = "both raters are constant, so there is no agreement beyond chance"
_ONE_LABEL = "all ratings are the same, so there is no agreement beyond chance"
_NO_PAIR = "no item has two ratings"


# -- two raters ------------------------------------------------------------------------------------


def cohen_kappa(first: Labels, second: Labels, *, weights: Weights = "nominal") -> Coefficient:
    """1 - observed / expected disagreement, each rater with labels as frequent as their own.

    Cohen 1960, weighted 1968. A disagreement weighs 1, the distance of the labels' values
    (`linear`) or its square (`quadratic`), so both of those need numbers.
    """
    codes, labels, num_skipped = _pairs(first, second)
    if not len(codes):
        return undefined(_NO_PAIR, 0, num_skipped)
    if (np.ptp(codes, axis=0) == 0).all():
        return undefined(_CONSTANT, len(codes), num_skipped)
    num = len(labels)
    table = np.bincount(codes @ [num, 1], minlength=num * num).reshape(num, num) / len(codes)
    distance = _distance(labels, weights)
    expected = table.sum(axis=1) @ distance @ table.sum(axis=0)
    value = 1 - (table * distance).sum() / expected
    return Coefficient(float(value), len(codes), num_skipped)


def scott_pi(first: Labels, second: Labels) -> Coefficient:
    """Scott 1955: kappa with the labels as frequent as in both raters together."""
    codes, _, num_skipped = _pairs(first, second)
    return replace(fleiss_kappa(codes), num_skipped=num_skipped)


def _pairs(first: Labels, second: Labels) -> tuple[Codes, NDArray[Any], int]:
    """Codes [items, 2] of the items that both rated, their labels, and how many are left out."""
    columns = [as_labels(one) for one in (first, second)]
    if columns[0].ndim != 1 or columns[0].shape != columns[1].shape:
        raise InputError(
            f"ratings have shapes {columns[0].shape} and {columns[1].shape}: a label an item is "
            "needed of both raters, in the same order."
        )
    if any(one.dtype.kind not in "biuf" for one in columns):
        columns = [one.astype(object) for one in columns]  # a word and a number stay different
    codes, labels = encode(np.stack(columns, axis=1))
    is_complete = (codes >= 0).all(axis=1)
    return codes[is_complete], labels, int((~is_complete).sum())


def _distance(labels: NDArray[Any], weights: Weights) -> Array:
    if weights == "nominal":
        return 1.0 - np.eye(len(labels))
    values = as_numbers(labels, "weights", weights)
    apart = np.abs(values[:, None] - values[None, :])
    return apart if weights == "linear" else apart**2


# -- any number of raters --------------------------------------------------------------------------


def fleiss_kappa(ratings: Labels) -> Coefficient:
    """Fleiss 1971 for ratings [items, raters], the raters being exchangeable.

    Items with fewer ratings than others count as much: a label's share is the mean over items.
    """
    agreed, shares, num, num_skipped = _shares(ratings)
    if not num:
        return undefined(_NO_PAIR, 0, num_skipped)
    if np.count_nonzero(shares) == 1:
        return undefined(_ONE_LABEL, num, num_skipped)
    by_chance = float((shares**2).sum())
    return Coefficient((agreed - by_chance) / (1 - by_chance), num, num_skipped)


def gwet_ac1(ratings: Labels, *, num_labels: int | None = None) -> Coefficient:
    """Gwet 2008: chance agreement is that of ratings given at random, which are the harder ones.

    It stays defined and high where nearly all ratings are the same label. `num_labels` is how many
    the scale has, when some were never given.
    """
    agreed, shares, num, num_skipped = _shares(ratings)
    num_labels = len(shares) if num_labels is None else num_labels
    assert num_labels >= len(shares), "the scale holds the labels that were given"
    if not num:
        return undefined(_NO_PAIR, 0, num_skipped)
    if num_labels == 1:
        return undefined(_ONE_LABEL, num, num_skipped)
    by_chance = float((shares * (1 - shares)).sum() / (num_labels - 1))
    return Coefficient((agreed - by_chance) / (1 - by_chance), num, num_skipped)


def _shares(ratings: Labels) -> tuple[float, Array, int, int]:
    """Share of agreeing pairs, shares of labels [labels], and numbers of items used and not."""
    codes, labels = encode_ratings(ratings)
    kept = codes[(codes >= 0).sum(axis=1) >= 2]
    num_skipped = len(codes) - len(kept)
    if not len(kept):
        return np.nan, np.zeros(len(labels)), 0, num_skipped
    counts = np.stack([(kept == code).sum(axis=1) for code in range(len(labels))], axis=1)
    totals = counts.sum(axis=1)
    agreed = (counts * (counts - 1)).sum(axis=1) / (totals * (totals - 1))
    return float(agreed.mean()), (counts / totals[:, None]).mean(axis=0), len(kept), num_skipped


def krippendorff_alpha(ratings: Labels, *, scale: Scale = "nominal") -> Coefficient:
    """1 - observed / expected disagreement of pairs of ratings [items, raters], some missing.

    Krippendorff 2011. Two ratings disagree by 1 (`nominal`), by the square of their difference
    (`interval`) or of the difference of their mean ranks (`ordinal`), or by the square of their
    difference over their sum (`ratio`, none below zero). All but the first need numbers.
    """
    codes, labels = encode_ratings(ratings)
    totals = (codes >= 0).sum(axis=1)
    kept, num_skipped = totals >= 2, int((totals < 2).sum())
    if not kept.any():
        return undefined(_NO_PAIR, 0, num_skipped)
    values = _on_scale(codes[kept], labels, scale)
    pairable = values[~np.isnan(values)]
    if np.ptp(pairable) == 0:
        return undefined(_ONE_LABEL, len(values), num_skipped)

    observed = np.zeros(len(values))
    for rater in range(values.shape[1]):
        for other in range(rater):
            apart = _apart(values[:, rater], values[:, other], scale)
            observed += np.where(np.isnan(apart), 0.0, apart)
    within = 2 * (observed / (totals[kept] - 1)).sum() / pairable.size
    distinct, counts = np.unique(pairable, return_counts=True)
    across = sum(
        count * (counts @ _apart(distinct, np.full_like(distinct, value), scale))
        for value, count in zip(distinct, counts, strict=True)
    ) / (pairable.size * (pairable.size - 1))
    return Coefficient(float(1 - within / across), len(values), num_skipped)


def _on_scale(codes: Codes, labels: NDArray[Any], scale: Scale) -> Array:
    """Values [items, raters] that are compared, nan where missing."""
    is_nominal = scale == "nominal"
    numbers = np.arange(len(labels)) if is_nominal else as_numbers(labels, "scale", scale)
    values = np.append(numbers, np.nan)[codes]  # the code of a missing rating is -1
    if scale == "ratio" and (values < 0).any():
        raise InputError(
            f"rating {np.nanmin(values):g}: a ratio scale has none below zero.\n"
            "  Take the interval scale."
        )
    if scale == "ordinal":
        # The sum of frequencies between two labels, half of their own left out, is the difference
        # of their mean ranks.
        values[codes >= 0] = rankdata(values[codes >= 0])
    return values


def _apart(first: Array, second: Array, scale: Scale) -> Array:
    if scale == "nominal":
        is_other = (first != second).astype(np.float64)
        return np.where(np.isnan(first) | np.isnan(second), np.nan, is_other)
    if scale == "ratio":
        total = first + second
        return ((first - second) / np.where(total == 0, 1.0, total)) ** 2
    return (first - second) ** 2


def intraclass_correlation(scores: ArrayLike) -> Coefficient:
    """ICC(2,1) of scores [items, raters]: raters drawn at random, absolute agreement of one.

    Shrout and Fleiss 1979, from the mean squares of items, raters and the rest. Items with a
    missing score are left out.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2:
        raise InputError(f"scores have shape {table.shape}: a row an item, a column a rater.")
    complete = table[~np.isnan(table).any(axis=1)]
    (n, k), num_skipped = complete.shape, len(table) - len(complete)
    if n < 2 or k < 2:
        return undefined("two items with two scores each are needed", n, num_skipped)
    if np.ptp(complete) == 0:
        return undefined(_ONE_LABEL, n, num_skipped)
    mean = complete.mean()
    rows, columns = complete.mean(axis=1), complete.mean(axis=0)
    of_items = k * ((rows - mean) ** 2).sum() / (n - 1)
    of_raters = n * ((columns - mean) ** 2).sum() / (k - 1)
    rest = complete - rows[:, None] - columns[None, :] + mean
    of_rest = (rest**2).sum() / ((n - 1) * (k - 1))
    total = of_items + (k - 1) * of_rest + k * (of_raters - of_rest) / n
    if not total > 1e-12 * (of_items + of_raters + of_rest):
        return undefined("the estimates of the variances cancel", n, num_skipped)
    return Coefficient(float((of_items - of_rest) / total), n, num_skipped)
