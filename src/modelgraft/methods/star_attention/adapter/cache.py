"""The cache that phase 1 fills and phase 2 reads: preallocated, written in place, rewindable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.adapter.hosts import Hosts
from modelgraft.methods.star_attention.adapter.support import decoder_of, model_shape
from modelgraft.methods.star_attention.method import Plan

_GROWTH = 256


class StarLayer(CacheLayerMixin):
    """Keys and values of one layer in a buffer [b, g, capacity, d] that is never copied to grow.

    `length` entries are filled. On a host that holds only part of the context, `offset` is how
    many positions of the sequence lie on other hosts; a host that does not `grow` returns its
    keys unchanged, since the query host stores what is added.
    """

    is_sliding = False
    is_croppable = True

    def __init__(self, keys: Tensor, values: Tensor, *, offset: int = 0, grows: bool = True):
        super().__init__()
        self._key_buffer, self._value_buffer = keys, values
        self.length = 0
        self.offset = offset
        self.grows = grows
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._show()

    @property
    def capacity(self) -> int:
        """Entries the buffer can hold before it must be enlarged."""
        return self._key_buffer.shape[2]

    @property
    def batch(self) -> int:
        """b: sequences in the cache."""
        return self._key_buffer.shape[0]

    def _show(self) -> None:
        self.keys = self._key_buffer[:, :, : self.length]
        self.values = self._value_buffer[:, :, : self.length]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the buffers exist from the start."""

    def write(self, start: int, keys: Tensor, values: Tensor) -> None:
        """Put entries [b, g, t, d] at `start` of this host's part."""
        end = start + keys.shape[2]
        self._key_buffer[:, :, start:end] = keys
        self._value_buffer[:, :, start:end] = values
        self.length = max(self.length, end)
        self._show()

    def slice(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Views of the entries [start, end) of this host's part."""
        return self._key_buffer[:, :, start:end], self._value_buffer[:, :, start:end]

    def reserve(self, capacity: int) -> None:
        """Enlarge the buffer if it holds fewer entries; the only place where it is copied."""
        if capacity > self.capacity:
            for name in ("_key_buffer", "_value_buffer"):
                old = getattr(self, name)
                new = old.new_empty((*old.shape[:2], capacity, old.shape[3]))
                new[:, :, : self.length] = old[:, :, : self.length]
                setattr(self, name, new)
            self._show()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append in place and return all keys and values of this host."""
        added = key_states.shape[2]
        self._fit_batch(key_states.shape[0])
        if not self.grows:
            self.offset += added
            return self.slice(0, self.length)
        if self.length + added > self.capacity:
            self.reserve(self.length + added + _GROWTH)
        self.write(self.length, key_states, value_states)
        return self.slice(0, self.length)

    def _fit_batch(self, batch: int) -> None:
        own = self._key_buffer.shape[0]
        if batch % own:
            raise ValueError(
                f"{batch} sequences cannot go on from a cache of {own}; after several answers at "
                "once, rewind it"
            )
        if batch != own:
            self.batch_repeat_interleave(batch // own)

    def truncate(self, length: int) -> None:
        """Forget every entry from `length` on."""
        self.length = length
        self._show()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask would have to cover."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Positions of the whole sequence, on all hosts."""
        return self.length + self.offset

    def get_max_length(self) -> int:
        """No maximum: the buffer is enlarged when needed."""
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last `-tokens_to_remove` entries, as transformers' layers do."""
        if tokens_to_remove > 0:
            raise ValueError(f"crop takes minus the number of entries, got {tokens_to_remove}")
        if self.grows:
            self.truncate(self.length + tokens_to_remove)
        else:
            self.offset += tokens_to_remove

    def _map(self, function: Any) -> None:
        self._key_buffer = function(self._key_buffer)
        self._value_buffer = function(self._value_buffer)
        self._show()

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence, as generation of several answers needs."""
        self._map(lambda buffer: buffer.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these sequences of the batch."""
        self._map(lambda buffer: buffer[indices])

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow the beams of a beam search."""
        self._map(lambda buffer: buffer.index_select(0, beam_idx.to(buffer.device)))

    def reset(self) -> None:
        """Forget everything and keep the buffers."""
        self.truncate(0)


class StarCache(Cache):
    """An encoded context: a transformers cache that stock `generate` takes as `past_key_values`.

    `context_ids` [b, n] are the tokens it stands for, `plan` says how they were cut, `headroom`
    for how many more tokens it was sized, `hosts` who shares it (None: one process), and
    `allow_extrapolation` whether answers may pass the length the model was made for. After
    encoding it holds exactly n entries per layer (over all hosts); generation appends to it, and
    `rewind` returns to the state after encoding, so many questions can share one encoding.
    """

    layers: list[Any]  # StarLayer; the stock class allows a union that has no common interface

    def __init__(
        self,
        layers: Sequence[StarLayer],
        context_ids: Tensor,
        plan: Plan,
        *,
        headroom: int = 0,
        allow_extrapolation: bool = False,
    ) -> None:
        super().__init__(layers=list(layers))
        self.context_ids = context_ids
        self.plan = plan
        self.headroom = headroom
        self.allow_extrapolation = allow_extrapolation
        self.hosts: Hosts | None = None

    @property
    def num_tokens(self) -> int:
        """n: tokens of the encoded context."""
        return self.context_ids.shape[1]

    @property
    def num_bytes(self) -> int:
        """Bytes of the filled entries on this host."""
        return sum(2 * layer.keys.numel() * layer.keys.element_size() for layer in self.layers)

    def rewind(self) -> None:
        """Forget the query and everything generated after it."""
        if self.get_seq_length() < self.num_tokens:
            raise InputError("this cache no longer holds its whole context; encode it again.")
        for layer in self.layers:
            layer.crop(self.num_tokens - layer.get_seq_length())
            repeats = layer.keys.shape[0] // self.context_ids.shape[0]
            if repeats > 1:
                layer._map(lambda buffer, step=repeats: buffer[::step])


def empty_layers(model: Any, batch: int, capacity: int, *, grows: bool = True) -> list[StarLayer]:
    """Empty layers with room for `capacity` tokens, each on the device of its decoder layer."""
    shape = model_shape(model)
    size = (batch, shape.kv_heads, capacity, shape.head_size)
    decoder_layers: Any = decoder_of(model).layers
    layers = []
    for index in range(shape.layers):
        weight = next(decoder_layers[index].parameters())
        buffers = (
            torch.empty(size, dtype=model.dtype, device=weight.device),
            torch.empty(size, dtype=model.dtype, device=weight.device),
        )
        layers.append(StarLayer(*buffers, grows=grows))
    return layers
