"""The cache that phase 1 fills and phase 2 reads: preallocated, written in place, rewindable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.adapter.hosts import Hosts
from modelgraft.methods.star_attention.method import Plan

_GROWTH = 256


class StarLayer(CacheLayerMixin):
    """Keys and values of one layer in a buffer [b, g, capacity, d] that is never copied to grow.

    The first states that are stored give the buffer its heads, number type and device. `length`
    entries are filled. On a host that holds only part of the context, `offset` is how many
    positions of the sequence lie on other hosts; a host that does not `grow` returns its keys
    unchanged, since the query host stores what is added.
    """

    is_sliding = False
    is_croppable = True

    def __init__(self, batch: int, capacity: int, *, grows: bool = True) -> None:
        super().__init__()
        self.batch, self.capacity = batch, capacity
        self.length = self.offset = 0
        self.grows = grows

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the buffers for states such as these."""
        self._key_buffer, self._value_buffer = (
            states.new_empty((self.batch, states.shape[1], self.capacity, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True
        self._show()

    def _show(self) -> None:
        if self.is_initialized:
            self.keys, self.values = self.slice(0, self.length)

    def write(self, start: int, keys: Tensor, values: Tensor) -> None:
        """Put entries [b, g, t, d] at `start` of this host's part."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
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
            self.capacity = capacity
            self._map(self._enlarged)

    def _enlarged(self, buffer: Tensor) -> Tensor:
        new = buffer.new_empty((*buffer.shape[:2], self.capacity, buffer.shape[3]))
        new[:, :, : self.length] = buffer[:, :, : self.length]
        return new

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append in place and return all keys and values of this host."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
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
        if batch % self.batch:
            raise InputError(
                f"{batch} sequences cannot go on from a cache of {self.batch}.\n  After several "
                "answers at once, rewind it."
            )
        if batch != self.batch:
            self.batch_repeat_interleave(batch // self.batch)

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
        if self.is_initialized:
            self._key_buffer = function(self._key_buffer)
            self._value_buffer = function(self._value_buffer)
            self.batch = self._key_buffer.shape[0]
            self._show()

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence, as generation of several answers needs."""
        self._map(lambda buffer: buffer.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these sequences of the batch."""
        self._map(lambda buffer: buffer[indices])

    def keep_rows(self, step: int) -> None:
        """Keep every `step`-th sequence and free the memory of the others."""
        self._map(lambda buffer: buffer[::step].clone())

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow the beams of a beam search."""
        self._map(lambda buffer: buffer.index_select(0, beam_idx.to(buffer.device)))

    def reset(self) -> None:
        """Forget everything and keep the buffers."""
        self.truncate(0)


class StarCache(Cache):
    """An encoded context: a transformers cache that stock `generate` takes as `past_key_values`.

    `context_ids` [b, n] are the tokens it stands for, `plan` says how they were cut, `headroom`
    for how many more tokens it was sized, `allow_extrapolation` whether answers may pass the
    length the model was made for, `kernel` how it was encoded, and `hosts` who shares it (None:
    one process). `parts` are the tokens of the first encoding and of each `append_context` after
    it. After encoding it holds exactly n entries per layer (over all hosts); generation appends to
    it, and `rewind` returns to the state after encoding, so many questions can share one encoding.

    With the star, local, dense or ring pattern on one process, the model's own `generate` is right
    as it is. Where it is not, that is on several hosts, with the streaming pattern, and where RoPE
    frequencies depend on the length (`has_moving_rope`: dynamic and longrope), the model must run
    inside `use_cache(model, cache)`, as `infer.generate` and `ask` do; without it `update` raises
    `InputError`. Several hosts need `infer.generate` in any case, which keeps them in step.
    """

    layers: list[Any]  # StarLayer; the stock class allows a union that has no common interface

    def __init__(
        self,
        layers: Sequence[StarLayer],
        context_ids: Tensor,
        plan: Plan,
        *,
        headroom: int,
        kernel: Literal["split", "stock"],
        has_moving_rope: bool,
        allow_extrapolation: bool = False,
    ) -> None:
        super().__init__(layers=list(layers))
        self.context_ids = context_ids
        self.plan = plan
        self.headroom = headroom
        self.kernel = kernel
        self.has_moving_rope = has_moving_rope
        self.allow_extrapolation = allow_extrapolation
        self.parts: tuple[int, ...] = (plan.num_tokens,)
        self.hosts: Hosts | None = None
        self.is_in_use = False

    @property
    def num_tokens(self) -> int:
        """n: tokens of the encoded context."""
        return self.context_ids.shape[1]

    @property
    def num_bytes(self) -> int:
        """Bytes of the filled entries on this host."""
        stored = [layer.slice(0, layer.length) for layer in self.layers if layer.is_initialized]
        return sum(tensor.numel() * tensor.element_size() for pair in stored for tensor in pair)

    @property
    def needs_use_cache(self) -> bool:
        """True when the model answers wrongly from this cache unless it runs in `use_cache`."""
        is_streaming = self.plan.config.pattern == "streaming"
        return self.hosts is not None or is_streaming or self.has_moving_rope

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append to one layer in place and return all its keys and values on this host."""
        if self.needs_use_cache and not self.is_in_use:
            raise InputError(
                "this cache serves only inside use_cache: it is shared by hosts, of the streaming "
                "pattern, or of a model whose RoPE depends on the length.\n  Call infer.generate "
                "or ask instead of model.generate, or wrap it in `with use_cache(model, cache):`."
            )
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def check_whole(self) -> None:
        """Raise `InputError` when entries of the context were cropped or reset."""
        if min(layer.get_seq_length() for layer in self.layers) < self.num_tokens:
            raise InputError("this cache no longer holds its whole context; encode it again.")

    def rewind(self) -> None:
        """Forget the query and everything generated after it."""
        self.check_whole()
        for layer in self.layers:
            layer.crop(self.num_tokens - layer.get_seq_length())
            step = layer.batch // self.context_ids.shape[0]
            if step > 1:
                layer.keep_rows(step)
