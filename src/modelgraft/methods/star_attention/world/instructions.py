"""What BABILong qa1-qa5 ask, and how a prompt explains it; wording and examples are ours."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

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


def prompt(task: str, text: str) -> str:
    """Everything before the question: instruction, examples, answer rule and the context."""
    explained = TASKS[task]
    examples = "\n\n".join(f"<example>\n{example}\n</example>" for example in explained.examples)
    return (
        f"{explained.instruction}\n\n{examples}\n\n{explained.rule} Write nothing else.\n\n"
        f"<context>\n{text.strip()}\n</context>\n"
    )
