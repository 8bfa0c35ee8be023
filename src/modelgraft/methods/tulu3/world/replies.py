"""Answers of known quality: error models, a pool of invented models, and a judge that errs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.tulu3.world.checks import score
from modelgraft.methods.tulu3.world.tasks import Task

RIGHT = "right"
BEST, WORST = 5, 1


@dataclass(frozen=True)
class Reply:
    """A response, the name of its fault (`right` for none), and whether a verifier accepts it."""

    text: str
    fault: str
    is_right: bool


@dataclass(frozen=True)
class Respondent:
    """An invented model: how often it answers rightly, and how often at length."""

    name: str
    accuracy: float
    wordiness: float


# From strong to weak; length says nothing about quality.
POOL: tuple[Respondent, ...] = (
    Respondent("careful-short", 0.95, 0.1),
    Respondent("careful-long", 0.9, 0.9),
    Respondent("steady-short", 0.75, 0.2),
    Respondent("steady-long", 0.7, 0.8),
    Respondent("hasty-short", 0.5, 0.1),
    Respondent("hasty-long", 0.45, 0.9),
    Respondent("lost-short", 0.2, 0.2),
    Respondent("lost-long", 0.15, 0.8),
)


def replies(task: Task, *, seed: int = 0, wordy: bool = False) -> tuple[Reply, ...]:
    """The right answer, the weak ones and every known wrong one, each under its label.

    Weak answers have no wordy form and are left out of the wordy ones.
    """
    rng = random.Random(rng_seed("tinychat", "replies", task.id, seed))
    weak = {} if wordy else task.draft.weak()
    return (
        Reply(task.draft.right(wordy=wordy), RIGHT, True),
        *(Reply(text, name, True) for name, text in weak.items()),
        *(Reply(text, name, False) for name, text in task.draft.wrong(rng, wordy=wordy).items()),
    )


def respond(model: Respondent, task: Task, *, seed: int = 0) -> Reply:
    """What this model answers: the same for the same task and seed."""
    rng = random.Random(rng_seed("tinychat", "respond", model.name, task.id, seed))
    wordy = rng.random() < model.wordiness
    found = replies(task, seed=seed, wordy=wordy)
    if rng.random() < model.accuracy:
        return found[0]
    return rng.choice([reply for reply in found if not reply.is_right])


def rate(task: Task, response: str, *, error_rate: float = 0.0, seed: int = 0) -> int:
    """A judge's rating from 1 to 5: the rounded score, or with `error_rate` any rating at all."""
    rng = random.Random(rng_seed("tinychat", "rate", task.id, response, seed))
    if rng.random() < error_rate:
        return rng.randint(WORST, BEST)
    return WORST + round((BEST - WORST) * score(task, response))
