"""The 25 types by their IFEval names: the rule of each, and what its arguments must be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from modelgraft.language.verify.instructions import layout, whole, words
from modelgraft.language.verify.instructions.relations import RELATIONS
from modelgraft.language.verify.languages import LANGUAGES


class Rule(NamedTuple):
    """A check and the kind of each argument; a kind that ends with ? may be left out."""

    check: Callable[..., bool]
    arguments: Mapping[str, str]


RULES: dict[str, Rule] = {
    "keywords:existence": Rule(words.existence, {"keywords": "patterns"}),
    "keywords:frequency": Rule(
        words.frequency, {"keyword": "pattern", "frequency": "count", "relation": "relation"}
    ),
    "keywords:forbidden_words": Rule(words.forbidden_words, {"forbidden_words": "texts"}),
    "keywords:letter_frequency": Rule(
        words.letter_frequency,
        {"letter": "letter", "let_frequency": "count", "let_relation": "relation"},
    ),
    "language:response_language": Rule(whole.response_language, {"language": "language"}),
    "length_constraints:number_sentences": Rule(
        words.number_sentences, {"num_sentences": "count", "relation": "relation"}
    ),
    "length_constraints:number_paragraphs": Rule(
        layout.number_paragraphs, {"num_paragraphs": "count", "divider": "text?"}
    ),
    "length_constraints:number_words": Rule(
        words.number_words, {"num_words": "count", "relation": "relation"}
    ),
    "length_constraints:nth_paragraph_first_word": Rule(
        layout.nth_paragraph_first_word,
        {"num_paragraphs": "count", "nth_paragraph": "position", "first_word": "text"},
    ),
    "detectable_content:number_placeholders": Rule(
        layout.number_placeholders, {"num_placeholders": "count"}
    ),
    "detectable_content:postscript": Rule(layout.postscript, {"postscript_marker": "text"}),
    "detectable_format:number_bullet_lists": Rule(layout.number_bullets, {"num_bullets": "count"}),
    "detectable_format:constrained_response": Rule(
        whole.constrained_response, {"options": "texts?"}
    ),
    "detectable_format:number_highlighted_sections": Rule(
        layout.number_highlights, {"num_highlights": "count"}
    ),
    "detectable_format:multiple_sections": Rule(
        layout.multiple_sections, {"section_spliter": "text", "num_sections": "count"}
    ),
    "detectable_format:json_format": Rule(layout.json_format, {}),
    "detectable_format:title": Rule(layout.title, {}),
    "combination:two_responses": Rule(whole.two_responses, {}),
    "combination:repeat_prompt": Rule(whole.repeat_prompt, {"prompt_to_repeat": "text"}),
    "startend:end_checker": Rule(whole.end_checker, {"end_phrase": "text"}),
    "startend:quotation": Rule(whole.quotation, {}),
    "change_case:english_capital": Rule(whole.english_capital, {}),
    "change_case:english_lowercase": Rule(whole.english_lowercase, {}),
    "change_case:capital_word_frequency": Rule(
        words.capital_words, {"capital_frequency": "count", "capital_relation": "relation"}
    ),
    "punctuation:no_comma": Rule(whole.no_comma, {}),
}
# The types whose rule asks for the language of the text.
DETECTING = frozenset(
    ("language:response_language", "change_case:english_capital", "change_case:english_lowercase")
)


def argument_faults(name: str, given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the arguments of one instruction; empty if nothing is."""
    kinds = RULES[name].arguments
    found = [f"{name}: unknown argument {one!r}" for one in given if one not in kinds]
    for argument, kind in kinds.items():
        if argument in given:
            reason = _fault(kind.rstrip("?"), given[argument])
            found += [f"{name}: {argument} is {given[argument]!r:.60}; {reason}"] if reason else []
        elif not kind.endswith("?"):
            found.append(f"{name}: {argument} is missing")
    if not found and given.get("nth_paragraph", 0) > given.get("num_paragraphs", 0):
        found.append(f"{name}: nth_paragraph is beyond num_paragraphs")
    return found


def _fault(kind: str, value: Any) -> str:
    """What a value of this kind must be, or nothing when it is."""
    if kind in ("texts", "patterns"):
        if not isinstance(value, list) or not value:
            return "it must be a list of texts"
        return next((reason for one in value if (reason := _fault(kind[:-1], one))), "")
    if kind in ("count", "position"):
        least = 0 if kind == "count" else 1
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if is_whole and value >= least else f"it must be a whole number from {least} on"
    if not isinstance(value, str) or not value.strip():
        return "it must be a text that is not blank"
    if kind == "pattern":
        return _pattern_fault(value)
    if kind == "relation" and value not in RELATIONS:
        return f"it must be one of {', '.join(RELATIONS)}"
    if kind == "letter" and len(value) != 1:
        return "it must be one letter"
    if kind == "language" and value.lower().partition("-")[0] not in LANGUAGES:
        return f"it must be one of {' '.join(LANGUAGES)}"
    return ""


def _pattern_fault(value: str) -> str:
    try:
        matches_nothing = re.search(value.strip(), "") is not None
    except re.error as error:
        return f"it is a regular expression with a fault ({error}); put \\ before special signs"
    return "as a regular expression it is found everywhere" if matches_nothing else ""
