"""Texts that are judged, shut off from what the judge is told.

A fence is a line with a word that no candidate can hold: it is the hash of all texts of the item, a
candidate included, so who wants to write it would have to find a text that holds its own hash. It
is the same in every call on the item, so calls share beginnings and a store finds them again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from modelgraft.core.errors import InputError

FENCE_HEX = 16  # 64 bits

# What shows as nothing, or turns the direction of what follows.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# The control tokens of the usual chat templates, as somebody would spell them out.
_CONTROL = re.compile(
    r"<(?=\|[^|<>\n]{1,40}\|>)"  # <|im_start|>, <|eot_id|>
    r"|<(?=/?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|tool_call|tool_response)>)"
    r"|\[(?=/?INST\])|<(?=</?SYS>>)"
)
_UNSOUND = re.compile("[\x00\ud800-\udfff]")


def fence_word(texts: Iterable[str]) -> str:
    """The word of the fences around these texts: 16 hexadecimal digits, whatever their order.

    Raises `InputError` in the one case of 2^64 in which a text holds it.
    """
    ordered = sorted(texts)
    digest = hashlib.sha256()
    for text in ordered:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    word = digest.hexdigest()[:FENCE_HEX]
    if any(word in text for text in ordered):
        raise InputError(f"a text holds {word}, the word of its own fence, and cannot be judged.")
    return word


def fenced(text: str, name: str, word: str) -> str:
    """The text between two lines that only whoever knows the word can write."""
    return f"<{name} {word}>\n{text}\n</{name} {word}>"


def cleaned(text: str, controls: Sequence[str] = ()) -> str:
    """The text without what a reader does not see, and with control tokens broken up.

    `controls` are further spellings, such as those of the judge's own tokenizer. A space goes in
    behind the first character of each, so it can still be read. Keep the original for hashing.
    """
    text = _UNSOUND.sub("\ufffd", _INVISIBLE.sub("", text))
    text = _CONTROL.sub(lambda match: match.group() + " ", text)
    for token in controls:
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def marked(text: str, mark: str = "^") -> str:
    """The text with a mark for every space between words, so that data looks like data."""
    return re.sub(r" +", mark, text)
