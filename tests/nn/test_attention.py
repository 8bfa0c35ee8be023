"""Attention in parts: the merge is exact for any partition, order and size of the scores."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from modelgraft.nn import attention
from modelgraft.nn.attention import (
    Part,
    attend,
    attend_reference,
    attend_with_bias,
    merge_attention,
)

SCALE = 0.25


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def problem(q: int, k: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Query of 4 heads, key and value of 2."""
    sizes = ((2, 4, q, 16), (2, 2, k, 16), (2, 2, k, 16))
    return [draw(*size, seed=seed + i, dtype=dtype) for i, size in enumerate(sizes)]


def full(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None) -> Tensor:
    """torch's own attention with the keys repeated for their group."""
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=SCALE)


def part_from_scores(scores: Tensor, value: Tensor) -> Part:
    """Softmax attention of given scores [q, k], without overflow in any order of operations."""
    if scores.shape[1] == 0:
        return Part(
            torch.zeros(1, 1, len(scores), value.shape[1], dtype=value.dtype),
            torch.full((1, 1, len(scores)), -torch.inf, dtype=value.dtype),
        )
    lse = torch.logsumexp(scores, dim=-1)
    return Part((scores.softmax(-1) @ value)[None, None], lse[None, None])


# -- merge -----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 24), max_size=5),
    order=st.randoms(use_true_random=False),
    offsets=st.lists(st.floats(-1e4, 1e4), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
    wide=st.booleans(),
)
def test_merging_any_partition_in_any_order_is_full_attention(cuts, order, offsets, seed, wide):
    """Acceptance 6: partitions, order, score offsets of +-1e4, empty parts."""
    kind = torch.float64 if wide else torch.float32
    scores, value = draw(3, 24, seed=seed, dtype=kind), draw(24, 8, seed=seed + 1, dtype=kind)
    bounds = [0, *sorted(cuts), 24]
    for offset, (start, end) in zip(offsets, pairwise(bounds), strict=False):
        scores[:, start:end] += offset
    parts = [
        part_from_scores(scores[:, start:end], value[start:end]) for start, end in pairwise(bounds)
    ]
    order.shuffle(parts)
    merged = merge_attention(parts)
    exact = scores.double().softmax(-1) @ value.double()
    assert (merged.output[0, 0].double() - exact).abs().max() < (1e-9 if wide else 2e-3)
    expected = torch.logsumexp(scores.double(), dim=-1)
    assert torch.allclose(merged.lse[0, 0].double(), expected, atol=2e-3, rtol=1e-6)


def test_the_unstabilised_formula_would_not_survive_these_offsets():
    scores = torch.full((1, 2), 1e4)
    assert not torch.isfinite(scores.exp().sum().log())
    parts = [part_from_scores(scores[:, i : i + 1], torch.ones(1, 1)) for i in range(2)]
    assert merge_attention(parts).lse.item() == pytest.approx(1e4 + math.log(2))


def test_equal_weights_instead_of_the_log_sum_exp_would_be_wrong():
    query, key, value = problem(3, 10)
    parts = [
        attend(query, key[:, :, a:b], value[:, :, a:b], scale=SCALE) for a, b in ((0, 8), (8, 10))
    ]
    expected = full(query, key, value)
    assert (merge_attention(parts).output - expected).abs().max() < 1e-12
    assert ((parts[0].output + parts[1].output) / 2 - expected).abs().max() > 0.05


def test_a_query_that_no_part_sees_gives_zeros_and_minus_infinity():
    empty = attend(*problem(3, 0), scale=SCALE)
    merged = merge_attention([empty, empty])
    assert torch.equal(merged.output, torch.zeros_like(merged.output))
    assert (merged.lse == -torch.inf).all()


def test_half_precision_parts_are_merged_in_float32():
    output = torch.tensor([[[[60000.0]]]], dtype=torch.float16)
    parts = [Part(output, torch.tensor([[[score]]])) for score in (70000.0, 69999.0, -70000.0)]
    merged = merge_attention(parts)
    assert merged.output.dtype == torch.float16 and merged.lse.dtype == torch.float32
    assert merged.output.item() == 60000.0


def test_a_nan_is_not_passed_off_as_a_query_that_sees_nothing():
    good = attend(*problem(2, 3), scale=SCALE)
    bad = Part(good.output, good.lse.clone())
    bad.lse[0, 0, 0] = torch.nan
    merged = merge_attention([good, bad])
    assert merged.output[0, 0, 0].isnan().all()
    assert torch.isfinite(merged.output[0, 0, 1]).all()
    query, key, value = problem(2, 3)
    query[0, 0, 0] = torch.nan
    assert attend_reference(query, key, value, scale=SCALE).output[0, 0, 0].isnan().all()


# -- attend ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("q", "k"), [(1, 9), (5, 9), (9, 9), (1, 1), (7, 300)])
@pytest.mark.parametrize("causal", [False, True])
def test_attend_is_torchs_attention_with_the_ends_aligned(q, k, causal):
    query, key, value = problem(q, k)
    visible = torch.ones(q, k, dtype=torch.bool).tril(k - q) if causal else None
    part = attend(query, key, value, scale=SCALE, causal=causal)
    reference = attend_reference(query, key, value, scale=SCALE, visible=visible)
    assert (part.output - full(query, key, value, visible)).abs().max() < 1e-12
    assert (part.output - reference.output).abs().max() < 1e-12
    assert (part.lse - reference.lse).abs().max() < 1e-12
    if causal and q > 1:
        assert (part.output - full(query, key, value)).abs().max() > 0.05


@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 3e-3)]
)
def test_attend_keeps_the_number_type_and_gives_a_wide_log_sum_exp(dtype, within):
    query, key, value = problem(4, 12, dtype=dtype)
    part = attend(query, key, value, scale=SCALE, causal=True)
    exact = attend(query.double(), key.double(), value.double(), scale=SCALE, causal=True)
    assert part.output.dtype == dtype and part.lse.dtype == torch.float32
    assert (part.output.double() - exact.output).abs().max() < within
    assert (part.lse - exact.lse).abs().max() < 10 * within


def test_attend_reads_views_of_a_larger_buffer():
    query, key, value = problem(4, 12)
    buffers = [torch.full((2, 2, 40, 16), torch.nan, dtype=t.dtype) for t in (key, value)]
    for buffer, states in zip(buffers, (key, value), strict=True):
        buffer[:, :, 5:17] = states
    views = [buffer[:, :, 5:17] for buffer in buffers]
    whole = attend(query, key, value, scale=SCALE, causal=True)
    assert torch.equal(attend(query, *views, scale=SCALE, causal=True).output, whole.output)


def test_attend_without_keys_sees_nothing():
    part = attend(*problem(3, 0, dtype=torch.bfloat16), scale=SCALE)
    assert part.output.shape == (2, 4, 3, 16) and part.output.abs().max() == 0
    assert part.lse.dtype == torch.float32 and (part.lse == -torch.inf).all()


def test_causal_attention_with_fewer_keys_than_queries_is_refused():
    with pytest.raises(ValueError, match="3 < 5"):
        attend(*problem(5, 3), scale=SCALE, causal=True)


# -- reference -------------------------------------------------------------------------------------


def test_the_reference_in_chunks_is_the_reference_in_one(monkeypatch):
    query, key, value = problem(11, 13)
    visible = torch.rand(11, 13, generator=torch.Generator().manual_seed(3)) < 0.5
    visible[4] = False
    whole = attend_reference(query, key, value, scale=SCALE, visible=visible)
    monkeypatch.setattr(attention, "_CHUNK_BYTES", 4 * 2 * 4 * 13 * 3)
    parts = attend_reference(query, key, value, scale=SCALE, visible=visible)
    assert (whole.output - parts.output).abs().max() < 1e-12
    assert torch.allclose(whole.lse, parts.lse, rtol=0, atol=1e-12)
    assert whole.output[:, :, 4].abs().max() == 0 and (whole.lse[:, :, 4] == -torch.inf).all()


def test_the_soft_cap_bends_the_scores_before_the_softmax():
    query, key, value = problem(3, 6)
    part = attend_reference(query, key, value, scale=SCALE, softcap=0.5)
    groups = query.shape[1] // key.shape[1]
    wide = [t.repeat_interleave(groups, dim=1) for t in (key, value)]
    scores = 0.5 * torch.tanh(query @ wide[0].transpose(-1, -2) * SCALE / 0.5)
    assert (part.output - scores.softmax(-1) @ wide[1]).abs().max() < 1e-12
    assert (part.output - full(query, key, value)).abs().max() > 0.01


# -- bias ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 16, 20])
@pytest.mark.parametrize("wide", [False, True])
def test_a_bias_of_the_keys_is_the_same_bias_in_a_mask(size, wide):
    kind = torch.float64 if wide else torch.float32
    query, key, value = (draw(2, 3, n, size, seed=i, dtype=kind) for i, n in enumerate((5, 9, 9)))
    bias = 3 * draw(9, seed=1, dtype=kind)
    masked = scaled_dot_product_attention(query, key, value, attn_mask=bias.expand(5, 9))
    found = attend_with_bias(query, key, value, bias)
    assert found.dtype == kind and found.shape == query.shape
    assert (found - masked).abs().max() < (1e-12 if wide else 1e-5)
    assert (found - scaled_dot_product_attention(query, key, value)).abs().max() > 0.05


def test_a_bias_and_merged_parts_agree():
    query, key, value = (
        draw(2, 3, n, 16, seed=i, dtype=torch.float32) for i, n in enumerate((5, 9, 9))
    )
    parts = []
    for start, end, bias in ((0, 4, 0.0), (4, 6, 1.7), (6, 9, -20.0)):
        part = attend(query, key[:, :, start:end], value[:, :, start:end], scale=0.25)
        parts.append(Part(part.output, part.lse + bias))
    bias = torch.tensor([0.0] * 4 + [1.7] * 2 + [-20.0] * 3)
    found = attend_with_bias(query, key, value, bias)
    assert (found - merge_attention(parts).output).abs().max() < 1e-5


def test_gradients_through_a_bias_are_those_of_a_mask():
    tensors = [draw(1, 2, n, 8, seed=i).requires_grad_(True) for i, n in enumerate((3, 6, 6))]
    bias = draw(6, seed=4)
    weight = draw(1, 2, 3, 8, seed=5)
    masked = scaled_dot_product_attention(*tensors, attn_mask=bias.expand(3, 6))
    expected = torch.autograd.grad((masked * weight).sum(), tensors)
    found = torch.autograd.grad((attend_with_bias(*tensors, bias) * weight).sum(), tensors)
    for one, other in zip(expected, found, strict=True):
        assert (one - other).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_round_the_bias_away(dtype):
    """One channel alone would be off by up to 4 in 1131: a weight of 0.6 would come out as 0.5."""
    query, key = torch.zeros(1, 1, 1, 128, dtype=dtype), torch.zeros(1, 1, 2, 128, dtype=dtype)
    value = torch.zeros(1, 1, 2, 128, dtype=dtype)
    value[:, :, 1] = 1
    bias = torch.tensor([100.0, 100.0 + math.log(1.5)])
    rounded = (bias * 128**0.5).to(dtype).double() / 128**0.5
    assert abs(rounded.softmax(0)[1].item() - 0.6) > (0.05 if dtype == torch.bfloat16 else 1e-3)
    found = attend_with_bias(query, key, value, bias)
    assert found.dtype == dtype
    assert abs(found[0, 0, 0, 0].item() - 0.6) < 3e-3
