"""A tokenizer of single characters with the interface that judges use, and models for it."""

from __future__ import annotations

from typing import Any

import torch
import transformers

VOCABULARY = 124


class Letters:
    """Every character is a token; there is no chat template."""

    chat_template = None
    bos_token = ""

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [3 + ord(character) % 120 for character in text]}


def make_model(seed: int = 0, *, layers: int = 2) -> Any:
    """A random Llama."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()
