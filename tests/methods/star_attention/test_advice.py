"""Memory in closed form, and the largest block that stays within it."""

from __future__ import annotations

from typing import Any

import pytest

from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.evaluate.advice import advise, cost_numbers
from modelgraft.methods.star_attention.method import ModelShape, memory_bytes, plan_blocks

LLAMA_8B = ModelShape(
    parameters=6_979_588_096,
    layers=32,
    heads=32,
    kv_heads=8,
    head_size=128,
    number_bytes=2,
    weight_bytes=16_060_522_496,
)


def advice(num: int, limit_gb: float | None, hosts: int = 1, **options: Any) -> Any:
    limit = None if limit_gb is None else int(limit_gb * 1e9)
    return advise(LLAMA_8B, num, StarConfig(**options), hosts=hosts, limit_bytes=limit)


def needed(num: int, block: int, hosts: int = 1, **options: Any) -> int:
    plan = plan_blocks(num, StarConfig(block=block, **options), hosts=hosts)
    return memory_bytes(LLAMA_8B, plan, hosts=hosts)


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", [1, 2])
def test_memory_is_weights_and_cache_and_activations_in_closed_form(hosts):
    num, block, anchor = 4096, 1024, 512
    cache = 2 * 32 * 8 * 128 * 2 * num // hosts
    rows = 16 * 32 * 128 * 2 * (anchor + block)
    plan = plan_blocks(num, StarConfig(block=block, anchor=anchor), hosts=hosts)
    assert memory_bytes(LLAMA_8B, plan, hosts=hosts) == 16_060_522_496 + cache + rows
    said = {one.name: one for one in cost_numbers(LLAMA_8B, plan, hosts=hosts, number_type="b")}
    assert said["cache of one host"].value == cache / 2**20
    assert said["cache of one host"].baseline == cache * hosts / 2**20
    assert said["weights"].value == 16_060_522_496 / 2**20
    assert said["one number (b)"].value == 2


def test_the_cache_of_published_models_is_the_published_size():
    """Section 6: 128 KiB per token of Llama-3.1-8B in bfloat16, 16 GiB at 128K."""
    plan = plan_blocks(131072, StarConfig())
    said = {one.name: one.value for one in cost_numbers(LLAMA_8B, plan, number_type="bfloat16")}
    assert said["cache of one host"] == 16 * 1024


# -- advice ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", [1, 3, 8])
@pytest.mark.parametrize("limit_gb", [21.0, 34.0, 36.5, 41.0])
def test_the_block_advised_is_the_largest_multiple_of_64_that_fits(limit_gb, hosts):
    num = 131072
    found = advice(num, limit_gb, hosts).block
    fitting = [size for size in range(128, num // 4 + 1, 64)
               if needed(num, size, hosts) <= limit_gb * 1e9]  # fmt: skip
    assert found == max(fitting, default=128)


def test_a_quarter_is_advised_where_it_fits_and_without_a_limit():
    assert advice(100_002, None).block == advice(100_002, 500).block == 25_001
    assert advice(200, 0.001).block == 50


def test_what_fits_is_said_with_the_bytes_it_needs():
    (line,) = [text for text in advice(131072, 36.5).sentences if "fits" in text]
    block = advice(131072, 36.5).block
    assert line == f"a block of {block} fits 36.5 GB: {needed(131072, block) / 1e9:.1f} GB"
    assert any("still exceeds 1.0 GB" in text for text in advice(131072, 1).sentences)


@pytest.mark.parametrize(
    ("num", "options", "says"),
    [
        (131072, {"block": 100}, {"are not worth their overhead", "below a sixteenth"}),
        (131072, {"block": 4096}, {"blocks of 4096 tokens are below a sixteenth"}),
        (131072, {"block": 8192}, {"blocks of 8192 tokens are an eighth", "7.47 points"}),
        (131072, {"block": 16384}, {"blocks of 16384 tokens are an eighth"}),
        (131072, {"block": 16385}, set()),
        (1200, {"block": 100}, {"blocks under 128 tokens are not worth their overhead", "eighth"}),
        (131072, {"block": 65536}, {"are dense attention"}),
        (131072, {"pattern": "dense"}, {"are dense attention"}),
        (131072, {"pattern": "streaming"}, set()),
    ],
)
def test_doubts_about_the_blocks_of_the_user_are_said_once(num, options, says):
    sentences = advice(num, None, **options).sentences
    text = "; ".join(sentences)
    assert len(set(sentences)) == len(sentences)
    assert all(part in text for part in says)
    known = ("sixteenth", "eighth", "overhead", "dense attention")
    assert [word in text for word in known] == [
        any(word in part for part in says) for word in known
    ]
