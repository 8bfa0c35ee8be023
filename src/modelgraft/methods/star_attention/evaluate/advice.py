"""What an encoding would cost, and which block size to take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelgraft.core.results import Number
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.method import (
    ModelShape,
    Plan,
    dense_cost,
    plan_blocks,
    plan_cost,
)

SMALLEST_BLOCK = 128
# Rows of hidden states and MLP products that one layer keeps alive, in multiples of h * d.
_ACTIVATION_ROWS = 16


@dataclass(frozen=True)
class Advice:
    """A block size, and the sentences that justify or qualify it."""

    block: int
    sentences: tuple[str, ...]


def memory_bytes(shape: ModelShape, plan: Plan, *, hosts: int = 1) -> int:
    """Bytes one host holds at its peak: weights, its part of the cache, and one step of blocks."""
    size = max(len(block) for block in plan.blocks)
    own = max(sum(len(block) for block in plan.of_host(host)) for host in range(hosts))
    working = plan.anchor + size * plan.config.blocks_per_step
    activations = working * shape.heads * shape.head_size * _ACTIVATION_ROWS * shape.number_bytes
    return shape.weight_bytes + own * shape.kv_bytes + activations


def cost_numbers(shape: ModelShape, plan: Plan, *, hosts: int = 1) -> list[Number]:
    """Operations, memory and their ratios to dense attention, each with its dense baseline."""
    dense_plan = plan_blocks(plan.num_tokens, StarConfig(pattern="dense"))
    dense, star = dense_cost(shape, plan.num_tokens), plan_cost(shape, plan, hosts=hosts)
    dense_memory = memory_bytes(shape, dense_plan)
    return [
        Number("context", plan.num_tokens, unit="tokens"),
        Number("blocks", len(plan.blocks)),
        Number("anchor", plan.anchor, unit="tokens"),
        Number("prefill, all hosts", star.total / 1e12, unit="TFLOP", baseline=dense.total / 1e12,
               better="lower"),
        Number("prefill, busiest host", star.critical / 1e12, unit="TFLOP",
               baseline=dense.critical / 1e12, better="lower"),
        Number("busiest host, times fewer operations than dense", dense.total / star.critical,
               unit="x", baseline=1.0),
        Number("cache of one host", plan_cache(shape, plan, hosts) / 2**20, unit="MiB",
               baseline=plan.num_tokens * shape.kv_bytes / 2**20, better="lower"),
        Number("memory of one host, about", memory_bytes(shape, plan, hosts=hosts) / 2**20,
               unit="MiB", baseline=dense_memory / 2**20, better="lower"),
    ]  # fmt: skip


def plan_cache(shape: ModelShape, plan: Plan, hosts: int) -> int:
    """Bytes of keys and values that the fullest host stores."""
    return max(
        sum(len(block) for block in plan.of_host(host)) * shape.kv_bytes for host in range(hosts)
    )


def advise(
    shape: ModelShape, num_tokens: int, config: StarConfig, *, hosts: int, limit_bytes: int | None
) -> Advice:
    """The largest block up to a quarter of the context that stays within `limit_bytes` per host.

    Larger blocks keep more accuracy (Star Attention, section 4.2); smaller ones need fewer
    operations and less memory.
    """
    size = max(1, -(-num_tokens // 4))
    said = [f"a quarter of the context is {size} tokens, the paper's choice up to 128K"]
    # The advice is on one size for all blocks, with the anchor it brings along.
    plain = replace(config, boundaries=(), anchor=None)
    while limit_bytes is not None and size > SMALLEST_BLOCK:
        plan = plan_blocks(num_tokens, replace(plain, block=size), hosts=hosts)
        if memory_bytes(shape, plan, hosts=hosts) <= limit_bytes:
            break
        size = max(SMALLEST_BLOCK, size // 2)
    if limit_bytes is not None:
        plan = plan_blocks(num_tokens, replace(plain, block=size), hosts=hosts)
        need = memory_bytes(shape, plan, hosts=hosts)
        verb = "fits" if need <= limit_bytes else "still exceeds"
        said.append(f"a block of {size} {verb} {limit_bytes / 1e9:.1f} GB: {need / 1e9:.1f} GB")
    if size < num_tokens / 16:
        said.append("below a sixteenth of the context the paper loses 5 to 7 points")
    if size < SMALLEST_BLOCK:
        said.append(f"blocks under {SMALLEST_BLOCK} tokens are not worth their overhead")
    chosen = plan_blocks(num_tokens, config, hosts=hosts)
    if chosen.is_dense:
        said.append("two blocks or fewer with a full anchor are dense attention: nothing is gained")
    return Advice(size, (*said, *chosen.warnings))
