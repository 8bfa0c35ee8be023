"""Verdicts in what a judge wrote: the last one counts, and only what was offered.

A text that holds none, or one that was not offered, has no verdict: it never falls back to an
earlier match, which a candidate might have planted in a quotation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelgraft.core.errors import ConfigError

Status = Literal["ok", "no_verdict", "off_menu", "ambiguous", "truncated", "refused", "error"]

_NUMBER = r"-?\d+(?:\.\d+)?"
_ALIKE = 0.1  # scores that differ by less are a tie (MT-Bench)


@dataclass(frozen=True)
class Extraction:
    """The label that was found, or why there is none; `span` is where in the text it stands.

    `scores` are those of both that are shown, where they are written.
    """

    label: str | None
    status: Status
    span: tuple[int, int] = (0, 0)
    scores: tuple[float, float] | None = None


Extractor = Callable[[str, Sequence[str]], Extraction]

NONE = Extraction(None, "no_verdict")
REFUSALS = ("content_filter", "refusal")  # reasons for which an answer ended that is none


def _last(pattern: str, names: Mapping[str, str] | None = None, flags: int = 0) -> Extractor:
    """The last match of a pattern, whose first group is the label or a name of it."""
    compiled = re.compile(pattern, flags)
    return lambda text, labels: _of_matches(list(compiled.finditer(text)), labels, names or {})


def _of_matches(
    matches: Sequence[re.Match[str]], labels: Sequence[str], names: Mapping[str, str]
) -> Extraction:
    if not matches:
        return NONE
    found = matches[-1].group(1).strip()
    label = offered(names.get(found.lower(), found), labels)
    return Extraction(label, "ok" if label is not None else "off_menu", matches[-1].span(1))


def offered(found: str, labels: Sequence[str]) -> str | None:
    """The label that was offered and is meant: the same text, in any case, or the same number."""
    if found in labels:
        return found
    for label in labels:
        if label.lower() == found.lower():
            return label
    try:
        number = float(found)
        return next((label for label in labels if float(label) == number), None)
    except ValueError:
        return None


def _rating(text: str, labels: Sequence[str]) -> Extraction:
    """`[[7]]`, or where there is none `[7]` (MT-Bench).

    A rating in single brackets behind one in double brackets leaves open which is meant. Labels
    that are words are read in double brackets alone.
    """
    if not all(re.fullmatch(_NUMBER, label) for label in labels):
        return EXTRACTORS["brackets"](text, labels)
    double = list(re.finditer(rf"\[\[({_NUMBER})\]\]", text))
    single = list(re.finditer(rf"(?<!\[)\[({_NUMBER})\](?!\])", text))
    if not double:
        return _of_matches(single, labels, {})
    found = _of_matches(double, labels, {})
    if single and single[-1].start() > double[-1].start():
        if _of_matches(single, labels, {}).label != found.label:
            return Extraction(None, "ambiguous", single[-1].span(1))
    return found


def _number_at_end(text: str, labels: Sequence[str]) -> Extraction:
    """A number that ends the text, alone or out of the best one (`4/5`, `4 out of 5`)."""
    match = re.search(rf"({_NUMBER})(?:\s*(?:/|out of)\s*({_NUMBER}))?[\s.*]*$", text)
    if match is None:
        return NONE
    if match.group(2) and offered(match.group(2), labels) != labels[-1]:
        return Extraction(None, "off_menu", match.span(1))
    return _of_matches([match], labels, {})


def _first_line(text: str, labels: Sequence[str]) -> Extraction:
    """The first line as a whole (PandaLM: 1, 2 or Tie)."""
    match = re.match(r"\s*([^\n]*?)\s*(?:\n|$)", text)
    if match is None or not match.group(1):
        return NONE
    return _of_matches([match], labels, {})


def _json(text: str, labels: Sequence[str]) -> Extraction:
    """The field `verdict`, `score`, `rating` or `choice` of the last JSON object in the text."""
    decoder = json.JSONDecoder()
    place = 0
    found: tuple[Any, tuple[int, int]] | None = None
    while (start := text.find("{", place)) >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        found, place = (value, (start, end)), end
    if found is None:
        return NONE
    value, span = found
    named = [value[name] for name in ("verdict", "score", "rating", "choice") if name in value]
    if len(named) != 1 or not isinstance(named[0], str | int | float):
        return Extraction(None, "ambiguous" if len(named) > 1 else "no_verdict", span)
    label = offered(str(named[0]), labels)
    return Extraction(label, "ok" if label is not None else "off_menu", span)


_LETTERS = r"\[?([A-Za-z][0-9]*)\]?"


def _ranking(text: str, labels: Sequence[str]) -> Extraction:
    """The last `B > A > C`: what was offered of it, each once, as `B>A>C`."""
    matches = list(re.finditer(rf"(?<!\w){_LETTERS}(?:\s*>\s*{_LETTERS})+(?!\w)", text))
    if not matches:
        return NONE
    found = (offered(one, labels) for one in re.findall(_LETTERS, matches[-1].group()))
    kept = [one for one in dict.fromkeys(found) if one is not None]
    return Extraction(">".join(kept) or None, "ok" if kept else "off_menu", matches[-1].span())


def _scores(text: str, labels: Sequence[str]) -> Extraction:
    """The last `[[8, 6.5]]`: the first label if the first score is larger, the third if neither."""
    matches = list(re.finditer(rf"\[\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]\]", text))
    if not matches:
        return NONE
    scores = float(matches[-1].group(1)), float(matches[-1].group(2))
    lead = scores[0] - scores[1]
    place = 2 if abs(lead) < _ALIKE else int(lead < 0)
    label = labels[place] if place < len(labels) else None
    return Extraction(label, "ok" if label else "off_menu", matches[-1].span(), scores)


EXTRACTORS: dict[str, Extractor] = {
    # MT-Bench and Arena-Hard
    "brackets": _last(r"\[\[([^\[\]\n]{1,20})\]\]"),
    "graded": _last(r"\[\[\s*(A>>B|A>B|A=B|B=A|B>A|B>>A)\s*\]\]", {"b=a": "A=B"}),
    "rating": _rating,
    # Prometheus, PandaLM, Auto-J, LLMBar, and others
    "result": _last(r"\[RESULT\]\s*\(?([A-Za-z]+|-?\d+(?:\.\d+)?)\)?\s*\.?\s*$"),
    "first_line": _first_line,
    "decision": _last(r"final decision is\s+(?:response\s*)?([12]|tie)", flags=re.IGNORECASE),
    "output": _last(r"Output\s*\(([ab])\)", flags=re.IGNORECASE),
    "grade": _last(r"GRADE:\s*\$?([A-Za-z]+)"),
    "bold": _last(r"\*\*Result:\*\*\s*([A-Za-z0-9.]+?)\.?(?=\s|$)"),
    "json": _json,
    "number": _number_at_end,
    "ranking": _ranking,
    "scores": _scores,
}


def extractor(name: str) -> Extractor:
    """The extractor of this name, or that of a pattern of your own: `regex:PATTERN`.

    The pattern's first group is the label, and its last match counts. Raises `ConfigError` for
    another name and for a pattern that is none.
    """
    kind, _, pattern = name.partition(":")
    if kind == "regex":
        try:
            if re.compile(pattern).groups < 1:
                raise ConfigError("extractor", f"{name}: it needs a group around the label.")
        except re.error as error:
            raise ConfigError("extractor", f"{name}: this is no pattern: {error}.") from None
        return _last(pattern)
    if name not in EXTRACTORS:
        raise ConfigError(
            "extractor",
            f"extractor {name!r}: there are {', '.join(EXTRACTORS)} and regex:PATTERN.",
        )
    return EXTRACTORS[name]


def read_verdict(
    text: str,
    finish_reason: str,
    labels: Sequence[str],
    how: str,
    *,
    shown: Sequence[str] = (),
) -> Extraction:
    """The verdict of an answer that ended for a reason the endpoint gave.

    A text that was cut off has no verdict even if some label stands in it. `shown` are the
    candidates: where one of them holds something like a verdict, what the judge quotes of them is
    not read, and verdicts that contradict each other are ambiguous. So a planted verdict can at
    most leave an item without one.
    """
    if finish_reason == "length":
        return Extraction(None, "truncated")
    if finish_reason in REFUSALS:
        return Extraction(None, "refused")
    extract = extractor(how)
    if not any(extract(one, labels).label is not None for one in shown):
        return extract(text, labels)
    text = _without_quotations(text, shown, lambda one: extract(one, labels).label is not None)
    found = extract(text, labels)
    earlier = found
    while earlier.label is not None and earlier.span[0]:
        earlier = extract(text[: earlier.span[0]], labels)
        if earlier.label not in (None, found.label):
            return Extraction(None, "ambiguous", found.span)
    return found


_QUOTED = re.compile(
    r"""(?P<mark>["'`]+)(?P<inner>[^"'`\n]+)(?P=mark)|\u201c(?P<curly>[^\u201d\n]+)\u201d"""
)
_FEWEST_QUOTED = 8


def _without_quotations(text: str, shown: Sequence[str], is_verdict: Callable[[str], bool]) -> str:
    """The text without lines of the candidates, and without verdicts quoted from one."""
    for line in (line.strip() for one in shown for line in one.splitlines()):
        if len(line) >= _FEWEST_QUOTED:
            text = text.replace(line, "")

    def kept(match: re.Match[str]) -> str:
        inner = (match["inner"] or match["curly"]).strip()
        is_theirs = is_verdict(inner) and any(inner in one for one in shown)
        return "" if is_theirs else match.group()

    return _QUOTED.sub(kept, text)
