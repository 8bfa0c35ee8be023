"""Phase 1 on stock models equals one forward of the same model under the star mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.methods.star_attention.adapter.encode import append_context, encode_context
from modelgraft.methods.star_attention.adapter.support import has_moving_rope, model_shape
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.method import (
    dense_cost,
    plan_blocks,
    plan_cost,
    star_visibility,
)
from modelgraft.nn.cost import FlopCounter
from modelgraft.nn.hooks import use_attention

KERNELS = ("split", "stock")
WITHIN = {torch.float64: 1e-9, torch.float32: 1e-4}
FAMILIES: dict[str, dict[str, Any]] = {
    "Qwen2Config": {},
    "Qwen3Config": {"head_dim": 16},
    "MistralConfig": {"sliding_window": None},
    "GemmaConfig": {"head_dim": 16, "pad_token_id": 0},
    "Phi3Config": {"pad_token_id": 0},
    "SmolLM3Config": {"pad_token_id": 0, "num_hidden_layers": 4},
    "MixtralConfig": {"num_local_experts": 4},
}
ROPES: dict[str, dict[str, Any]] = {
    "dynamic": {"factor": 2.0},
    "longrope": {
        "factor": 4.0,
        "short_factor": [1.0] * 8,
        "long_factor": [1.0 + i for i in range(8)],
        "original_max_position_embeddings": 48,
    },
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 48,
    },
}


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def stored(cache: Any) -> torch.Tensor:
    """All keys and values of a cache, [layers, 2, b, g, n, d]."""
    return torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])


# -- exactness -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(WITHIN), ids=str)
def test_encoding_and_query_equal_one_forward_under_the_star_mask(
    tiny, draw, star_forward, masked_forward, dense_forward, dtype
):
    """Acceptance 1: random n, b, a and Lq, a short last block, a below b; both kernels."""
    model = tiny(dtype=dtype)
    seen: list[float] = []

    @settings(max_examples=15, deadline=None)
    @given(data=st.data(), num=st.integers(1, 60), query=st.integers(1, 6))
    def check(data: Any, num: int, query: int) -> None:
        block = data.draw(st.integers(1, num))
        config = StarConfig(
            block=block,
            anchor=data.draw(st.one_of(st.none(), st.integers(1, block))),
            halo=data.draw(st.sampled_from([0, 0, 3])),
            blocks_per_step=data.draw(st.sampled_from([1, 2, 7])),
        )
        ids = draw(num + query, seed=num)
        for kernel in KERNELS:
            found, cache = star_forward(model, ids, query, config, kernel=kernel)
            expected = masked_forward(model, ids, cache.plan, query)
            assert apart(found, expected) < WITHIN[dtype]
        if not cache.plan.is_dense and not config.halo:
            seen.append(apart(found, dense_forward(model, ids, query)))

    check()
    assert sorted(seen)[len(seen) // 2] > 0.5, "star does not differ from dense: the test is blind"


@pytest.mark.parametrize("dtype", list(WITHIN), ids=str)
@pytest.mark.parametrize(("block", "dense"), [(50, True), (25, True), (24, False), (10, False)])
def test_one_block_and_two_whole_ones_are_dense_attention(
    tiny, draw, star_forward, dense_forward, dtype, block, dense
):
    """Acceptance 2; three blocks differ."""
    model, ids = tiny(dtype=dtype), draw(54)
    for kernel in KERNELS:
        found, cache = star_forward(model, ids, 4, StarConfig(block=block), kernel=kernel)
        difference = apart(found, dense_forward(model, ids, 4))
        assert cache.plan.is_dense == dense
        assert difference < WITHIN[dtype] if dense else difference > 0.1


@pytest.mark.parametrize("kernel", KERNELS)
def test_sharing_the_anchor_changes_nothing(tiny, draw, kernel):
    """Acceptance 3: shared = recompute = broadcast."""
    model, ids = tiny(), draw(50)
    shared, *others = (
        stored(
            encode_context(
                model, ids, StarConfig(block=12, anchor=7, anchor_compute=kind), kernel=kernel
            )
        )
        for kind in ("shared", "recompute", "broadcast")
    )
    assert all(apart(shared, other) < 1e-5 for other in others)
    longer = stored(encode_context(model, ids, StarConfig(block=12, anchor=8), kernel=kernel))
    assert apart(shared, longer) > 0.1


@pytest.mark.parametrize("compute", ["shared", "recompute"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_in_one_batch_equal_blocks_in_turn(tiny, draw, compute, kernel):
    """Acceptance 4: 2, 3 and all blocks per step, for two contexts at once."""
    model, ids = tiny(), draw(53, batch=2)
    runs = [
        stored(
            encode_context(
                model,
                ids,
                StarConfig(block=10, anchor_compute=compute, blocks_per_step=steps),
                kernel=kernel,
            )
        )
        for steps in (1, 2, 3, 99)
    ]
    assert all(apart(runs[0], other) < 1e-5 for other in runs[1:])


def test_contexts_in_one_batch_equal_contexts_one_by_one(tiny, draw, star_forward):
    model, ids = tiny(), draw(44, batch=3)
    together, _ = star_forward(model, ids, 4, StarConfig(block=10, blocks_per_step=2))
    for row in range(3):
        alone, _ = star_forward(model, ids[row : row + 1], 4, StarConfig(block=10))
        assert apart(together[row : row + 1], alone) < 1e-4


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_with_the_block_mask_gives_the_same_logits(tiny, draw, star_forward):
    """Acceptance 5: FlexAttention, 4-D mask (acceptance 1) and block path agree."""
    model, ids = tiny(), draw(128)
    found, cache = star_forward(model, ids, 4, StarConfig(block=30, anchor=11))
    visible = star_visibility(cache.plan, 4)
    mask = create_block_mask(lambda b, h, t, k: visible(t, k), None, None, 128, 128, device="cpu")

    def flex(module: Any, query: Any, key: Any, value: Any, *_: Any, scaling: float, **__: Any):
        output = flex_attention(query, key, value, block_mask=mask, scale=scaling, enable_gqa=True)
        return output.transpose(1, 2), None

    with use_attention(model, flex):
        assert apart(found, model(ids).logits[:, -4:]) < 1e-4


@torch.no_grad()
def test_positions_are_global_and_only_decoder_layers_run_while_encoding(tiny, draw, star_forward):
    """Acceptance 11 and 16: block i starts at its offset, the query at n; no context logits."""
    model, ids = tiny(), draw(47)
    positions: list[tuple[int, int]] = []
    head: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, __, kwargs: positions.append(
            (int(kwargs["position_ids"][0, 0]), int(kwargs["position_ids"][0, -1]))
        ),
        with_kwargs=True,
    )
    model.lm_head.register_forward_pre_hook(lambda _, args: head.append(args[0].shape[1]))
    star_forward(model, ids, 5, StarConfig(block=12))
    assert positions == [(0, 11), (12, 23), (24, 35), (36, 41), (42, 46)]
    assert head == [5]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_jump_of_positions_between_anchor_and_block_is_not_read_as_two_texts(
    tiny, draw, star_forward, masked_forward, attention
):
    """Acceptance 12: recompute under sdpa and eager, with use_cache, and with both kernels."""
    model, ids = tiny(attention=attention), draw(44)
    for kernel in KERNELS:
        config = StarConfig(block=10, anchor=6, anchor_compute="recompute")
        found, cache = star_forward(model, ids, 4, config, kernel=kernel)
        assert apart(found, masked_forward(model, ids, cache.plan, 4)) < 1e-4
        alone = star_forward(model, ids, 4, StarConfig(block=10, anchor_mode="none"))[0]
        assert apart(found, alone) > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_any_model_of_full_attention_layers_works_unmodified(
    tiny, draw, star_forward, masked_forward, dense_forward, family
):
    model = tiny(kind=getattr(transformers, family), **FAMILIES[family])
    ids = draw(44)
    before = dense_forward(model, ids, 4)
    for kernel in KERNELS:
        found, cache = star_forward(model, ids, 4, StarConfig(block=10, anchor=6), kernel=kernel)
        assert apart(found, masked_forward(model, ids, cache.plan, 4)) < 3e-4
    assert apart(found, before) > 0.1
    assert torch.equal(dense_forward(model, ids, 4), before)


def test_the_model_is_left_bit_identical(tiny, draw, star_forward, dense_forward):
    model, ids = tiny(), draw(44)
    before, settings_before = dense_forward(model, ids, 9), model.config.to_dict()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for pattern in ("star", "streaming", "ring"):
        star_forward(model, ids, 4, StarConfig(block=10, pattern=pattern))
    assert torch.equal(dense_forward(model, ids, 9), before)
    assert model.config.to_dict() == settings_before
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(weights[name], now) for name, now in model.state_dict().items())


def test_a_model_with_an_attention_table_of_its_own_takes_the_stock_kernel(
    tiny, draw, star_forward, masked_forward
):
    """Doge looks attention up where ours is not found."""
    model, ids = tiny(kind=transformers.DogeConfig, pad_token_id=0), draw(44)
    found, cache = star_forward(model, ids, 4, StarConfig(block=10, anchor=6))
    assert cache.kernel == "stock"
    assert apart(found, masked_forward(model, ids, cache.plan, 4)) < 1e-3
    for options in ({"kernel": "split"}, {"config": StarConfig(pattern="streaming")}):
        with pytest.raises(UnsupportedModel, match=r'(?s)transformers\' table.*kernel="stock"'):
            encode_context(model, ids, **options)


# -- baselines and ablations -----------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_baseline_patterns_equal_their_masks(tiny, draw, star_forward, masked_forward, kernel):
    """Acceptance 30: ring equals dense, streaming its 4-D mask, in encoding and query."""
    model, ids = tiny(), draw(64)
    found: dict[str, torch.Tensor] = {}
    for pattern in ("dense", "ring", "local", "streaming"):
        config = StarConfig(block=14, pattern=pattern, sinks=3, window=9)
        found[pattern], cache = star_forward(model, ids, 4, config, kernel=kernel)
        assert apart(found[pattern], masked_forward(model, ids, cache.plan, 4)) < 1e-4
    assert apart(found["ring"], found["dense"]) < 1e-4
    assert apart(found["streaming"], found["dense"]) > 0.5
    assert apart(found["local"], found["dense"]) > 0.5


@pytest.mark.parametrize("positions", ["first", "previous", "random"])
@pytest.mark.parametrize("mode", ["first", "previous", "shuffled", "random", "constant"])
@torch.no_grad()
def test_ablated_anchors_hold_what_they_say(tiny, draw, mode, positions):
    """Acceptance 25, what an ablation encodes: content, positions, and the keys that come of it."""
    model, ids = tiny(), draw(40, seed=4)
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = model.model.register_forward_pre_hook(
        lambda _, __, kwargs: calls.append((kwargs["input_ids"], kwargs["position_ids"])),
        with_kwargs=True,
    )
    config = StarConfig(
        block=10,
        anchor=6,
        anchor_mode=mode,
        anchor_positions=positions,
        anchor_compute="recompute",
    )
    cache = encode_context(model, ids, config)
    hook.remove()
    first, content, place = ids[0, :6].tolist(), calls[2][0][0, :6].tolist(), calls[2][1][0, :6]
    assert calls[2][0][0, 6:].tolist() == ids[0, 20:30].tolist()
    assert calls[2][1][0, 6:].tolist() == list(range(20, 30))
    assert {
        "first": content == first,
        "previous": content == ids[0, 14:20].tolist(),
        "shuffled": sorted(content) == sorted(first) and content != first,
        "random": len(set(content) & set(first)) < 4 and max(content) < 128,
        "constant": content == [first[0]] * 6,
    }[mode]
    if mode == "previous" or positions == "previous":
        assert place.tolist() == list(range(14, 20))
    elif positions == "first":
        assert place.tolist() == list(range(6))
    else:
        assert place.tolist() == sorted(set(place.tolist())) and int(place[-1]) < 20
    alone = transformers.DynamicCache()
    model.model(input_ids=calls[2][0], position_ids=calls[2][1], past_key_values=alone)
    for mine, naive in zip(cache.layers, alone.layers, strict=True):
        assert apart(mine.keys[:, :, 20:30], naive.keys[:, :, 6:]) < 1e-4
    again = encode_context(model, ids, config)
    assert torch.equal(stored(cache), stored(again)), "the draw of an anchor is not repeatable"


# -- RoPE types ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ROPES)
def test_frequencies_do_not_move_between_blocks_or_with_history(
    tiny, draw, star_forward, masked_forward, dense_forward, kind
):
    """Acceptance 29: dense at m = 1, the oracle at m = 4, whatever was read before."""
    rope = {"rope_type": kind, "rope_theta": 10000.0, **ROPES[kind]}
    changes = {"rope_parameters": rope, "dtype": torch.float64}
    changes["max_position_embeddings"] = 48 if kind == "dynamic" else 512
    model, ids = tiny(**changes), draw(64)
    assert has_moving_rope(model) == (kind in ("dynamic", "longrope"))
    expected = dense_forward(tiny(**changes), ids, 4)
    for earlier in (None, 200, 20):  # a longer text, then one that resets the stock frequencies
        if earlier:
            dense_forward(model, draw(earlier), 1)
        found, _ = star_forward(model, ids, 4, StarConfig(block=60), allow_extrapolation=True)
        assert apart(found, expected) < 1e-9
        found, cache = star_forward(model, ids, 4, StarConfig(block=15), allow_extrapolation=True)
        assert apart(found, masked_forward(tiny(**changes), ids, cache.plan, 4)) < 1e-9
        assert apart(found, expected) > 0.1


def test_the_frequencies_of_the_model_itself_are_given_back(tiny, draw, star_forward):
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model = tiny(rope_parameters=rope, max_position_embeddings=48)
    before = model.model.rotary_emb.inv_freq.clone()
    star_forward(model, draw(104), 4, StarConfig(block=25), allow_extrapolation=True)
    assert torch.equal(model.model.rotary_emb.inv_freq, before)
    assert model.model.rotary_emb.rope_type == "dynamic"
    assert int(model.model.rotary_emb.max_seq_len_cached) == 48


# -- cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"pattern": "dense"},
        {"block": 64},
        {"block": 64, "anchor": 16},
        {"block": 64, "anchor_compute": "recompute"},
        {"block": 64, "pattern": "local"},
        {"block": 64, "anchor": 16, "halo": 24},
        {"pattern": "streaming", "sinks": 8, "window": 32},
    ],
    ids=str,
)
def test_the_plan_states_the_operations_that_are_counted(tiny, draw, options):
    """Acceptance 21: within 2 %, dense and star."""
    model, ids = tiny(), draw(300)
    plan = plan_blocks(300, StarConfig(**options))
    with FlopCounter() as counter:
        encode_context(model, ids, plan.config, headroom=1)
    stated = plan_cost(model_shape(model), plan).total
    assert stated == pytest.approx(counter.total, rel=0.02)
    if options["pattern" if "pattern" in options else "block"] != "dense":
        assert dense_cost(model_shape(model), 300).total != pytest.approx(counter.total, rel=0.02)


# -- further blocks --------------------------------------------------------------------------------


def test_appended_context_is_encoded_as_further_blocks(
    tiny, draw, read_query, masked_forward, dense_forward
):
    model, ids = tiny(), draw(75)
    cache = encode_context(model, ids[:, :33], StarConfig(block=10, anchor=7), headroom=4)
    append_context(model, cache, ids[:, 33:50])
    append_context(model, cache, ids[:, 50:71])
    ends = [part.end for part in cache.plan.blocks]
    assert ends == [10, 20, 30, 33, 43, 50, 60, 70, 71]
    assert torch.equal(cache.context_ids, ids[:, :71]) and cache.get_seq_length() == 71
    found = read_query(model, cache, ids)
    assert apart(found, masked_forward(model, ids, cache.plan, 4)) < 1e-4
    assert apart(found, dense_forward(model, ids, 4)) > 0.1


@pytest.mark.parametrize(
    ("options", "first", "added", "ends"),
    [
        ({"block": 10}, 4, 27, [4, 14, 24, 31]),
        ({"block": 10}, 10, 3, [10, 13]),
        ({}, 4, 36, [1, 2, 3, 4, 14, 24, 34, 40]),
        ({"block": 0.5}, 8, 8, [4, 8, 16]),
        ({"boundaries": (3, 9)}, 9, 7, [3, 9, 12, 15, 16]),
    ],
    ids=str,
)
def test_appended_blocks_have_the_size_that_was_asked_for(
    tiny, draw, read_query, masked_forward, options, first, added, ends
):
    """A short beginning, such as the markup of a chat, does not make all later blocks short."""
    model, ids = tiny(), draw(first + added + 3)
    cache = encode_context(model, ids[:, :first], StarConfig(**options), headroom=3)
    append_context(model, cache, ids[:, first:-3])
    assert [part.end for part in cache.plan.blocks] == ends
    assert cache.parts == (first, added)
    found = read_query(model, cache, ids)
    assert apart(found, masked_forward(model, ids, cache.plan, 3)) < 1e-4


def test_more_context_is_encoded_with_the_kernel_of_the_first(
    tiny, draw, read_query, masked_forward
):
    """DiffLlama cannot be encoded with the other one."""
    model, ids = tiny(kind=transformers.DiffLlamaConfig, pad_token_id=0), draw(44)
    config = StarConfig(block=10)
    cache = encode_context(model, ids[:, :30], config, kernel="stock", headroom=4)
    append_context(model, cache, ids[:, 30:40])
    found = read_query(model, cache, ids)
    assert apart(found, masked_forward(model, ids, cache.plan, 4)) < 1e-3


def test_an_append_that_cannot_be_leaves_the_cache_as_it_was(tiny, draw, monkeypatch, read_query):
    model, ids = tiny(), draw(60)
    cache = encode_context(model, ids[:, :33], StarConfig(block=10), headroom=4)
    expected = read_query(model, cache, ids[:, :36])
    with pytest.raises(ConfigError, match="rewind"):
        append_context(model, cache, ids[:, 33:50])
    cache.rewind()
    hook = model.model.layers[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        append_context(model, cache, ids[:, 33:50])
    hook.remove()
    assert cache.get_seq_length() == 33 and cache.plan.num_tokens == 33
    assert torch.equal(read_query(model, cache, ids[:, :36]), expected)
    cache.rewind()
    for batch in (2, 3):
        with pytest.raises(InputError, match=f"{batch} sequences cannot follow an encoding of 1"):
            append_context(model, cache, draw(5, batch=batch))
    local = encode_context(model, ids[:, :33], StarConfig(block=10, pattern="local"))
    with pytest.raises(ConfigError, match="star encoding"):
        append_context(model, local, ids[:, 33:50])
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    moving = tiny(rope_parameters=rope)
    grown = encode_context(moving, ids[:, :33], StarConfig(block=10))
    with pytest.raises(UnsupportedModel, match="Encode the whole context at once"):
        append_context(moving, grown, ids[:, 33:50])
