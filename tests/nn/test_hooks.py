"""A stock model attends otherwise inside the block, and is bit-identical after it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from modelgraft.nn.attention import attend
from modelgraft.nn.hooks import use_attention

IDS = torch.arange(2, 22).unsqueeze(0)


def llama(implementation: str = "sdpa") -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    config._attn_implementation = implementation
    return transformers.LlamaForCausalLM(config).eval()


class Recorder:
    """Exact attention that notes which layers called it and with what mask."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.layers: list[int] = []
        self.masks: list[Any] = []

    def __call__(self, module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any):
        self.layers.append(module.layer_idx)
        self.masks.append(mask)
        part = attend(query, key, value, scale=kwargs["scaling"], causal=True)
        return self.factor * part.output.transpose(1, 2), None


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_every_layer_calls_the_function_and_the_model_is_bit_identical_after(implementation):
    model = llama(implementation)
    before, names = model(IDS).logits, set(ALL_ATTENTION_FUNCTIONS)
    recorder = Recorder()
    with use_attention(model, recorder):
        inside = model(IDS).logits
    assert recorder.layers == [0, 1, 2] and recorder.masks == [None] * 3
    assert (inside - before).abs().max() < 1e-4
    assert torch.equal(model(IDS).logits, before) and recorder.layers == [0, 1, 2]
    assert model.config._attn_implementation == implementation
    assert set(ALL_ATTENTION_FUNCTIONS) == names


@torch.no_grad()
def test_an_error_inside_the_block_restores_the_model():
    model = llama()
    before, names = model(IDS).logits, set(ALL_ATTENTION_FUNCTIONS)

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), use_attention(model, broken):
        model(IDS)
    assert torch.equal(model(IDS).logits, before) and set(ALL_ATTENTION_FUNCTIONS) == names


@torch.no_grad()
def test_blocks_of_two_models_overlap_without_mixing():
    one, two = llama(), llama()
    plain = one(IDS).logits
    with use_attention(one, Recorder(0.0)):
        muted = one(IDS).logits
        with use_attention(two, Recorder(0.5)):
            halved = two(IDS).logits
            assert torch.equal(one(IDS).logits, muted)
        assert torch.equal(two(IDS).logits, plain)
    assert torch.equal(one(IDS).logits, plain)
    assert (muted - plain).abs().max() > 0.1 and (halved - muted).abs().max() > 0.1


@torch.no_grad()
def test_a_block_inside_a_block_gives_the_outer_function_back():
    model = llama()
    outer, inner = Recorder(), Recorder(0.0)
    with use_attention(model, outer):
        with use_attention(model, inner):
            model(IDS)
        assert (len(outer.layers), len(inner.layers)) == (0, 3)
        model(IDS)
    assert (len(outer.layers), len(inner.layers)) == (3, 3)
