"""A procedural stand-in for BABILong qa1-qa5 (arXiv 2406.10149), and a reader of its rows.

Facts in the manner of bAbI lie in their order between sentences of filler prose that mentions no
person, room or object of the stories. Wording and filler are ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.data import BadRow, Reject, Row, Sample, read_rows
from modelgraft.methods.star_attention.world.fitting import Draft, Growth, Target, fit
from modelgraft.methods.star_attention.world.haystacks import essay, insert_at, take_words
from modelgraft.methods.star_attention.world.stories import (
    OBJECTS,
    PEOPLE,
    ROOMS,
    Story,
    compass_story,
    giving_story,
    moving_story,
    object_story,
    previous_room_story,
)

BUDGET = 32  # Answers are one short sentence; the official runner allows 128.


@dataclass(frozen=True)
class Task:
    """A BABILong task: what may be answered, how the prompt explains it, how a story is drawn."""

    labels: tuple[str, ...]
    instruction: str
    examples: tuple[str, ...]
    rule: str
    draw: Callable[[random.Random], Story]


TASKS: dict[str, Task] = {
    "qa1": Task(
        ROOMS,
        "The context is prose with a few facts about who went where. Answer the question from "
        "these facts alone. What counts is the last room a person went to.",
        (
            "Nina went to the office. Paul went to the garden. Nina moved to the hallway. "
            "Question: Where is Nina?\nAnswer: Nina is in the hallway.",
            "Paul walked to the kitchen. Nina went to the bedroom. "
            "Question: Where is Paul?\nAnswer: Paul is in the kitchen.",
        ),
        "Answer in one sentence of the form: (person) is in the (room).",
        moving_story,
    ),
    "qa2": Task(
        ROOMS,
        "The context is prose with a few facts about people who move, take things and leave "
        "them. A thing goes with the person who took it and stays where it was left. Answer the "
        "question from these facts alone.",
        (
            "Nina went to the office. Nina took the lamp. Nina moved to the garden. "
            "Question: Where is the lamp?\nAnswer: The lamp is in the garden.",
            "Paul went to the kitchen. Paul took the book. Paul left the book. Paul walked to the "
            "hallway. Question: Where is the book?\nAnswer: The book is in the kitchen.",
        ),
        "Answer in one sentence of the form: The (thing) is in the (room).",
        object_story,
    ),
    "qa3": Task(
        ROOMS,
        "The context is prose with a few facts about people who move, take things and leave "
        "them. A thing goes with the person who took it and stays where it was left. Answer the "
        "question, which asks where a thing was earlier, from these facts alone.",
        (
            "Nina went to the office. Nina took the lamp. Nina moved to the garden. Question: "
            "Where was the lamp before the garden?\nAnswer: The lamp was in the office.",
            "Paul went to the kitchen. Paul took the book. Paul walked to the hallway. Paul left "
            "the book. Paul went to the bedroom. Question: Where was the book before the "
            "hallway?\nAnswer: The book was in the kitchen.",
        ),
        "Answer in one sentence of the form: The (thing) was in the (room).",
        previous_room_story,
    ),
    "qa4": Task(
        ROOMS,
        "The context is prose with a few facts about how rooms lie to each other. Answer the "
        "question from these facts alone.",
        (
            "The office is north of the garden. The kitchen is east of the garden. "
            "Question: What is north of the garden?\nAnswer: office",
            "The hallway is west of the bedroom. The bedroom is south of the bathroom. "
            "Question: What is the hallway west of?\nAnswer: bedroom",
        ),
        "Answer with one word, the room.",
        compass_story,
    ),
    "qa5": Task(
        (*PEOPLE, *OBJECTS),
        "The context is prose with a few facts about who gave what to whom. Answer the question "
        "from these facts alone.",
        (
            "Nina took the lamp. Nina gave the lamp to Paul. "
            "Question: Who did Nina give the lamp to?\nAnswer: Paul",
            "Paul took the book. Paul passed the book to Rob. Nina went to the garden. "
            "Question: What did Paul give to Rob?\nAnswer: book",
        ),
        "Answer with one word, the person or the thing.",
        giving_story,
    ),
}


def make_sample(task: str, index: int, target: Target, *, text: str | None = None) -> Sample:
    """Sample number `index` of qa1 to qa5 with a context that fills the target.

    `text` is the user's own filler; None takes Python's language reference.
    """
    _known(task)
    seed = rng_seed("babilong", task, target.length, target.seed, index)
    rng = random.Random(seed)
    story = TASKS[task].draw(rng)
    sentences = _filler(text)
    if not sentences:
        raise InputError(
            f"{task}: every sentence of the filler text names a person, room or thing of the "
            "stories.\n  Choose another text."
        )
    start = rng.randrange(len(sentences))
    filler = sentences[start:] + sentences[:start]
    places_seed = rng_seed(seed, "places")

    def build(size: int) -> Draft:
        units = take_words(filler, size)
        rng = random.Random(places_seed)
        spots = sorted(rng.choices(range(len(units) + 1), k=len(story.facts)))
        text = " ".join(insert_at(units, story.facts, spots))
        return Draft(prompt(task, text), f"Question: {story.question}", (story.answer,))

    return fit(task, index, Growth(build, smallest=1), BUDGET, target)


def prompt(task: str, text: str) -> str:
    """Everything before the question: instruction, examples, answer rule and the context."""
    explained = TASKS[task]
    examples = "\n\n".join(f"<example>\n{example}\n</example>" for example in explained.examples)
    return (
        f"{explained.instruction}\n\n{examples}\n\n{explained.rule} Write nothing else.\n\n"
        f"<context>\n{text.strip()}\n</context>\n"
    )


def read_babilong(path: Path, task: str, *, reject: Reject | None = None) -> list[Sample]:
    """Rows {"input", "question", "target"} of the BABILong data sets, exported as JSONL."""
    _known(task)

    def parse(row: Row, place: int) -> Sample:
        for name in ("input", "question", "target"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise BadRow(f'field "{name}" is missing, empty or not text')
        return Sample(
            index=place,
            task=task,
            context=prompt(task, row["input"]),
            query=f"Question: {row['question'].strip()}",
            outputs=(row["target"],),
        )

    return read_rows(path, parse, reject=reject)


def _known(task: str) -> None:
    if task not in TASKS:
        raise InputError(f"{task}: no such BABILong task; there are {', '.join(TASKS)}.")


@lru_cache(maxsize=2)
def _filler(text: str | None) -> tuple[str, ...]:
    """Sentences that say nothing about the stories."""
    names = "|".join((*PEOPLE, "John", "Daniel", "Sandra", *OBJECTS, *ROOMS))
    told = re.compile(rf"\b({names})s?\b", re.IGNORECASE)
    return tuple(sentence for sentence in essay(text) if not told.search(sentence))
