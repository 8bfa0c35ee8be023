"""Ground truth of instructions, in the two forms that data sets carry.

The old form names a checking function of the training set and one flat set of arguments:

    {"func_name": "verify_keyword_frequency", "word": "sun", "N": 3, "quantifier": null, ...}

The new form lists IFEval names with an argument table each (null where there is none):

    [{"instruction_id": ["punctuation:no_comma"], "kwargs": [null]}]

Both arrive as objects, as JSON or as a Python literal. An argument that is null counts as absent,
one that is 0 does not. Where the old form counts exactly, so does the instruction read from it; its
letters count without case and its words as whole words, as in the new form.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from modelgraft.core.errors import InputError
from modelgraft.language.verify.instructions.table import RULES, argument_faults

# Function of the old form: IFEval name, its arguments renamed, arguments it leaves unsaid.
_OLD: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "verify_keywords": ("keywords:existence", {"keyword_list": "keywords"}, {}),
    "verify_keyword_frequency": (
        "keywords:frequency",
        {"word": "keyword", "N": "frequency"},
        {"relation": "exactly"},
    ),
    "validate_forbidden_words": ("keywords:forbidden_words", {}, {}),
    "verify_letter_frequency": (
        "keywords:letter_frequency",
        {"N": "let_frequency"},
        {"let_relation": "exactly"},
    ),
    "validate_response_language": ("language:response_language", {}, {}),
    "verify_sentence_constraint": (
        "length_constraints:number_sentences",
        {"N": "num_sentences", "quantifier": "relation"},
        {},
    ),
    "verify_paragraph_count": (
        "length_constraints:number_paragraphs",
        {"N": "num_paragraphs"},
        {"divider": "* * *"},
    ),
    "validate_word_constraint": (
        "length_constraints:number_words",
        {"N": "num_words", "quantifier": "relation"},
        {},
    ),
    "validate_paragraphs": (
        "length_constraints:nth_paragraph_first_word",
        {"N": "num_paragraphs", "i": "nth_paragraph"},
        {},
    ),
    "validate_placeholders": (
        "detectable_content:number_placeholders",
        {"N": "num_placeholders"},
        {},
    ),
    "verify_postscript": ("detectable_content:postscript", {}, {}),
    "verify_bullet_points": ("detectable_format:number_bullet_lists", {"N": "num_bullets"}, {}),
    "validate_choice": ("detectable_format:constrained_response", {}, {}),
    "validate_highlighted_sections": (
        "detectable_format:number_highlighted_sections",
        {"N": "num_highlights"},
        {},
    ),
    "validate_sections": (
        "detectable_format:multiple_sections",
        {"N": "num_sections", "section_splitter": "section_spliter"},
        {},
    ),
    "validate_json_format": ("detectable_format:json_format", {}, {}),
    "validate_title": ("detectable_format:title", {}, {}),
    "validate_two_responses": ("combination:two_responses", {}, {}),
    "validate_repeat_prompt": (
        "combination:repeat_prompt",
        {"original_prompt": "prompt_to_repeat"},
        {},
    ),
    "validate_end": ("startend:end_checker", {}, {}),
    "validate_quotation": ("startend:quotation", {}, {}),
    "validate_uppercase": ("change_case:english_capital", {}, {}),
    "validate_lowercase": ("change_case:english_lowercase", {}, {}),
    "validate_frequency_capital_words": (
        "change_case:capital_word_frequency",
        {"N": "capital_frequency", "quantifier": "capital_relation"},
        {},
    ),
    "validate_no_commas": ("punctuation:no_comma", {}, {}),
}


class Instruction(NamedTuple):
    """One instruction to check: its IFEval name and its arguments."""

    name: str
    arguments: dict[str, Any]


def read_instructions(truth: Any) -> list[Instruction]:
    """The instructions of one ground truth; `InputError` lists all that is wrong with it."""
    found, faults = _read(truth)
    if faults:
        raise InputError("the ground truth cannot be used:\n  " + "\n  ".join(faults[:10]))
    return found


def truth_faults(truth: Any) -> list[str]:
    """Everything that is wrong with one ground truth; empty if it can be used."""
    return _read(truth)[1]


def _read(truth: Any) -> tuple[list[Instruction], list[str]]:
    pairs, faults = _pairs(_as_object(truth))
    found = []
    for name, given in pairs:
        if name not in RULES:
            faults.append(f"unknown instruction {name!r:.80}{_suggest(name, RULES)}")
            continue
        arguments = {key: _as_whole(value) for key, value in given.items() if value is not None}
        faults += argument_faults(name, arguments)
        found.append(Instruction(name, arguments))
    if not pairs and not faults:
        faults.append("no instruction in it")
    return found, faults


def _pairs(data: Any) -> tuple[list[tuple[Any, Mapping[str, Any]]], list[str]]:
    """Names with their arguments, and what could not be read."""
    if isinstance(data, list):
        parts = [_pairs(_as_object(one)) for one in data if not isinstance(one, list)]
        nested = ["a list within a list"] * sum(isinstance(one, list) for one in data)
        return [pair for part in parts for pair in part[0]], nested + [
            fault for part in parts for fault in part[1]
        ]
    if isinstance(data, Mapping) and "func_name" in data:
        return _old_pair(data)
    if isinstance(data, Mapping):
        names = data.get("instruction_id", data.get("instruction_id_list"))
        tables = data.get("kwargs")
        if not isinstance(names, list) or not isinstance(tables, list):
            return [], ["func_name, or the lists instruction_id and kwargs, are missing"]
        if len(names) != len(tables):
            return [], [f"{len(names)} instruction_id but {len(tables)} kwargs"]
        bad = [f"kwargs {one!r:.60} are no table" for one in tables if not _is_table(one)]
        return ([] if bad else [(n, t or {}) for n, t in zip(names, tables, strict=True)]), bad
    return [], [f"{data!r:.60} is neither JSON nor a table with func_name or instruction_id"]


def _old_pair(data: Mapping[str, Any]) -> tuple[list[tuple[Any, Mapping[str, Any]]], list[str]]:
    function = data["func_name"]
    if function not in _OLD:
        return [], [f"unknown func_name {function!r:.80}{_suggest(function, _OLD)}"]
    name, renamed, unsaid = _OLD[function]
    arguments = {
        renamed.get(key, key): _as_new(key, value)
        for key, value in data.items()
        if key != "func_name"
    }
    return [(name, {**arguments, **unsaid})], []


def _as_new(key: str, value: Any) -> Any:
    """Words of the old form as patterns that find just them; options in one text as a list."""
    if key == "word" and isinstance(value, str):
        return rf"(?<!\w){re.escape(value.strip())}(?!\w)"
    if key == "keyword_list" and isinstance(value, list):
        return [re.escape(one) if isinstance(one, str) else one for one in value]
    if key == "options" and isinstance(value, str):
        return [option.strip() for option in value.split(",")]
    return value


def _as_object(truth: Any) -> Any:
    """What JSON or a Python literal says; anything else as it is."""
    if not isinstance(truth, str):
        return truth
    for read in (json.loads, ast.literal_eval):
        try:
            return read(truth)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return truth


def _as_whole(value: Any) -> Any:
    """3.0 as 3: tables with gaps turn whole numbers into floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_table(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _suggest(name: Any, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
