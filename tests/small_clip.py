"""A CLIP with random weights, as small as its classes allow."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch

TEXT_LENGTH = 12


def save_small_clip(folder: Path) -> Path:
    """Both towers, the image processor, and a tokenizer that reads letter by letter."""
    import transformers

    stock: Any = transformers
    letters = string.ascii_lowercase + string.digits + ",."
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: place for place, word in enumerate(words)}
    end = vocabulary["<|endoftext|>"]
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = stock.CLIPConfig(
        text_config={**tower, "vocab_size": len(words), "max_position_embeddings": TEXT_LENGTH,
                     "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = stock.CLIPModel(config)
        for one in network.parameters():  # wide, so that unlike inputs are told apart
            if one.dim() == 2:
                torch.nn.init.normal_(one, std=one.shape[1] ** -0.5)
    network.save_pretrained(folder)
    stock.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    stock.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder
