"""Instructions about the parts of a response: paragraphs, lists, sections, marks."""

from __future__ import annotations

import json
import re
from typing import Any

_HIGHLIGHT = re.compile(r"(?<!\*)(\*{1,3})(?!\*)([^*\n]+)\1(?!\*)")
_POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}


def number_paragraphs(response: str, *, num_paragraphs: int, divider: str = "***") -> bool:
    """So many paragraphs between dividers; blank first and last parts do not count.

    A blank part between two dividers fails.
    """
    parts = [part.strip() for part in response.split(divider)]
    if not all(parts[1:-1]):
        return False
    return sum(map(bool, parts)) == num_paragraphs


def nth_paragraph_first_word(
    response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """So many paragraphs between blank lines, and the nth starts with the word, in any case.

    The first word ends at the first of . , ? ! ' " behind its opening quotes.
    """
    parts = [part.strip() for part in re.split(r"\n[^\S\n]*\n", response)]
    paragraphs = [part for part in parts if part]
    if len(paragraphs) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    word = paragraphs[nth_paragraph - 1].split()[0].lstrip("'\"")
    return re.split(r"[.,?!'\"]", word)[0].lower() == first_word.strip().lower()


def number_placeholders(response: str, *, num_placeholders: int) -> bool:
    """At least so many [placeholders]; blank brackets are none."""
    found = re.findall(r"\[([^\[\]\n]*)\]", response)
    return sum(bool(inside.strip()) for inside in found) >= num_placeholders


def postscript(response: str, *, postscript_marker: str) -> bool:
    """The marker stands at the start of a word; P.S. and P.P.S may have spaces between letters."""
    marker = postscript_marker.strip()
    pattern = _POSTSCRIPTS.get(marker, re.escape(marker.lower()))
    return re.search(rf"(?<!\w){pattern}", response.lower()) is not None


def number_bullets(response: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that start with one * or with -; a line in bold is none."""
    lines = [line.lstrip() for line in response.split("\n")]
    return sum(re.match(r"-|\*(?!\*)", line) is not None for line in lines) == num_bullets


def number_highlights(response: str, *, num_highlights: int) -> bool:
    """At least so many parts between *single* or **double** asterisks, each within a line."""
    found = _HIGHLIGHT.findall(response)
    return sum(bool(inside.strip()) for _, inside in found) >= num_highlights


def multiple_sections(response: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many marks such as "Section 1"; text before the first is no section."""
    mark = rf"{re.escape(section_spliter.strip())}\s?[0-9]+"
    return len(re.findall(mark, response)) >= num_sections


def json_format(response: str) -> bool:
    """The whole response, without a code fence around it, is JSON (no NaN or Infinity)."""
    text = re.sub(r"^```(?:json)?", "", response.strip(), flags=re.IGNORECASE)
    try:
        json.loads(text.removesuffix("```").strip(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def title(response: str) -> bool:
    """A title <<that is not blank>> stands on one line."""
    for line in response.split("\n"):
        opening, closing = line.find("<<"), line.rfind(">>")
        if 0 <= opening < closing and line[opening:closing].strip("<> \t"):
            return True
    return False


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
