"""Skill (a): two-step word sums with worked text that ends with "The answer is 12."."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from modelgraft.methods.tulu3.world.draft import draw_allowed
from modelgraft.methods.tulu3.world.lexicon import NUMBER_WORDS
from modelgraft.methods.tulu3.world.splits import Palette

Sign = Literal["+", "-"]
# Results stay between 0 and three times this number.
LARGEST = 15

# Two signs and a text. Digits stand for {a} {b} {c}, number words for {A} {B} {C}.
_TEMPLATES: tuple[tuple[Sign, Sign, str], ...] = (
    ("+", "-", "{name} has {a} {things}, gets {b}, then loses {c}. How many now?"),
    ("+", "+", "{name} has {a} {things}, finds {b}, then gets {c}. How many now?"),
    ("-", "+", "{name} has {a} {things}, loses {b}, then finds {c}. How many now?"),
    ("-", "-", "{name} has {a} {things}, loses {b}, then sells {c}. How many now?"),
    ("+", "+", "What is {a} plus {b} plus {c}?"),
    ("+", "-", "What is {a} plus {b} minus {c}?"),
    ("-", "+", "What is {a} minus {b} plus {c}?"),
    ("-", "-", "What is {a} minus {b} minus {c}?"),
)
_UNSEEN_TEMPLATES: tuple[tuple[Sign, Sign, str], ...] = (
    ("+", "-", "{name} has {a} {things}, finds {b}, then sells {c}. How many now?"),
    ("-", "+", "Now what is {a} minus {b} plus {c}?"),
    ("+", "+", "How many {things} has {name}, with {a} plus {b} plus {c}?"),
    ("+", "-", "Take {A} plus {B} minus {C}. How much is it?"),
)
_WORDY = "Let us go step by step and see. "


@dataclass(frozen=True)
class Sum:
    """Three numbers from 2 up, joined by two signs; no result is below zero."""

    numbers: tuple[int, int, int]
    signs: tuple[Sign, Sign]
    template: str
    name: str
    thing: str

    @property
    def kind(self) -> str:
        """The two signs."""
        return "".join(self.signs)

    @property
    def combination(self) -> tuple[str | int, ...]:
        """The numbers and the signs, whatever the story."""
        return ("sum", *self.numbers, *self.signs)

    @property
    def dataset(self) -> str:
        """The last number of an answer counts, as in GSM8K."""
        return "gsm8k"

    @property
    def results(self) -> tuple[int, int]:
        """What is left after the first and after the second step."""
        a, b, c = self.numbers
        first = _apply(a, self.signs[0], b)
        return first, _apply(first, self.signs[1], c)

    @property
    def ground_truth(self) -> str:
        """The second result."""
        return str(self.results[1])

    @property
    def content(self) -> tuple[str, ...]:
        """The two steps."""
        a, b, c = self.numbers
        first, second = self.results
        return _step(a, self.signs[0], b, first), _step(first, self.signs[1], c, second)

    def prompt(self) -> str:
        """The story with its question."""
        a, b, c = self.numbers
        numbers = {"a": a, "b": b, "c": c}
        words = {key.upper(): NUMBER_WORDS[number] for key, number in numbers.items()}
        return self.template.format(name=self.name, things=f"{self.thing}s", **numbers, **words)

    def right(self, *, wordy: bool = False) -> str:
        """Both steps and the answer."""
        return _work(self.content, self.results[1], wordy)

    def wrong(self, rng: random.Random, *, wordy: bool = False) -> dict[str, str]:
        """A slip in the first step, a wrong sign, an early stop, a wrong last line, no answer."""
        a, b, c = self.numbers
        first, second = self.results
        slip = first + rng.choice((1, 2, 3))
        after_slip = _apply(slip, self.signs[1], c)
        other: Sign = "-" if self.signs[1] == "+" else "+"
        after_sign = _apply(first, other, c)
        steps = self.content
        slipped = _step(a, self.signs[0], b, slip), _step(slip, self.signs[1], c, after_slip)
        turned = steps[0], _step(first, other, c, after_sign)
        return {
            "slip": _work(slipped, after_slip, wordy),
            "wrong_sign": _work(turned, after_sign, wordy),
            "stops_early": _work(steps[:1], first, wordy),
            "wrong_last_line": _work(steps, second + rng.choice((1, 2, 3)), wordy),
            "no_answer": (_WORDY if wordy else "") + "I do not know.",
        }

    def weak(self) -> dict[str, str]:
        """The answer without its work."""
        return {"no_work": _work((), self.results[1], False)}


def draw_sum(palette: Palette, rng: random.Random) -> Sum:
    """A sum whose numbers and signs this split may use."""
    templates = _UNSEEN_TEMPLATES if palette.split == "unseen" else _TEMPLATES

    def draw() -> Sum:
        first, second, text = rng.choice(templates)
        while True:
            a, b, c = (rng.randint(2, LARGEST) for _ in range(3))
            middle = _apply(a, first, b)
            if middle >= 0 and _apply(middle, second, c) >= 0:
                break
        (thing,) = palette.draw_nouns(1, rng)
        return Sum((a, b, c), (first, second), text, rng.choice(palette.names), thing)

    return draw_allowed(draw, palette.split)


def _apply(left: int, sign: Sign, right: int) -> int:
    return left + right if sign == "+" else left - right


def _step(left: int, sign: Sign, right: int, result: int) -> str:
    return f"{left}{sign}{right}={result}"


def _work(steps: tuple[str, ...], answer: int, wordy: bool) -> str:
    lines = "".join(f"{step}. " for step in steps)
    return f"{_WORDY if wordy else ''}{lines}The answer is {answer}."
