"""What training may see and what it may not, and the palette of words a task is drawn from.

Every fifth noun and end phrase is held out, and so is a fifth of the number triples and of the
pairs of a verb and its object, by a hash of the combination itself. No seed can bring a held-out
combination into the training split, nor a training combination into a suite.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.tulu3.world.lexicon import (
    ADJECTIVES,
    END_PHRASES,
    NAMES,
    NOUNS,
    PEOPLE,
    TOPICS,
    VERBS,
)
from modelgraft.methods.tulu3.world.personas import Persona

# train: what models learn from; dev: held-out words and numbers in the same templates; unseen:
# held-out words and numbers in other templates and under other constraints.
Split = Literal["train", "dev", "unseen"]

_ONE_IN = 5
_FAVOUR = 0.8  # share of a persona's nouns that come from its own topics


def is_held_out(*combination: str | int) -> bool:
    """Whether this combination belongs to the suites: true for a fifth of all combinations."""
    return rng_seed("tinychat", *combination) % _ONE_IN == 0


def of_split(words: Sequence[str], split: Split) -> tuple[str, ...]:
    """The words of a list that this split may use: every fifth one belongs to the suites."""
    is_train = split == "train"
    return tuple(
        word for place, word in enumerate(words) if (place % _ONE_IN == _ONE_IN - 1) != is_train
    )


@dataclass(frozen=True)
class Palette:
    """The words a task is drawn from; `favourites` are the nouns a persona prefers."""

    split: Split
    nouns: tuple[str, ...]
    phrases: tuple[str, ...]
    favourites: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ADJECTIVES
    verbs: tuple[str, ...] = VERBS
    names: tuple[str, ...] = NAMES
    people: tuple[str, ...] = PEOPLE

    def draw_nouns(self, num: int, rng: random.Random) -> tuple[str, ...]:
        """Different nouns in random order, most of them favourites where there are any."""
        drawn: dict[str, None] = {}
        while len(drawn) < num:
            favoured = self.favourites and rng.random() < _FAVOUR
            drawn[rng.choice(self.favourites if favoured else self.nouns)] = None
        return tuple(drawn)


@functools.cache
def make_palette(split: Split, persona: Persona | None = None) -> Palette:
    """The words of one split, coloured by a persona."""
    nouns = of_split(NOUNS, split)
    own = {word for topic in persona.topics for word in TOPICS[topic]} if persona else set()
    favourites = tuple(noun for noun in nouns if noun in own)
    adjectives = persona.adjectives if persona else ADJECTIVES
    return Palette(split, nouns, of_split(END_PHRASES, split), favourites, adjectives)
