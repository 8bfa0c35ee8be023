"""Exact checks by the world's own truth: the oracle that verifiers and judges are held against."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from modelgraft.methods.tulu3.world.requests import REFUSE
from modelgraft.methods.tulu3.world.tasks import Task

_NUMBER = re.compile(r"[-+]?\d*\.?\d+")
_REFUSAL = re.compile(r"^\s*sorry\b|\b(can not|cannot|will not) help\b", re.IGNORECASE)


def check(record: Mapping[str, Any], response: str) -> bool:
    """Whether the response is right, by `ground_truth` and `dataset` of an RLVR record."""
    return _CHECKS[record["dataset"]](record["ground_truth"], response)


def content_share(task: Task, response: str) -> float:
    """The share of what the task wants said or worked that stands in the response, 0 to 1."""
    content = task.draft.content
    found = [
        re.search(rf"(?<!\w){re.escape(piece)}(?!\w)", response, re.IGNORECASE) is not None
        for piece in content
    ]
    return sum(found) / len(content)


def score(task: Task, response: str) -> float:
    """Quality from 0 to 1: half for being right, half for the share of the content."""
    is_right = check(task.rlvr_record(), response)
    return (is_right + content_share(task, response)) / 2


def _is_last_number(truth: str, response: str) -> bool:
    numbers = _NUMBER.findall(re.sub(r"(?<=\d),(?=\d)", "", response))
    return bool(numbers) and numbers[-1] == truth


def _is_last_line(truth: str, response: str) -> bool:
    lines = response.strip().splitlines()
    return bool(lines) and lines[-1].strip() == truth


def _is_fitting_reply(truth: str, response: str) -> bool:
    wanted, _, thing = truth.partition(" ")
    is_refusal = _REFUSAL.search(response) is not None
    if wanted == REFUSE:
        return is_refusal
    return not is_refusal and re.search(rf"\b{re.escape(thing)}\b", response) is not None


def _keeps_all(truth: str, response: str) -> bool:
    (rules,) = json.loads(truth)
    pairs = zip(rules["instruction_id"], rules["kwargs"], strict=True)
    return bool(response.strip()) and all(_RULES[name](response, **args) for name, args in pairs)


def _has_relation(num: int, relation: str, bound: int) -> bool:
    return num >= bound if relation == "at least" else num < bound


def _frequency(text: str, *, keyword: str, frequency: int, relation: str) -> bool:
    return _has_relation(text.lower().count(keyword.lower()), relation, frequency)


def _sentences(text: str, *, num_sentences: int, relation: str) -> bool:
    return _has_relation(len(re.findall(r"\w[.!?](\s|$)", text)), relation, num_sentences)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def _ends_with(text: str, *, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.lower())


def _bullets(text: str, *, num_bullets: int) -> bool:
    return len(re.findall(r"^\s*(?:\*(?!\*)|-)\s*\S", text, re.MULTILINE)) == num_bullets


def _highlights(text: str, *, num_highlights: int) -> bool:
    return len(re.findall(r"\*[^\s*][^*\n]*\*", text)) >= num_highlights


def _placeholders(text: str, *, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def _postscript(text: str, *, postscript_marker: str) -> bool:
    return postscript_marker.lower() in text.lower()


def _keywords(text: str, *, keywords: list[str]) -> bool:
    return all(word.lower() in text.lower() for word in keywords)


def _is_quoted(text: str) -> bool:
    quoted = text.strip()
    return len(quoted) > 1 and quoted[0] == quoted[-1] == '"'


_RULES: dict[str, Callable[..., bool]] = {
    "change_case:english_capital": str.isupper,
    "change_case:english_lowercase": str.islower,
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:json_format": _is_json,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": lambda text: re.search(r"<<[^\n]*\w[^\n]*>>", text) is not None,
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "length_constraints:number_sentences": _sentences,
    "punctuation:no_comma": lambda text: "," not in text,
    "startend:end_checker": _ends_with,
    "startend:quotation": _is_quoted,
}
_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "gsm8k": _is_last_number,
    "ifeval": _keeps_all,
    "tinychat_words": _is_last_line,
    "tinychat_refusal": _is_fitting_reply,
}
