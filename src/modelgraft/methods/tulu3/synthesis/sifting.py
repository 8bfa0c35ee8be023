"""What is no prompt, not what was asked for, or none that is new."""

from __future__ import annotations

import math
import re
from collections import defaultdict

from modelgraft.language.endpoints.exchange import Reply
from modelgraft.methods.tulu3.synthesis.briefs import TAGS, Brief

_WORD = re.compile(r"\w+")


class Unfit(Exception):
    """Why something that was written is rejected: the kind of fault, and a sentence."""

    def __init__(self, kind: str, told: str) -> None:
        self.kind = kind
        super().__init__(told)


def whole_text(reply: Reply) -> str:
    """The text of a reply that ended by itself; `Unfit` for any other."""
    if reply.finish_reason == "length":
        raise Unfit("cut off", "it was cut off at the longest answer that was allowed")
    text = reply.text.strip()
    if not text:
        raise Unfit("blank", "there is no text in the answer")
    if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
        raise Unfit("not text", "it holds a NUL character or half of a surrogate pair")
    return text


def untagged(brief: Brief, reply: Reply) -> str:
    """The prompt in what a writer wrote, without its tag; `Unfit` where there is none.

    The tag must open the text and stand in it once: a second one begins a second prompt.
    """
    text, tag = whole_text(reply), TAGS[brief.skill]
    if not text.startswith(tag):
        raise Unfit("no tag", f"it does not begin with {tag!r} but with {text[:40]!r}")
    prompt = text.removeprefix(tag).strip()
    if tag in prompt:
        raise Unfit("several", f"{tag!r} stands in it more than once")
    if not _WORD.search(prompt):
        raise Unfit("blank", "there is no word behind the tag")
    return prompt


def require_plan(brief: Brief, prompt: str) -> None:
    """Raise `Unfit` unless the prompt holds all it needs, in any case and spacing."""
    plain = " ".join(prompt.lower().split())
    for part in brief.needed:
        wanted = " ".join(part.lower().split())
        if not re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", plain):
            raise Unfit("not as planned", f"{part!r} does not stand in it")


class Seen:
    """Prompts so far, to find one that is as similar as `threshold` to a new one.

    Similar is the Jaccard index of their word sets, without case: words of both by words of either.
    Prompts without a common word are never similar.

    Sorted by one order, the first |x| - ceil(t |x|) + 1 words of two sets of similarity t have one
    in common (prefix filter; Chaudhuri et al. 2006), so few pairs are compared. Long words are
    rare, so they come first.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._words: list[frozenset[str]] = []
        self._names: list[str] = []
        self._by_word: dict[str, list[int]] = defaultdict(list)

    def find(self, prompt: str) -> str:
        """The name of the first similar prompt; empty if there is none."""
        words = _words(prompt)
        near = sorted({place for word in self._prefix(words) for place in self._by_word[word]})
        for place in near:
            common = len(words & self._words[place])
            if common / len(words | self._words[place]) >= self._threshold:
                return self._names[place]
        return ""

    def add(self, name: str, prompt: str) -> None:
        """Remember a prompt under a name."""
        words = _words(prompt)
        for word in self._prefix(words):
            self._by_word[word].append(len(self._words))
        self._words.append(words)
        self._names.append(name)

    def _prefix(self, words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (-len(word), word))
        least = math.ceil(self._threshold * len(words) - 1e-9)
        return ordered[: len(words) - least + 1]


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
