"""The prompts that a pool of models answers, from a file or from the embedded world."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.core.rows import BadRow, Reject, Row, present, read_rows, shown, text_of
from modelgraft.methods.tulu3.data import Turns
from modelgraft.methods.tulu3.world.tasks import Task, stream


@dataclass(frozen=True)
class Question:
    """A prompt whose last message is the user's, and where it stands.

    `task` is what the world knows about it, for prompts of the world.
    """

    id: str
    messages: Turns
    source: str
    file: str
    line: int
    task: Task | None = None


def world_questions(num: int, *, seed: int) -> list[Question]:
    """`num` training tasks of the world, the skills in turn."""
    tasks = islice(stream("train", seed=seed), num)
    return [
        Question(task.id, tuple(task.messages()), task.source, "tinychat", number, task)
        for number, task in enumerate(tasks, start=1)
    ]


def read_questions(path: Path, *, reject: Reject) -> list[Question]:
    """The prompts of a JSONL file; bad rows go to `reject(path, line, id, reason)`.

    A row has "messages", or "prompt" as messages or as the user's text; answers at the end are
    left out, so conversations to imitate serve too. A missing "id" becomes "row-3" in the third
    row, a missing "source" the name of the file. A second row of the same id is bad.
    """

    def parse(row: Row, place: int) -> Question:
        given = row.get("id")
        id = f"row-{place + 1}" if given is None else str(given)
        source = path.stem if row.get("source") is None else text_of(row, "source")
        return Question(text_of({"id": id}, "id"), _turns(row), source, str(path), place)

    questions = read_rows(path, parse, key=operator.attrgetter("id"), reject=reject)
    with open(path, "rb") as handle:
        lines = [number for number, line in enumerate(handle, start=1) if line.strip()]
    return [replace(question, line=lines[question.line]) for question in questions]


def _turns(row: Row) -> Turns:
    """The messages of a row up to the last of the user's."""
    # It brings torch, which a run without files or local models does without.
    from modelgraft.language.conversation import check_conversation

    name = "messages" if "messages" in row else "prompt"
    given = present(row, name)
    if isinstance(given, str):
        given = [{"role": "user", "content": text_of(row, name)}]
    if not isinstance(given, list):
        raise BadRow(f'field "{name}": {shown(given)} is neither a list of messages nor text')
    turns = [_turn(turn, f"{name}[{place}]") for place, turn in enumerate(given)]
    if turns and turns[-1]["role"] == "assistant":
        turns.pop()
    if not turns or turns[-1]["role"] != "user":
        raise BadRow(f'field "{name}": there is no turn of the user\'s to answer')
    try:
        check_conversation([*turns, {"role": "assistant", "content": "."}])
    except InputError as error:
        reason, *_ = str(error).split("\n")
        raise BadRow(f'field "{name}", with the answer to come: {reason.rstrip(".")}') from None
    return tuple(turns)


def _turn(turn: object, label: str) -> dict[str, str]:
    if not isinstance(turn, dict):
        raise BadRow(f'field "{label}": {shown(turn)} is not an object with role and content')
    parts = {f"{label}.{name}": value for name, value in turn.items()}
    return {name: text_of(parts, f"{label}.{name}") for name in ("role", "content")}
