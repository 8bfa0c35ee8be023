"""A model cut at a block says and learns the same as the whole, from states that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from letters import Letters, make_model

from modelgraft.core.errors import ConfigError
from modelgraft.language.adapters import attach_lora
from modelgraft.language.score_heads import with_score_head
from modelgraft.methods.judge.tuning.halves import LowerStates, Prompts, UpperHalf

IDS = [[5, 6, 7, 8, 9, *range(10, 10 + size)] for size in (3, 7, 5, 2, 9)]
ALONE = [[10 + size, *range(20, 20 + size)] for size in (3, 7, 5)]
TOKENIZER = Letters()


def gemma() -> Any:
    """It scales its embeddings on the way to the first block, caps logits, and has windows."""
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        vocab_size=124,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        sliding_window=128,
        pad_token_id=0,
        attn_implementation="eager",
    )
    return transformers.Gemma2ForCausalLM(config).eval()


def with_adapter(model: Any, blocks: range) -> Any:
    wrapped = attach_lora(model, rank=4, alpha=8.0, blocks=blocks, seed=0)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return wrapped


@pytest.mark.parametrize("make", [lambda: make_model(layers=4), gemma], ids=["llama", "gemma2"])
@pytest.mark.parametrize("ids", [IDS, ALONE], ids=["shared beginning", "nothing shared"])
def test_kept_states_give_the_loss_and_the_gradient_of_the_whole_model(make, ids, tmp_path: Path):
    model = make()
    prompts = Prompts.of(ids)
    assert prompts.shared == (6 if ids is IDS else 0)
    lower = LowerStates(tmp_path, model, TOKENIZER, prompts, 2)
    wrapped = with_adapter(model, range(2, 4))
    upper = UpperHalf(wrapped, 2)
    upper.check(lower)
    found = upper.logits(lower.rows(range(len(ids))))
    found.log_softmax(-1)[:, 3].sum().backward()
    mine = {name: one.grad.clone() for name, one in trained(wrapped)}
    wrapped.zero_grad()
    whole = torch.stack([model(torch.tensor([one])).logits[0, -1] for one in ids])
    whole.log_softmax(-1)[:, 3].sum().backward()
    assert torch.allclose(found, whole, atol=1e-5)
    assert len(mine) == 28
    for name, one in trained(wrapped):
        assert torch.allclose(mine[name], one.grad, atol=1e-5 * float(one.grad.abs().max() + 1))


def trained(wrapped: Any) -> list[tuple[str, Any]]:
    return [(name, one) for name, one in wrapped.named_parameters() if one.requires_grad]


def test_a_classifier_is_cut_in_the_same_way(tmp_path: Path):
    model = make_model(layers=3)
    lower = LowerStates(tmp_path, model, TOKENIZER, Prompts.of(IDS), 2)
    head = with_score_head(model, seed=0, trunk="shared")
    upper = UpperHalf(head, 2)
    found = head.score(upper.last_states(lower.rows([0, 4])))
    whole = torch.cat([head(torch.tensor([IDS[place]])).logits for place in (0, 4)])
    assert torch.allclose(found, whole, atol=1e-5)


def test_the_base_is_the_same_bit_for_bit_when_the_adapter_is_off(tmp_path: Path):
    model = make_model(layers=3)
    ids = torch.tensor([IDS[0]])
    before, weights = model(ids).logits, {n: w.clone() for n, w in model.state_dict().items()}
    lower = LowerStates(tmp_path, model, TOKENIZER, Prompts.of(IDS), 1)
    wrapped = with_adapter(model, range(1, 3))
    UpperHalf(wrapped, 1).logits(lower.rows([0]))
    assert not torch.equal(wrapped(ids).logits, before)
    with wrapped.disable_adapter():
        assert torch.equal(wrapped(ids).logits, before)
    plain = wrapped.unload()
    assert torch.equal(plain(ids).logits, before)
    assert all(torch.equal(weights[name], one) for name, one in plain.state_dict().items())


def test_states_go_on_where_a_killed_process_stopped(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("modelgraft.methods.judge.tuning.halves._AT_ONCE", 8)
    model, prompts = make_model(layers=3), Prompts.of(IDS)
    whole = LowerStates(tmp_path / "whole", model, TOKENIZER, prompts, 2)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LowerStates(tmp_path / "killed", model, TOKENIZER, prompts, 2, report=stop)
    heard: list[int] = []
    again = LowerStates(tmp_path / "killed", model, TOKENIZER, prompts, 2,
                        report=lambda done, total: heard.append(done))  # fmt: skip
    assert heard[0] == 3
    assert torch.equal(again.file, whole.file)
    third: list[int] = []
    LowerStates(tmp_path / "killed", model, TOKENIZER, prompts, 2,
                report=lambda done, total: third.append(done))  # fmt: skip
    assert not third
    other = LowerStates(tmp_path / "killed", model, TOKENIZER, prompts, 1)
    assert not torch.equal(other.file, whole.file)


def test_half_precision_is_kept_where_files_are_large(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("modelgraft.methods.judge.tuning.halves._LARGE_BYTES", 100)
    model = make_model(layers=3)
    lower = LowerStates(tmp_path, model, TOKENIZER, Prompts.of(IDS), 2)
    assert (tmp_path / "states.bin").stat().st_size == lower.numbers * 2
    upper = UpperHalf(model, 2)
    upper.check(lower)
    whole = model(torch.tensor([IDS[1]])).logits[0, -1]
    assert torch.allclose(upper.logits(lower.rows([1]))[0], whole, atol=1e-2)


def test_states_of_bfloat16_keep_their_reach_where_files_are_large(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("modelgraft.methods.judge.tuning.halves._LARGE_BYTES", 100)
    model = make_model(layers=3).to(torch.bfloat16)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(1e5)
    lower = LowerStates(tmp_path, model, TOKENIZER, Prompts.of(IDS), 2)
    assert lower.dtype == torch.bfloat16
    assert torch.isfinite(lower.file).all() and lower.file.abs().max() > 65504


def test_a_model_that_is_too_short_is_refused():
    with pytest.raises(ConfigError, match="--layers 2: the model has 2 blocks"):
        UpperHalf(make_model(layers=2), 0)
