"""Calls longer than a judge's context: counted as failed, or their candidates cut alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from modelgraft.methods.judge.judges.calls import Call

Overflow = Literal["error", "truncate"]
TOO_LONG = {"reason": "too_long"}
_MARK = " [...] "
# Below so many characters nothing of a candidate is left to judge.
LEAST = 32
# A tokenizer makes fewer characters of a token than this, over a text that is worth reading.
_CHARACTERS_A_TOKEN = 8


def room_of(model: Any) -> int:
    """How many tokens the model has positions for."""
    config = model.config.get_text_config()
    return getattr(config, "max_position_embeddings", None) or 2**31


def middle_cut(text: str, budget: int) -> str:
    """The text in at most `budget` characters: its beginning and its end around a mark."""
    if len(text) <= budget:
        return text
    kept = budget - len(_MARK)
    return text[: kept - kept // 2] + _MARK + text[len(text) - kept // 2 :]


def cut_candidates(call: Call, budget: int) -> Call:
    """The call with every candidate of its item in at most `budget` characters."""
    cut = [replace(one, text=middle_cut(one.text, budget)) for one in call.item.candidates]
    return replace(call, item=call.item.with_candidates(cut))


def fitted(
    call: Call, num_tokens: Callable[[Call], int], room: int, overflow: Overflow
) -> tuple[Call | None, dict[str, Any]]:
    """The call as it fits into `room` tokens, or None, and what its verdict says of that.

    Under `truncate` all its candidates share the largest budget of characters that fits, so none
    is judged by more of its text than another.
    """
    if num_tokens(call) <= room:
        return call, {}
    if overflow == "error":
        return None, TOO_LONG
    longest = max(len(one.text) for one in call.item.candidates)
    low, high = LEAST, min(longest, _CHARACTERS_A_TOKEN * room)
    if num_tokens(cut_candidates(call, low)) > room:
        return None, TOO_LONG  # what stands around the candidates does not fit
    while high - low > 1:
        middle = (low + high) // 2
        if num_tokens(cut_candidates(call, middle)) <= room:
            low = middle
        else:
            high = middle
    return cut_candidates(call, low), {"candidates_cut_to": low}
