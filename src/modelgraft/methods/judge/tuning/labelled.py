"""Which items a judge can learn from, and which are held out to measure it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.judge.data import Item, cluster_of
from modelgraft.methods.judge.judging.judgments import TIE

FEWEST = 5


@dataclass(frozen=True)
class Pairs:
    """Labelled pairs, and how many items were left out by the reason."""

    items: tuple[Item, ...]
    left_out: dict[str, int]

    @property
    def remark(self) -> str:
        """What was left out, in a sentence; empty when nothing was."""
        parts = [f"{num} {reason}" for reason, num in self.left_out.items() if num]
        return f"Left out: {', '.join(parts)}." if parts else ""


def labelled_pairs(items: Sequence[Item]) -> Pairs:
    """The pairs of two texts whose label names the better one.

    Raises `ConfigError` when fewer than `FEWEST` are left, saying why the others are not.
    """
    kept: list[Item] = []
    left_out = dict.fromkeys(
        ("without a label", "that are ties", "whose label is a score", "that are no pair",
         "of two equal texts"), 0,
    )  # fmt: skip
    for item in items:
        if reason := _reason(item):
            left_out[reason] += 1
        else:
            kept.append(item)
    found = Pairs(tuple(kept), left_out)
    if len(kept) < FEWEST:
        raise ConfigError(
            "items",
            f"{len(kept)} labelled pairs of {len(items)} items: at least {FEWEST} are needed.\n"
            f"  {found.remark or 'The file holds no more.'}\n"
            '  A label is the id of the better candidate: {"candidates": [...], "label": "a"}.',
        )
    return found


def _reason(item: Item) -> str:
    if len(item.candidates) != 2:
        return "that are no pair"
    if item.label is None:
        return "without a label"
    if item.label == TIE:
        return "that are ties"
    if not isinstance(item.label, str):
        return "whose label is a score"
    texts = [one.text for one in item.candidates]
    return "of two equal texts" if texts[0] == texts[1] else ""


def first_is_better(items: Sequence[Item]) -> np.ndarray:
    """Whether the first candidate of each labelled pair is the better one [pairs]."""
    return np.array([one.label == one.candidates[0].id for one in items])


def split(
    items: Sequence[Item], share: float, *, seed: int
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Items to train on and held-out ones, about `share` of all; a cluster is on one side.

    A cluster is a group, or without one an instruction. Raises `ConfigError` when they cannot be
    dealt to both sides.
    """
    names = [cluster_of(one) for one in items]
    groups = list(dict.fromkeys(names))
    order = np.random.default_rng(rng_seed("judge", "held out", seed)).permutation(len(groups))
    wanted, held, num = round(share * len(items)), set[str](), 0
    for place in order[:-1].tolist():
        if num >= wanted:
            break
        held.add(groups[place])
        num += names.count(groups[place])
    trained = tuple(one for name, one in zip(names, items, strict=True) if name not in held)
    rest = tuple(one for name, one in zip(names, items, strict=True) if name in held)
    if len(rest) < 2 or len(trained) < FEWEST:
        raise ConfigError(
            "held_out",
            f"--held-out {share:g}: {len(items)} pairs in {len(groups)} groups or instructions "
            f"leave {len(trained)} to train on and {len(rest)} held out; at least {FEWEST} and 2 "
            "are needed.\n  Add labelled pairs of other instructions, or change the share.",
        )
    return trained, rest
