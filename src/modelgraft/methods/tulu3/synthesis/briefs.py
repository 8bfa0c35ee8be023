"""What a writer is asked for: a persona, what must stand in the prompt, and the truth behind it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from modelgraft.core.errors import InputError
from modelgraft.core.rows import read_rows, text_of
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.tulu3.synthesis.constraints import draw_constraints
from modelgraft.methods.tulu3.world.instructions import DATASET, Instruction
from modelgraft.methods.tulu3.world.personas import PERSONAS, Persona
from modelgraft.methods.tulu3.world.sums import Sum
from modelgraft.methods.tulu3.world.tasks import Task, draw_task

Written = Literal["instructions", "sums"]
TAGS: dict[Written, str] = {"instructions": "User instruction:", "sums": "Math problem:"}

_ASKS: dict[Written, str] = {
    "instructions": (
        "Write one instruction that this person could give to a chat assistant: {persona}.\n"
        "It must contain, word for word: {plan}\n"
        'Begin with "{tag}" and write nothing but the instruction.'
    ),
    "sums": (
        "Write one short mathematics problem that this person could meet: {persona}.\n"
        "Its solution is the calculation {plan}. Write these numbers as digits, and do not give "
        'the result.\nBegin with "{tag}" and write nothing but the problem.'
    ),
}
_ANSWERS: dict[Written, str] = {
    "instructions": "{prompt}",
    "sums": "{prompt}\n\nSolve it step by step. End with: The answer is N.",
}


@dataclass(frozen=True)
class Brief:
    """One row to be written, with the truth of its answer.

    `plan` is what the writer is told to put into the prompt, `needed` what must be found there;
    `task` is a task of the world that fits, for a writer that is no model.
    """

    number: int
    id: str
    skill: Written
    persona: str
    plan: str
    needed: tuple[str, ...]
    verifier: str
    truth: str
    source: str
    task: Task | None = None

    def ask(self) -> str:
        """What the writer is told to write."""
        parts = {"persona": self.persona, "plan": self.plan, "tag": TAGS[self.skill]}
        return _ASKS[self.skill].format(**parts)

    def ask_answer(self, prompt: str) -> str:
        """What the writer is told when it has to answer the prompt it wrote."""
        return _ANSWERS[self.skill].format(prompt=prompt)


def make_briefs(
    skill: Written, num: int, personas: Sequence[str], *, seed: int, is_stub: bool
) -> list[Brief]:
    """`num` rows to be written, for the personas in turn, in an order drawn by the seed.

    For a model, the constraints are those of IFEval and the numbers those of the world's training
    sums; the stub gets tasks of the world's training split whole.
    """
    order = list(range(len(personas)))
    random.Random(rng_seed("tulu3 personas", seed)).shuffle(order)
    make = _world_brief if is_stub else _model_brief
    return [
        make(skill, number, personas[order[number % len(order)]], seed) for number in range(num)
    ]


def read_personas(path: Path | None) -> list[str]:
    """One description of a person per line, or the field "persona" of a JSONL file; or ours.

    Raises `InputError` for a file that cannot be read or has none.
    """
    if path is None:
        return [persona.title for persona in PERSONAS]
    if path.suffix == ".jsonl":
        return read_rows(path, lambda row, _: text_of(row, "persona").strip())
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the personas cannot be read: {error}.") from None
    if found := [line.strip() for line in lines if line.strip()]:
        return found
    raise InputError(f"{path}: there is no line in it that describes a person.")


def _model_brief(skill: Written, number: int, persona: str, seed: int) -> Brief:
    if skill == "sums":
        return replace(_world_brief(skill, number, persona, seed), source="persona_sums", task=None)
    rng = random.Random(rng_seed("tulu3 constraints", seed, number))
    sentences, truth = draw_constraints(rng)
    return Brief(
        number=number,
        id=f"persona-instructions-{seed}-{number}",
        skill=skill,
        persona=persona,
        plan=" ".join(sentences),
        needed=sentences,
        verifier=DATASET,
        truth=truth,
        source="persona_instructions",
    )


def _world_brief(skill: Written, number: int, persona: str, seed: int) -> Brief:
    task = draw_task(skill, "train", number, seed=seed, persona=_world_persona(persona))
    plan, needed = _plan(task)
    return Brief(
        number=number,
        id=task.id,
        skill=skill,
        persona=persona,
        plan=plan,
        needed=needed,
        verifier=task.draft.dataset,
        truth=task.draft.ground_truth,
        source=task.source,
        task=task,
    )


def _plan(task: Task) -> tuple[str, tuple[str, ...]]:
    """What the prompt of this task must hold, or its truth would not be that of the prompt."""
    draft = task.draft
    if isinstance(draft, Sum):
        (a, b, c), (first, second) = draft.numbers, draft.signs
        return f"{a} {first} {b} {second} {c}", (str(a), str(b), str(c))
    assert isinstance(draft, Instruction)
    needed = tuple(one.format(phrase=draft.phrase, num=draft.num) for one in draft.clauses if one)
    if draft.form == "times":
        needed = (f"{draft.words[0]} {draft.num} times", *needed)
    return " ".join(needed), needed


def _world_persona(title: str) -> Persona:
    """The world's persona of this title, or one of its own for any other description."""
    known = {persona.title: persona for persona in PERSONAS}
    return known.get(title) or PERSONAS[rng_seed("tulu3 persona", title) % len(PERSONAS)]
