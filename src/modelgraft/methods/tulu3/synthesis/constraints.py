"""Constraints of IFEval as sentences for an instruction, with the arguments of their checks."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

_MOST = 3  # constraints of one instruction (Tulu 3: one to three)


class Seed(NamedTuple):
    """A constraint, the sentence that states it, and what each of its arguments may be.

    Two seeds that share a word of `realms` are never drawn together: no answer could keep both, or
    none would be natural.
    """

    rule: str
    sentence: str
    realms: str
    arguments: Mapping[str, tuple[Any, ...]]


class Constraints(NamedTuple):
    """What an instruction has to say, and the ground truth of its answer."""

    sentences: tuple[str, ...]
    truth: str


def draw_constraints(rng: random.Random) -> Constraints:
    """One to three constraints that can stand together, with arguments."""
    num = rng.randint(1, _MOST)
    taken: set[str] = set()
    sentences, ids, kwargs = [], [], []
    for seed in rng.sample(SEEDS, len(SEEDS)):
        if len(ids) == num or taken & set(seed.realms.split()):
            continue
        arguments = {name: rng.choice(choices) for name, choices in seed.arguments.items()}
        sentences.append(seed.sentence.format(**arguments))
        ids.append(seed.rule)
        kwargs.append(arguments)
        taken |= set(seed.realms.split())
    return Constraints(tuple(sentences), json.dumps([{"instruction_id": ids, "kwargs": kwargs}]))


_LEAST, _BELOW = ("at least",), ("less than",)
_FEW = (2, 3, 4)
SEEDS: tuple[Seed, ...] = (
    Seed("punctuation:no_comma", "Do not use any commas.", "commas", {}),
    Seed("change_case:english_capital", "Write in capital letters only.", "case", {}),
    Seed("change_case:english_lowercase", "Write in lowercase letters only.", "case", {}),
    Seed(
        "change_case:capital_word_frequency",
        "Write at least {capital_frequency} words in all capitals.",
        "case",
        {"capital_relation": _LEAST, "capital_frequency": _FEW},
    ),
    Seed("startend:quotation", "Put double quotation marks around all of it.", "shape end", {}),
    Seed(
        "startend:end_checker",
        'End with exactly this sentence: "{end_phrase}"',
        "end",
        {"end_phrase": ("Is there anything else?", "That is all.", "I hope this helps.")},
    ),
    Seed(
        "detectable_content:postscript",
        "Add a note at the end that begins with P.S.",
        "end",
        {"postscript_marker": ("P.S.",)},
    ),
    Seed(
        "detectable_content:number_placeholders",
        "Use at least {num_placeholders} placeholders in square brackets, such as [name].",
        "marks",
        {"num_placeholders": _FEW},
    ),
    Seed(
        "detectable_format:number_highlighted_sections",
        "Highlight at least {num_highlights} parts with asterisks, as in *this part*.",
        "marks",
        {"num_highlights": _FEW},
    ),
    Seed(
        "detectable_format:number_bullet_lists",
        "Give exactly {num_bullets} bullet points, each on a line that begins with *.",
        "shape marks length",
        {"num_bullets": (3, 4, 5)},
    ),
    Seed(
        "detectable_format:json_format",
        "Give the whole answer as JSON.",
        "shape end marks commas case length title",
        {},
    ),
    Seed(
        "detectable_format:title",
        "Give it a title in double angular brackets, such as <<my title>>.",
        "title",
        {},
    ),
    Seed(
        "detectable_format:multiple_sections",
        'Divide it into {num_sections} sections that begin with "Section 1", "Section 2" and so '
        "on.",
        "shape case",
        {"section_spliter": ("Section",), "num_sections": _FEW},
    ),
    Seed(
        "combination:two_responses",
        "Give two different answers with six asterisks (******) between them.",
        "shape end marks length",
        {},
    ),
    Seed(
        "length_constraints:number_paragraphs",
        "Write {num_paragraphs} paragraphs with three asterisks (***) between them.",
        "shape marks length",
        {"num_paragraphs": _FEW},
    ),
    Seed(
        "length_constraints:number_words",
        "Write at least {num_words} words.",
        "length",
        {"relation": _LEAST, "num_words": (60, 100, 150)},
    ),
    Seed(
        "length_constraints:number_words",
        "Write fewer than {num_words} words.",
        "length",
        {"relation": _BELOW, "num_words": (50, 80, 120)},
    ),
    Seed(
        "length_constraints:number_sentences",
        "Write at least {num_sentences} sentences.",
        "length",
        {"relation": _LEAST, "num_sentences": (4, 6, 8)},
    ),
    Seed(
        "length_constraints:number_sentences",
        "Write fewer than {num_sentences} sentences.",
        "length",
        {"relation": _BELOW, "num_sentences": (4, 6, 8)},
    ),
    Seed(
        "keywords:existence",
        'Use the words "{keywords[0]}" and "{keywords[1]}".',
        "words",
        {"keywords": (["morning", "plan"], ["simple", "first"], ["reason", "time"])},
    ),
    Seed(
        "keywords:forbidden_words",
        'Do not use the words "{forbidden_words[0]}" and "{forbidden_words[1]}".',
        "words",
        {"forbidden_words": (["very", "really"], ["good", "nice"], ["can", "will"])},
    ),
    Seed(
        "keywords:frequency",
        'Use the word "{keyword}" at least {frequency} times.',
        "words",
        {"relation": _LEAST, "keyword": ("today", "people", "small"), "frequency": _FEW},
    ),
    Seed(
        "keywords:letter_frequency",
        'Use the letter "{letter}" fewer than {let_frequency} times.',
        "letters",
        {"let_relation": _BELOW, "letter": ("q", "x", "z"), "let_frequency": _FEW},
    ),
    Seed(
        "language:response_language",
        "Write the whole answer in German.",
        "case words letters end",
        {"language": ("de",)},
    ),
    Seed(
        "language:response_language",
        "Write the whole answer in French.",
        "case words letters end",
        {"language": ("fr",)},
    ),
)
