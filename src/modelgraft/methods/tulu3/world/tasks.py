"""Tasks of tinychat: one draw per number, suites of different prompts, and records of each stage.

A task depends on its split, skill, seed and number alone. The skills are word sums, instructions
whose keeping a program can check, operations on words, and requests to help with or to refuse.
Every task with any of its answers fits a context of 192 characters, chat template included.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from modelgraft.core.errors import ConfigError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.tulu3.world.draft import SKILLS, Draft, Skill
from modelgraft.methods.tulu3.world.instructions import draw_instruction
from modelgraft.methods.tulu3.world.orders import draw_copy, draw_ordering
from modelgraft.methods.tulu3.world.personas import PERSONAS, Persona
from modelgraft.methods.tulu3.world.requests import draw_request
from modelgraft.methods.tulu3.world.splits import Palette, Split, make_palette
from modelgraft.methods.tulu3.world.sums import draw_sum

CONTEXT = 192
_DRAWS_PER_PROMPT = 100

_DRAWS: dict[Skill, Callable[[Palette, random.Random], Draft]] = {
    "sums": draw_sum,
    "instructions": draw_instruction,
    "words": draw_ordering,
    "refusals": draw_request,
}


@dataclass(frozen=True)
class Task:
    """One prompt with its truth; `persona` is the title of who asks, if anybody in particular."""

    id: str
    skill: Skill
    split: Split
    draft: Draft
    persona: str = ""

    @property
    def prompt(self) -> str:
        """The user's turn."""
        return self.draft.prompt()

    @property
    def answer(self) -> str:
        """The reference answer."""
        return self.draft.right()

    @property
    def source(self) -> str:
        """The name of the mix this task belongs to: one per skill, persona-made ones apart."""
        return f"tinychat_{'persona_' if self.persona else ''}{self.skill}"

    def messages(self, answer: str | None = None) -> list[dict[str, str]]:
        """The user's turn, and the assistant's where there is an answer."""
        turns = [{"role": "user", "content": self.prompt}]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        return turns

    def sft_record(self) -> dict[str, Any]:
        """The task as an example to imitate."""
        return {"id": self.id, "messages": self.messages(self.answer), "source": self.source}

    def rlvr_record(self) -> dict[str, Any]:
        """The task as a prompt with a truth that a verifier reads."""
        return {
            "id": self.id,
            "messages": self.messages(),
            "ground_truth": self.draft.ground_truth,
            "dataset": self.draft.dataset,
            "source": self.source,
        }


def draw_task(
    skill: Skill, split: Split, number: int, *, seed: int = 0, persona: Persona | None = None
) -> Task:
    """Task `number` of an endless stream; the same arguments give the same task."""
    title = persona.title if persona else ""
    rng = random.Random(rng_seed("tinychat", skill, split, title, seed, number))
    draft = _DRAWS[skill](make_palette(split, persona), rng)
    mark = f"-p{PERSONAS.index(persona)}" if persona else ""
    return Task(f"{split}-{skill}{mark}-{seed}-{number}", skill, split, draft, title)


def stream(
    split: Split, *, seed: int = 0, skills: tuple[Skill, ...] = SKILLS, start: int = 0
) -> Iterator[Task]:
    """Tasks of these skills in turn, without end, from number `start` of each skill."""
    number = start
    while True:
        for skill in skills:
            yield draw_task(skill, split, number, seed=seed)
        number += 1


def length_contrast(split: Split, num: int, *, seed: int = 0) -> tuple[Task, ...]:
    """Copying tasks with answers of 4 characters and of about 80, in turn (E1)."""
    tasks = []
    for number in range(num):
        name = ("short", "long")[number % 2]
        rng = random.Random(rng_seed("tinychat", "contrast", split, seed, number))
        draft = draw_copy(make_palette(split), rng, is_long=name == "long")
        tasks.append(Task(f"{split}-{name}-{seed}-{number}", "words", split, draft))
    return tuple(tasks)


def suite(split: Split, num_per_skill: int, *, seed: int = 0) -> tuple[Task, ...]:
    """As many tasks of every skill, all with different prompts, sorted by skill."""
    tasks: list[Task] = []
    for skill in SKILLS:
        seen: dict[str, Task] = {}
        number = 0
        while len(seen) < num_per_skill:
            if number > _DRAWS_PER_PROMPT * num_per_skill:
                raise ConfigError(
                    "num",
                    f"the embedded world has only {len(seen)} different prompts or a few more for "
                    f"{skill} in its {split} split, and {num_per_skill} are asked for.",
                )
            task = draw_task(skill, split, number, seed=seed)
            seen.setdefault(task.prompt, task)
            number += 1
        tasks += seen.values()
    return tuple(tasks)


def persona_tasks(skill: Skill, num: int, *, seed: int = 0) -> tuple[Task, ...]:
    """Training tasks made by the personas in turn, each from its own favourite words."""
    return tuple(
        draw_task(skill, "train", number, seed=seed, persona=PERSONAS[number % len(PERSONAS)])
        for number in range(num)
    )
