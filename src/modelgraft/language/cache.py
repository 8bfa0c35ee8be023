"""A key-value cache for many rows at once: filled in slices, appended to in place, rows dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from modelgraft.core.errors import UnsupportedModel

_PLAIN = (DynamicLayer, DynamicSlidingWindowLayer)


class Arriving(NamedTuple):
    """Prompts of these lengths, each for as many rows as it has copies, from `first_row` on."""

    first_row: int
    lengths: Sequence[int]
    copies: Sequence[int]


class RowLayer(CacheLayerMixin):
    """Keys and values of one layer in a buffer [rows, g, capacity, d] that is never copied to grow.

    While prompts are `arriving` they are stored to end at slot `width`; otherwise what comes is
    appended to all rows at slot `length`.
    """

    is_sliding = False

    def __init__(self, num_rows: int, width: int, capacity: int) -> None:
        super().__init__()
        self.num_rows, self.width, self.capacity = num_rows, width, capacity
        self.length = 0
        self.arriving: Arriving | None = None
        self.buffers: tuple[Tensor, ...] = ()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the buffers, in the type and on the device of the first keys and values."""
        # Zeros, since a slot that no query sees still takes part with weight 0.
        self.buffers = tuple(
            new.new_zeros((self.num_rows, new.shape[1], self.capacity, new.shape[3]))
            for new in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store in place; the keys and values to attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.arriving is not None:
            for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
                _store(buffer, new, self.width, self.arriving)
            return key_states, value_states
        start, self.length = self.length, self.length + key_states.shape[2]
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[: self.num_rows, :, start : self.length] = new
        self.keys, self.values = (b[: self.num_rows, :, : self.length] for b in self.buffers)
        return self.keys, self.values

    def move(self, sources: Tensor, targets: Tensor, num_rows: int) -> None:
        """Overwrite rows `targets` with rows `sources` and keep the first `num_rows`."""
        for buffer in self.buffers:
            buffer[targets, :, : self.length] = buffer[sources, :, : self.length]
        self.num_rows = num_rows

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask has to cover."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Slots in use."""
        return self.length

    def get_max_length(self) -> int:
        """Slots there are."""
        return self.capacity


class RowCache(Cache):
    """The cache of `num_rows` rows whose prompts all end at slot `width`, with `capacity` slots.

    Raises `UnsupportedModel` for a model with layers that remember more than keys and values.
    """

    layers: list[Any]  # RowLayer; the stock class allows a union that has no common interface

    def __init__(self, model: Any, *, num_rows: int, width: int, capacity: int) -> None:
        stock = DynamicCache(config=model.config.get_text_config()).layers
        others = {type(layer).__name__ for layer in stock if type(layer) not in _PLAIN}
        if others or not stock:
            raise UnsupportedModel(
                f"{type(model).__name__}: its layers keep {', '.join(sorted(others)) or 'nothing'} "
                "where a cache of keys and values is needed.\n"
                "  Use a model whose layers all attend, such as Llama, Qwen3 or SmolLM2."
            )
        super().__init__(layers=[RowLayer(num_rows, width, capacity) for _ in stock])

    def expect(self, prompts: Arriving) -> None:
        """Take what comes next as these prompts, each from its first token on."""
        for layer in self.layers:
            layer.arriving = prompts

    def begin(self) -> None:
        """All prompts are stored; what comes next is appended to every row."""
        for layer in self.layers:
            layer.arriving, layer.length = None, layer.width

    def move(self, sources: Tensor, targets: Tensor, num_rows: int) -> None:
        """Overwrite rows `targets` with rows `sources` and keep the first `num_rows`."""
        for layer in self.layers:
            layer.move(sources, targets, num_rows)

    def rewind(self, length: int) -> None:
        """Forget what was appended behind the first `length` slots."""
        for layer in self.layers:
            layer.length = length


def _store(buffer: Tensor, new: Tensor, end: int, prompts: Arriving) -> None:
    row = prompts.first_row
    for states, length, copies in zip(new, prompts.lengths, prompts.copies, strict=True):
        buffer[row : row + copies, :, end - length : end] = states[:, :length]
        row += copies
