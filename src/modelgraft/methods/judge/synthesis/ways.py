"""Ways to make a good answer worse such that nobody has to say which of the two is better.

A wrong number, a wrong fact or the answer to another question is worse by what it says, a dropped
or shuffled part by what it lacks. Some ways change the instruction instead, to one that the good
answer fulfils and the other does not (dropped constraints, and the traps of OffsetBias, Park et al.
2024, in which nothing is given or an instruction stands inside of another).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from modelgraft.methods.judge.method.alignment import sentence_cuts
from modelgraft.methods.judge.synthesis.corpus import Corpus

_NUMBER = re.compile(r"(?<![\w.,])(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)")
_OFFSETS = (-3, -2, -1, 1, 2, 3, 5, 7, 10)
_FEWEST_WORDS = 4
_TEXTLESS = (
    ("Summarise the following text in one sentence.", "There is no text to summarise."),
    ("Translate the following text into French.", "The text to translate is missing."),
    ("Correct the spelling of the following text.", "No text was given, so I cannot correct it."),
    ("List the names in the following text.", "No text was given, so there are no names to list."),
)
_COPY = (
    "Copy what stands between the two lines of dashes, word for word, and do nothing else.\n"
    "---\n{text}\n---"
)


@dataclass(frozen=True)
class Made:
    """An instruction with a good answer and a worse one.

    `keep` characters at the beginning of the worse one hold what is wrong with it, and must stay if
    it is cut.
    """

    instruction: str
    good: str
    bad: str
    keep: int = 0


Way = Callable[[Corpus, int, random.Random], Made | None]


def wrong_number(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """A number of the answer is another one, if possible one that the instruction does not hold."""
    row = corpus.rows[place]
    found = list(_NUMBER.finditer(row.answer))
    given = set(_NUMBER.findall(row.instruction))
    own = [match for match in found if match.group() not in given] or found
    if not own:
        return None
    match = rng.choice(own)
    taken = {*given, *(one.group() for one in found)}
    others = [one for one in _other_numbers(match.group()) if one not in taken]
    if not others:
        return None
    return _with(corpus, place, match.start(), match.group(), rng.choice(others))


def _other_numbers(text: str) -> list[str]:
    whole, point, decimals = text.partition(".")
    scale = 10 ** len(decimals)
    value = int(whole.replace(",", "")) * scale + int(decimals or 0)
    others = [value + offset for offset in _OFFSETS if value + offset >= 0]
    comma = "," if "," in whole else ""
    return [
        f"{other // scale:{comma}d}{point}"
        + (f"{other % scale:0{len(decimals)}d}" if decimals else "")
        for other in others
    ]


def wrong_fact(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """A name in the answer is one from another answer."""
    row = corpus.rows[place]
    found = corpus.names_in(row.answer)
    own = [one for one in found if one[1] not in row.instruction] or found
    others = [one for one in corpus.names if one not in row.answer and one not in row.instruction]
    if not own or not others:
        return None
    start, name = rng.choice(own)
    return _with(corpus, place, start, name, rng.choice(others))


def _with(corpus: Corpus, place: int, start: int, old: str, new: str) -> Made:
    """The answer with a part of it replaced."""
    row = corpus.rows[place]
    bad = row.answer[:start] + new + row.answer[start + len(old) :]
    return Made(row.instruction, row.answer, bad, keep=start + len(new))


def dropped_sentence(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """One sentence of the answer is missing."""
    row = corpus.rows[place]
    ends = [0, *sentence_cuts(row.answer), len(row.answer)]
    spans = list(pairwise(ends))
    spans = [one for one in spans if len(row.answer[slice(*one)].split()) >= _FEWEST_WORDS]
    if len(spans) < 2:
        return None
    start, end = rng.choice(spans)
    bad = (row.answer[:start] + row.answer[end:]).strip()
    return Made(row.instruction, row.answer, bad) if bad else None


def dropped_constraint(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """The instruction asks for a form that the good answer has, and the plain one has not."""
    row = corpus.rows[place]
    text = row.answer
    forms = [("End your answer with three stars: ***", f"{text} ***")]
    if text.upper() != text:
        forms.append(("Write your whole answer in capital letters.", text.upper()))
    if '"' not in text:
        forms.append(("Put your whole answer in double quotation marks.", f'"{text}"'))
    asked, good = rng.choice(forms)
    return Made(f"{row.instruction}\n\n{asked}", good, text)


def off_topic(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """The answer to another instruction: in half of the cases the one that is most like it.

    That is what Self-Taught Evaluators (Wang et al. 2024) have a model write.
    """
    row = corpus.rows[place]
    near = corpus.nearest[place] if rng.random() < 0.5 else None
    other = near if near is not None else corpus.other(place, rng)
    return None if other is None else Made(row.instruction, row.answer, corpus.rows[other].answer)


def shuffled(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """The words of the answer in another order."""
    row = corpus.rows[place]
    words = row.answer.split()
    if len(words) < _FEWEST_WORDS or len(set(words)) < 2:
        return None
    mixed = words
    while mixed == words:
        mixed = rng.sample(words, len(words))
    return Made(row.instruction, row.answer, " ".join(mixed))


def length_contrast(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """An answer that is wrong in one of the ways above; how long it is comes with the balance."""
    ways = [wrong_number, wrong_fact, off_topic]
    rng.shuffle(ways)
    return next((made for way in ways if (made := way(corpus, place, rng))), None)


def empty_answer(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """Nothing at all, or once it is made longer, sentences that say nothing."""
    row = corpus.rows[place]
    return Made(row.instruction, row.answer, "")


def empty_input(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """A task about a text that is not there: to say so is right, to answer something is not."""
    task, good = rng.choice(_TEXTLESS)
    return Made(f"{task}\n\nText:", good, corpus.rows[place].answer)


def nested(corpus: Corpus, place: int, rng: random.Random) -> Made | None:
    """An instruction that is to be copied: who answers it has not done what was asked."""
    row = corpus.rows[place]
    if "---" in row.instruction or row.instruction.strip() == row.answer.strip():
        return None
    return Made(_COPY.format(text=row.instruction), row.instruction, row.answer)


WAYS: dict[str, Way] = {
    "wrong_number": wrong_number,
    "wrong_fact": wrong_fact,
    "dropped_sentence": dropped_sentence,
    "dropped_constraint": dropped_constraint,
    "off_topic": off_topic,
    "shuffled": shuffled,
    "length_contrast": length_contrast,
    "empty_answer": empty_answer,
    "empty_input": empty_input,
    "nested": nested,
}
