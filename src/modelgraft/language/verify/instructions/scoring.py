"""Whether a response follows its instructions, strictly or loosely (IFEval, section 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelgraft.language.verify import languages
from modelgraft.language.verify.instructions.table import DETECTING, RULES
from modelgraft.language.verify.instructions.truth import (
    Instruction,
    read_instructions,
    truth_faults,
)
from modelgraft.language.verify.verdict import Verdict


def ifeval(response: str, truth: Any, *, loose: bool = False, partial: bool = False) -> Verdict:
    """Passed when every instruction is followed; a blank response follows none.

    `loose` tries each instruction on the eight texts of `loose_variants`, and one is enough.
    `partial` makes the score the share of instructions followed, instead of 1 or 0; `passed` still
    asks for all. `InputError` says what is wrong with a ground truth.
    """
    instructions = read_instructions(truth)
    texts = loose_variants(response) if loose else [response]
    missed = [one.name for one in instructions if not any(_follows(text, one) for text in texts)]
    share = 1 - len(missed) / len(instructions)
    detail = f"not followed: {', '.join(missed)}" if missed else f"{len(instructions)} followed"
    return Verdict(not missed, share if partial else float(not missed), detail)


def loose_variants(response: str) -> list[str]:
    """The response whole, without its first, its last, both lines; and each of these without *."""
    lines = response.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    texts = [response, *cut]
    return [*texts, *(text.replace("*", "") for text in texts)]


def ifeval_faults(truth: Any, *, loose: bool = False, partial: bool = False) -> list[str]:
    """Everything that is wrong with a ground truth; empty if it can be used."""
    return truth_faults(truth)


def prepare(truth: Any, options: Mapping[str, Any]) -> None:
    """Load the language detector where an instruction needs it."""
    if any(one.name in DETECTING for one in read_instructions(truth)):
        languages.load()


def _follows(text: str, instruction: Instruction) -> bool:
    rule = RULES[instruction.name]
    return bool(text.strip()) and rule.check(text, **instruction.arguments)
