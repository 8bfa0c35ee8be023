"""A scalar head on a causal model: stock folders, scores at the end, values everywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rlvr_job import policy

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.language.packing import Sample, collate
from modelgraft.language.score_heads import load_scores, save_scores, with_score_head
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.adapter.scores import answer_scores, make_critic, token_values
from modelgraft.methods.tulu3.config import LoraConfig
from modelgraft.methods.tulu3.tiny import build_tokenizer

TOKENIZER = build_tokenizer()
TEXTS = ("a short one", "one that is quite a bit longer", "x")


def batch(*texts: str) -> Any:
    rows = [[*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id] for text in texts]
    return collate([[Sample(ids, ids)] for ids in rows], pad_id=TOKENIZER.pad_token_id)


def with_adapter(model: Any, task_type: str = "") -> Any:
    """The model below an adapter that changes what it says."""
    if task_type:
        peft = pytest.importorskip("peft")
        config = peft.LoraConfig(r=2, task_type=task_type, target_modules="all-linear")
        model = peft.get_peft_model(model, config)
    else:
        model = attach(model, LoraConfig(rank=2), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_the_head_is_drawn_with_the_spread_of_the_paper():
    """Acceptance 26: std 1 / sqrt(d + 1), over the heads of many seeds."""
    model = policy(layers=0)
    heads = torch.cat([with_score_head(model, seed=n).score.weight.flatten() for n in range(60)])
    assert float(heads.detach().std()) == pytest.approx(1 / math.sqrt(64 + 1), rel=0.05)
    assert torch.equal(heads[:64], with_score_head(model, seed=0).score.weight.flatten())


def test_making_a_head_leaves_the_random_numbers_of_others_alone():
    model = policy(layers=0)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with_score_head(model, seed=1, trunk="fresh")
    assert torch.equal(torch.rand(1), expected)


def test_the_values_are_the_head_on_the_last_hidden_states_of_the_same_trunk():
    model = policy(layers=2)
    critic = with_score_head(model, seed=0)
    rows = batch(*TEXTS)
    hidden = model(input_ids=rows.ids, output_hidden_states=True).hidden_states[-1]
    expected = hidden @ critic.score.weight[0]
    assert torch.equal(token_values(critic, rows.ids), expected)


@pytest.mark.parametrize("padding", [0, 1, 7])
def test_a_reloaded_reward_model_scores_at_the_end_whatever_the_padding(tmp_path, padding):
    """Acceptance 26: the stock class, from the stock folder, on its own."""
    model = with_score_head(policy(layers=1), seed=0)
    save_scores(model, TOKENIZER, tmp_path / "rm")
    stock = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    assert type(stock).__name__ == "LlamaForSequenceClassification"
    rows = batch(*TEXTS)
    ids = torch.nn.functional.pad(rows.ids, (0, padding), value=TOKENIZER.pad_token_id)
    expected = answer_scores(model, rows)
    assert torch.allclose(stock(input_ids=ids).logits[:, 0], expected, atol=1e-6)
    alone = [answer_scores(model, batch(text)).item() for text in TEXTS]
    assert expected.tolist() == pytest.approx(alone, abs=1e-6)
    assert torch.equal(answer_scores(load_scores(tmp_path / "rm"), rows), expected)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "rm").chat_template


def test_saving_replaces_an_older_reward_model(tmp_path):
    first, second = (with_score_head(policy(layers=0), seed=n) for n in (0, 1))
    save_scores(first, TOKENIZER, tmp_path / "rm")
    save_scores(second, TOKENIZER, tmp_path / "rm")
    assert torch.equal(load_scores(tmp_path / "rm").score.weight, second.score.weight)


def test_an_adapter_on_a_reward_model_is_merged_into_what_is_saved(tmp_path):
    model = with_adapter(with_score_head(policy(layers=1), seed=0), "SEQ_CLS").eval()
    rows = batch(*TEXTS)
    expected = answer_scores(model, rows)
    save_scores(model, TOKENIZER, tmp_path / "rm")
    assert torch.allclose(answer_scores(load_scores(tmp_path / "rm"), rows), expected, atol=1e-5)
    assert torch.equal(answer_scores(model, rows), expected)  # the model goes on with its adapter


def test_a_head_on_a_model_with_an_adapter_has_the_trunk_below_it():
    plain = policy(layers=1)
    rows = batch(*TEXTS)
    expected = token_values(with_score_head(plain, seed=0), rows.ids)
    found = token_values(with_score_head(with_adapter(plain), seed=0), rows.ids)
    assert torch.equal(found, expected)


def test_a_critic_starts_from_what_was_asked_for():
    model, rows = policy(layers=1), batch(*TEXTS)
    reward = with_score_head(policy(seed=9, layers=1), seed=4)
    from_reward = make_critic(model, "reward", seed=0, reward_model=reward)
    assert torch.equal(token_values(from_reward, rows.ids), token_values(reward, rows.ids))
    assert from_reward is not reward  # which may go on scoring
    trunk = make_critic(model, "policy", seed=0).base_model.state_dict()
    assert all(torch.equal(trunk[name], one) for name, one in model.model.state_dict().items())
    scratch = [make_critic(model, "scratch", seed=n) for n in (0, 0, 1)]
    told = [token_values(one, rows.ids) for one in scratch]
    assert torch.equal(told[0], told[1]) and not torch.equal(told[0], told[2])
    assert all(one.requires_grad for one in scratch[0].parameters())


def test_below_an_adapter_the_trunk_of_a_critic_is_the_policys_and_takes_no_memory():
    """What fits one GPU: two adapters on one frozen trunk, the reference the pass without them."""
    plain, rows, lora = policy(layers=1), batch(*TEXTS), LoraConfig(rank=2)
    apart = attach(make_critic(plain, "policy", seed=0), lora, seed=1, task="SEQ_CLS")
    model = with_adapter(plain)
    before = model(input_ids=rows.ids).logits
    critic = attach(make_critic(model, "policy", seed=0), lora, seed=1, task="SEQ_CLS")
    policys = {id(one) for one in model.parameters()}
    own = [name for name, one in critic.named_parameters() if id(one) not in policys]
    assert own and all(".lora_" in name or ".score." in name for name in own)
    values = token_values(critic, rows.ids)
    assert torch.equal(values, token_values(apart, rows.ids))
    values.square().mean().backward()
    assert all(one.grad is None for one in model.parameters())
    assert any(one.grad is not None for one in critic.parameters())
    assert torch.equal(model(input_ids=rows.ids).logits, before)


def test_a_head_that_trains_reads_a_trunk_of_fewer_bits():
    model = attach(policy(layers=1).to(torch.bfloat16), LoraConfig(rank=2), seed=0)
    critic = attach(
        make_critic(model, "policy", seed=0), LoraConfig(rank=2), seed=1, task="SEQ_CLS"
    )
    values = token_values(critic, batch(*TEXTS).ids)
    assert values.dtype == torch.float32 and torch.isfinite(values).all()
    values.sum().backward()
    trained = [one for one in critic.parameters() if one.grad is not None]
    assert trained and all(one.dtype == torch.float32 for one in trained)


def test_a_critic_that_cannot_be_made_is_refused():
    model = policy(layers=0)
    with pytest.raises(ConfigError, match="no reward model to start the critic"):
        make_critic(model, "reward", seed=0)
    other = with_score_head(policy(layers=0), seed=0)
    other.resize_token_embeddings(120, mean_resizing=False)
    with pytest.raises(UnsupportedModel, match="120 tokens, the policy 104"):
        make_critic(model, "reward", seed=0, reward_model=other)
    model.config.pad_token_id = None
    with pytest.raises(ConfigError, match="pad_token_id is not set"):
        with_score_head(model, seed=0)


def test_a_folder_that_holds_no_reward_model_is_refused(tmp_path):
    policy(layers=0).save_pretrained(tmp_path / "lm")
    with pytest.raises(UnsupportedModel, match=r"no reward model: score.weight is not in"):
        load_scores(tmp_path / "lm")
    with pytest.raises(InputError, match="no such folder"):
        load_scores(Path(tmp_path / "nothing"))


@pytest.mark.parametrize("family", ["Qwen3", "GPT2", "Gemma2", "GPTNeoX"])
def test_other_families_get_a_head_too(family):
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2} if family == "GPT2" else {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
    }  # fmt: skip
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{family}Config")(vocab_size=104, **special, **sizes)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    critic = with_score_head(model, seed=0)
    rows = batch(*TEXTS)
    stock = critic(input_ids=rows.ids).logits[:, 0]
    assert torch.allclose(answer_scores(critic, rows), stock, atol=1e-6)
