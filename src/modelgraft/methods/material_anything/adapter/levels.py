"""Calling the levels of a U-Net of diffusers, with and without attention to a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def run_down(
    block: Any, x: Tensor, time: Tensor, text: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What a level on the way down returns, and the skips it leaves."""
    if getattr(block, "has_cross_attention", False):
        return block(hidden_states=x, temb=time, encoder_hidden_states=text)
    return block(hidden_states=x, temb=time)


def run_up(
    block: Any,
    x: Tensor,
    skips: Sequence[Tensor],
    time: Tensor,
    text: Tensor,
    size: Sequence[int] | None,
) -> Tensor:
    """What a level on the way up returns, enlarged to `size`; `skips` are its own."""
    given = {"hidden_states": x, "temb": time, "res_hidden_states_tuple": tuple(skips)}
    if getattr(block, "has_cross_attention", False):
        given["encoder_hidden_states"] = text
    return block(**given, upsample_size=size)
