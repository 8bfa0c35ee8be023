"""Counted operations against closed formulas, and the peak of memory."""

from __future__ import annotations

import torch
import transformers
from torch.nn.functional import linear, scaled_dot_product_attention

from modelgraft.nn.cost import FlopCounter


def test_matrix_products_count_two_operations_per_multiplication():
    with FlopCounter() as counter:
        torch.randn(3, 4) @ torch.randn(4, 5)
    assert (counter.linear, counter.attention) == (2 * 3 * 4 * 5, 0)
    with FlopCounter() as counter:
        linear(torch.randn(2, 7, 4), torch.randn(5, 4), torch.randn(5))
    assert counter.linear == 2 * 14 * 4 * 5
    with FlopCounter() as counter:
        torch.randn(6, 3, 4) @ torch.randn(6, 4, 5)
        torch.baddbmm(torch.randn(6, 3, 5), torch.randn(6, 3, 4), torch.randn(6, 4, 5))
    assert counter.total == 2 * (6 * 2 * 3 * 4 * 5)


def test_nothing_outside_the_block_is_counted():
    with FlopCounter() as counter:
        pass
    torch.randn(3, 4) @ torch.randn(4, 5)
    assert counter.total == 0


def attention_pairs(q: int, k: int, **kwargs: object) -> float:
    query, key, value = (torch.randn(2, 3, n, 16) for n in (q, k, k))
    with FlopCounter() as counter, torch.no_grad():
        scaled_dot_product_attention(query, key, value, **kwargs)
    assert counter.linear == 0
    return counter.attention / (4 * 16 * 2 * 3)


def test_attention_counts_the_pairs_that_are_visible():
    assert attention_pairs(5, 9) == 45
    assert attention_pairs(9, 9, is_causal=True) == 45
    visible = torch.rand(5, 9) < 0.4
    visible[:, 0] = True
    assert attention_pairs(5, 9, attn_mask=visible) == int(visible.sum())
    added = torch.zeros(5, 9).masked_fill(~visible, -torch.inf)
    assert attention_pairs(5, 9, attn_mask=added) == int(visible.sum())


@torch.no_grad()
def test_a_dense_forward_of_a_llama_costs_what_the_formula_says():
    """Acceptance 21, the dense side: 2 P n + 4 L h d n (n + 1) / 2."""
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = transformers.LlamaModel(config).eval()
    matrices = sum(p.numel() for p in model.layers.parameters() if p.dim() == 2)
    with FlopCounter() as counter:
        model(torch.randint(64, (1, 50)))
    assert counter.attention == 4 * 3 * 4 * 8 * 50 * 51 // 2
    assert counter.linear == 2 * matrices * 50
