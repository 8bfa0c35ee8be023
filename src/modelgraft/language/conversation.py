"""Conversations as training samples: one render, one tokenisation, labels on what was answered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError

from modelgraft.core.errors import InputError
from modelgraft.language.packing import IGNORED, Sample

ROLES = ("system", "user", "assistant")
PAD_TOKEN = "<pad>"
_MULTIPLE = 8

# Role tags are plain text, so no token is added for them, and no BOS is written.
TULU_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' ~ message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not (loop.last and message['role'] == 'assistant') %}{{ '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

Messages = Sequence[Mapping[str, Any]]


def set_chat_template(tokenizer: Any, template: str = TULU_TEMPLATE) -> None:
    """Give a tokenizer this chat template and a padding token that is not its end-of-text token.

    The default is the Tulu format (arXiv 2411.15124). `save_pretrained` keeps both. After a token
    was added, call `resize_embeddings` on the model.

    Raises `InputError` for a tokenizer without an end-of-text token: nothing could end an answer.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer has no end-of-text token, so a model could not learn to end an answer.\n"
            "  Set tokenizer.eos_token to one of its tokens first."
        )
    tokenizer.chat_template = template
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})


def resize_embeddings(model: Any, tokenizer: Any) -> None:
    """Give the model a row for every token, in a multiple of 8, and tell it which one pads.

    New rows are the mean of the old ones, in both embeddings, so that no seed matters and a token
    that was never seen starts as unlikely as the average one. A model with enough rows keeps its
    weights.
    """
    old = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > old:
        model.resize_token_embeddings(
            len(tokenizer), pad_to_multiple_of=_MULTIPLE, mean_resizing=False
        )
        with torch.no_grad():
            for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
                embedding.weight[old:] = embedding.weight[:old].float().mean(dim=0)
    for config in (model.config, model.generation_config):
        config.pad_token_id = tokenizer.pad_token_id


def check_conversation(messages: Messages, *, row: str = "") -> None:
    """Raise `InputError` naming `row` and the message unless this can be learned from.

    Needed are messages of the roles system, user and assistant with text in them, of which the
    last is the assistant's, and never two of the assistant's in a row.
    """
    where = f"{row}: " if row else ""
    if not messages:
        raise InputError(f"{where}the conversation is empty; a question and its answer are needed.")
    before = None
    for number, message in enumerate(messages, start=1):
        here = f"{where}message {number} of {len(messages)}"
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise InputError(f"{here}: a message needs a role and a content.")
        role = message["role"]
        if role not in ROLES:
            raise InputError(f"{here}: unknown role {role!r}; one of {', '.join(ROLES)} is needed.")
        if not isinstance(message["content"], str):
            kind = type(message["content"]).__name__
            raise InputError(f"{here}: its content is of type {kind}; a text is needed.")
        if role == before == "assistant":
            raise InputError(
                f"{here}: a second assistant turn in a row.\n"
                "  Join the two, or put the user turn between them that is missing."
            )
        before = role
    if before != "assistant":
        raise InputError(
            f"{where}the last message is the {before}'s; there is no answer to learn from it.\n"
            "  Remove it, or add the assistant's answer."
        )


def tokenise_conversation(
    tokenizer: Any, messages: Messages, max_length: int, *, row: str = ""
) -> Sample:
    """Token ids of a whole conversation and its labels, both cut at `max_length` from the right.

    The labels are the ids of the assistant's contents, each with the control token that ends its
    turn if the template writes one, and -100 elsewhere. A token that belongs to an answer only in
    part counts as the answer's. The ids are those of the stock `apply_chat_template`, except that
    control tokens spelled out in a content stay text. No label may be left after the cut.

    Raises `InputError`, which begins with `row`, for a conversation that cannot be learned from
    (`check_conversation`) and for a template that does not show its contents unchanged.
    """
    check_conversation(messages, row=row)
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} does not say which characters a token stands for.\n"
            "  Load the tokenizer from a folder with a tokenizer.json."
        )
    parts = _render_parts(tokenizer, messages, row)
    tokens = _encode(tokenizer, parts)
    ids, starts, ends, _ = tokens
    labels = np.full_like(ids, IGNORED)
    for start, end in _answers(tokens, parts, messages):
        labels = np.where((ends > start) & (starts < end), ids, labels)
    return Sample(ids[:max_length].tolist(), labels[:max_length].tolist())


def tokenise_prompt(tokenizer: Any, messages: Messages, *, row: str = "") -> list[int]:
    """Token ids of the messages and of the markup that opens the answer to come.

    As in `tokenise_conversation`, control tokens spelled out in a content stay text. Raises
    `InputError`, which begins with `row`, for messages that an answer cannot follow.
    """
    check_conversation([*messages, {"role": "assistant", "content": "."}], row=row)
    parts = _render_parts(tokenizer, messages, row, opens_answer=True)
    return _encode(tokenizer, parts)[0].tolist()


@dataclass(frozen=True)
class _Part:
    """A stretch of the rendered text: the content of message `index`, or markup if it is None."""

    text: str
    start: int
    index: int | None

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def _render_parts(
    tokenizer: Any, messages: Messages, row: str, *, opens_answer: bool = False
) -> list[_Part]:
    """The rendered conversation, cut where contents begin and end.

    Marks around a content would keep a template from trimming it. So where a content has white
    space at its ends, the marked text is compared with the unmarked one, for the known ways of
    trimming; all other conversations are rendered once.
    """
    contents = [message["content"] for message in messages]
    if all(content == content.strip() for content in contents):
        return _render_marked(tokenizer, messages, row, opens_answer)
    expected = _render(tokenizer, messages, row, opens_answer)
    for trimmed in ((), ROLES, ("assistant",), ("system", "user")):
        given = [
            {**message, "content": message["content"].strip()}
            if message["role"] in trimmed
            else message
            for message in messages
        ]
        parts = _render_marked(tokenizer, given, row, opens_answer)
        if "".join(part.text for part in parts) == expected:
            return parts
    raise _changed(row, "the white space around a content")


def _render_marked(tokenizer: Any, messages: Messages, row: str, opens_answer: bool) -> list[_Part]:
    contents = "".join(message["content"] for message in messages)
    nonce = next(number for number in count() if f"\ue000{number}." not in contents)
    given = []
    for index, message in enumerate(messages):
        mark = f"\ue000{nonce}.{index}\ue001"
        given.append({**message, "content": f"{mark}{message['content']}{mark}"})
    pieces = re.split(f"\ue000{nonce}\\.(\\d+)\ue001", _render(tokenizer, given, row, opens_answer))
    indices = [int(piece) for piece in pieces[1::2]]
    for index, message in enumerate(messages):
        shown = indices.count(index)
        if shown % 2 or (message["role"] == "assistant" and shown != 2):
            raise _changed(row, f"message {index + 1}")
    if indices[::2] != indices[1::2]:
        raise _changed(row, "the order of the messages")
    parts: list[_Part] = []
    for number, text in enumerate(pieces[::2]):
        is_content = number % 2 == 1
        start = parts[-1].end if parts else 0
        parts.append(_Part(text, start, indices[number] if is_content else None))
    return parts


def _render(tokenizer: Any, messages: Messages, row: str, opens_answer: bool) -> str:
    where = f"{row}: " if row else ""
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template; give it one with set_chat_template.")
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=opens_answer
        )
    except TemplateError as error:
        raise InputError(
            f"{where}the chat template cannot be used with these turns: {error}.\n"
            "  Use another template, or remove the conversation."
        ) from None


def _changed(row: str, what: str) -> InputError:
    where = f"{row}: " if row else ""
    return InputError(
        f"{where}the chat template changes {what}, so the answers cannot be found in its text.\n"
        "  Use a template that shows every content as it is, such as set_chat_template gives."
    )


def _encode(tokenizer: Any, parts: Sequence[_Part]) -> np.ndarray:
    """The tokens of the joined parts as `_encode_text` gives them; only markup holds controls."""
    text = "".join(part.text for part in parts)
    controls = [id for id, token in tokenizer.added_tokens_decoder.items() if token.special]
    tokens = _encode_text(tokenizer, text, controls)
    _, starts, ends, is_control = tokens
    is_markup = is_control == 1
    for part in parts:
        if part.index is not None:
            is_markup &= (ends <= part.start) | (starts >= part.end)
    if is_markup.sum() == is_control.sum():
        return tokens
    # Tokenizers cut a text at its control tokens before anything else, so the pieces between those
    # of the markup give the same tokens alone as in the whole; there, the others are read as text.
    pieces, done = [], 0
    for place in np.flatnonzero(is_markup):
        piece = _encode_text(tokenizer, text[done : starts[place]], None)
        pieces += [_moved(piece, done), tokens[:, place : place + 1]]
        done = int(ends[place])
    pieces.append(_moved(_encode_text(tokenizer, text[done:], None), done))
    return np.concatenate(pieces, axis=1)


def _moved(tokens: np.ndarray, offset: int) -> np.ndarray:
    return tokens + np.array([[0], [offset], [offset], [0]])


def _encode_text(tokenizer: Any, text: str, controls: Sequence[int] | None) -> np.ndarray:
    """Rows [4, n]: ids, first character, character after the last, 1 for a token in `controls`.

    Without `controls`, control tokens spelled out in the text are read as text.
    """
    found = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=controls is None,
        return_offsets_mapping=True,
        verbose=False,
    )
    ids = np.array(found["input_ids"], dtype=np.int64)
    starts, ends = np.array(found["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
    # Byte-level tokenizers leave leading spaces out, so a token of spaces alone has no characters
    # left; it begins where the one before it ended.
    before = np.concatenate([[0], ends[:-1]])[: len(ids)]
    starts = np.where(starts == ends, np.minimum(starts, before), starts)
    return np.stack([ids, starts, ends, np.isin(ids, controls or [])])


def _answers(
    tokens: np.ndarray, parts: Sequence[_Part], messages: Messages
) -> list[tuple[int, int]]:
    """Character spans to learn: assistant contents, each with the control token that ends it.

    What ends a turn stands after the last one, where no other markup follows; the same token after
    an earlier answer ends that one.
    """
    text = "".join(part.text for part in parts)
    controls = tokens[:, tokens[3] == 1]
    spans, ending = [], None
    for part in reversed(parts):
        if part.index is None or messages[part.index]["role"] != "assistant":
            continue
        end = part.end
        following = controls[:, controls[1] >= end]
        if following.size and not text[end : following[1, 0]].strip():
            id, _, after, _ = following[:, 0]
            ending = id if not spans else ending
            end = int(after) if id == ending else end
        spans.append((part.start, end))
    return spans
