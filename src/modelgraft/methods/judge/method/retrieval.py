"""How good an order of passages is, by grades of relevance that people gave them.

Grades are numbers from 0 (not relevant) up, in the order in which passages were ranked; passages
without a grade are left out before (condensed lists, Sakai 2007), for nobody knows what they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ndcg(grades: Sequence[float], *, cut: int = 10) -> float:
    """The discounted gain of the first `cut` as a share of that of the best order; nan without any.

    A gain is 2^grade - 1, its discount log2(1 + rank) (Burges et al. 2005, after Jarvelin and
    Kekalainen 2002).
    """
    best = _gain(sorted(grades, reverse=True)[:cut])
    return _gain(grades[:cut]) / best if best > 0 else np.nan


def reciprocal_rank(grades: Sequence[float], *, least: float = 1.0) -> float:
    """1 / the rank of the first grade from `least` up; nan where there is none at all."""
    ranks = [rank for rank, grade in enumerate(grades, start=1) if grade >= least]
    return 1 / ranks[0] if ranks else np.nan


def _gain(grades: Sequence[float]) -> float:
    ranks = np.arange(1, len(grades) + 1)
    return float(((2.0 ** np.array(grades, dtype=np.float64) - 1) / np.log2(1 + ranks)).sum())
