"""Skill (c): copy, reverse or sort a few words; the last line of an answer counts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from modelgraft.methods.tulu3.world.draft import draw_allowed
from modelgraft.methods.tulu3.world.splits import Palette

Operation = Literal["copy", "reverse", "sort"]
DATASET = "tinychat_words"
_NUM_WORDS = (2, 4)
_UNSEEN_NUM_WORDS = (2, 5)

_TEMPLATES: dict[Operation, tuple[str, ...]] = {
    "copy": ("Copy these words: {words}", "Write again: {words}", "Copy this: {words}"),
    "reverse": ("Reverse these words: {words}", "Say backwards: {words}", "Reverse this: {words}"),
    "sort": ("Sort these words: {words}", "Put in order: {words}", "Sort this: {words}"),
}
_UNSEEN_TEMPLATES: dict[Operation, tuple[str, ...]] = {
    "copy": ("Write these words again: {words}", "Please copy: {words}"),
    "reverse": ("Say these words backwards: {words}", "Please reverse: {words}"),
    "sort": ("Put these words in order: {words}", "Please sort: {words}"),
}
_COPY_TEMPLATE = "Copy: {words}"
_SHORT, _LONG = 4, 80  # characters of the answers that E1 mixes
_WORDY = "Here is what you asked me for.\n"


@dataclass(frozen=True)
class Ordering:
    """Different words, no two with the same first letter, and what to do with them."""

    operation: Operation
    words: tuple[str, ...]
    template: str

    @property
    def kind(self) -> str:
        """The operation."""
        return self.operation

    @property
    def combination(self) -> tuple[str | int, ...]:
        """The words in their order, whatever is done to them."""
        return ("words", *self.words)

    @property
    def dataset(self) -> str:
        """A verifier of this world."""
        return DATASET

    @property
    def ground_truth(self) -> str:
        """The words in the asked order."""
        return " ".join(_order(self.operation, self.words))

    @property
    def content(self) -> tuple[str, ...]:
        """The words."""
        return self.words

    def prompt(self) -> str:
        """The request with its words."""
        return self.template.format(words=" ".join(self.words))

    def right(self, *, wordy: bool = False) -> str:
        """The words in the asked order."""
        return (_WORDY if wordy else "") + self.ground_truth

    def wrong(self, rng: random.Random, *, wordy: bool = False) -> dict[str, str]:
        """Another operation, a lost word, two words swapped, a wrong letter, the prompt again."""
        words = list(_order(self.operation, self.words))
        place = rng.randrange(max(len(words) - 1, 1))
        swapped = [*words]
        swapped[place : place + 2] = reversed(words[place : place + 2])
        misspelt = [*words]
        misspelt[place] = _misspell(words[place], rng)
        other = tuple(words[::-1]) if self.words == tuple(words) else self.words
        answers = {
            "other_operation": " ".join(other),
            "lost_word": " ".join(words[:place] + words[place + 1 :]),
            "swapped_words": " ".join(swapped),
            "wrong_letter": " ".join(misspelt),
            "echo": self.prompt(),
        }
        return {
            name: (_WORDY if wordy else "") + text
            for name, text in answers.items()
            if text != self.ground_truth
        }

    def weak(self) -> dict[str, str]:
        """None: an answer is exact or wrong."""
        return {}


def draw_ordering(palette: Palette, rng: random.Random) -> Ordering:
    """Words to copy, reverse or sort that this split may use in this order."""
    templates = _UNSEEN_TEMPLATES if palette.split == "unseen" else _TEMPLATES
    sizes = _UNSEEN_NUM_WORDS if palette.split == "unseen" else _NUM_WORDS
    operation = rng.choice(tuple(templates))
    template = rng.choice(templates[operation])

    def draw() -> Ordering:
        num = rng.randint(*sizes)
        while True:
            words = palette.draw_nouns(num, rng)
            if len({word[0] for word in words}) == num:
                return Ordering(operation, words, template)

    return draw_allowed(draw, palette.split)


def draw_copy(palette: Palette, rng: random.Random, *, is_long: bool) -> Ordering:
    """Copy one word of four letters, or as many words as fill 73 to 80 characters."""
    if not is_long:
        word = rng.choice([noun for noun in palette.nouns if len(noun) == _SHORT])
        return Ordering("copy", (word,), _COPY_TEMPLATE)
    words = palette.draw_nouns(20, rng)
    while len(" ".join(words)) > _LONG:
        words = words[:-1]
    return Ordering("copy", words, _COPY_TEMPLATE)


def _order(operation: Operation, words: tuple[str, ...]) -> tuple[str, ...]:
    if operation == "copy":
        return words
    return words[::-1] if operation == "reverse" else tuple(sorted(words))


def _misspell(word: str, rng: random.Random) -> str:
    place = rng.randrange(len(word))
    letter = rng.choice([one for one in "aeiounrst" if one != word[place]])
    return word[:place] + letter + word[place + 1 :]
