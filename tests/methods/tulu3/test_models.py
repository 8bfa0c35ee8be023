"""Models for training, and what is saved of them: the folders of the stock libraries."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nano
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from modelgraft.core.errors import ConfigError
from modelgraft.core.processes import refuse_processes
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.language.conversation import TULU_TEMPLATE
from modelgraft.language.load import Loaded
from modelgraft.methods.tulu3.adapter import models
from modelgraft.methods.tulu3.adapter.models import (
    Recipe,
    load_trainable,
    load_trainable_skeleton,
    model_card,
    save_trained,
)
from modelgraft.methods.tulu3.config import LoraConfig, SftOptim
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.training.processes import accelerator_of

FULL, LORA = LoraConfig(), LoraConfig(rank=2)
RECIPE = Recipe("SFT", "some/model", {"a|b": 1200}, {"data": "x|y"}, ())


def load(name: str, folder: Path, lora: LoraConfig = FULL, **settings: Any) -> Loaded:
    template = settings.pop("template", None)
    with open_run(folder, settings=replace(Settings(), **settings)) as run:
        return load_trainable(name, run, lora, template=template)


def save(loaded: Loaded, folder: Path) -> Path:
    with open_run(folder) as run:
        save_trained(loaded.model, loaded.tokenizer, run, RECIPE)
    return folder / "artefacts"


# -- loading ---------------------------------------------------------------------------------------


def test_all_weights_train_in_float32_unless_told_otherwise(tmp_path):
    name = nano.save_model(tmp_path / "base", dtype=torch.float16)
    plain = load(name, tmp_path / "a").model
    assert {one.dtype for one in plain.parameters()} == {torch.float32}
    assert all(one.requires_grad for one in plain.parameters())
    told = load(name, tmp_path / "b", dtype="bfloat16").model
    assert {one.dtype for one in told.parameters()} == {torch.bfloat16}


def test_below_an_adapter_the_weights_are_frozen_and_the_adapter_is_in_float32(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("modelgraft.language.load.fastest_cpu_dtype", lambda: "bfloat16")
    name = nano.save_model(tmp_path / "base")
    for dtype, expected in (("auto", torch.float32), ("bfloat16", torch.bfloat16)):
        model = load(name, tmp_path / dtype, LORA, dtype=dtype).model
        frozen = {one.dtype for one in model.parameters() if not one.requires_grad}
        trained = {name: one.dtype for name, one in model.named_parameters() if one.requires_grad}
        # On a CPU auto is no measurement, whose outcome a resumed run might not repeat.
        assert frozen == {expected} and set(trained.values()) == {torch.float32}
        assert all(".lora_" in name for name in trained)


def test_an_adapter_changes_nothing_at_first_and_depends_on_the_seed_alone(tmp_path):
    name = nano.save_model(tmp_path / "base")
    ids = torch.arange(3, 30)[None]
    model = load(name, tmp_path / "a", LORA, seed=4).model
    assert torch.equal(model(ids).logits, AutoModelForCausalLM.from_pretrained(name)(ids).logits)
    same, other = (load(name, tmp_path / str(s), LORA, seed=s).model for s in (4, 5))
    assert nano.distance(model.state_dict(), same.state_dict()) == 0
    assert nano.distance(model.state_dict(), other.state_dict()) > 0


def test_layers_that_are_not_there_are_named(tmp_path):
    name = nano.save_model(tmp_path / "base")
    with pytest.raises(ConfigError, match=r"--lora.targets nothing, q_projj: "):
        load(name, tmp_path / "a", LoraConfig(rank=2, targets=("nothing", "q_projj")))
    model = load(name, tmp_path / "b", LoraConfig(rank=2, targets=("q_proj",))).model
    assert all("q_proj" in name for name, one in model.named_parameters() if one.requires_grad)


def test_a_tokenizer_without_a_template_gets_that_of_tulu_and_another_keeps_its_own(tmp_path):
    bare = nano.save_model(tmp_path / "bare", template=False)
    assert load(bare, tmp_path / "a").tokenizer.chat_template == TULU_TEMPLATE
    with pytest.raises(ConfigError, match="--template own: this tokenizer has no chat template"):
        load(bare, tmp_path / "b", template="own")
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(bare)
    assert load(bare, tmp_path / "c").tokenizer.chat_template == tokenizer.chat_template
    assert load(bare, tmp_path / "d", template="tulu").tokenizer.chat_template == TULU_TEMPLATE


def test_stock_generation_stops_at_the_token_that_ends_an_answer(tmp_path):
    name = nano.save_model(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "generation_config.json").read_text())
    path = tmp_path / "base" / "generation_config.json"
    path.write_text(json.dumps(config | {"eos_token_id": 50}))
    loaded = load(name, tmp_path / "a")
    folder = save(loaded, tmp_path / "a") / "model"
    ends = AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id
    assert ends == [50, loaded.tokenizer.eos_token_id]


@pytest.mark.parametrize("lora", [FULL, LORA])
def test_a_skeleton_has_the_sizes_of_the_model_and_no_weights(tmp_path, lora):
    name = nano.save_model(tmp_path / "base", template=False)
    skeleton = load_trainable_skeleton(name, Settings(), lora)
    whole = load(name, tmp_path / "a", lora)
    assert {one.device.type for one in skeleton.model.parameters()} == {"meta"}
    found, expected = (
        {name: (one.shape, one.dtype, one.requires_grad) for name, one in model.named_parameters()}
        for model in (skeleton.model, whole.model)
    )
    assert found == expected
    assert skeleton.tokenizer.chat_template == whole.tokenizer.chat_template


# -- saving ----------------------------------------------------------------------------------------


def test_the_saved_files_hold_the_names_that_stock_files_hold(tmp_path):
    name = nano.save_model(tmp_path / "base")
    for lora in (FULL, LORA):
        folder = save(load(name, tmp_path / f"r{lora.rank}", lora), tmp_path / f"r{lora.rank}")
        keys = []
        for file in (tmp_path / "base" / "model.safetensors", folder / "model/model.safetensors"):
            with safe_open(file, framework="pt") as tensors:
                keys.append(sorted(tensors.keys()))
        assert keys[0] == keys[1]  # the head that is tied to the embedding stands there once
        tokenizer = AutoTokenizer.from_pretrained(folder / "model")
        assert tokenizer.chat_template == build_tokenizer().chat_template
    assert not (tmp_path / "r0" / "artefacts" / "adapter").exists()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_an_adapter_of_transposed_layers_is_merged_too(tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=104, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    build_tokenizer().save_pretrained(tmp_path / "base")
    loaded = load(str(tmp_path / "base"), tmp_path / "run", LORA)
    with torch.no_grad():
        for one in loaded.model.parameters():
            if one.requires_grad:
                one.normal_()
    folder = save(loaded, tmp_path / "run")
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        expected = loaded.model.eval()(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(folder / "model").eval()(ids).logits
    assert (merged - expected).abs().max() < 1e-4 * expected.abs().max()


def test_an_adapter_of_a_hub_model_names_the_hub_and_not_this_machine(tmp_path, monkeypatch):
    base = nano.save_model(tmp_path / "base")
    stock = models.load_causal_lm

    def from_hub(name: str, **options: Any) -> Loaded:
        return replace(stock(base, **options), name=name, revision="0" * 40)

    monkeypatch.setattr(models, "load_causal_lm", from_hub)
    folder = save(load("owner/model@main", tmp_path / "run", LORA), tmp_path / "run")
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/model", "0" * 40)
    assert config["inference_mode"] is True


def test_a_second_save_replaces_the_first_and_both_folders_are_listed(tmp_path):
    name = nano.save_model(tmp_path / "base")
    loaded = load(name, tmp_path / "run", LORA)
    with open_run(tmp_path / "run") as run:
        for _ in range(2):
            save_trained(loaded.model, loaded.tokenizer, run, RECIPE)
        listed = [(one.path, one.caption) for one in run.added]
    assert listed == [
        (f"artefacts/{name}/README.md", f"Card of the {name} in {name}/")
        for name in ("model", "adapter")
    ]
    assert sorted(one.name for one in (tmp_path / "run" / "artefacts").iterdir()) == [
        "adapter",
        "model",
    ]


def test_the_card_has_a_head_and_tables_that_no_text_breaks():
    card = model_card(RECIPE)
    assert card.startswith('---\nbase_model: "some/model"\n')
    assert "| a\\|b | 1,200 |" in card and "| data | x\\|y |" in card


# -- processes -------------------------------------------------------------------------------------


def test_each_run_of_a_process_has_the_number_type_it_asks_for():
    for precision in ("bf16", "no", "bf16"):
        made = accelerator_of(SftOptim(precision=precision), Settings())
        assert made.mixed_precision == precision and made.device.type == "cpu"


def test_work_that_processes_do_not_share_is_refused_in_several(monkeypatch):
    refuse_processes("evaluate", "only training shares it")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="evaluate: 2 processes were started"):
        refuse_processes("evaluate", "only training shares it")
