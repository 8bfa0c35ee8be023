"""Prompts as the embeddings that a Flux transformer takes, each text encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Prompts(NamedTuple):
    """Texts for the transformer: one row each."""

    tokens: Tensor
    """[b, m, c]."""
    pooled: Tensor
    """[b, p]."""

    def take(self, places: Any) -> Prompts:
        """The rows at `places`."""
        return Prompts(self.tokens[places], self.pooled[places])


@torch.no_grad()
def encode_prompts(
    pipe: Any, texts: Sequence[str], *, length: int = 512, batch: int = 32
) -> Prompts:
    """Embeddings of `texts`, padded to `length` tokens or what the text encoder can take.

    Equal texts are encoded once.
    """
    distinct = list(dict.fromkeys(texts))
    rows = []
    for start in range(0, len(distinct), batch):
        tokens, pooled, _ = pipe.encode_prompt(
            distinct[start : start + batch], None, max_sequence_length=length
        )
        rows.append(Prompts(tokens, pooled))
    found = Prompts(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
    places = {text: place for place, text in enumerate(distinct)}
    return found.take([places[text] for text in texts])


def too_long(pipe: Any, texts: Sequence[str], *, length: int = 512) -> list[str]:
    """The texts whose end `encode_prompts` leaves out."""
    tokenizer = pipe.tokenizer_2
    most = min(length, tokenizer.model_max_length)
    rows = tokenizer(list(texts), truncation=False, verbose=False).input_ids if texts else []
    return [text for text, row in zip(texts, rows, strict=True) if len(row) > most]
