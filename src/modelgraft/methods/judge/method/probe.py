"""A linear probe on hidden states: ridge logistic regression, in the smaller of its two forms.

Letters: n rows, d width of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from modelgraft.core.errors import ConfigError
from modelgraft.core.seeds import rng_seed

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_STEPS, _TOLERANCE = 100, 1e-10


@dataclass(frozen=True)
class Probe:
    """Log-odds of a state h: weights [d] . (h - mean) / scale + bias."""

    mean: Array
    scale: float
    weights: Array
    bias: float

    def __call__(self, states: ArrayLike) -> Array:
        """The log-odds of states [..., d]."""
        centred = (np.asarray(states, dtype=np.float64) - self.mean) / self.scale
        return centred @ self.weights + self.bias


def fit_probe(states: ArrayLike, targets: ArrayLike, *, ridge: float = 1.0) -> Probe:
    """The probe whose log-odds of states [n, d] fit `targets` [n], 1 for true and 0 for false.

    States are centred and divided by their root mean square; the penalty is ridge / 2 |weights|^2,
    and none is on the bias. Where there are fewer rows than columns the problem is solved for one
    coefficient a row. Raises `ConfigError` when all targets are the same.
    """
    rows = np.asarray(states, dtype=np.float64)
    wanted = np.asarray(targets, dtype=np.float64)
    if not 0 < wanted.mean() < 1:
        raise ConfigError("targets", "all labels are the same: there is nothing to tell apart.")
    mean = rows.mean(axis=0)
    centred = rows - mean
    scale = float(np.sqrt((centred**2).mean())) or 1.0
    centred = centred / scale
    is_kernel = rows.shape[0] < rows.shape[1]
    solve = _fit_rows if is_kernel else _fit_columns
    weights, bias = solve(centred, wanted, ridge)
    return Probe(mean, scale, weights, bias)


def _fit_rows(rows: Array, targets: Array, ridge: float) -> tuple[Array, float]:
    """Newton for coefficients a [n] with weights = rows' a: ridge a = targets - p, sum a = 0."""
    n = len(rows)
    kernel = rows @ rows.T

    def objective(x: Array) -> float:
        seen = kernel @ x[:n]
        return _loss(seen + x[n], targets) + ridge / 2 * float(x[:n] @ seen)

    def step(x: Array) -> Array:
        p = expit(kernel @ x[:n] + x[n])
        slope = p * (1 - p)
        system = np.zeros((n + 1, n + 1))
        system[:n, :n] = slope[:, None] * kernel + ridge * np.eye(n)
        system[:n, n], system[n, :n] = slope, 1.0
        return np.linalg.solve(system, np.append(targets - p - ridge * x[:n], -x[:n].sum()))

    found = _newton(objective, step, np.zeros(n + 1))
    return rows.T @ found[:n], float(found[n])


def _fit_columns(rows: Array, targets: Array, ridge: float) -> tuple[Array, float]:
    """Newton for the weights [d] and the bias."""
    design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    penalty = np.append(np.full(rows.shape[1], ridge), 0.0)

    def objective(x: Array) -> float:
        return _loss(design @ x, targets) + float(penalty @ x**2) / 2

    def step(x: Array) -> Array:
        p = expit(design @ x)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        return np.linalg.solve(hessian, design.T @ (targets - p) - penalty * x)

    found = _newton(objective, step, np.zeros(design.shape[1]))
    return found[:-1], float(found[-1])


def _newton(
    objective: Callable[[Array], float], step: Callable[[Array], Array], start: Array
) -> Array:
    """The minimum, by steps that are halved while they do not lower the objective."""
    found = start
    for _ in range(_STEPS):
        move, size, before = step(found), 1.0, objective(found)
        while size > 1e-6 and objective(found + size * move) > before + 1e-12:
            size /= 2
        found = found + size * move
        if np.abs(size * move).max() < _TOLERANCE:
            break
    return found


def _loss(logits: Array, targets: Array) -> float:
    return float((np.logaddexp(0.0, logits) - targets * logits).sum())


# -- pairs -----------------------------------------------------------------------------------------


def both_orders(first: ArrayLike, second: ArrayLike, a_wins: ArrayLike) -> tuple[Array, Array]:
    """Rows [2 n, d] and targets [2 n] of pairs in both orders.

    `first` holds the states of (a, b), `second` those of (b, a); whether the first shown wins turns
    with the order, so position tells nothing.
    """
    wins = np.asarray(a_wins, dtype=np.float64)
    rows = np.concatenate([np.asarray(first), np.asarray(second)]).astype(np.float64)
    return rows, np.concatenate([wins, 1 - wins])


def grouped_folds(groups: Sequence[Hashable], folds: int, *, seed: int = 0) -> list[Rows]:
    """The rows of each fold; rows of one group stay together, and groups are dealt at random."""
    names = list(dict.fromkeys(groups))
    if len(names) < folds:
        raise ConfigError("folds", f"{folds} folds: there are only {len(names)} groups to deal.")
    order = np.random.default_rng(rng_seed("folds", seed)).permutation(len(names))
    fold_of = {names[place]: number % folds for number, place in enumerate(order)}
    numbers = np.array([fold_of[group] for group in groups])
    return [np.flatnonzero(numbers == number) for number in range(folds)]


def cross_validated(
    states: ArrayLike,
    targets: ArrayLike,
    groups: Sequence[Hashable],
    *,
    folds: int = 5,
    ridge: float = 1.0,
    seed: int = 0,
) -> Array:
    """The log-odds [n] of each row by a probe that was fitted without the row's fold."""
    rows = np.asarray(states, dtype=np.float64)
    wanted = np.asarray(targets, dtype=np.float64)
    found = np.empty(len(rows))
    for held_out in grouped_folds(groups, folds, seed=seed):
        kept = np.setdiff1d(np.arange(len(rows)), held_out)
        found[held_out] = fit_probe(rows[kept], wanted[kept], ridge=ridge)(rows[held_out])
    return found


def swap_averaged(first: ArrayLike, second: ArrayLike, probe: Probe) -> Array:
    """d [n], the log-odds that a wins, from the states of both orders [n, d]; antisymmetric."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return difference @ probe.weights / (2 * probe.scale)
