"""The cache of many rows: prompts end together, growth is in place, rows leave without a copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from modelgraft.core.errors import UnsupportedModel
from modelgraft.language.cache import Arriving, RowCache

SIZES = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
LAYERS = 3


def make_cache(num_rows: int = 4, width: int = 5, capacity: int = 9) -> RowCache:
    config = transformers.LlamaConfig(num_hidden_layers=LAYERS, **SIZES)
    model = transformers.LlamaForCausalLM(config)
    return RowCache(model, num_rows=num_rows, width=width, capacity=capacity)


def entries(rows: int, tokens: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 2, tokens, 4, generator=torch.Generator().manual_seed(seed))


def filled() -> tuple[RowCache, torch.Tensor]:
    """Prompts of 2, 3, 3 and 5 tokens, the middle two equal."""
    cache, new = make_cache(), entries(3, 5, seed=0)
    cache.expect(Arriving(0, [2], [1]))
    cache.update(new[:1, :, :2], -new[:1, :, :2], 0)
    cache.expect(Arriving(1, [3, 5], [2, 1]))
    given = cache.update(new[1:], -new[1:], 0)
    assert given[0].data_ptr() == new[1:].data_ptr()  # a prompt attends to itself alone
    assert cache.get_mask_sizes(5, 0) == (5, 0)
    cache.begin()
    return cache, new


def test_prompts_of_any_length_end_at_the_same_slot_and_copies_are_equal():
    cache, new = filled()
    added = entries(4, 1, seed=1)
    assert cache.get_seq_length() == 5 and cache.get_mask_sizes(1, 0) == (6, 0)
    keys, values = cache.update(added, -added, 0)
    assert keys.shape == (4, 2, 6, 4) and torch.equal(values, -keys)
    for row, (source, length) in enumerate([(0, 2), (1, 3), (1, 3), (2, 5)]):
        assert torch.equal(keys[row, :, 5 - length : 5], new[source, :, :length])
        assert (keys[row, :, : 5 - length] == 0).all()
    assert torch.equal(keys[:, :, 5:], added)


def test_appending_and_dropping_rows_never_moves_the_buffer():
    cache, new = filled()
    first, _ = cache.update(entries(4, 1, seed=1), entries(4, 1, seed=2), 0)
    cache.move(torch.tensor([3]), torch.tensor([1]), 3)
    keys, _ = cache.update(entries(3, 1, seed=3), entries(3, 1, seed=4), 0)
    assert keys.data_ptr() == first.data_ptr() and keys.shape == (3, 2, 7, 4)
    assert torch.equal(keys[1, :, :5], new[2])
    assert torch.equal(keys[2, :, 2:5], new[1, :, :3])
    assert cache.get_max_length() == 9


@pytest.mark.parametrize("kind", ["Mamba", "Jamba"])
def test_layers_that_remember_more_than_keys_and_values_are_refused(kind):
    options: dict[str, Any] = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2}
    config = getattr(transformers, f"{kind}Config")(**options)
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with pytest.raises(UnsupportedModel, match=f"{kind}ForCausalLM: its layers keep"):
        RowCache(model, num_rows=1, width=1, capacity=2)
