"""Star Attention (arXiv 2411.17116): blocks, anchors, visibility and cost.

Letters: n context tokens, b block size, a anchor size, m blocks, L layers, h query heads,
g key-value heads, d head size, P parameters without the embedding.

A context is cut into blocks. Each block sees itself and the anchor, the first a tokens of the
context; the cached keys and values of all blocks then serve exact attention for the query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.nn.attention import Part, attend, merge_attention

SMALL_BLOCK = 64
# Rows of hidden states and MLP products that one layer keeps alive, in multiples of h * d.
_ACTIVATION_ROWS = 16
# StreamingLLM in the paper's comparison at 128K: 1000 sinks and a window of 8000 tokens.
_STREAMING = {"sinks": 1000 / 131072, "window": 8000 / 131072}


@dataclass(frozen=True)
class Block:
    """Tokens [start, end) of the context, encoded by process `host`."""

    start: int
    end: int
    host: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Plan:
    """How a context of `num_tokens` is encoded; `anchor` is a, 0 when blocks see only themselves.

    `config` has the sizes of the streaming baseline filled in for this length. `warnings` are
    sentences for the person who asked.
    """

    num_tokens: int
    blocks: tuple[Block, ...]
    anchor: int
    config: StarConfig
    warnings: tuple[str, ...] = ()

    @property
    def is_dense(self) -> bool:
        """True when the blocks together see what dense attention sees (m = 1, or m = 2, a = b)."""
        config = self.config
        plain = config.anchor_mode == "first" and config.anchor_positions == "first"
        whole_first = plain and self.anchor == len(self.blocks[0])
        whole = len(self.blocks) == 1 and self.config.pattern != "streaming"
        return whole or (len(self.blocks) == 2 and whole_first)

    def of_host(self, host: int) -> tuple[Block, ...]:
        """The blocks that one host encodes, in order."""
        return tuple(block for block in self.blocks if block.host == host)


def plan_blocks(num_tokens: int, config: StarConfig, *, hosts: int = 1) -> Plan:
    """Cut `num_tokens` into blocks and give each host a contiguous run of them (section 2.1).

    The first m mod H hosts get one block more. Raises `ConfigError` naming the offending sizes.
    """
    if num_tokens < 1:
        raise ValueError("an empty context has no blocks")
    if hosts > 1 and (config.halo or config.pattern in ("streaming", "ring")):
        raise ConfigError(
            "hosts", "a halo, the streaming and the simulated ring baseline run on one host only."
        )
    if config.pattern == "streaming":
        config = _streaming(num_tokens, config)
    ends = _block_ends(num_tokens, config)
    starts = [0, *ends[:-1]]
    first = ends[0]
    anchor = 0
    if config.pattern == "star" and config.anchor_mode != "none":
        anchor = min(config.anchor if config.anchor is not None else first, num_tokens)
    if len(ends) > 1 and anchor > first:
        raise ConfigError(
            "anchor",
            f"anchor {anchor} is longer than the first block ({first} tokens).\n"
            "  The anchor is taken from the first block: lower it, or use larger blocks.",
        )
    each, more = divmod(len(ends), hosts)
    owners = [host for host in range(hosts) for _ in range(each + (host < more))]
    blocks = tuple(map(Block, starts, ends, owners))
    return Plan(num_tokens, blocks, anchor, config, _warnings(num_tokens, blocks, config))


def _streaming(num_tokens: int, config: StarConfig) -> StarConfig:
    """`config` with the sizes of sinks and window that are not given taken from the length."""
    scaled = {name: math.ceil(share * num_tokens) for name, share in _STREAMING.items()}
    absent = {name: size for name, size in scaled.items() if getattr(config, name) is None}
    return replace(config, **absent)


def _block_ends(num_tokens: int, config: StarConfig) -> list[int]:
    if config.pattern in ("dense", "streaming", "ring"):
        return [num_tokens]
    if config.boundaries:
        if config.boundaries[-1] != num_tokens:
            raise ConfigError(
                "boundaries",
                f"boundaries end at {config.boundaries[-1]}, but the context has {num_tokens} "
                "tokens; the last boundary must be the context's length.",
            )
        return list(config.boundaries)
    size = block_size(num_tokens, config)
    return [*range(size, num_tokens, size), num_tokens]


def block_size(num_tokens: int, config: StarConfig) -> int:
    """b in tokens for a context of this length."""
    size = config.block if config.block is not None else 0.25
    tokens = math.ceil(size * num_tokens) if size < 1 else int(size)
    return min(max(tokens, 1), num_tokens)


def _warnings(num_tokens: int, blocks: Sequence[Block], config: StarConfig) -> tuple[str, ...]:
    found = []
    size = len(blocks[0])
    if isinstance(config.block, int) and config.block < SMALL_BLOCK < num_tokens:
        found.append(
            f"a block of {config.block} tokens is very small; for {config.block}K write "
            f"{config.block * 1024}"
        )
    if config.pattern == "star" and num_tokens >= 1024 and size < num_tokens / 16:
        found.append(below_sixteenth(size))
    return tuple(found)


def below_sixteenth(size: int) -> str:
    """The sentence for a person whose blocks are that small beside the context."""
    return (
        f"blocks of {size} tokens are below a sixteenth of the context; the paper loses 5 to 7 "
        "points there"
    )


def star_visibility(plan: Plan, num_query: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The function that tells, for token and key indexes of one shape, which keys are visible.

    Over [context | query] in one sequence, key k is visible to token t iff k <= t and (t is a
    query token, or k is in the anchor, or both are in one block, or k is in the halo of t's
    block). The streaming baseline sees its sinks and its window, query tokens too. With a
    BlockMask made of it, FlexAttention runs the whole method in one forward.
    """
    config, anchor, num_tokens = plan.config, plan.anchor, plan.num_tokens
    sinks, window = config.sinks or 0, config.window or 0
    start = torch.zeros(num_tokens + num_query, dtype=torch.long)
    for part in plan.blocks:
        start[part.start : part.end] = part.start

    def visible(token: Tensor, key: Tensor) -> Tensor:
        if config.pattern == "streaming":
            return (key <= token) & ((key < sinks) | (token - key < window))
        own = start.to(token.device)[token]
        return (key <= token) & ((key < anchor) | (key >= own - config.halo))

    return visible


def star_mask(plan: Plan, num_query: int) -> Tensor:
    """What one ordinary forward over [context | query] must see to equal the method, bool [t, t].

    t = num_tokens + num_query; True where visible (see `star_visibility`).
    """
    index = torch.arange(plan.num_tokens + num_query)
    return star_visibility(plan, num_query)(*torch.meshgrid(index, index, indexing="ij"))


def streaming_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, sinks: int, window: int
) -> Tensor:
    """The StreamingLLM pattern [b, h, q, d]: each token sees the first `sinks` keys and its last
    `window` ones, itself included.

    The last query stands at the last key. Queries go in chunks of one window over at most two
    windows of keys, so the cost is linear in the length.
    """
    q, k = query.shape[2], key.shape[2]
    outputs = []
    for low in range(0, q, window):
        high = min(low + window, q)
        first = max(0, k - q + low - window + 1)
        last = k - q + high
        recent = torch.arange(max(first, sinks), max(last, sinks), device=key.device)
        index = torch.cat([torch.arange(min(sinks, last), device=key.device), recent])
        rows = torch.arange(k - q + low, last, device=key.device).unsqueeze(1)
        visible = (index <= rows) & ((index < sinks) | (rows - index < window))
        groups = query.shape[1] // key.shape[1]
        keys, values = (t[:, :, index].repeat_interleave(groups, dim=1) for t in (key, value))
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, low:high], keys, values, attn_mask=visible, scale=scale
            )
        )
    return torch.cat(outputs, dim=2)


def ring_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, hosts: int
) -> Tensor:
    """Exact causal attention [b, h, n, d] computed as contiguous ring attention would.

    Tokens are split over `hosts`; the keys of host j visit host i for j <= i and the parts are
    merged by log-sum-exp. Runs on one device: it states the numbers, not the communication.
    """
    hosts = min(hosts, key.shape[2])
    bounds = [int(run[0]) for run in torch.tensor_split(torch.arange(key.shape[2]), hosts)]
    bounds.append(key.shape[2])
    outputs = []
    for i in range(hosts):
        rows = query[:, :, bounds[i] : bounds[i + 1]]
        parts: list[Part] = []
        for j in range(i + 1):
            keys, values = (t[:, :, bounds[j] : bounds[j + 1]] for t in (key, value))
            parts.append(attend(rows, keys, values, scale=scale, causal=i == j))
        outputs.append(merge_attention(parts).output)
    return torch.cat(outputs, dim=2)


@dataclass(frozen=True)
class ModelShape:
    """The sizes that decide cost: P, L, h, g, d, bytes of one number and of all weights."""

    parameters: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    number_bytes: int
    weight_bytes: int = 0

    @property
    def pair_flops(self) -> int:
        """A = 4 L h d: operations for one visible (query, key) pair in all layers."""
        return 4 * self.layers * self.heads * self.head_size

    @property
    def kv_bytes(self) -> int:
        """Bytes of cached keys and values for one token."""
        return 2 * self.layers * self.kv_heads * self.head_size * self.number_bytes


@dataclass(frozen=True)
class Cost:
    """Operations of one prefill: all of them, and on the busiest host (the critical path)."""

    total: float
    critical: float


def dense_cost(shape: ModelShape, num_tokens: int) -> Cost:
    """Dense prefill on one device: 2 P n + A n (n + 1) / 2."""
    flops = _block_flops(shape, num_tokens, 0)
    return Cost(flops, flops)


def plan_cost(shape: ModelShape, plan: Plan, *, hosts: int = 1) -> Cost:
    """Operations of phase 1 under this plan; vocabulary logits are never computed.

    With a shared anchor each later block costs its own tokens over a prefix of cached keys, the
    anchor and the halo, and every host but the first encodes the anchor once unless it is
    broadcast; a recomputed anchor (the official code) is run again for each block.
    """
    if plan.config.pattern == "streaming":
        flops = _streaming_flops(shape, plan)
        return Cost(flops, flops)
    shared = plan.config.anchor_compute != "recompute" and is_shareable(plan.config)
    once = _block_flops(shape, plan.anchor, 0) if plan.config.anchor_compute == "shared" else 0.0
    busy = {block.host for block in plan.blocks} - {0}
    per_host = [once if shared and host in busy else 0.0 for host in range(hosts)]
    for index, block in enumerate(plan.blocks):
        prefix = plan.anchor if index else 0
        halo = min(plan.config.halo, max(0, block.start - prefix))
        again, cached = (0, prefix + halo) if shared else (prefix, 0)
        per_host[block.host] += _block_flops(shape, len(block) + again, cached)
    return Cost(sum(per_host), max(per_host))


def memory_bytes(shape: ModelShape, plan: Plan, *, hosts: int = 1) -> int:
    """Bytes one host holds at its peak: weights, its part of the cache, and one step of blocks."""
    size = max(len(block) for block in plan.blocks)
    own = max(sum(len(block) for block in plan.of_host(host)) for host in range(hosts))
    working = plan.anchor + size * plan.config.blocks_per_step
    activations = working * shape.heads * shape.head_size * _ACTIVATION_ROWS * shape.number_bytes
    return shape.weight_bytes + own * shape.kv_bytes + activations


def is_shareable(config: StarConfig) -> bool:
    """True when every block's anchor equals the one inside block 1, so it is encoded once."""
    return config.anchor_mode in ("first", "none") and config.anchor_positions == "first"


def _streaming_flops(shape: ModelShape, plan: Plan) -> float:
    """Dense until sinks and window are full, then as many keys for every further token."""
    seen = min(plan.num_tokens, (plan.config.sinks or 0) + (plan.config.window or 0))
    rest = plan.num_tokens - seen
    return _block_flops(shape, seen, 0) + rest * (2 * shape.parameters + shape.pair_flops * seen)


def _block_flops(shape: ModelShape, tokens: int, prefix: int) -> float:
    pairs = tokens * (tokens + 1) / 2 + tokens * prefix
    return 2 * shape.parameters * tokens + shape.pair_flops * pairs
