"""Batches as a function of the step: the same on every resume, rank count and micro-batch size."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.seeds import rng_seed

Item = TypeVar("Item")
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Shuffled(Generic[Item, Batch]):
    """The micro-batches of each optimiser step, drawn from `items` in a fresh order each epoch.

    Called with a step it returns this process's share of the step's `batch` items as collated
    micro-batches of at most `micro_batch` items. The items of a step depend on `seed` and the
    step alone; processes take every `world`-th of them, beginning with their `rank`, and the
    incomplete batch at the end of an epoch is filled from the next one.
    """

    items: Sequence[Item]
    collate: Callable[[list[Item]], Batch]
    batch: int
    micro_batch: int
    seed: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError("there are no items to draw batches from")
        if self.batch < self.world:
            raise ConfigError(
                "batch",
                f"batch {self.batch} is smaller than the {self.world} processes that share it.\n"
                "  Raise --optim.batch, or start fewer processes.",
            )

    def indices(self, step: int) -> list[int]:
        """The items of one optimiser step, over all processes."""
        size = len(self.items)
        places = range(step * self.batch, (step + 1) * self.batch)
        return [int(_order(size, self.seed, place // size)[place % size]) for place in places]

    def steps(self, epochs: float) -> int:
        """Optimiser steps that show every item `epochs` times, the last batch rounded up."""
        return max(1, int(np.ceil(epochs * len(self.items) / self.batch)))

    def __call__(self, step: int) -> list[Batch]:
        own = [self.items[index] for index in self.indices(step)[self.rank :: self.world]]
        size = self.micro_batch
        return [self.collate(own[start : start + size]) for start in range(0, len(own), size)]


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(rng_seed(seed, "order", epoch)).permutation(size)
