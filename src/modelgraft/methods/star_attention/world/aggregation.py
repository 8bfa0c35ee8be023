"""Counting words over a whole context: the `cwe` and `fwe` tasks of RULER."""

from __future__ import annotations

import math
import random
import string
from dataclasses import dataclass

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.world.fitting import Draft, Growth
from modelgraft.methods.star_attention.world.words import ADJECTIVES, NOUNS

CWE_BUDGET = 120
FWE_BUDGET = 50
NUM_COMMON = 10
NOISE = "..."

_ZETA_2 = math.pi**2 / 6


@dataclass(frozen=True)
class Frequencies:
    """How often common and uncommon words occur in the example and in the task of `cwe`."""

    example_words: int
    example: tuple[int, int]
    task: tuple[int, int]


SHORT = Frequencies(20, (3, 1), (6, 1))
LONG = Frequencies(40, (10, 3), (30, 3))


def cwe_growth(length: int, seed: int) -> Growth:
    """A numbered list with ten common words; it grows by one uncommon word at a time.

    No word of the worked example occurs in the task. Contexts from 4096 tokens on repeat their
    words more often, as upstream RULER does.
    """
    frequencies = SHORT if length < 4096 else LONG
    words = _shuffled_words(random.Random(seed))
    shown, rest = words[: frequencies.example_words], words[frequencies.example_words :]
    layout = random.Random(rng_seed(seed, "example"))
    shown_list = _numbered(shown, frequencies.example, layout)
    answer = " ".join(f"{rank}. {word}" for rank, word in enumerate(shown[:NUM_COMMON], start=1))
    example = f"{_cwe_opening(shown_list)}{_CWE_QUESTION}\n{_CWE_PREFIX} {answer}\n\n"
    layout_seed = rng_seed(seed, "layout")

    def build(size: int) -> Draft:
        taken = rest[: NUM_COMMON + size]
        text = _numbered(taken, frequencies.task, random.Random(layout_seed))
        outputs = tuple(taken[:NUM_COMMON])
        return Draft(example + _cwe_opening(text), _CWE_QUESTION, outputs, _CWE_PREFIX)

    return Growth(build, 1, len(rest) - NUM_COMMON, "the supply of distinct words")


def fwe_growth(length: int, seed: int) -> Growth:
    """Code words with Zipf-like counts: rank r occurs floor(N / (zeta(2) r^2)) times; N grows.

    Rank 1 is noise ("..."); ranks 2, 3 and 4 are the answer, and N is never so small that the
    counts of ranks 2 to 5 could tie.
    """
    vocabulary = _code_words(random.Random(seed), max(length // 50, 5))
    layout_seed = rng_seed(seed, "layout")

    def build(size: int) -> Draft:
        words = [
            word
            for rank, word in enumerate(vocabulary, start=1)
            for _ in range(zipf_count(size, rank))
        ]
        random.Random(layout_seed).shuffle(words)
        context = (
            "The text below is made of code words. Find out which three code words occur most "
            f"often; the dots are only noise.\n\n{' '.join(words)}\n"
        )
        query = "Question: Leave out the dots. Which three code words occur most often above?"
        prefix = "Answer: The three code words that occur most often in the text above are:"
        return Draft(context, query, tuple(vocabulary[1:4]), prefix)

    # From this N on, ranks 4 and 5 lie more than one apart, and so do all ranks before them.
    smallest = math.ceil(_ZETA_2 / (1 / 16 - 1 / 25)) + 1
    return Growth(build, smallest)


def zipf_count(size: int, rank: int) -> int:
    """Occurrences of the word of this rank in a text of nominally `size` words (alpha = 2)."""
    return int(size / (_ZETA_2 * rank * rank))


def _shuffled_words(rng: random.Random) -> list[str]:
    """Every single word in random order, then as many hyphenated pairs."""
    single = [*ADJECTIVES, *NOUNS]
    rng.shuffle(single)
    pairs = rng.sample(range(len(ADJECTIVES) * len(NOUNS)), 10 * len(single))
    return single + [
        f"{ADJECTIVES[pair // len(NOUNS)]}-{NOUNS[pair % len(NOUNS)]}" for pair in pairs
    ]


def _numbered(words: list[str], frequencies: tuple[int, int], rng: random.Random) -> str:
    """The first ten words and the others, each at its frequency, shuffled and numbered."""
    common, uncommon = frequencies
    entries = words[:NUM_COMMON] * common + words[NUM_COMMON:] * uncommon
    rng.shuffle(entries)
    return " ".join(f"{number}. {word}" for number, word in enumerate(entries, start=1))


def _cwe_opening(text: str) -> str:
    return (
        "Here is a numbered list of words in which some words are repeated more often than the "
        f"rest. Note which ones occur most often.\n\n{text}\n"
    )


_CWE_QUESTION = "Question: Which 10 words occur most often in the list above?"
_CWE_PREFIX = "Answer: The 10 words that occur most often in the list above are:"


def _code_words(rng: random.Random, num: int) -> list[str]:
    words = {NOISE: None}
    while len(words) < num:
        words["".join(rng.choices(string.ascii_lowercase, k=6))] = None
    return list(words)
