"""Phase 1 of Star Attention: encode a context block by block into a cache (section 2.2)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.adapter.cache import StarCache, StarLayer, empty_layers
from modelgraft.methods.star_attention.adapter.hosts import ProcessHosts
from modelgraft.methods.star_attention.adapter.support import (
    check_length,
    check_model,
    decoder_of,
    has_moving_rope,
    pinned_rope,
    supports_split_kernel,
    text_config,
)
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.method import (
    Block,
    Plan,
    block_size,
    is_shareable,
    plan_blocks,
    ring_attention,
    streaming_attention,
)
from modelgraft.nn.attention import attend, merge_attention
from modelgraft.nn.hooks import use_attention

Kernel = Literal["auto", "split", "stock"]
Report = Callable[[int, int, str], None]
_HEADROOM = 256


@torch.no_grad()
def encode_context(
    model: Any,
    context_ids: Tensor,
    config: StarConfig | None = None,
    *,
    headroom: int = _HEADROOM,
    hosts: ProcessHosts | None = None,
    kernel: Kernel = "auto",
    allow_extrapolation: bool = False,
    report: Report | None = None,
) -> StarCache:
    """Encode `context_ids` [b, n] into a cache of n entries per layer (Star Attention, phase 1).

    `headroom` is how many tokens of query and answer the cache is sized for. With `hosts` each
    process encodes its own blocks. `kernel` "split" attends to anchor and block apart and merges,
    "stock" lets the model's own attention see both behind a mask; "auto" takes split where the
    model allows it. No vocabulary logits are computed. Raises `UnsupportedModel` or `ConfigError`
    before anything runs; the model itself is left as it was.
    """
    config = config or StarConfig()
    _check_ids(model, context_ids)
    check_model(model)
    num_tokens = context_ids.shape[1]
    check_length(model, num_tokens + headroom, allow_extrapolation=allow_extrapolation)
    rank, size = (hosts.rank, hosts.size) if hosts else (0, 1)
    plan = plan_blocks(num_tokens, config, hosts=size)
    if size > 1 and (config.halo or config.pattern in ("streaming", "ring")):
        raise ConfigError(
            "hosts", "a halo, the streaming and the simulated ring baseline run on one host only."
        )
    own_attention = size > 1 or config.pattern in ("streaming", "ring")
    if own_attention and not supports_split_kernel(model):
        raise UnsupportedModel(
            f"{type(model).__name__} caps its scores or does not take its attention from "
            "transformers' table, so several hosts and these baselines cannot be computed.\n"
            "  Use one process and the star, local or dense pattern."
        )
    grows = rank == size - 1
    own = sum(len(block) for block in plan.of_host(rank))
    layers = empty_layers(model, len(context_ids), own + (headroom if grows else 0), grows=grows)
    cache = StarCache(
        layers, context_ids, plan, headroom=headroom, allow_extrapolation=allow_extrapolation
    )
    cache.hosts = hosts if size > 1 else None
    split = kernel == "split" or (kernel == "auto" and supports_split_kernel(model))
    encoder = _Encoder(model, cache, rank, split)
    with pinned_rope(model, num_tokens + headroom):
        encoder.run(report)
    for layer in layers:
        layer.offset = num_tokens - layer.length
    return cache


def append_context(model: Any, cache: StarCache, context_ids: Tensor) -> None:
    """Encode further blocks [b, t] behind an encoded context (our extension of the method).

    They see the same anchor and take the following positions. Call it before any query, or after
    `cache.rewind()`; one process only. When it raises, the cache is as it was.
    """
    if cache.get_seq_length() != cache.num_tokens or cache.hosts is not None:
        raise ConfigError("", "more context can only follow an encoding without query: rewind it.")
    if cache.plan.config.pattern != "star" or not is_shareable(cache.plan.config):
        raise ConfigError("", "only a star encoding with the method's own anchor can be continued.")
    if has_moving_rope(model):
        raise UnsupportedModel(
            "the RoPE of this model depends on the whole length, so an encoding cannot grow.\n"
            "  Encode the whole context at once."
        )
    _check_ids(model, context_ids)
    old, old_ids = cache.plan, cache.context_ids
    size = len(old.blocks[0])
    total = old.num_tokens + context_ids.shape[1]
    length = total + cache.headroom
    check_length(model, length, allow_extrapolation=cache.allow_extrapolation)
    starts = range(old.num_tokens, total, size)
    added = tuple(Block(start, min(start + size, total), 0) for start in starts)
    cache.context_ids = torch.cat([cache.context_ids, context_ids], dim=1)
    cache.plan = Plan(total, (*old.blocks, *added), old.anchor, old.config)
    for layer in cache.layers:
        layer.reserve(total + cache.headroom)
    encoder = _Encoder(model, cache, 0, supports_split_kernel(model))
    try:
        with torch.no_grad():
            encoder.run(None, skip=len(old.blocks))
    except BaseException:
        cache.plan, cache.context_ids = old, old_ids
        for layer in cache.layers:
            layer.truncate(old.num_tokens)
        raise


def _check_ids(model: Any, context_ids: Tensor) -> None:
    if not isinstance(context_ids, Tensor):
        raise InputError(
            f"the context must be a tensor of token ids, got {type(context_ids).__name__}.\n"
            "  Encode contexts of different length one by one."
        )
    if (
        context_ids.dim() != 2
        or context_ids.numel() == 0
        or context_ids.dtype not in (torch.int64, torch.int32)
    ):
        raise InputError(
            f"the context must be token ids of shape [batch, tokens], got "
            f"{tuple(context_ids.shape)} {context_ids.dtype}.\n"
            "  For an empty context call the model's generate with the query alone."
        )
    low, high = (int(bound) for bound in context_ids.aminmax())
    vocabulary = model.get_input_embeddings().weight.shape[0]
    if low < 0 or high >= vocabulary:
        raise InputError(
            f"the context holds token {low if low < 0 else high}, but the model knows 0 to "
            f"{vocabulary - 1}.\n  Tokenise it with the model's own tokenizer."
        )
    if len(context_ids) > 1:
        _check_padding(text_config(model), context_ids)


def _check_padding(config: Any, context_ids: Tensor) -> None:
    pad, end = config.pad_token_id, config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    # A token that also begins or ends a text is no sign of padding there.
    for word, column, meant in (("starts", 0, [config.bos_token_id]), ("ends", -1, ends)):
        padded = (context_ids[:, column] == pad).nonzero() if pad is not None else []
        if len(padded) and pad not in meant:
            raise InputError(
                f"context {int(padded[0])} {word} with the padding token {pad}.\n"
                "  Padding inside a context would be encoded as text: batch contexts of equal "
                "length, or encode them one by one."
            )


class _BlockLayer(CacheLayerMixin):
    """One layer's view of the cache while a step of blocks runs.

    `update` stores the last `keep` tokens of each row and hands the attention what it needs:
    with the split kernel only the new keys, with stock attention prefix and new keys together.
    """

    def __init__(self, target: StarLayer, start: int, keep: int, split: bool) -> None:
        super().__init__()
        self.target, self.start, self.keep, self.split = target, start, keep, split
        self.prefix: list[tuple[Tensor, Tensor]] = []
        self.given: tuple[Tensor, ...] = ()
        self.before_store: Callable[[], None] | None = None
        self.after_store: Callable[[], None] | None = None
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the target's buffers exist."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any):
        """Store the block's keys and values in the cache; see the class for what comes back."""
        if self.before_store is not None:
            self.before_store()
        batch = self.target.batch
        self.target.write(self.start, *(self._kept(t, batch) for t in (key_states, value_states)))
        if self.after_store is not None:
            self.after_store()
        if self.split:
            self.given = (key_states, value_states)
            return self.given
        rows = key_states.shape[0]
        keys = [*(_rows(k, rows) for k, _ in self.prefix), key_states]
        values = [*(_rows(v, rows) for _, v in self.prefix), value_states]
        return torch.cat(keys, dim=2), torch.cat(values, dim=2)

    def _kept(self, states: Tensor, batch: int) -> Tensor:
        """The last `keep` tokens of each block in order: [b m, g, t, d] to [b, g, m keep, d]."""
        kept = states[:, :, states.shape[2] - self.keep :]
        blocks = kept.unflatten(0, (batch, -1)).transpose(1, 2)
        return blocks.flatten(2, 3)

    def get_seq_length(self) -> int:
        """Keys that the new tokens see before themselves."""
        return sum(keys.shape[2] for keys, _ in self.prefix)

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


class _Encoder:
    """Runs the blocks of one host in order, `blocks_per_step` equal ones at a time."""

    def __init__(self, model: Any, cache: StarCache, rank: int, split: bool) -> None:
        self.model, self.cache, self.rank, self.split = model, cache, rank, split
        self.decoder = decoder_of(model)
        self.plan, self.config = cache.plan, cache.plan.config
        self.shared = self.config.anchor_compute != "recompute" and is_shareable(self.config)
        own = self.plan.of_host(rank)
        self.offset = own[0].start if own else self.plan.num_tokens
        # Host 0 reads the anchor from its own first block; the others keep a copy of their own.
        self.anchor_layers: list[StarLayer] = cache.layers
        if rank > 0 and self.shared and self.plan.anchor:
            self.anchor_layers = empty_layers(model, len(cache.context_ids), self.plan.anchor)

    def run(self, report: Report | None, *, skip: int = 0) -> None:
        """Encode every block of this host from number `skip` on."""
        broadcasts = self.config.anchor_compute == "broadcast" and self.cache.hosts is not None
        blocks = self.plan.of_host(self.rank)[skip:]
        total = sum(len(block) for block in blocks)
        if self.rank > 0 and self.shared and self.plan.anchor:
            if broadcasts and not blocks:
                for index in range(len(self.anchor_layers)):
                    self._exchange_anchor(index)
            elif blocks and not broadcasts:
                self._encode_anchor()
        done = 0
        for step in self._steps(blocks):
            first = done == 0 and broadcasts and self.plan.anchor > 0
            self._encode(step, exchange=first)
            done += sum(len(block) for block in step)
            if report is not None:
                report(done, total, "encoding the document")

    def _steps(self, blocks: tuple[Block, ...]) -> Iterator[list[Block]]:
        step: list[Block] = []
        for block in blocks:
            fits = (
                step
                and block.start > 0
                and step[0].start > 0
                and len(block) == len(step[0])
                and len(step) < self.config.blocks_per_step
                and not self.config.halo
            )
            if step and not fits:
                yield step
                step = []
            step.append(block)
        if step:
            yield step

    def _encode_anchor(self) -> None:
        ids = self.cache.context_ids[:, : self.plan.anchor]
        layers = [_BlockLayer(t, 0, self.plan.anchor, self.split) for t in self.anchor_layers]
        self._forward(ids, torch.arange(self.plan.anchor).expand(ids.shape), layers)

    def _encode(self, step: list[Block], *, exchange: bool) -> None:
        start, size = step[0].start - self.offset, len(step[0])
        layers = [_BlockLayer(t, start, size, self.split) for t in self.cache.layers]
        batch = len(self.cache.context_ids)
        ids = [self.cache.context_ids[:, block.start : block.end] for block in step]
        positions = [torch.arange(block.start, block.end).expand(batch, -1) for block in step]
        if step[0].start > 0 and self.plan.anchor and not self.shared:
            anchors = [self._own_anchor(block) for block in step]
            ids = [torch.cat([a, c], dim=1) for (a, _), c in zip(anchors, ids, strict=True)]
            positions = [
                torch.cat([a.expand(batch, -1), c], dim=1)
                for (_, a), c in zip(anchors, positions, strict=True)
            ]
        for index, layer in enumerate(layers):
            if exchange:
                moment = "after_store" if self.rank == 0 else "before_store"
                setattr(layer, moment, lambda index=index: self._exchange_anchor(index))
            layer.prefix = self._prefix(index, step[0])
        rows = torch.stack(ids, dim=1).flatten(0, 1)
        self._forward(rows, torch.stack(positions, dim=1).flatten(0, 1), layers)

    def _prefix(self, index: int, block: Block) -> list[tuple[Tensor, Tensor]]:
        """Cached keys and values this block sees: the anchor, then the halo (section 2.2)."""
        if block.start == 0:
            return []
        found = []
        seen = 0
        if self.shared and self.plan.anchor:
            seen = self.plan.anchor
            found.append(self.anchor_layers[index].slice(0, seen))
        if self.config.halo:
            low = max(seen, block.start - self.config.halo)
            if low < block.start:
                found.append(self.cache.layers[index].slice(low, block.start))
        return found

    def _exchange_anchor(self, index: int) -> None:
        """Layer `index` of the anchor goes from host 0 to all others as soon as it exists."""
        assert self.cache.hosts is not None
        layer = self.anchor_layers[index]
        if self.rank > 0:
            layer.length = self.plan.anchor
        for states in layer.slice(0, self.plan.anchor):
            self.cache.hosts.broadcast(states, 0)

    def _own_anchor(self, block: Block) -> tuple[Tensor, Tensor]:
        """Ids [b, a] and positions [a] of a recomputed or ablated anchor (section 2.5)."""
        size, config = self.plan.anchor, self.config
        ids = self.cache.context_ids
        draw = torch.Generator().manual_seed(rng_seed(config.anchor_seed, block.start))
        content = ids[:, :size]
        positions = torch.arange(size)
        if config.anchor_mode == "previous":
            content = ids[:, block.start - size : block.start]
        elif config.anchor_mode == "shuffled":
            content = content[:, torch.randperm(size, generator=draw)]
        elif config.anchor_mode == "random":
            vocabulary = self.model.get_input_embeddings().weight.shape[0]
            content = torch.randint(vocabulary, (len(ids), size), generator=draw).to(ids.device)
        elif config.anchor_mode == "constant":
            content = ids[:, :1].expand(-1, size)
        if config.anchor_mode == "previous" or config.anchor_positions == "previous":
            positions = torch.arange(block.start - size, block.start)
        elif config.anchor_positions == "random":
            positions = torch.randperm(block.start, generator=draw)[:size].sort().values
        return content, positions

    def _forward(self, ids: Tensor, positions: Tensor, layers: list[_BlockLayer]) -> None:
        attention: Any = contextlib.nullcontext()
        if self.config.pattern == "streaming":
            attention = use_attention(self.model, _streaming(self.config))
        elif self.config.pattern == "ring":
            attention = use_attention(self.model, _ring(self.config))
        elif self.split:
            attention = use_attention(self.model, _split(layers))
        with attention:
            self.decoder(
                input_ids=ids,
                position_ids=positions.to(ids.device),
                past_key_values=Cache(layers=list(layers)),
                use_cache=True,
            )


def _split(layers: list[_BlockLayer]) -> Callable[..., tuple[Tensor, None]]:
    """Causal inside the block, unmasked to what lies before it, merged by log-sum-exp."""

    def attention(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any = None,
        **kwargs: Any,
    ):
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
        for keys, values in layer.prefix:
            rows = (_rows(t, query.shape[0]) for t in (keys, values))
            parts.append(attend(query, *rows, scale=scale))
        return merge_attention(parts).output.transpose(1, 2), None

    return attention


def _streaming(config: StarConfig) -> Callable[..., tuple[Tensor, None]]:
    def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kwargs: Any):
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        output = streaming_attention(
            query, key, value, scale=scale, sinks=config.sinks, window=config.window
        )
        return output.transpose(1, 2), None

    return attention


def _ring(config: StarConfig) -> Callable[..., tuple[Tensor, None]]:
    def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kwargs: Any):
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        hosts = -(-key.shape[2] // block_size(key.shape[2], config))
        output = ring_attention(query, key, value, scale=scale, hosts=hosts)
        return output.transpose(1, 2), None

    return attention


@contextlib.contextmanager
def use_cache(model: Any, cache: StarCache, *, unmasked: bool = False) -> Generator[None]:
    """Phase 2: inside the block, `model` attends to `cache` as its pattern and hosts demand.

    On one process, with the star pattern and ordinary RoPE, nothing is changed at all: phase 2 is
    the model's own attention over the cached keys. `unmasked` says that no query is padded; on a
    CPU the same attention is then computed in a form that keeps all cores busy for one token.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(pinned_rope(model, cache.num_tokens + cache.headroom))
        hosts = cache.hosts
        if hosts is not None:

            def attention(
                module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kw: Any
            ):
                scale = kw.get("scaling") or query.shape[-1] ** -0.5
                output = hosts.attend(query, key, value, scale=scale)
                return output.transpose(1, 2), None

            stack.enter_context(use_attention(model, attention))
        elif cache.plan.config.pattern == "streaming":
            stack.enter_context(use_attention(model, _streaming(cache.plan.config)))
        elif unmasked and model.device.type == "cpu" and supports_split_kernel(model):
            stack.enter_context(use_attention(model, _exact))
        yield


def _exact(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kwargs: Any):
    """Causal attention of the last tokens over all cached keys."""
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    return attend(query, key, value, scale=scale, causal=True).output.transpose(1, 2), None
