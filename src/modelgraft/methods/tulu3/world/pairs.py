"""Preference pairs whose shares of better and of longer chosen answers are exact."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.tulu3.world.draft import SKILLS, Skill
from modelgraft.methods.tulu3.world.instructions import Instruction
from modelgraft.methods.tulu3.world.replies import RIGHT, Reply, rate, replies
from modelgraft.methods.tulu3.world.tasks import Task, draw_task


def preference_pairs(
    num: int,
    *,
    better: float = 0.7,
    longer: float = 0.8,
    seed: int = 0,
    skills: tuple[Skill, ...] = SKILLS,
) -> list[dict[str, Any]]:
    """Pairs of a right and a wrong answer to training tasks, as preference records.

    The right one is chosen in a share `better` of the pairs and the longer one (in characters) in
    a share `longer`, both to the nearest whole pair and independent of each other. No two answers
    of a pair have the same length.
    """
    rng = random.Random(rng_seed("tinychat", "pairs", seed))
    is_better = _exact_share(num, better, rng)
    is_longer = _exact_share(num, longer, rng)
    records: list[dict[str, Any]] = []
    number = 0
    while len(records) < num:
        place = len(records)
        task = draw_task(skills[number % len(skills)], "train", number, seed=seed)
        number += 1
        pair = _draw_pair(task, is_better[place], is_longer[place], rng)
        if pair:
            records.append(pair_record(task, *pair, source="tinychat_pairs"))
    return records


def relaxed_pairs(num: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs whose rejected answer fits the prompt with one constraint less (Persona-IF of Tulu 3).

    Only training tasks of two constraints are used; the constraint left out is drawn at random.
    """
    records: list[dict[str, Any]] = []
    number = 0
    while len(records) < num:
        task = draw_task("instructions", "train", number, seed=seed)
        number += 1
        draft = task.draft
        if not isinstance(draft, Instruction) or len(draft.constraints) < 2:
            continue
        rng = random.Random(rng_seed("tinychat", "relax", task.id))
        dropped = rng.choice(draft.constraints)
        kept = tuple(name for name in draft.constraints if name != dropped)
        chosen = Reply(task.answer, RIGHT, True)
        rejected = Reply(replace(draft, constraints=kept).right(), f"breaks_{dropped}", False)
        records.append(pair_record(task, chosen, rejected, source="tinychat_persona_if"))
    return records


def pair_record(task: Task, chosen: Reply, rejected: Reply, *, source: str) -> dict[str, Any]:
    """The preference record of two replies; the fault of each stands in place of a model."""
    return {
        "id": f"{source}-{task.id}",
        "prompt": task.prompt,
        "chosen": task.messages(chosen.text),
        "rejected": task.messages(rejected.text),
        "chosen_rating": float(rate(task, chosen.text)),
        "rejected_rating": float(rate(task, rejected.text)),
        "chosen_model": chosen.fault,
        "rejected_model": rejected.fault,
        "source": source,
    }


def _exact_share(num: int, share: float, rng: random.Random) -> list[bool]:
    marks = [place < round(num * share) for place in range(num)]
    rng.shuffle(marks)
    return marks


def _draw_pair(
    task: Task, is_better: bool, is_longer: bool, rng: random.Random
) -> tuple[Reply, Reply] | None:
    """A right and a wrong reply in the wanted order and of the wanted lengths, if there is one."""
    pool = [reply for wordy in (False, True) for reply in replies(task, wordy=wordy)]
    right = [reply for reply in pool if reply.fault == RIGHT]
    wrong = [reply for reply in pool if not reply.is_right]
    fitting = [
        (good, bad)
        for good in right
        for bad in wrong
        if len(good.text) != len(bad.text)
        and (len(good.text) > len(bad.text)) == (is_better == is_longer)
    ]
    if not fitting:
        return None
    good, bad = rng.choice(fitting)
    return (good, bad) if is_better else (bad, good)
