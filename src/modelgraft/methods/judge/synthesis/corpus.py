"""The good answers that pairs are made of, and what of them can stand in for something else."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from modelgraft.core.rows import Reject, Row, read_rows, text_of
from modelgraft.methods.judge.probes.phrasing import sentences
from modelgraft.methods.judge.world.lexicon import FILLER
from modelgraft.methods.judge.world.pairs import CATEGORIES, GOOD, world_pairs

_NAME = re.compile(r"[A-Z][\w'-]*[a-z](?: [A-Z][\w'-]*[a-z])*")
_WORD = re.compile(r"\w+")
_OF_WORLD = 20
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Answered:
    """An instruction with a good answer."""

    id: str
    instruction: str
    answer: str


def read_answered(path: Path, *, reject: Reject | None) -> list[Answered]:
    """The rows {"id", "instruction", "answer"} of a JSONL file; a missing id is that of its place.

    Bad rows are those of `core.rows.read_rows`.
    """

    def parse(row: Row, place: int) -> Answered:
        name = str(row["id"]) if row.get("id") not in (None, "") else f"row-{place + 1}"
        return Answered(name, text_of(row, "instruction"), text_of(row, "answer"))

    return read_rows(path, parse, key=lambda one: one.id, reject=reject)


def world_answered(num: int | None, *, seed: int) -> list[Answered]:
    """Instructions of the embedded world with their good answers, from the words of training.

    Those that ask for a number of any words are left out: other words are as good an answer.
    """
    categories = [name for name in CATEGORIES if name != "word_count"]
    each = max(1, num // len(categories)) if num else _OF_WORLD
    return [
        Answered(item.id, item.instruction, one.text)
        for item in world_pairs(each, split="train", seed=seed, categories=categories)
        for one in item.candidates
        if one.id == GOOD
    ]


class Corpus:
    """Rows with an instruction and a good answer, and what they have in common."""

    def __init__(self, rows: Sequence[Answered]) -> None:
        self.rows = rows

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the answers: words in capitals that do not begin a sentence, sorted."""
        found = {
            match.group()
            for row in self.rows
            for sentence in sentences(row.answer)
            for match in _NAME.finditer(sentence)
            if match.start() > 0
        }
        return tuple(sorted(found))

    def names_in(self, text: str) -> list[tuple[int, str]]:
        """Where a text holds one of these names, and which."""
        known = set(self.names)
        return [
            (match.start(), match.group())
            for match in _NAME.finditer(text)
            if match.group() in known
        ]

    @cached_property
    def nearest(self) -> tuple[int | None, ...]:
        """The row whose instruction is most like that of each row, and whose answer is another.

        Likeness is the cosine of word counts weighted by how rare a word is. Instructions of the
        same words, in whatever order, are one question. None where no row shares a word.
        """
        questions = np.unique(
            [" ".join(sorted(_words(row.instruction))) for row in self.rows], return_inverse=True
        )[1]
        matrix = _weighted([frozenset(_words(row.instruction)) for row in self.rows])
        found: list[int | None] = []
        for begin in range(0, len(self.rows), _ROWS_AT_ONCE):
            likeness = (matrix[begin : begin + _ROWS_AT_ONCE] @ matrix.T).toarray()
            likeness[questions[begin : begin + _ROWS_AT_ONCE, None] == questions] = 0
            found += [self._most_like(begin + place, row) for place, row in enumerate(likeness)]
        return tuple(found)

    def _most_like(self, place: int, likeness: NDArray[np.float64]) -> int | None:
        while likeness[other := int(np.argmax(likeness))] > 0:
            if self._differ(place, other):
                return other
            likeness[other] = 0
        return None

    def other(self, place: int, rng: random.Random) -> int | None:
        """A row whose answer and instruction are others, whichever."""
        for _ in range(len(self.rows)):
            other = rng.randrange(len(self.rows))
            if self._differ(place, other):
                return other
        return None

    def _differ(self, place: int, other: int) -> bool:
        """Whether answers and questions of two rows are not of the same words, in any order."""
        one, two = self.rows[place], self.rows[other]
        return sorted(_words(one.answer)) != sorted(_words(two.answer)) and (
            sorted(_words(one.instruction)) != sorted(_words(two.instruction))
        )

    def said_elsewhere(self, good: str, rng: random.Random) -> str:
        """A sentence of some answer that the good one does not hold, or one that says nothing."""
        found = sentences(rng.choice(self.rows).answer)
        sentence = rng.choice(found) if found else ""
        is_new = sentence and sentence not in good and good not in sentence
        return sentence if is_new else rng.choice(FILLER)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _weighted(bags: Sequence[frozenset[str]]) -> csr_array:
    """Rows of length 1 over the words, each weighted by how rare it is."""
    words = {word: place for place, word in enumerate(sorted(frozenset().union(*bags)))}
    rows = np.repeat(np.arange(len(bags)), [len(bag) for bag in bags])
    columns = np.array([words[word] for bag in bags for word in sorted(bag)], dtype=np.int64)
    often = np.bincount(columns, minlength=len(words))
    values = np.log1p(len(bags) / often[columns])
    norms = np.sqrt(np.bincount(rows, values**2, minlength=len(bags)))
    return csr_array((values / norms[rows], (rows, columns)), shape=(len(bags), len(words)))
