"""The one way to change how a stock transformers model attends, and to leave no trace of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator
from typing import Any

from torch import Tensor

from modelgraft.core.lazy import need

Attention = Callable[..., tuple[Tensor, Tensor | None]]
_numbers = itertools.count()


@contextlib.contextmanager
def use_attention(model: Any, function: Attention) -> Generator[None]:
    """Every attention layer of `model` calls `function` inside the block, and the old one after.

    `function(module, query [b, h, q, d], key [b, g, k, d], value, attention_mask, scaling=...,
    **kwargs) -> (output [b, q, h, d], None)`. No mask is built for it: it decides what is visible.
    Each use has a name of its own in transformers' table, so blocks of several models may overlap.
    """
    table = need("transformers.modeling_utils", extra="hf").ALL_ATTENTION_FUNCTIONS
    name = f"modelgraft_{next(_numbers)}"
    before = model.config._attn_implementation
    table[name] = function
    try:
        model.set_attn_implementation(name)
        yield
    finally:
        model.set_attn_implementation(before)
        del table[name]
