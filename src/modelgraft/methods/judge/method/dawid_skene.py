"""The true labels and every judge's confusions from verdicts alone (Dawid and Skene 1979).

Letters: n items, j judges, k classes. The model: an item's class is drawn from a prior, and each
judge answers by their own row of probabilities for that class, independently of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import Labels, encode_ratings


@dataclass(frozen=True)
class DawidSkene:
    """Posterior [n, k] of each item's class, prior [k] and confusions [j, k, k] (true, given).

    `classes` [k] are the labels, sorted. `objective` [steps] is the log-likelihood plus smoothing
    times the sum of ln prior and ln confusions, which every step raises. `is_settled` is False if
    the posterior still moved when the steps ran out.
    """

    classes: NDArray[Any]
    posterior: Array
    prior: Array
    confusions: Array
    objective: Array
    is_settled: bool

    @property
    def labels(self) -> NDArray[Any]:
        """The likeliest class of each item [n], the first of several."""
        return self.classes[self.posterior.argmax(axis=1)]

    @property
    def accuracies(self) -> Array:
        """How often each judge is right by the model [j]."""
        return np.einsum("k,jkk->j", self.prior, self.confusions)


def dawid_skene(
    labels: Labels,
    *,
    smoothing: float = 0.01,
    max_steps: int = 100,
    tolerance: float = 1e-6,
) -> DawidSkene:
    """The fit to labels [n, j], None or nan where a judge gave none, by EM from the votes' shares.

    `smoothing` is added to every count, so nothing is ever impossible. Steps end when no posterior
    moves by more than `tolerance`. Raises InputError for an item without any label.
    """
    codes, classes = encode_ratings(labels)
    n, j = codes.shape
    k = len(classes)
    empty = np.flatnonzero((codes < 0).all(axis=1))
    if empty.size or not n:
        where = f"item {empty[0]} has" if empty.size else "there are no items with"
        raise InputError(
            f"Dawid-Skene: {where} no label of any judge ({empty.size} of {n} items).\n"
            "  Leave such items out and report how many there were."
        )
    given = (codes[:, :, None] == np.arange(k)).astype(np.float64)  # [n, j, k], 0 where missing
    votes = given.sum(axis=1)
    flat = given.reshape(n, j * k)
    posterior = votes / votes.sum(axis=1, keepdims=True)
    objective: list[float] = []
    is_settled = False
    for _ in range(max_steps):
        prior = posterior.sum(axis=0) + smoothing
        prior /= prior.sum()
        counts = (posterior.T @ flat).reshape(k, j, k).transpose(1, 0, 2) + smoothing
        confusions = counts / counts.sum(axis=2, keepdims=True)
        log_prior, log_confusions = np.log(prior), np.log(confusions)
        joint = log_prior + flat @ log_confusions.transpose(0, 2, 1).reshape(j * k, k)
        evidence = logsumexp(joint, axis=1, keepdims=True)
        following = np.exp(joint - evidence)
        added = smoothing * (log_prior.sum() + log_confusions.sum())
        objective.append(float(evidence.sum() + added))
        is_settled = bool(np.abs(following - posterior).max() <= tolerance)
        posterior = following
        if is_settled:
            break
    return DawidSkene(classes, posterior, prior, confusions, np.array(objective), is_settled)
