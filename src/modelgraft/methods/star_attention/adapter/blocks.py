"""What a decoder layer sees while blocks are encoded: a view of the cache, and the attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from modelgraft.core.errors import UnsupportedModel
from modelgraft.methods.star_attention.adapter.cache import StarLayer
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.method import (
    block_size,
    ring_attention,
    streaming_attention,
)
from modelgraft.nn.attention import attend, merge_attention

Attention = Callable[..., tuple[Tensor, None]]
Exchange = Callable[[Tensor, Tensor], None]


class BlockLayer(CacheLayerMixin):
    """One layer's view of the cache while a step of blocks runs.

    `update` stores the last `keep` tokens of each row and hands the attention what it needs: with
    the split kernel only the new keys, with stock attention prefix and new keys together. `seen`
    are the stretches [start, end) of cached layers that the block sees before itself. Where hosts
    broadcast the anchor, `before_store` and `after_store` are given the new states.
    """

    def __init__(self, target: StarLayer, start: int, keep: int, *, is_split: bool) -> None:
        super().__init__()
        self.target, self.start, self.keep, self.is_split = target, start, keep, is_split
        self.seen: list[tuple[StarLayer, int, int]] = []
        self.given: tuple[Tensor, ...] = ()
        self.before_store: Exchange | None = None
        self.after_store: Exchange | None = None
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the target makes its buffers."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store the block's keys and values in the cache; see the class for what comes back."""
        if self.before_store is not None:
            self.before_store(key_states, value_states)
        self.target.write(self.start, self._kept(key_states), self._kept(value_states))
        if self.after_store is not None:
            self.after_store(key_states, value_states)
        if self.is_split:
            self.given = (key_states, value_states)
            return key_states, value_states
        pairs = [*self.prefix(key_states.shape[0]), (key_states, value_states)]
        keys, values = (torch.cat(states, dim=2) for states in zip(*pairs, strict=True))
        return keys, values

    def prefix(self, rows: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [rows, g, t, d] of each stretch that is seen."""
        pairs = [layer.slice(start, end) for layer, start, end in self.seen]
        return [(_rows(keys, rows), _rows(values, rows)) for keys, values in pairs]

    def _kept(self, states: Tensor) -> Tensor:
        """The last `keep` tokens of each block in order: [b m, g, t, d] to [b, g, m keep, d]."""
        kept = states[:, :, states.shape[2] - self.keep :]
        blocks = kept.unflatten(0, (self.target.batch, -1)).transpose(1, 2)
        return blocks.flatten(2, 3)

    def get_seq_length(self) -> int:
        """Keys that the new tokens see before themselves."""
        return sum(end - start for _, start, end in self.seen)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what a mask covers."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


def _rows(states: Tensor, rows: int) -> Tensor:
    """[b, ...] repeated for each block of a step to [rows, ...], without a copy when b is 1."""
    repeats = rows // states.shape[0]
    spread = states.unsqueeze(1).expand(-1, repeats, -1, -1, -1)
    return spread.flatten(0, 1) if states.shape[0] > 1 else spread[0]


def split_attention(layers: Sequence[BlockLayer]) -> Attention:
    """Causal inside the block, unmasked to what lies before it, merged by log-sum-exp."""

    def attention(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        layer = layers[module.layer_idx]
        given, layer.given = layer.given, ()
        if attention_mask is not None or [id(t) for t in given] != [id(key), id(value)]:
            raise UnsupportedModel(
                f"{type(module).__name__} has a mask of its own, or changes keys and values after "
                "they are cached, so anchor and block cannot be merged.\n  Encode with "
                'kernel="stock".'
            )
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        parts = [attend(query, key, value, scale=scale, causal=True)]
        for keys, values in layer.prefix(query.shape[0]):
            parts.append(attend(query, keys, values, scale=scale))
        return merge_attention(parts).output.transpose(1, 2), None

    return attention


def pattern_attention(config: StarConfig) -> Attention | None:
    """The attention of a baseline that is not made of blocks: streaming or ring; else None."""
    if config.pattern == "streaming":
        return streaming(config)
    return _ring(config) if config.pattern == "ring" else None


def streaming(config: StarConfig) -> Attention:
    """The StreamingLLM baseline, in encoding and in answering."""

    def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kwargs: Any):
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        assert config.sinks is not None and config.window is not None, "a plan fills them in"
        output = streaming_attention(
            query, key, value, scale=scale, sinks=config.sinks, window=config.window
        )
        return output.transpose(1, 2), None

    return attention


def _ring(config: StarConfig) -> Attention:
    def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kwargs: Any):
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        hosts = -(-key.shape[2] // block_size(key.shape[2], config))
        output = ring_attention(query, key, value, scale=scale, hosts=hosts)
        return output.transpose(1, 2), None

    return attention
