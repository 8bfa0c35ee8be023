"""A random model with a tokenizer of characters in a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

_SYMBOLS = ["<pad>", "<end>", "<unk>", "\n", *map(chr, range(32, 127))]


def make_tokenizer(*, swapped: bool = False) -> Any:
    """One token per character; `swapped` exchanges two of them."""
    vocabulary = {symbol: number for number, symbol in enumerate(_SYMBOLS)}
    if swapped:
        vocabulary["e"], vocabulary["t"] = vocabulary["t"], vocabulary["e"]
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=characters, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )


def make_model(*, seed: int = 0, layers: int = 3) -> Any:
    """A random Llama for it."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=104,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return transformers.LlamaForCausalLM(config).eval()


def write_model(folder: Path, **options: Any) -> Path:
    """The folder with both."""
    make_model(**options).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder
