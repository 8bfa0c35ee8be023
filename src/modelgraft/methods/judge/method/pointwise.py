"""One candidate on a scale: from the labels' probabilities or from samples to a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.core.errors import ConfigError

Array = NDArray[np.float64]
Pooling = Literal["mean", "median", "mode"]


@dataclass(frozen=True)
class Score:
    """A score with its variance over what the judge might say; nan when nothing could be read.

    `num` samples were read and `num_failed` could not be; a score from probabilities has none.
    """

    value: float
    variance: float = np.nan
    num: int = 0
    num_failed: int = 0


def sampled_score(samples: ArrayLike, *, pooling: Pooling = "mean") -> Score:
    """The pooled score of samples [n], in which nan could not be read and does not count.

    G-Eval (equation 1) with the share of samples in place of probabilities is the mean. The mode
    takes the lowest of several that are as frequent.
    """
    values = np.asarray(samples, dtype=np.float64)
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Score(np.nan, np.nan, 0, len(values))
    if pooling == "mode":
        counts = Counter(kept.tolist())
        most = max(counts.values())
        value = min(one for one, count in counts.items() if count == most)
    else:
        value = float(np.median(kept) if pooling == "median" else kept.mean())
    return Score(value, float(kept.var()), len(kept), len(values) - len(kept))


def normalised(
    score: ArrayLike, low: float, high: float, *, is_higher_better: bool = True
) -> Array:
    """Scores on 0 to 1, 1 the best. Raises `ConfigError` for one outside of the scale."""
    values = np.asarray(score, dtype=np.float64)
    if not low < high:
        raise ConfigError("scale", f"scale from {low:g} to {high:g}: the end must be the larger.")
    if ((values < low) | (values > high)).any():
        worst = values[(values < low) | (values > high)].flat[0]
        raise ConfigError("scale", f"score {worst:g}: it is outside of {low:g} to {high:g}.")
    share = (values - low) / (high - low)
    return share if is_higher_better else 1 - share


def weighted(scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted mean over criteria (or checklist questions) by name.

    nan when a criterion has no score: a mean over the rest would be one of another question.
    Raises `ConfigError` for weights that are negative or all zero.
    """
    used = np.array([weights.get(name, 1.0) for name in scores])
    if (used < 0).any() or not used.sum() > 0:
        raise ConfigError("weights", f"weights {dict(weights)}: some above zero, none below.")
    return float(np.array(list(scores.values())) @ used / used.sum())


# -- decision graphs -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A question of a decision graph, with the node or the score that each answer leads to."""

    question: str
    answers: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class DecisionGraph:
    """Questions by name; the walk begins at `start` and ends at a score."""

    start: str
    nodes: Mapping[str, Node]

    def __post_init__(self) -> None:
        """Raise `ConfigError` for names that lead nowhere and for a walk that might not end."""
        self._check(self.start, (), set())

    def _check(self, name: str, path: tuple[str, ...], done: set[str]) -> None:
        if name in path:
            cycle = " -> ".join([*path[path.index(name) :], name])
            raise ConfigError("graph", f"decision graph: it goes in a circle, {cycle}.")
        if name not in self.nodes:
            raise ConfigError("graph", f"decision graph: there is no node {name!r}.")
        if not self.nodes[name].answers:
            raise ConfigError("graph", f"decision graph: node {name!r} has no answers.")
        for following in self.nodes[name].answers.values():
            if isinstance(following, str) and following not in done:
                self._check(following, (*path, name), done)
        done.add(name)

    def walk(self) -> Generator[str, str | None, float]:
        """The names of the nodes on the way to a score, which is returned.

        Each is sent one of its answers, or None, which ends the walk with nan.
        """
        place: str | float = self.start
        while isinstance(place, str):
            answer = yield place
            if answer is None:
                return np.nan
            place = self.nodes[place].answers[answer]
        return float(place)


# -- claims ----------------------------------------------------------------------------------------


def claim_precision(supported: Sequence[bool], *, at_least: int = 0) -> float:
    """The share of supported claims, cut by exp(1 - at_least / claims) below `at_least` claims.

    FActScore with its length penalty; nan without claims.
    """
    num = len(supported)
    if not num:
        return np.nan
    penalty = np.exp(1 - at_least / num) if num < at_least else 1.0
    return float(np.mean(supported) * penalty)


# -- steps -----------------------------------------------------------------------------------------


def chain_score(steps: ArrayLike, how: Literal["product", "min", "last", "mean"]) -> float:
    """One probability of a chain of steps from those of its steps [n]; nan without steps."""
    values = np.asarray(steps, dtype=np.float64)
    if not len(values):
        return np.nan
    pooled = {"product": values.prod, "min": values.min, "mean": values.mean}
    return float(values[-1] if how == "last" else pooled[how]())
