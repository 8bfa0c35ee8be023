"""Needles in a haystack: the eight `niah` tasks of RULER, and a needle on a block boundary."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

from modelgraft.core.errors import InputError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.world.fitting import Draft, Growth, Target, fit
from modelgraft.methods.star_attention.world.haystacks import REPEAT, essay_sentences, insert_at
from modelgraft.methods.star_attention.world.words import ADJECTIVES, NOUNS

Kind = Literal["word", "number", "uuid"]
BUDGET = 128
_PERCENT_DEPTHS = tuple(round(100 * step / 39) for step in range(40))


@dataclass(frozen=True)
class Needles:
    """What is hidden where: the settings of one niah task (RULER, table of tasks)."""

    haystack: Literal["repeat", "essay", "needle"]
    key: Kind = "word"
    value: Kind = "number"
    num_keys: int = 1
    num_values: int = 1
    num_asked: int = 1


NIAH = {
    "niah_single_1": Needles("repeat"),
    "niah_single_2": Needles("essay"),
    "niah_single_3": Needles("essay", value="uuid"),
    "niah_multikey_1": Needles("essay", num_keys=4),
    "niah_multikey_2": Needles("needle"),
    "niah_multikey_3": Needles("needle", key="uuid", value="uuid"),
    "niah_multivalue": Needles("essay", num_values=4),
    "niah_multiquery": Needles("essay", num_keys=4, num_asked=4),
}


def niah_growth(name: str, seed: int, *, depth: float | None, essay: str | None) -> Growth:
    """One niah sample at any haystack size: lines, or words of an essay.

    `depth` pins the asked needle to that fraction of the haystack; tasks that ask for several
    needles refuse it.
    """
    task = NIAH[name]
    rng = random.Random(seed)
    keys = _distinct(rng, task.key, task.num_keys)
    values = _distinct(rng, task.value, task.num_keys * task.num_values)
    needles = [
        _needle(keys[number // task.num_values], value, task.value)
        for number, value in enumerate(values)
    ]
    num_outputs = task.num_asked * task.num_values
    if depth is not None and num_outputs > 1:
        raise InputError(
            f"{name}: a pinned depth of {depth} needs a task that asks for one needle.\n"
            "  Use niah_single_1, 2, 3 or niah_multikey_1, 2, 3."
        )
    places = _Places(rng_seed(seed, "places"), len(needles), depth)

    def build(size: int) -> Draft:
        if task.haystack == "essay":
            text = " ".join(places.insert_by_percent(essay_sentences(size, essay), needles))
        else:
            lines = [REPEAT] * size
            if task.haystack == "needle":
                lines = _needle_lines(rng_seed(seed, "lines"), task, size, taken={*keys, *values})
            text = "\n".join(places.insert_between(lines, needles))
        marks = tuple(needles[:num_outputs])
        return _draft(text, keys[: task.num_asked], values[:num_outputs], task.value, marks)

    # Half the word keys is far more than any length needs, and draws without collisions stay fast.
    largest = len(ADJECTIVES) * len(NOUNS) // 2 if task.haystack == "needle" else None
    return Growth(build, len(needles), largest, "the supply of distinct keys")


def needle_across(
    index: int, target: Target, *, boundary: int, essay: str | None = None, repeat: bool = False
) -> Sample:
    """A single-needle sample whose key ends before token `boundary` of the context.

    The value starts at the boundary, or at most one haystack word before it, so a block that ends
    there separates key and value: the hardest place for block-wise encoding. Counts are those of
    the context alone; take off what a chat template puts before it.
    """
    name = "niah_across_boundary"
    rng = random.Random(rng_seed(name, target.length, target.seed, index))
    key, value = _distinct(rng, "word", 1), _distinct(rng, "number", 1)
    needle = _needle(key[0], value[0], "number")

    def build(before: int, after: int) -> Draft:
        words = _words(before + after, essay, repeat)
        text = "\n".join((" ".join(words[:before]), needle, " ".join(words[before:])))
        return _draft(text, key, value, "number", (needle,))

    def tokens_to_value(before: int) -> int:
        context = build(before, 0).context
        return target.count_tokens(context[: context.index(needle) + needle.index(value[0])])

    if not tokens_to_value(0) <= boundary < target.length:
        raise InputError(
            f"boundary {boundary}: a needle can straddle it only if it lies between token "
            f"{tokens_to_value(0)} and the length, {target.length}."
        )
    low, high = 0, boundary
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokens_to_value(middle) <= boundary else (low, middle)
    return fit(name, index, Growth(lambda after: build(low, after), 0), BUDGET, target)


@dataclass(frozen=True)
class _Places:
    """Where needles go. The first needle is the asked one when a depth is pinned."""

    seed: int
    num_needles: int
    depth: float | None

    def insert_between(self, lines: list[str], needles: list[str]) -> list[str]:
        """Needles at distinct random line indexes."""
        spots = random.Random(self.seed).sample(range(len(lines)), self.num_needles)
        if self.depth is not None:
            spots[0] = round(self.depth * len(lines))
        return insert_at(lines, needles, spots)

    def insert_by_percent(self, sentences: list[str], needles: list[str]) -> list[str]:
        """Needles at distinct depths out of 40 evenly spread ones."""
        percents = random.Random(self.seed).sample(_PERCENT_DEPTHS, self.num_needles)
        spots = [len(sentences) * percent // 100 for percent in percents]
        if self.depth is not None:
            spots[0] = round(self.depth * len(sentences))
        return insert_at(sentences, needles, spots)


def _draft(
    text: str, keys: list[str], values: list[str], kind: Kind, marks: tuple[str, ...]
) -> Draft:
    asked = keys[0] if len(keys) == 1 else ", ".join(keys[:-1]) + ", and " + keys[-1]
    if len(values) == 1:
        opening = f"The text below hides a special magic {kind}. Remember it: you will be asked."
        query = f"What is the special magic {kind} for {asked} in the text above?"
        prefix = f"The special magic {kind} for {asked} in the text above is"
    else:
        opening = f"The text below hides special magic {kind}s. Remember them: you will be asked."
        query = f"What are all the special magic {kind}s for {asked} in the text above?"
        prefix = f"The special magic {kind}s for {asked} in the text above are"
    return Draft(f"{opening}\n\n{text}\n", query, tuple(values), prefix, marks)


def _needle(key: str, value: str, kind: Kind) -> str:
    return f"A special magic {kind} for {key} is {value}."


def _needle_lines(seed: int, task: Needles, size: int, taken: set[str]) -> list[str]:
    rng = random.Random(seed)
    keys = _distinct(rng, task.key, size, taken)
    values = _distinct(rng, task.value, size, taken)
    return [_needle(key, value, task.value) for key, value in zip(keys, values, strict=True)]


def _distinct(rng: random.Random, kind: Kind, num: int, taken: set[str] | None = None) -> list[str]:
    """Random keys or values of a kind, none twice and none of those taken."""
    draw: Callable[[random.Random], str] = {"word": _word, "number": _number, "uuid": _uuid}[kind]
    seen = set(taken or ())
    drawn: list[str] = []
    while len(drawn) < num:
        item = draw(rng)
        if item not in seen:
            seen.add(item)
            drawn.append(item)
    return drawn


def _word(rng: random.Random) -> str:
    return f"{rng.choice(ADJECTIVES)}-{rng.choice(NOUNS)}"


def _number(rng: random.Random) -> str:
    return str(rng.randint(10**6, 10**7 - 1))


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _words(num: int, essay: str | None, repeat: bool) -> list[str]:
    if repeat:
        return list(islice(cycle(REPEAT.split()), num))
    return " ".join(essay_sentences(num, essay)).split()
