"""Chat templates, cut where one long part ends and the question begins.

A chat is rendered with a mark before and behind each text that somebody wrote. The marks part the
template's own markup, which may hold control tokens, from those texts, which may not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from modelgraft.core.errors import InputError

_PRIVATE = 0xE000  # the first of sixteen private-use characters that marks are made of


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


def chat_frame(tokenizer: Any) -> Frame:
    """The markup before and after the first user turn, and between an answer and the next.

    A tokenizer without a chat template gets its BOS token before and the word Answer after.
    """
    if not tokenizer.chat_template:
        return Frame(tokenizer.bos_token or "", "\nAnswer:", "\n")
    turn = {"role": "user", "content": ""}
    prefix, _, suffix = _pieces(tokenizer, [turn])
    answer = {"role": "assistant", "content": "text"}
    # The answer's text ends where the markup between the turns begins.
    *_, between, _, _ = _pieces(tokenizer, [turn, answer, turn])
    return Frame(prefix, suffix, between)


def split_chat(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], *, document: str = ""
) -> Prompt:
    """Token ids of a chat, split before its last user turn's text.

    Everything before that text, markup and `document` included, is context; the text, the end of
    the turn and the assistant's header are the query. All parts are tokenised apart, without
    automatic special tokens, and control tokens spelled out in the text of any turn stay plain
    text.
    """
    if not messages or messages[-1].get("role") != "user":
        raise InputError("the last message must be the user's question.")
    if tokenizer.chat_template:
        # What is asked must not change what is encoded before it.
        *before, _, suffix = _pieces(tokenizer, [*messages[:-1], {"role": "user", "content": ""}])
    else:
        frame = chat_frame(tokenizer)
        said = "".join(f"{message['content']}\n" for message in messages[:-1])
        before, suffix = [frame.prefix, said], frame.suffix
    context: list[int] = []
    for number, piece in enumerate(before):
        context += encode(tokenizer, piece, markup=number % 2 == 0)
    if document:
        context += encode(tokenizer, document + "\n\n")
    query = encode(tokenizer, messages[-1]["content"])
    query += encode(tokenizer, suffix, markup=True)
    return Prompt(tuple(context), tuple(query))


def encode(tokenizer: Any, text: str, *, markup: bool = False) -> list[int]:
    """Token ids without automatic special tokens; only `markup` may hold control tokens."""
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=not markup, verbose=False)
    return list(ids["input_ids"])


def is_seamless(tokenizer: Any, left: str, right: str) -> bool:
    """Whether the two texts give the same tokens apart as joined."""
    return encode(tokenizer, left) + encode(tokenizer, right) == encode(tokenizer, left + right)


def _pieces(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> list[str]:
    """The rendered chat as markup and texts in turn: markup first and last, the last text last.

    White space around a text stays outside its marks, where a template may trim it. A template may
    leave a text out, or show texts in another order, but not change them or leave out the last.
    """
    texts = [text for turn in turns for name, text in turn.items() if name != "role"]
    # Characters that no template writes or changes, in an order that no text can foresee.
    digits = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    mark = "".join(chr(_PRIVATE + int(digit, 16)) for digit in digits)
    written = {text.strip() for text in texts}

    def marked(text: str) -> str:
        inner = text.strip()
        return text.replace(inner, mark + inner + mark, 1) if inner else text + mark + mark

    shown = [
        {name: text if name == "role" else marked(text) for name, text in turn.items()}
        for turn in turns
    ]
    pieces = _render(tokenizer, shown).split(mark)
    inner = pieces[1::2]
    is_cut = any(_PRIVATE <= ord(character) < _PRIVATE + 16 for character in "".join(pieces[::2]))
    is_whole = len(pieces) % 2 == 1 and set(inner) <= written and not is_cut
    if not is_whole or not inner or inner[-1] != turns[-1]["content"].strip():
        raise InputError(
            "the chat template does not show the turns unchanged, the user's last.\n"
            "  Use another template, or call the library with token ids."
        )
    return pieces


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
