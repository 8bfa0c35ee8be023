"""The prompts that a pool of models answers, from a file or from the embedded world."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from modelgraft.core.rows import BadRow, Reject, Row, read_rows, text_of
from modelgraft.methods.tulu3.data import Turns, id_of, require_order, source_of, turns_of
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
        source = source_of(row, path.stem)
        return Question(id_of(row, place), _turns(row), source, str(path), place)

    questions = read_rows(path, parse, key=operator.attrgetter("id"), reject=reject)
    with open(path, "rb") as handle:
        lines = [number for number, line in enumerate(handle, start=1) if line.strip()]
    return [replace(question, line=lines[question.line]) for question in questions]


def _turns(row: Row) -> Turns:
    """The messages of a row up to the last of the user's."""
    name = "messages" if "messages" in row else "prompt"
    if isinstance(row.get(name), str):
        row = {name: [{"role": "user", "content": text_of(row, name)}]}
    turns = turns_of(row, name)
    if turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    if not turns or turns[-1]["role"] != "user":
        raise BadRow(f'field "{name}": there is no turn of the user\'s to answer')
    answer = {"role": "assistant", "content": "."}
    require_order((*turns, answer), f'field "{name}", with the answer to come')
    return turns
