"""What a training run would cost, from the model's sizes and some of the data alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from modelgraft.core.results import Number
from modelgraft.language.load import Loaded

T = TypeVar("T")

# Rows that an estimate tokenises: enough to be within some percent, and done in seconds.
MAX_ROWS = 2000
# A trained weight, its gradient and AdamW's two averages.
_TRAINED_COPIES = 4


@dataclass(frozen=True)
class Sizes:
    """A model that trains: the weights of its layers (no embedding, no head), and bytes."""

    num_in_layers: int
    trained_bytes: int
    frozen_bytes: int

    @property
    def forward_flop(self) -> int:
        """Operations of a forward pass for each token, attention's products left out."""
        return 2 * self.num_in_layers

    @property
    def training_flop(self) -> int:
        """Those of a forward and backward pass; frozen weights need no gradient."""
        return (4 if self.frozen_bytes else 6) * self.num_in_layers

    @property
    def memory_bytes(self) -> int:
        """Of weights, gradients and optimiser, without activations."""
        return self.frozen_bytes + _TRAINED_COPIES * self.trained_bytes


def sizes_of(loaded: Loaded) -> Sizes:
    """The sizes of a model as `load_trainable` or `load_trainable_skeleton` gives it."""
    model: Any = loaded.model
    ends = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    weights = list(model.parameters())
    num_bytes = {True: 0, False: 0}
    for one in weights:
        num_bytes[one.requires_grad] += one.numel() * one.element_size()
    in_layers = (one.numel() for one in weights if all(one is not end for end in ends))
    return Sizes(sum(in_layers), num_bytes[True], num_bytes[False])


def spread(rows: Sequence[T]) -> Sequence[T]:
    """At most `MAX_ROWS` of the rows, at even distances."""
    if len(rows) <= MAX_ROWS:
        return rows
    return [rows[place * len(rows) // MAX_ROWS] for place in range(MAX_ROWS)]


def num_steps(num_rows: int, epochs: float, batch: int) -> int:
    """Optimiser steps of a run over so many rows, as `Shuffled.steps` counts them."""
    return max(1, math.ceil(epochs * num_rows / batch))


def cost_numbers(flop: float, memory_bytes: float) -> list[Number]:
    """Operations and memory as the estimates of all training actions show them."""
    return [
        Number("operations, about", flop / 1e12, unit="TFLOP", better="lower"),
        Number("weights, gradients and optimiser, about", memory_bytes / 2**20, unit="MiB",
               better="lower"),
    ]  # fmt: skip
