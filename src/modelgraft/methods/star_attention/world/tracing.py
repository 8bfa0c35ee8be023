"""Variable tracking: the `vt` task of RULER, one chain of assignments in repeated filler."""

from __future__ import annotations

import random
import string
from itertools import pairwise

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.world.fitting import Draft, Growth
from modelgraft.methods.star_attention.world.haystacks import REPEAT, insert_at

BUDGET = 30
NUM_HOPS = 4
_EXAMPLE_LINES = 5  # Filler lines of the worked example: about 250 tokens, at most 500 allowed.


def vt_growth(seed: int) -> Growth:
    """One chain of five variables at any number of filler lines, after a short worked example."""
    rng = random.Random(seed)
    shown, asked = rng.sample(range(10_000, 99_999), 2)
    shown_names = _names(rng, length=3)
    names = _names(rng, length=5)
    shown_text = _scatter(_chain(shown_names, shown), _EXAMPLE_LINES, rng)
    example = (
        f"{_opening(shown_text)}{_question(shown)}\n{_prefix(shown)} {' '.join(shown_names)}\n\n"
    )
    chain = _chain(names, asked)
    places = rng_seed(seed, "places")

    def build(size: int) -> Draft:
        text = _scatter(chain, size, random.Random(places))
        context = example + _opening(text)
        return Draft(context, _question(asked), tuple(names), _prefix(asked), tuple(chain))

    return Growth(build, smallest=1)


def _names(rng: random.Random, *, length: int) -> list[str]:
    """One more distinct name than there are hops."""
    names: dict[str, None] = {}
    while len(names) <= NUM_HOPS:
        names["".join(rng.choices(string.ascii_uppercase, k=length))] = None
    return list(names)


def _chain(names: list[str], value: int) -> list[str]:
    later = [f"VAR {name} = VAR {source}" for source, name in pairwise(names)]
    return [f"VAR {names[0]} = {value}", *later]


def _scatter(chain: list[str], num_lines: int, rng: random.Random) -> str:
    """The chain in its order at random places among filler lines."""
    spots = sorted(rng.choices(range(num_lines + 1), k=len(chain)))
    return "\n".join(insert_at([REPEAT] * num_lines, chain, spots))


def _opening(text: str) -> str:
    return (
        "The text below assigns values to variables, directly or through another variable. "
        f"Keep track of which variable holds what.\n\n{text}\n"
    )


def _question(value: int) -> str:
    return f"Question: Which variables hold the value {value} in the text above?"


def _prefix(value: int) -> str:
    return (
        f"Answer: Following the assignments in the text above, {NUM_HOPS + 1} variables hold the "
        f"value {value}:"
    )
