"""Verdicts read from next-token probabilities: no sampling, nothing to parse.

A label is one or more token sequences that denote it (surface variants such as "A" and " A"). The
probability of a label is that of the model writing one of them, and going on with what makes no
longer label of it: where "1" and "10" are both labels and "10" is two tokens, P("1") is
p("1") (1 - p("0" | "1")).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.core.errors import ConfigError

Array = NDArray[np.float64]
Tokens = tuple[int, ...]
Status = Literal["ok", "no_verdict", "truncated"]


@dataclass(frozen=True)
class LabelTrie:
    """Where the token sequences of all labels begin alike and where they part.

    `children` holds, for every prefix that some sequence goes on from, the tokens that it may go on
    with; `ends` the label that each whole sequence denotes.
    """

    labels: tuple[str, ...]
    children: dict[Tokens, tuple[int, ...]]
    ends: dict[Tokens, str]

    @classmethod
    def of(cls, variants: Mapping[str, Sequence[Sequence[int]]]) -> LabelTrie:
        """The trie of labels, each with the token sequences that denote it.

        Raises `ConfigError` for a label without tokens, and for a sequence of two labels.
        """
        ends: dict[Tokens, str] = {}
        children: dict[Tokens, dict[int, None]] = {}
        for label, sequences in variants.items():
            if not sequences or not all(len(one) for one in sequences):
                raise ConfigError(
                    "labels", f"label {label!r}: it has no tokens, so a model cannot choose it."
                )
            for tokens in map(tuple, sequences):
                if ends.setdefault(tokens, label) != label:
                    raise ConfigError(
                        "labels",
                        f"labels {ends[tokens]!r} and {label!r} are the same tokens, so no model "
                        "can tell them apart.\n  Use other labels, such as A and B.",
                    )
                for place in range(len(tokens)):
                    children.setdefault(tokens[:place], {})[tokens[place]] = None
        return cls(tuple(variants), {at: tuple(found) for at, found in children.items()}, ends)

    @property
    def prefixes(self) -> tuple[Tokens, ...]:
        """The prefixes behind which next-token probabilities are needed, the empty one first."""
        return tuple(sorted(self.children, key=lambda prefix: (len(prefix), prefix)))

    def probabilities(self, logprobs: Mapping[Tokens, ArrayLike]) -> Array:
        """The probability of each label [labels].

        `logprobs` gives for each of `prefixes` those of the tokens in `children`, in their order.
        """
        reached: dict[Tokens, float] = {(): 0.0}
        leaves: dict[Tokens, float] = {}
        for prefix in self.prefixes:
            values = np.asarray(logprobs[prefix], dtype=np.float64)
            assert values.shape == (len(self.children[prefix]),), "one log-probability a child"
            for token, value in zip(self.children[prefix], values.tolist(), strict=True):
                reached[*prefix, token] = reached[prefix] + value
            # What goes on to a longer label is no longer this one's.
            leaves[prefix] = float(np.clip(1.0 - np.exp(values).sum(), 0.0, 1.0))
        found = dict.fromkeys(self.labels, 0.0)
        for tokens, label in self.ends.items():
            found[label] += float(np.exp(reached[tokens])) * leaves.get(tokens, 1.0)
        return np.array([found[label] for label in self.labels])


@dataclass(frozen=True)
class Reading:
    """What a model's next token says of the labels.

    `probabilities` [labels] are normalised to 1, `mass` is their sum before. With `status`
    no_verdict there is no mass, and every figure of it is nan; it is never a number.
    """

    labels: tuple[str, ...]
    probabilities: Array
    mass: float
    status: Status

    @property
    def label(self) -> str | None:
        """The likeliest label, the first one offered of several; None without a verdict."""
        if self.status == "no_verdict":
            return None
        return self.labels[int(self.probabilities.argmax())]

    @property
    def entropy(self) -> float:
        """In nats."""
        kept = self.probabilities[self.probabilities > 0]
        return float(-(kept * np.log(kept)).sum()) if self.status != "no_verdict" else np.nan

    def expectation(self, values: ArrayLike) -> tuple[float, float]:
        """Mean and variance of the labels' values [labels] (G-Eval, equation 1)."""
        if self.status == "no_verdict":
            return np.nan, np.nan
        numbers = np.asarray(values, dtype=np.float64)
        mean = float(self.probabilities @ numbers)
        return mean, float(self.probabilities @ (numbers - mean) ** 2)

    def log_odds(self, label: str, other: str) -> float:
        """log P(label) - log P(other), in nats; infinite where one has no mass."""
        first, second = (self.probabilities[self.labels.index(one)] for one in (label, other))
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.log(first) - np.log(second))


def read(labels: Sequence[str], probabilities: ArrayLike, status: Status = "ok") -> Reading:
    """The reading of labels from their probabilities [labels] before normalising."""
    found = np.asarray(probabilities, dtype=np.float64)
    mass = float(found.sum())
    if not mass > 0:
        return Reading(tuple(labels), np.full(len(labels), np.nan), 0.0, "no_verdict")
    return Reading(tuple(labels), found / mass, mass, status)


# -- from the few likeliest tokens that an endpoint lists ------------------------------------------


@dataclass(frozen=True)
class Listed:
    """Bounds of the labels' probabilities [labels], and the mass that is not listed."""

    labels: tuple[str, ...]
    low: Array
    high: Array

    def reading(self, values: ArrayLike | None = None, *, tolerance: float = 0.0) -> Reading:
        """The reading by what is listed.

        It is truncated when the expectation of the values [labels], or without them a probability,
        is not known to within `tolerance`.
        """
        if values is not None:
            low, high = self.expectation(values)
            is_open = not high - low <= tolerance
        else:
            is_open = bool((self.high - self.low > tolerance).any())
        return read(self.labels, self.low, "truncated" if is_open else "ok")

    def expectation(self, values: ArrayLike) -> tuple[float, float]:
        """The least and the largest mean of the values [labels] that the bounds allow.

        A mean with weights between bounds is extreme where all labels above some value take one
        bound and all others the other, so every such cut is tried. (nan, nan) when all bounds are
        zero.
        """
        numbers = np.asarray(values, dtype=np.float64)
        if not self.high.sum() > 0:
            return np.nan, np.nan
        order = np.argsort(numbers, kind="stable")
        numbers, low, high = numbers[order], self.low[order], self.high[order]
        ends = []
        for below, above in ((high, low), (low, high)):
            weights = [
                np.concatenate([below[:cut], above[cut:]]) for cut in range(len(numbers) + 1)
            ]
            means = [float(one @ numbers / one.sum()) for one in weights if one.sum() > 0]
            ends.append((min(means), max(means)))
        return ends[0][0], ends[1][1]


def listed(variants: Mapping[str, Sequence[str]], top: Sequence[tuple[str, float]]) -> Listed:
    """Bounds from the likeliest next tokens and their log-probabilities, however many there are.

    `variants` are the texts that denote each label, single tokens. A text that is not listed is at
    most as likely as the least likely one that is, and all such together at most what is left of 1.
    """
    known = {text: float(np.exp(value)) for text, value in top}
    left = max(0.0, 1.0 - sum(known.values()))
    least = min(known.values(), default=1.0)
    low, high = [], []
    for texts in variants.values():
        found = sum(known.get(text, 0.0) for text in texts)
        absent = sum(text not in known for text in texts)
        low.append(found)
        high.append(found + min(absent * least, left))
    return Listed(tuple(variants), np.array(low), np.array(high))
