"""Pretraining text of tinychat: letters, words, numbers and simple sums, never the chat format.

Plain documents use the whole vocabulary, so a base model can spell every word; whatever is a task
in disguise (worked stories, words said again) is drawn from the training split.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.tulu3.world.lexicon import (
    ADJECTIVES,
    END_PHRASES,
    NAMES,
    NOUNS,
    NUMBER_WORDS,
    PEOPLE,
    ROUGH_VERBS,
    TOPICS,
    VERBS,
)
from modelgraft.methods.tulu3.world.splits import is_held_out, make_palette
from modelgraft.methods.tulu3.world.sums import LARGEST, draw_sum

_TRAIN = make_palette("train")
_CONSONANTS, _VOWELS = "bdfghklmnprstvw", "aeiou"


def document(number: int, *, seed: int = 0) -> str:
    """Document `number` of an endless stream: a few lines, at most about 250 characters."""
    rng = random.Random(rng_seed("tinychat", "document", seed, number))
    return rng.choice(_KINDS)(rng)


def documents(*, seed: int = 0, start: int = 0) -> Iterator[str]:
    """All documents from number `start` on, without end."""
    number = start
    while True:
        yield document(number, seed=seed)
        number += 1


def _story(rng: random.Random) -> str:
    """Sentences about things and people, with the same thing named again."""
    noun = rng.choice(NOUNS)
    lines = [f"The {rng.choice(ADJECTIVES)} {noun} {rng.choice(VERBS)}."]
    for _ in range(rng.randint(1, 3)):
        name, other = rng.choice(NAMES), rng.choice(NOUNS)
        lines.append(
            rng.choice(
                (
                    f"{name} has a {other} and a {noun}.",
                    f"The {rng.choice(PEOPLE)} will {rng.choice(ROUGH_VERBS)} the {noun}.",
                    f"{name} says that the {noun} {rng.choice(VERBS)}.",
                    f"Then the {noun} {rng.choice(VERBS)} and the {other} {rng.choice(VERBS)}.",
                    f'"{rng.choice(END_PHRASES)}" says {name} to the {rng.choice(PEOPLE)}.',
                )
            )
        )
    return " ".join(lines)


def _topic(rng: random.Random) -> str:
    """A list of one topic: in a sentence, as bullets, or as data."""
    topic = rng.choice(tuple(TOPICS))
    words = rng.sample(TOPICS[topic], rng.randint(3, 5))
    style = rng.randrange(3)
    if style == 0:
        return f"{topic}: {', '.join(words[:-1])} and {words[-1]}."
    if style == 1:
        return "\n".join([f"{topic}:", *(f"* {word}" for word in words)])
    return json.dumps({topic: words})


def _again(rng: random.Random) -> str:
    """Words and made-up words, said again in several ways."""
    num = rng.randint(2, 4)
    words = _made_up(num, rng)
    if rng.random() < 0.5:
        while is_held_out("words", *(words := tuple(rng.sample(NOUNS, num)))):
            pass
    line = " ".join(words)
    lines = [
        f"again: {line}",
        f"backwards: {' '.join(words[::-1])}",
        f"in order: {' '.join(sorted(words))}",
        line.upper(),
        f'"{line}"',
        ", ".join(words),
        " and ".join(words),
        json.dumps(list(words)),
    ]
    return "\n".join([line, *rng.sample(lines, 3)])


def _times(rng: random.Random) -> str:
    """One word a few times, with the number of times."""
    (word,) = _TRAIN.draw_nouns(1, rng) if rng.random() < 0.5 else _made_up(1, rng)
    lines = []
    for num in rng.sample(range(1, 7), 3):
        lines.append(f"{num} times {word}: {' '.join([word] * num)}")
    return "\n".join(lines)


def _facts(rng: random.Random) -> str:
    """Single steps of addition and subtraction, in digits and in words."""
    lines = []
    for _ in range(rng.randint(5, 9)):
        a, b = rng.randint(1, 2 * LARGEST), rng.randint(1, LARGEST)
        steps = [f"{a}+{b}={a + b}."]
        if a >= b:
            steps.append(f"{a}-{b}={a - b}.")
        if a < len(NUMBER_WORDS):
            steps.append(f"{NUMBER_WORDS[a]} is {a}.")
        lines.append(rng.choice(steps))
    return " ".join(lines)


def _question(rng: random.Random) -> str:
    """Questions with their answers, in a form of their own."""
    pairs = []
    for _ in range(2):
        style = rng.randrange(3)
        if style == 0:
            a, b = rng.randint(1, 2 * LARGEST), rng.randint(1, LARGEST)
            pairs.append((f"What is {a} plus {b}?", str(a + b)))
        elif style == 1:
            topic = rng.choice(tuple(TOPICS))
            noun = rng.choice(rng.choice((NOUNS, TOPICS[topic])))
            answer = "Yes." if noun in TOPICS[topic] else "No."
            pairs.append((f"Does {noun} go with {topic}?", answer))
        else:
            story = draw_sum(_TRAIN, rng)
            pairs.append((story.prompt(), story.right()))
    return "\n".join(f"Q: {question}\nA: {answer}" for question, answer in pairs)


def _made_up(num: int, rng: random.Random) -> tuple[str, ...]:
    """Different words that mean nothing, of one or two syllables."""
    drawn: dict[str, None] = {}
    while len(drawn) < num:
        syllables = (
            rng.choice(_CONSONANTS) + rng.choice(_VOWELS) + rng.choice(("", *_CONSONANTS))
            for _ in range(rng.randint(1, 2))
        )
        drawn["".join(syllables)] = None
    return tuple(drawn)


_KINDS: tuple[Callable[[random.Random], str], ...] = (
    _story,
    _topic,
    _again,
    _again,
    _times,
    _facts,
    _facts,
    _question,
)
