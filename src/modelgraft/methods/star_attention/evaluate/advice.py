"""What an encoding would cost, and which block size to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from modelgraft.core.results import Number, Result
from modelgraft.methods.star_attention.config import PlanConfig, StarConfig
from modelgraft.methods.star_attention.method import (
    ModelShape,
    Plan,
    below_sixteenth,
    dense_cost,
    memory_bytes,
    plan_blocks,
    plan_cost,
)

SMALLEST_BLOCK = 128
BLOCK_STEP = 64


@dataclass(frozen=True)
class Advice:
    """A block size, and the sentences that justify or qualify it."""

    block: int
    sentences: tuple[str, ...]


def cost_numbers(
    shape: ModelShape, plan: Plan, *, number_type: str, hosts: int = 1
) -> list[Number]:
    """Operations, memory and their ratios to dense attention, each with its dense baseline.

    `number_type` says in words what the weights and the cache are counted in.
    """
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
        Number(f"one number ({number_type})", shape.number_bytes, unit="bytes", better="lower"),
        Number("weights", shape.weight_bytes / 2**20, unit="MiB", better="lower"),
        Number("cache of one host", plan_cache(shape, plan, hosts) / 2**20, unit="MiB",
               baseline=plan.num_tokens * shape.kv_bytes / 2**20, better="lower"),
        Number("memory of one host, about", memory_bytes(shape, plan, hosts=hosts) / 2**20,
               unit="MiB", baseline=dense_memory / 2**20, better="lower"),
    ]  # fmt: skip


def plan_result(shape: ModelShape, config: PlanConfig, number_type: str) -> Result:
    """The cost of an encoding by the model's sizes, and an advice on its blocks."""
    blocks = plan_blocks(config.tokens, config.star, hosts=config.hosts)
    limit = int(config.memory_gb * 1e9) if config.memory_gb else None
    advice = advise(shape, config.tokens, config.star, hosts=config.hosts, limit_bytes=limit)
    numbers = cost_numbers(shape, blocks, hosts=config.hosts, number_type=number_type)
    text = f"Take --block {advice.block}: " + "; ".join(advice.sentences) + "."
    return Result(tuple(numbers), text=text)


def plan_cache(shape: ModelShape, plan: Plan, hosts: int) -> int:
    """Bytes of keys and values that the fullest host stores."""
    return max(
        sum(len(block) for block in plan.of_host(host)) * shape.kv_bytes for host in range(hosts)
    )


def advise(
    shape: ModelShape, num_tokens: int, config: StarConfig, *, hosts: int, limit_bytes: int | None
) -> Advice:
    """The largest block up to a quarter of the context that stays within `limit_bytes` per host.

    Below a quarter it is a multiple of 64, and at least 128. Larger blocks keep more accuracy (Star
    Attention, section 4.2); smaller ones need fewer operations and less memory.
    """
    size = max(1, -(-num_tokens // 4))
    said = [f"a quarter of the context is {size} tokens, the paper's choice up to 128K"]
    # The advice is on one size for all blocks, with the anchor it brings along.
    plain = replace(config, boundaries=(), anchor=None)

    def need(size: int) -> int:
        plan = plan_blocks(num_tokens, replace(plain, block=size), hosts=hosts)
        return memory_bytes(shape, plan, hosts=hosts)

    if limit_bytes is not None:
        size = _largest_block(size, lambda size: need(size) <= limit_bytes)
        needed = need(size)
        verb = "fits" if needed <= limit_bytes else "still exceeds"
        said.append(f"a block of {size} {verb} {limit_bytes / 1e9:.1f} GB: {needed / 1e9:.1f} GB")
    chosen = plan_blocks(num_tokens, config, hosts=hosts)
    said += _doubts(size, num_tokens)
    if len(chosen.blocks) > 1:
        said += _doubts(len(chosen.blocks[0]), num_tokens)
    if chosen.is_dense:
        said.append("two blocks or fewer with a full anchor are dense attention: nothing is gained")
    return Advice(size, tuple(dict.fromkeys((*said, *chosen.warnings))))


def _largest_block(quarter: int, fits: Callable[[int], bool]) -> int:
    """The first that fits of `quarter` and the multiples of 64 below it; else the smallest."""
    if fits(quarter):
        return quarter
    # Not a bisection: on several hosts the fullest one's share jumps with the number of blocks.
    steps = range((quarter - 1) // BLOCK_STEP * BLOCK_STEP, SMALLEST_BLOCK, -BLOCK_STEP)
    return next((size for size in steps if fits(size)), min(quarter, SMALLEST_BLOCK))


def _doubts(size: int, num_tokens: int) -> list[str]:
    """What the paper's tables, and plain overhead, say against blocks of this size."""
    said = []
    if size < num_tokens / 16:
        said.append(below_sixteenth(size))
    elif size <= num_tokens / 8:
        said.append(
            f"blocks of {size} tokens are an eighth of the context or less; the paper's 70B model "
            "loses 7.47 points there at 128K"
        )
    if size < SMALLEST_BLOCK:
        said.append(f"blocks under {SMALLEST_BLOCK} tokens are not worth their overhead")
    return said
