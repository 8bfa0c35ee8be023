"""Phase 1 of Star Attention: encode a context block by block into a cache (section 2.2)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from modelgraft.core.errors import ConfigError, InputError, Interrupted, UnsupportedModel
from modelgraft.core.options import flatten
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.adapter.blocks import (
    BlockLayer,
    pattern_attention,
    split_attention,
    streaming,
)
from modelgraft.methods.star_attention.adapter.cache import StarCache, StarLayer
from modelgraft.methods.star_attention.adapter.hosts import ProcessHosts
from modelgraft.methods.star_attention.adapter.identity import config_hash, ids_hash
from modelgraft.methods.star_attention.adapter.support import (
    check_ids,
    check_length,
    check_mode,
    check_model,
    decoder_of,
    fitting_headroom,
    has_moving_rope,
    model_shape,
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
    memory_bytes,
    plan_blocks,
)
from modelgraft.nn.hooks import use_attention
from modelgraft.nn.memory import check_memory

Kernel = Literal["auto", "split", "stock"]
Report = Callable[[int, int, str], None]
_HEADROOM = 256
_TWO_STARTS = (
    "the context begins with two BOS tokens; tokenise a rendered chat with add_special_tokens=False"
)


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

    `headroom` is how many tokens of query and answer the cache is sized for, as far as the model
    has positions for them; longer ones enlarge it. With `hosts` each process encodes its own
    blocks, and all must be given the same. `kernel` "split" attends to anchor and block apart and
    merges, "stock" lets the model's own attention see both behind a mask; "auto" takes split where
    the model allows it. `report(done, total, what)` is called after each step and may raise to
    stop, which stops all hosts. No vocabulary logits are computed. Raises `UnsupportedModel`,
    `InputError` or `ConfigError` before anything runs; the model itself is left as it was.
    """
    config = config or StarConfig()
    rank, size = (hosts.rank, hosts.size) if hosts else (0, 1)
    if hosts is not None:
        asked = {"headroom": headroom, "kernel": kernel, "allow_extrapolation": allow_extrapolation}
        hosts.check_same(_described(model, context_ids, config) | asked)
    check_model(model)
    check_mode(model)
    check_ids(model, context_ids)
    num_tokens = context_ids.shape[1]
    check_length(model, num_tokens, allow_extrapolation=allow_extrapolation)
    plan = plan_context(model, context_ids, config, hosts=size)
    room = fitting_headroom(model, num_tokens, headroom, allow_extrapolation=allow_extrapolation)
    own = sum(len(block) for block in plan.of_host(rank))
    grows = rank == size - 1
    capacity = own + (room if grows else 0)
    num_layers = text_config(model).num_hidden_layers
    cache = StarCache(
        [StarLayer(len(context_ids), capacity, grows=grows) for _ in range(num_layers)],
        context_ids,
        plan,
        headroom=room,
        kernel=_chosen_kernel(model, config, kernel, size),
        has_moving_rope=has_moving_rope(model),
        allow_extrapolation=allow_extrapolation,
    )
    cache.hosts = hosts if size > 1 else None
    _check_memory(model, cache)
    with pinned_rope(model, num_tokens + room):
        _Encoder(model, cache, rank).run(report)
    _check_stored(model, cache, own)
    for layer in cache.layers:
        layer.offset = num_tokens - own
    return cache


def plan_context(model: Any, context_ids: Tensor, config: StarConfig, *, hosts: int = 1) -> Plan:
    """`plan_blocks` for these ids [b, n], with a warning when they begin with BOS twice."""
    plan = plan_blocks(context_ids.shape[1], config, hosts=hosts)
    bos = text_config(model).bos_token_id
    opening = context_ids[:, :2]
    if opening.shape[1] == 2 and bos is not None and bool((opening == bos).all(dim=1).any()):
        return replace(plan, warnings=(*plan.warnings, _TWO_STARTS))
    return plan


def continued_plan(plan: Plan, num_added: int) -> Plan:
    """`plan` with blocks for `num_added` further tokens behind it, of the size its options ask.

    A fraction is one of the whole new length; explicit boundaries give the size of the first.
    """
    total = plan.num_tokens + num_added
    size = len(plan.blocks[0]) if plan.config.boundaries else block_size(total, plan.config)
    starts = range(plan.num_tokens, total, size)
    added = tuple(Block(start, min(start + size, total), 0) for start in starts)
    return replace(plan, num_tokens=total, blocks=(*plan.blocks, *added))


def append_context(model: Any, cache: StarCache, context_ids: Tensor) -> None:
    """Encode further blocks [b, t] behind an encoded context (our extension of the method).

    They see the same anchor, take the following positions and are encoded with the same kernel.
    Call it before any query, or after `cache.rewind()`; one process only. When it raises, the
    cache is as it was.
    """
    if cache.get_seq_length() != cache.num_tokens or cache.hosts is not None:
        raise ConfigError("", "more context can only follow an encoding without query: rewind it.")
    if cache.plan.config.pattern != "star" or not is_shareable(cache.plan.config):
        raise ConfigError("", "only a star encoding with the method's own anchor can be continued.")
    if cache.has_moving_rope:
        raise UnsupportedModel(
            "the RoPE of this model depends on the whole length, so an encoding cannot grow.\n"
            "  Encode the whole context at once."
        )
    check_mode(model)
    check_ids(model, context_ids)
    old, old_ids, old_parts = cache.plan, cache.context_ids, cache.parts
    if len(context_ids) != len(old_ids):
        raise InputError(
            f"{len(context_ids)} sequences cannot follow an encoding of {len(old_ids)}.\n"
            "  Give one continuation for each context of the batch."
        )
    total = old.num_tokens + context_ids.shape[1]
    check_length(model, total, allow_extrapolation=cache.allow_extrapolation)
    cache.context_ids = torch.cat([old_ids, context_ids.to(old_ids.device)], dim=1)
    cache.plan = continued_plan(old, context_ids.shape[1])
    cache.parts = (*old_parts, context_ids.shape[1])
    for layer in cache.layers:
        layer.reserve(total + cache.headroom)
    try:
        with torch.no_grad():
            _Encoder(model, cache, 0).run(None, skip=len(old.blocks))
        _check_stored(model, cache, total)
    except BaseException:
        cache.plan, cache.context_ids, cache.parts = old, old_ids, old_parts
        for layer in cache.layers:
            layer.truncate(old.num_tokens)
        raise


def _described(model: Any, context_ids: Any, config: StarConfig) -> dict[str, Any]:
    """What all hosts must have in common, in values short enough to be shown."""
    return {
        "the model's configuration": config_hash(model)[:12],
        "the number type": str(model.dtype),
        "the training mode": model.training,
        "the context": ids_hash(context_ids)[:12],
        **flatten(config),
    }


def _chosen_kernel(
    model: Any, config: StarConfig, wanted: Kernel, hosts: int
) -> Literal["split", "stock"]:
    is_supported = supports_split_kernel(model)
    needs_ours = hosts > 1 or pattern_attention(config) is not None or wanted == "split"
    if needs_ours and not is_supported:
        raise UnsupportedModel(
            f"{type(model).__name__} caps its scores or does not take its attention from "
            "transformers' table, so several hosts, the streaming and ring baselines and "
            'kernel="split" cannot be computed.\n  Use one process, the star, local or dense '
            'pattern, and kernel="stock".'
        )
    return "split" if is_supported and wanted != "stock" else "stock"


def _check_stored(model: Any, cache: StarCache, own: int) -> None:
    """Raise `UnsupportedModel` unless each layer stored exactly this host's `own` entries."""
    for index, layer in enumerate(cache.layers):
        if layer.length != own:
            raise UnsupportedModel(
                f"layer {index} of {type(model).__name__} stored {layer.length} of the {own} "
                "entries it was given to encode: it does not use the cache it is called with.\n"
                "  Nothing can be answered from such an encoding; use another model."
            )


def _check_memory(model: Any, cache: StarCache) -> None:
    """Raise `ConfigError`, on all hosts alike, when one of them lacks the memory for its part."""
    shape, hosts = model_shape(model), cache.hosts
    weights_apart = replace(shape, weight_bytes=0)
    one = memory_bytes(weights_apart, cache.plan, hosts=hosts.size if hosts is not None else 1)
    needed = len(cache.context_ids) * (one + cache.headroom * shape.kv_bytes)
    error = None
    try:
        check_memory(
            needed,
            model.device,
            what=f"encoding {cache.num_tokens:,} tokens",
            advice="Give a shorter document, a smaller block (--block) or --dtype bfloat16, or "
            "share it among more hosts.",
        )
    except ConfigError as lack:
        error = lack
    if hosts is None:
        if error is not None:
            raise error
    elif hosts.any(torch.tensor([error is not None], device=cache.context_ids.device)):
        raise error or ConfigError("", "another host lacks the memory for its part of the context.")


class _Encoder:
    """Runs the blocks of one host in order, `blocks_per_step` equal ones at a time."""

    def __init__(self, model: Any, cache: StarCache, rank: int) -> None:
        self.model, self.cache, self.rank = model, cache, rank
        self.decoder = decoder_of(model)
        self.plan, self.config = cache.plan, cache.plan.config
        self.is_split = cache.kernel == "split"
        self.is_shared = self.config.anchor_compute != "recompute" and is_shareable(self.config)
        own = self.plan.of_host(rank)
        self.offset = own[0].start if own else self.plan.num_tokens
        # Host 0 reads the anchor from its own first block; the others keep a copy of their own.
        self.anchor_layers: list[StarLayer] = cache.layers
        self.keeps_anchor = rank > 0 and self.is_shared and self.plan.anchor > 0
        if self.keeps_anchor:
            batch = len(cache.context_ids)
            self.anchor_layers = [StarLayer(batch, self.plan.anchor) for _ in cache.layers]

    def run(self, report: Report | None, *, skip: int = 0) -> None:
        """Encode every block of this host from number `skip` on.

        What `report` raises on one host is raised there when all have finished or stopped, and
        the others raise `Interrupted`: nobody is left alone in phase 2.
        """
        blocks = self.plan.of_host(self.rank)[skip:]
        total = sum(len(block) for block in blocks)
        broadcasts = self._broadcasts()
        if self.keeps_anchor and blocks and not broadcasts:
            self._encode_anchor()
        done = 0
        stop: BaseException | None = None
        for step in self._steps(blocks):
            self._encode(step, exchange=broadcasts and done == 0)
            done += sum(len(block) for block in step)
            try:
                if report is not None:
                    report(done, total, "encoding the document")
            except BaseException as error:
                stop = error
                break
        hosts = self.cache.hosts
        flag = torch.tensor([stop is not None], device=self.cache.context_ids.device)
        is_stopped = bool(hosts.any(flag)) if hosts is not None else False
        if stop is not None:
            raise stop
        if is_stopped:
            raise Interrupted("another host was stopped while it encoded its part of the context.")

    def _broadcasts(self) -> bool:
        """True when host 0 sends the anchor; where a host has no block, each makes its own."""
        hosts = self.cache.hosts
        wanted = self.config.anchor_compute == "broadcast" and self.plan.anchor > 0
        if not wanted or hosts is None:
            return False
        return all(self.plan.of_host(host) for host in range(hosts.size))

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
        layers = self._views(self.anchor_layers, 0, self.plan.anchor)
        self._forward(ids, torch.arange(self.plan.anchor).expand(ids.shape), layers)

    def _views(self, targets: list[StarLayer], start: int, keep: int) -> list[BlockLayer]:
        return [BlockLayer(target, start, keep, is_split=self.is_split) for target in targets]

    def _encode(self, step: list[Block], *, exchange: bool) -> None:
        start, size = step[0].start - self.offset, len(step[0])
        layers = self._views(self.cache.layers, start, size)
        batch = len(self.cache.context_ids)
        ids = [self.cache.context_ids[:, block.start : block.end] for block in step]
        positions = [torch.arange(block.start, block.end).expand(batch, -1) for block in step]
        if step[0].start > 0 and self.plan.anchor and not self.is_shared:
            anchors = [self._own_anchor(block) for block in step]
            ids = [torch.cat([a, c], dim=1) for (a, _), c in zip(anchors, ids, strict=True)]
            positions = [
                torch.cat([a.expand(batch, -1), c], dim=1)
                for (_, a), c in zip(anchors, positions, strict=True)
            ]
        for index, layer in enumerate(layers):
            if exchange:
                moment = "after_store" if self.rank == 0 else "before_store"
                setattr(layer, moment, partial(self._exchange_anchor, index))
            layer.seen = self._seen(index, step[0])
        rows = torch.stack(ids, dim=1).flatten(0, 1)
        self._forward(rows, torch.stack(positions, dim=1).flatten(0, 1), layers)

    def _seen(self, index: int, block: Block) -> list[tuple[StarLayer, int, int]]:
        """What this block sees of cached layers: the anchor, then the halo (section 2.2)."""
        if block.start == 0:
            return []
        found = []
        seen = 0
        if self.is_shared and self.plan.anchor:
            seen = self.plan.anchor
            found.append((self.anchor_layers[index], 0, seen))
        if self.config.halo:
            low = max(seen, block.start - self.config.halo)
            if low < block.start:
                found.append((self.cache.layers[index], low, block.start))
        return found

    def _exchange_anchor(self, index: int, keys: Tensor, values: Tensor) -> None:
        """Layer `index` of the anchor goes from host 0 to all others as soon as it exists."""
        assert self.cache.hosts is not None
        layer = self.anchor_layers[index]
        if self.rank > 0:
            layer.lazy_initialization(keys, values)
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

    def _forward(self, ids: Tensor, positions: Tensor, layers: list[BlockLayer]) -> None:
        own = pattern_attention(self.config) or (split_attention(layers) if self.is_split else None)
        with use_attention(self.model, own) if own else contextlib.nullcontext():
            self.decoder(
                input_ids=ids,
                position_ids=positions.to(ids.device),
                past_key_values=Cache(layers=list(layers)),
                use_cache=True,
            )


@contextlib.contextmanager
def use_cache(model: Any, cache: StarCache) -> Generator[None]:
    """Phase 2: inside the block, `model` attends to `cache` as its pattern and hosts demand.

    On one process, with the star pattern and ordinary RoPE, nothing is changed at all: phase 2 is
    the model's own attention over the cached keys.

    Attention is set on the model as a whole, here and while encoding, so one model serves one
    thread at a time.
    """
    check_mode(model)
    hosts, before = cache.hosts, cache.is_in_use
    with contextlib.ExitStack() as stack:
        stack.enter_context(pinned_rope(model, cache.num_tokens + cache.headroom))
        if hosts is not None:

            def attention(
                module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kw: Any
            ):
                scale = kw.get("scaling") or query.shape[-1] ** -0.5
                output = hosts.attend(query, key, value, scale=scale)
                return output.transpose(1, 2), None

            stack.enter_context(use_attention(model, attention))
        elif cache.plan.config.pattern == "streaming":
            stack.enter_context(use_attention(model, streaming(cache.plan.config)))
        cache.is_in_use = True
        try:
            yield
        finally:
            cache.is_in_use = before
