"""Blocks, visibility, baselines and costs of Star Attention against their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from modelgraft.core.errors import ConfigError
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.method import (
    ModelShape,
    dense_cost,
    plan_blocks,
    plan_cost,
    ring_attention,
    star_mask,
    star_visibility,
    streaming_attention,
)

SMOLLM2 = ModelShape(
    parameters=106_203_456, layers=30, heads=9, kv_heads=3, head_size=64, number_bytes=4
)
LLAMA_8B = ModelShape(
    parameters=6_979_588_096, layers=32, heads=32, kv_heads=8, head_size=128, number_bytes=2
)


# -- blocks ----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    num=st.integers(1, 400),
    block=st.one_of(st.none(), st.integers(1, 450), st.floats(0.01, 0.99)),
    hosts=st.integers(1, 9),
)
def test_blocks_cover_the_context_once_and_hosts_hold_contiguous_runs(num, block, hosts):
    plan = plan_blocks(num, StarConfig(block=block), hosts=hosts)
    covered = [token for part in plan.blocks for token in range(part.start, part.end)]
    assert covered == list(range(num))
    assert len({len(part) for part in plan.blocks[:-1]}) <= 1
    assert len(plan.blocks[-1]) <= len(plan.blocks[0])
    assert plan.anchor == len(plan.blocks[0])
    owners = [part.host for part in plan.blocks]
    assert owners == sorted(owners) and max(owners) < hosts
    counts = [len(plan.of_host(host)) for host in range(hosts)]
    more, each = len(owners) % hosts, len(owners) // hosts
    assert counts == [each + 1] * more + [each] * (hosts - more)
    assert plan.is_dense == (len(plan.blocks) <= 2)


def test_a_block_is_a_quarter_unless_told_otherwise():
    assert [len(part) for part in plan_blocks(10, StarConfig()).blocks] == [3, 3, 3, 1]
    assert [len(part) for part in plan_blocks(10, StarConfig(block=0.5)).blocks] == [5, 5]
    assert [len(part) for part in plan_blocks(10, StarConfig(block=4)).blocks] == [4, 4, 2]
    given_ends = StarConfig(boundaries=(2, 7, 10))
    assert [len(part) for part in plan_blocks(10, given_ends).blocks] == [2, 5, 3]


def test_the_size_of_one_context_does_not_stick_to_the_next():
    config = StarConfig()
    assert len(plan_blocks(100, config).blocks[0]) == 25
    assert len(plan_blocks(40, config).blocks[0]) == 10


@pytest.mark.parametrize(
    ("config", "dense"),
    [
        (StarConfig(block=20), True),
        (StarConfig(block=10), True),
        (StarConfig(block=10, anchor=9), False),
        (StarConfig(block=10, anchor_mode="none"), False),
        (StarConfig(block=9), False),
        (StarConfig(pattern="dense"), True),
        (StarConfig(pattern="streaming", sinks=2, window=4), False),
        (StarConfig(pattern="local", block=10), False),
    ],
)
def test_a_plan_is_dense_exactly_when_its_mask_is(config, dense):
    plan = plan_blocks(20, config)
    causal = torch.ones(24, 24, dtype=torch.bool).tril()
    assert torch.equal(star_mask(plan, 4), causal) == dense == plan.is_dense


# -- visibility ------------------------------------------------------------------------------------


def visible_by_definition(config: StarConfig, ends: list[int], token: int, key: int) -> bool:
    num = ends[-1]
    if key > token:
        return False
    if config.pattern == "streaming":
        return key < config.sinks or token - key < config.window
    if token >= num:
        return True
    own = next(index for index, end in enumerate(ends) if token < end)
    start = ends[own - 1] if own else 0
    anchor = 0 if config.pattern == "local" else (config.anchor or ends[0])
    return key < anchor or key >= start - config.halo


@settings(max_examples=80, deadline=None)
@given(data=st.data(), num=st.integers(1, 40), query=st.integers(0, 4))
def test_the_star_mask_is_its_definition_token_by_token(data, num, query):
    block = data.draw(st.integers(1, num))
    pattern = data.draw(st.sampled_from(["star", "local", "streaming"]))
    anchor = data.draw(st.one_of(st.none(), st.integers(1, block)))
    config = StarConfig(
        block=block,
        anchor=anchor if pattern == "star" else None,
        pattern=pattern,
        halo=data.draw(st.integers(0, 5)),
        sinks=data.draw(st.integers(0, 5)),
        window=data.draw(st.integers(1, 9)),
    )
    ends = [*range(block, num, block), num]
    mask = star_mask(plan_blocks(num, config), query)
    assert mask.tolist() == [
        [visible_by_definition(config, ends, t, k) for k in range(num + query)]
        for t in range(num + query)
    ]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_with_the_star_block_mask_is_attention_under_the_star_mask():
    """Acceptance 5, the kernel: the same visibility makes a BlockMask and a 4-D mask."""
    plan, total = plan_blocks(250, StarConfig(block=64, anchor=40)), 256
    query, key, value = (torch.randn(1, 2, total, 16) for _ in range(3))
    visible = star_visibility(plan, 6)
    made = create_block_mask(
        lambda b, h, token, key: visible(token, key), None, None, total, total, device="cpu"
    )
    flexed = flex_attention(query, key, value, block_mask=made)
    masked = scaled_dot_product_attention(query, key, value, attn_mask=star_mask(plan, 6))
    assert (flexed - masked).abs().max() < 1e-5
    causal = scaled_dot_product_attention(query, key, value, is_causal=True)
    assert (flexed - causal).abs().max() > 0.1


# -- baselines -------------------------------------------------------------------------------------


def heads(q: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(q * 100 + k)
    shapes = ((2, 4, q, 8), (2, 2, k, 8), (2, 2, k, 8))
    drawn = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return drawn[0], drawn[1], drawn[2]


def masked(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    key, value = (t.repeat_interleave(2, dim=1) for t in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=0.3)


@pytest.mark.parametrize("q", [1, 2, 5, 6, 7, 23])
@pytest.mark.parametrize(("sinks", "window"), [(0, 1), (3, 6), (4, 50), (30, 2)])
def test_streaming_attention_is_its_mask_for_prefill_and_for_decoding(q, sinks, window):
    """Acceptance 30, the streaming pattern on tensors."""
    query, key, value = heads(q, 23)
    rows = torch.arange(23 - q, 23).unsqueeze(1)
    columns = torch.arange(23)
    visible = (columns <= rows) & ((columns < sinks) | (rows - columns < window))
    output = streaming_attention(query, key, value, scale=0.3, sinks=sinks, window=window)
    assert (output - masked(query, key, value, visible)).abs().max() < 1e-12


@pytest.mark.parametrize("hosts", [1, 2, 3, 5, 13, 20])
def test_simulated_ring_attention_is_causal_attention(hosts):
    """Acceptance 30, the ring on tensors; more hosts than tokens are as many as tokens."""
    query, key, value = heads(13, 13)
    causal = torch.ones(13, 13, dtype=torch.bool).tril()
    output = ring_attention(query, key, value, scale=0.3, hosts=hosts)
    assert (output - masked(query, key, value, causal)).abs().max() < 1e-12


def test_sinks_and_window_follow_the_length_unless_they_are_given():
    """Section 4: 1000 sinks and a window of 8000 tokens at 128K, in proportion elsewhere."""
    for num, sizes in ((131072, (1000, 8000)), (2048, (16, 125)), (10, (1, 1))):
        config = plan_blocks(num, StarConfig(pattern="streaming")).config
        assert (config.sinks, config.window) == sizes
    given_sizes = StarConfig(pattern="streaming", sinks=0)
    config = plan_blocks(2048, given_sizes).config
    assert (config.sinks, config.window) == (0, 125)
    mask = star_mask(plan_blocks(2048, given_sizes), 0)
    assert int(mask[-1].sum()) == 125
    assert plan_blocks(2048, StarConfig()).config == StarConfig()


# -- cost ------------------------------------------------------------------------------------------


def ratio(shape: ModelShape, num: int, block: int, **options: Any) -> float:
    plan = plan_blocks(num, StarConfig(block=block, **options))
    return dense_cost(shape, num).total / plan_cost(shape, plan).total


@pytest.mark.parametrize(
    ("shape", "num", "block", "official", "shared"),
    [
        (SMOLLM2, 4096, 1024, 0.73, 1.18),
        (SMOLLM2, 8192, 2048, 0.82, 1.27),
        (SMOLLM2, 8192, 1024, 0.94, 1.60),
        (SMOLLM2, 8192, 512, 1.03, 1.88),
        (LLAMA_8B, 131072, 32768, 0.92, 1.36),
        (LLAMA_8B, 131072, 16384, 1.16, 1.87),
        (LLAMA_8B, 1048576, 32768, 4.7, 7.4),
    ],
)
def test_operations_on_one_device_match_the_worked_table(shape, num, block, official, shared):
    within = 0.006 if num < 1e6 else 0.06
    assert ratio(shape, num, block) == pytest.approx(shared, abs=within)
    recomputed = ratio(shape, num, block, anchor_compute="recompute")
    assert recomputed == pytest.approx(official, abs=within)


def test_dense_operations_of_smollm2_match_the_published_sizes():
    found = [dense_cost(SMOLLM2, num).total / 1e12 for num in (2048, 4096, 8192)]
    assert found == pytest.approx([0.58, 1.45, 4.06], abs=0.006)
    assert SMOLLM2.pair_flops == 69120
    assert SMOLLM2.kv_bytes == 45 * 1024 and LLAMA_8B.kv_bytes == 128 * 1024


def test_hosts_with_one_block_each_pay_what_the_paper_counts():
    """Section 8: 4 P b + 2 A b^2 recomputed, 2 P b + 1.5 A b^2 broadcast."""
    b, hosts = 1024, 8
    linear, pairs = 2 * SMOLLM2.parameters * b, SMOLLM2.pair_flops * b * b
    for compute, expected in (
        ("recompute", 2 * linear + 2 * pairs),
        ("shared", 2 * linear + 2 * pairs),
        ("broadcast", linear + 1.5 * pairs),
    ):
        plan = plan_blocks(b * hosts, StarConfig(block=b, anchor_compute=compute), hosts=hosts)
        critical = plan_cost(SMOLLM2, plan, hosts=hosts).critical
        assert critical == pytest.approx(expected, rel=1e-3)


def test_costs_count_the_pairs_of_the_mask():
    for options in (
        {"block": 7},
        {"block": 7, "anchor": 3},
        {"block": 7, "pattern": "local"},
        {"block": 7, "anchor": 3, "halo": 5},
        {"pattern": "streaming", "sinks": 3, "window": 5},
        {"pattern": "dense"},
    ):
        plan = plan_blocks(40, StarConfig(**options))
        pairs = int(star_mask(plan, 0).sum())
        expected = 2 * SMOLLM2.parameters * 40 + SMOLLM2.pair_flops * pairs
        assert plan_cost(SMOLLM2, plan).total == pytest.approx(expected, rel=1e-12), options


# -- bad plans -------------------------------------------------------------------------------------


def test_sizes_that_do_not_fit_the_context_are_named():
    with pytest.raises(ConfigError, match=r"anchor 9 .* first block \(8 tokens\)"):
        plan_blocks(40, StarConfig(block=8, anchor=9))
    with pytest.raises(ConfigError, match="boundaries end at 30, but the context has 40"):
        plan_blocks(40, StarConfig(boundaries=(10, 30)))
    with pytest.raises(ValueError, match="empty context"):
        plan_blocks(0, StarConfig())


def test_an_anchor_longer_than_a_single_block_is_just_that_block():
    plan = plan_blocks(10, StarConfig(block=10, anchor=64))
    assert plan.anchor == 10 and plan.is_dense


@pytest.mark.parametrize(
    "options", [{"halo": 64}, {"pattern": "streaming"}, {"pattern": "ring"}], ids=str
)
def test_what_one_host_alone_can_compute_is_not_planned_for_two(options):
    assert plan_blocks(400, StarConfig(**options), hosts=1).blocks
    with pytest.raises(ConfigError, match="run on one host only"):
        plan_blocks(400, StarConfig(**options), hosts=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"anchor": 2.5}, "--anchor: 2.5 is not a whole number"),
        ({"anchor": "8"}, "--anchor: '8' is not a whole number"),
        ({"halo": True}, "--halo: True is not a whole number"),
        ({"halo": None}, "--halo: None is not a whole number"),
        ({"sinks": "3"}, "--sinks: '3' is not a whole number"),
        ({"blocks_per_step": 2.5}, "--blocks-per-step: 2.5 is not a whole number"),
        ({"boundaries": (10.5, 40)}, r"--boundaries: \(10.5, 40\) is not a tuple of whole numbers"),
        ({"boundaries": ("a",)}, r"--boundaries: \('a',\) is not a tuple of whole numbers"),
        ({"boundaries": 40}, "--boundaries: 40 is not a tuple of whole numbers"),
        ({"pattern": 3}, "--pattern: 3 is not one of star"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_named_with_its_option(options, says):
    with pytest.raises(ConfigError, match=says):
        StarConfig(**options)
