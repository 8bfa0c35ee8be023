"""What a run would cost, from the models' sizes and some of the data alone."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.rows import Reject
from modelgraft.methods.tulu3.config import OnError

T = TypeVar("T")

# Rows that an estimate tokenises: enough to be within some percent, and done in seconds.
MAX_ROWS = 2000
# A trained weight, its gradient and AdamW's two averages.
_TRAINED_COPIES = 4


@dataclass(frozen=True)
class Sizes:
    """The weights of a model's layers (no embedding, no head of words), and bytes of all."""

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
    def num_bytes(self) -> int:
        """Of the weights alone."""
        return self.trained_bytes + self.frozen_bytes


def sizes_of(model: Any) -> Sizes:
    """The sizes of a language model or score model, with or without an adapter or weights."""
    ends = [model.get_input_embeddings().weight]
    if (head := model.get_output_embeddings()) is not None:
        ends.append(head.weight)
    weights = list(model.parameters())
    num_bytes = {True: 0, False: 0}
    for one in weights:
        num_bytes[one.requires_grad] += _bytes(one)
    in_layers = (one.numel() for one in weights if all(one is not end for end in ends))
    return Sizes(sum(in_layers), num_bytes[True], num_bytes[False])


def training_bytes(*models: Any) -> int:
    """Of weights, gradients and optimiser, without activations; what models share counts once."""
    weights = {id(one): one for model in models for one in model.parameters()}
    return sum(_bytes(w) * (_TRAINED_COPIES if w.requires_grad else 1) for w in weights.values())


def _bytes(weight: Tensor) -> int:
    return weight.numel() * weight.element_size()


def quiet(on_error: OnError) -> Reject | None:
    """What the readers do with bad rows in an estimate, where nobody records them."""
    return None if on_error == "raise" else lambda *_: None


def spread(rows: Sequence[T]) -> Sequence[T]:
    """At most `MAX_ROWS` of the rows in their order, always the same ones.

    They are drawn at random: rows at even distances may all be of one kind, where kinds take turns.
    """
    if len(rows) <= MAX_ROWS:
        return rows
    places = random.Random(0).sample(range(len(rows)), MAX_ROWS)
    return [rows[place] for place in sorted(places)]


def num_steps(num_rows: int, epochs: float, batch: int) -> int:
    """Optimiser steps of a run over so many rows, as `Shuffled.steps` counts them."""
    return max(1, math.ceil(epochs * num_rows / batch))


def operations(flop: float, *, at_most: bool = False) -> Number:
    """Operations as all estimates show them; `at_most` where answers may be shorter."""
    name = "operations at most, about" if at_most else "operations, about"
    return Number(name, flop / 1e12, unit="TFLOP", better="lower")


def memory(num_bytes: float) -> Number:
    """Memory as the estimates of all training actions show it."""
    name = "weights, gradients and optimiser, about"
    return Number(name, num_bytes / 2**20, unit="MiB", better="lower")
