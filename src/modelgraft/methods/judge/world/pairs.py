"""Pairs of answers of which one is better by construction, in categories of known difficulty.

Plain categories have a good answer that is also the likelier text. In adversarial ones it is not:
the correct fact is the less familiar one, the good answer is the shorter one, or a constraint has
to be counted; there a judge has to read what was asked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.world.lexicon import (
    ADJECTIVES,
    CAPITALS,
    DECOYS,
    FILLER,
    TEMPLATES,
    WORDS,
)

Split = Literal["train", "held-out"]
GOOD, BAD, CATEGORY = "good", "bad", "category"
_OFFSETS = (-3, -2, 2, 3, 5)


@dataclass(frozen=True)
class Drawn:
    """An instruction with a good and a bad answer."""

    instruction: str
    good: str
    bad: str


class Draw:
    """What a category draws from: words and facts of a split, and random numbers."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.rng = rng
        self.words = _part(WORDS, split)
        self.countries = _part(sorted(CAPITALS), split)
        self.decoys = _part(sorted(DECOYS), split)

    def word(self, *others: str) -> str:
        """A word that is none of the others."""
        return self.rng.choice([one for one in self.words if one not in others])

    def sentence(self, word: str) -> str:
        """A sentence about a word."""
        template = self.rng.choice(TEMPLATES)
        other, adjective = self.word(word), self.rng.choice(ADJECTIVES)
        return template.format(word=word, other=other, adjective=adjective)


def _part(values: Sequence[str], split: Split) -> list[str]:
    """Every third value is held out."""
    return [one for place, one in enumerate(values) if (place % 3 == 2) == (split == "held-out")]


def _sums(draw: Draw) -> Drawn:
    first, second = draw.rng.randint(2, 9), draw.rng.randint(2, 9)
    wrong = first + second + draw.rng.choice(_OFFSETS)
    said = f"{first} plus {second} is"
    return Drawn(f"What is {first} plus {second}?", f"{said} {first + second}.", f"{said} {wrong}.")


def _capitals(draw: Draw) -> Drawn:
    country, other = draw.rng.sample(draw.countries, 2)
    said = f"The capital of {country} is"
    return Drawn(
        f"What is the capital of {country}?",
        f"{said} {CAPITALS[country]}.",
        f"{said} {CAPITALS[other]}.",
    )


def _copying(draw: Draw) -> Drawn:
    word = draw.word()
    return Drawn(f'Write the word "{word}" and nothing else.', word, draw.word(word))


def _off_topic(draw: Draw) -> Drawn:
    country, other = draw.rng.sample(draw.countries, 2)
    return Drawn(
        f"Tell me one fact about {country}.",
        f"The capital of {country} is {CAPITALS[country]}.",
        f"The capital of {other} is {CAPITALS[other]}.",
    )


def _fluency(draw: Draw) -> Drawn:
    word = draw.word()
    good = draw.sentence(word)
    words = good.rstrip(".").split()
    bad = words
    while bad == words:
        bad = draw.rng.sample(words, len(words))
    return Drawn(f"Write a short sentence about a {word}.", good, " ".join(bad) + ".")


def _word_count(draw: Draw) -> Drawn:
    num = draw.rng.randint(3, 6)
    words = draw.rng.sample(draw.words, num + 2)
    wrong = num + draw.rng.choice((-1, 1, 2)) if num > 3 else num + draw.rng.choice((1, 2))
    return Drawn(f"Write exactly {num} words.", " ".join(words[:num]), " ".join(words[:wrong]))


def _forbidden(draw: Draw) -> Drawn:
    word = draw.word()
    banned = draw.rng.choice([one for one in draw.words if one != word])
    template = draw.rng.choice(TEMPLATES)
    adjective = draw.rng.choice(ADJECTIVES)
    other = draw.word(word, banned)
    good, bad = (template.format(word=word, other=one, adjective=adjective)
                 for one in (other, banned))  # fmt: skip
    return Drawn(f'Write a sentence about a {word} without the word "{banned}".', good, bad)


def _json_shape(draw: Draw) -> Drawn:
    word, adjective = draw.word(), draw.rng.choice(ADJECTIVES)
    good = json.dumps({"thing": word, "look": adjective})
    bad = f"The thing is a {word} and its look is {adjective}."
    return Drawn(f"Say that a {word} is {adjective}. Answer in JSON.", good, bad)


def _less_familiar(draw: Draw) -> Drawn:
    country = draw.rng.choice(draw.decoys)
    right, wrong = DECOYS[country].split("/")
    said = f"The capital of {country} is"
    return Drawn(f"What is the capital of {country}?", f"{said} {right}.", f"{said} {wrong}.")


def _short_right(draw: Draw) -> Drawn:
    """A short right answer against a long and friendly wrong one."""
    country, other = draw.rng.sample(draw.countries, 2)
    filler = " ".join(draw.rng.sample(FILLER, 3))
    return Drawn(
        f"What is the capital of {country}?",
        f"{CAPITALS[country]}.",
        f"{filler} The capital of {country} is {CAPITALS[other]}.",
    )


CATEGORIES: dict[str, Callable[[Draw], Drawn]] = {
    "sums": _sums,
    "capitals": _capitals,
    "copying": _copying,
    "off_topic": _off_topic,
    "fluency": _fluency,
    "word_count": _word_count,
    "forbidden": _forbidden,
    "json": _json_shape,
    "less_familiar": _less_familiar,
    "short_right": _short_right,
}
PLAIN = ("sums", "capitals", "copying", "off_topic", "fluency")
ADVERSARIAL = tuple(name for name in CATEGORIES if name not in PLAIN)


def category_of(item: Item) -> str:
    """The category of a pair of the world."""
    return item.meta[CATEGORY]


def world_pairs(
    num_each: int,
    *,
    split: Split = "held-out",
    seed: int = 0,
    categories: Sequence[str] = tuple(CATEGORIES),
) -> list[Item]:
    """`num_each` pairs of every category, all different, the good answer at a random place.

    The candidates' ids are good and bad. Words and facts of the two
    splits are disjoint; sums share their numbers, as there are few.
    """
    items: list[Item] = []
    for name in categories:
        rng = random.Random(rng_seed("judge", "pairs", split, seed, name))
        draw = Draw(split, rng)
        seen: set[Drawn] = set()
        for number in range(num_each):
            found = CATEGORIES[name](draw)
            for _ in range(100):  # a small category repeats itself rather than run dry
                if found not in seen:
                    break
                found = CATEGORIES[name](draw)
            seen.add(found)
            both = [Candidate(GOOD, found.good), Candidate(BAD, found.bad)]
            rng.shuffle(both)
            items.append(
                Item(
                    f"{split}-{name}-{seed}-{number}",
                    found.instruction,
                    tuple(both),
                    label=GOOD,
                    meta={CATEGORY: name},
                )
            )
    return items
