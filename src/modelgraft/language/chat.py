"""Chat templates, cut where one long part ends and the question begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from modelgraft.core.errors import InputError

# Two private-use characters: no template writes them, and no template's trimming removes them.
_MARK = "\ue000\ue001"


@dataclass(frozen=True)
class Prompt:
    """Token ids of the part before the question and of everything from the question on."""

    context_ids: tuple[int, ...]
    query_ids: tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """The chat markup around a user's text: up to it, after it, and between two turns."""

    prefix: str
    suffix: str
    between: str


def chat_frame(tokenizer: Any, messages: Sequence[Mapping[str, str]] = ()) -> Frame:
    """The markup before and after the last user turn; `messages` are the turns before it.

    A tokenizer without a chat template gets its BOS token before and the word Answer after.
    """
    if not tokenizer.chat_template:
        start = tokenizer.bos_token or ""
        past = "".join(f"{message['content']}\n" for message in messages)
        return Frame(start + past, "\nAnswer:", "\n")
    turns = [*messages, {"role": "user", "content": _MARK}]
    text = _render(tokenizer, turns)
    prefix, mark, suffix = text.rpartition(_MARK)
    if not mark:
        raise InputError(
            "the chat template does not show the last user turn unchanged.\n"
            "  Use another template, or call the library with token ids."
        )
    again = _render(
        tokenizer,
        [*turns, {"role": "assistant", "content": _MARK}, {"role": "user", "content": ""}],
    )
    between = again.rpartition(_MARK)[2].removesuffix(suffix)
    return Frame(prefix, suffix, between)


def split_chat(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], *, document: str = ""
) -> Prompt:
    """Token ids of a chat, split before its last user turn's text.

    Everything before that text, markup and `document` included, is context; the text, the end of
    the turn and the assistant's header are the query. Both are tokenised apart, without automatic
    special tokens, and control tokens spelled out in a user's text stay plain text.
    """
    if not messages or messages[-1].get("role") != "user":
        raise InputError("the last message must be the user's question.")
    frame = chat_frame(tokenizer, messages[:-1])
    context = encode(tokenizer, frame.prefix, markup=True)
    if document:
        context += encode(tokenizer, document + "\n\n")
    query = encode(tokenizer, messages[-1]["content"])
    query += encode(tokenizer, frame.suffix, markup=True)
    return Prompt(tuple(context), tuple(query))


def encode(tokenizer: Any, text: str, *, markup: bool = False) -> list[int]:
    """Token ids without automatic special tokens; only `markup` may hold control tokens."""
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=not markup, verbose=False)
    return list(ids["input_ids"])


def is_seamless(tokenizer: Any, left: str, right: str) -> bool:
    """Whether the two texts give the same tokens apart as joined."""
    return encode(tokenizer, left) + encode(tokenizer, right) == encode(tokenizer, left + right)


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:  # broken, or it refuses these turns
        raise InputError(
            f"the chat template cannot be used with these turns: {error}.\n"
            "  Use another template, or call the library with token ids."
        ) from None
