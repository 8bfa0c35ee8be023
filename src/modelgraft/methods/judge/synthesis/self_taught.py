"""Worse answers that a model writes: good ones to an instruction that is similar but another.

Self-Taught Evaluators (Wang et al. 2024, section 3.2). What the model writes is right for what it
was asked, and therefore beside the point of the instruction that it is set against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from modelgraft.language.endpoints.calls import LATER
from modelgraft.language.endpoints.exchange import Failure, Outcome, Reply, Request
from modelgraft.methods.judge.fences import cleaned, fence_word, fenced
from modelgraft.methods.judge.synthesis.corpus import Answered
from modelgraft.methods.judge.synthesis.ways import Made

Ask = Callable[[Sequence[Request]], list[Outcome]]
SELF_TAUGHT = "self_taught"

_MODIFY = (
    "Below is an instruction between two lines that begin with <instruction. Write an instruction "
    "on the same subject that asks for something else, so that a good answer to yours would be a "
    "bad answer to the one below. Reply with your instruction alone, in one paragraph."
)


@dataclass(frozen=True)
class SelfTaught:
    """A pair for each row, None where there is none, why, and what may be answered later."""

    pairs: list[Made | None]
    reasons: Counter[str] = field(default_factory=Counter)
    waiting: list[Failure] = field(default_factory=list)


def self_taught(
    rows: Sequence[Answered], ask: Ask, *, temperature: float, max_tokens: int
) -> SelfTaught:
    """Pairs of the rows' answers and answers to instructions that the model modified.

    No pair comes of a row whose instruction came back as it was, of an answer equal to the good
    one, and of one that broke off or failed.
    """

    def request(text: str) -> Request:
        turn = {"role": "user", "content": text}
        return Request(messages=(turn,), temperature=temperature, max_tokens=max_tokens)

    found = SelfTaught([None] * len(rows))
    others: dict[int, str] = {}
    modified = ask([request(_asked(row.instruction)) for row in rows])
    for place, (row, outcome) in enumerate(zip(rows, modified, strict=True)):
        text = _text(outcome, found)
        if text and _same(text, row.instruction):
            found.reasons["the instruction came back unchanged"] += 1
        elif text:
            others[place] = text
    answers = ask([request(text) for text in others.values()])
    for place, outcome in zip(others, answers, strict=True):
        row, text = rows[place], _text(outcome, found)
        if text and _same(text, row.answer):
            found.reasons["the same answer"] += 1
        elif text:
            found.pairs[place] = Made(row.instruction, row.answer, text)
    return found


def _asked(instruction: str) -> str:
    word = fence_word([instruction])
    return f"{_MODIFY}\n\n{fenced(cleaned(instruction), 'instruction', word)}\n\n{_MODIFY}"


def _text(outcome: Outcome, found: SelfTaught) -> str:
    """What was written; nothing, and the reason noted, where that is nothing to use."""
    if isinstance(outcome, Failure):
        found.reasons[outcome.kind] += 1
        if outcome.kind in LATER:
            found.waiting.append(outcome)
        return ""
    assert isinstance(outcome, Reply)
    if outcome.finish_reason == "length" or not outcome.text.strip():
        found.reasons["broke off" if outcome.text.strip() else "empty"] += 1
        return ""
    return outcome.text.strip()


def _same(one: str, other: str) -> bool:
    return " ".join(one.lower().split()) == " ".join(other.lower().split())
