"""Records of questions on long contexts: four formats in, the official one out.

official     {"index", "input_context", "input_query", "outputs" or "output", "length"}
upstream     {"index", "input", "outputs", "length", "answer_prefix"}    written by RULER
kvpress      {"context", "question", "answer_prefix", "answer", "task", "max_new_tokens"}
BABILong     {"input", "question", "target"}                  exported from the data set as JSONL

A record of ours is an official one with "task", "answer_prefix", "max_new_tokens" and "depths"
added, which other readers pass over.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.rows import BadRow, Reject, Row, integer_of, read_rows, shown, text_of
from modelgraft.methods.star_attention.world.instructions import TASKS, prompt

DEFAULT_BUDGET = 128

# How upstream RULER opens its questions; everything before the last one found is context. The
# plain word comes last: it may occur in a haystack, but each upstream task has an opening above.
_QUESTION_OPENINGS = (
    "What are all the special magic ",
    "What is the special magic ",
    "Question: Find all variables",
    "Question: What are the 10 most common words",
    "Question: Do not provide any explanation",
    "Answer the question based on the given documents",
    "Question:",
)


@dataclass(frozen=True)
class Sample:
    """One question on one long context.

    `context` ends before the question and is all that phase 1 sees; `query` is the question;
    `answer_prefix` opens the reply. `length` counts the tokens of the three texts and `budget`,
    the number of tokens to generate; -1 means not known. `depths` are the places of the facts as
    fractions of the context. `extra` keeps what else the input row held.
    """

    index: int
    task: str
    context: str
    query: str
    outputs: tuple[str, ...]
    answer_prefix: str = ""
    length: int = -1
    budget: int = DEFAULT_BUDGET
    depths: tuple[float, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


def read_records(
    path: Path,
    *,
    task: str = "",
    budget: int = DEFAULT_BUDGET,
    reject: Reject | None = None,
) -> list[Sample]:
    """The records of a JSONL file in any of the four formats.

    `task` and `budget` hold for rows that name none; without `task` the file name is taken, as in
    `niah_single_1.jsonl` or `niah_single_1/validation.jsonl`. Rows without an index get their
    place in the file. A BABILong row gets the instruction and examples of its task, qa1 to qa5.
    `reject(path, line, id, reason)` receives bad rows one by one and the rest is kept; without it
    any bad row raises an `InputError` that lists the first ten.
    """
    default_task = task or _task_of(path)

    def parse(row: Row, place: int) -> Sample:
        return _sample(row, place, default_task, budget)

    return _read(path, parse, reject)


def read_predictions(
    path: Path, *, task: str = "", reject: Reject | None = None
) -> list[tuple[Sample, str]]:
    """Every sample of a predictions file with the text of its field "pred"."""
    default_task = task or _task_of(path)

    def parse(row: Row, place: int) -> Sample:
        text_of(row, "pred", empty=True)
        return _sample(row, place, default_task, DEFAULT_BUDGET)

    samples = _read(path, parse, reject)
    return [(sample, sample.extra["pred"]) for sample in samples]


def _read(path: Path, parse: Callable[[Row, int], Sample], reject: Reject | None) -> list[Sample]:
    """A second row with the task and index of an earlier one is bad."""
    key = operator.attrgetter("task", "index")
    return read_rows(path, parse, key=key, id_field="index", reject=reject)


def write_records(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as official JSONL, whole or not at all; `read_records` gives them back."""
    write_atomic(path, "".join(dump_json(record_row(sample)) + "\n" for sample in samples))


def write_predictions(path: Path, predictions: Iterable[tuple[Sample, str]]) -> None:
    """Write predictions as official JSONL, whole or not at all."""
    rows = (prediction_row(sample, text) for sample, text in predictions)
    write_atomic(path, "".join(dump_json(row) + "\n" for row in rows))


def record_row(sample: Sample) -> Row:
    """A sample as an official input row, its extra fields repeated."""
    return {
        **sample.extra,
        "index": sample.index,
        "task": sample.task,
        "input_context": sample.context,
        "input_query": sample.query,
        "outputs": list(sample.outputs),
        "answer_prefix": sample.answer_prefix,
        "length": sample.length,
        "max_new_tokens": sample.budget,
        "depths": list(sample.depths),
    }


def prediction_row(sample: Sample, text: str) -> Row:
    """The input row with "pred" and, where absent, the official "others" and "truncation"."""
    return {"others": {}, "truncation": -1, **record_row(sample), "pred": text}


# -- one row -----------------------------------------------------------------------------------

_FORMATS = (
    'A row needs "input_context" and "input_query", or "input" (upstream RULER), or "context" and '
    '"question" (kvpress), and the expected "outputs", "output" or "answer"; or "input", '
    '"question" and "target" (BABILong).'
)


_COMMON = frozenset(
    "index task outputs output answer answer_prefix length max_new_tokens depths".split()
)


def _sample(row: Row, place: int, default_task: str, default_budget: int) -> Sample:
    task = text_of(row, "task") if "task" in row else default_task
    answers = ["outputs", "output", "answer"]
    if "input_context" in row or "input_query" in row:
        context, query = text_of(row, "input_context", empty=True), text_of(row, "input_query")
        read = frozenset({"input_context", "input_query"})
    elif "input" in row and "question" in row and "outputs" not in row:
        context, query = _babilong(row, task)
        answers = ["target"]
        read = frozenset({"input", "question", "target"})
    elif "input" in row:
        context, query = split_question(text_of(row, "input"))
        read = frozenset({"input"})
    elif "context" in row or "question" in row:
        context, query = text_of(row, "context", empty=True), text_of(row, "question")
        read = frozenset({"context", "question"})
    else:
        raise BadRow(f"no known format. {_FORMATS}")
    given = [name for name in answers if name in row]
    if not given:
        raise BadRow(f'field "{answers[0]}" is missing')
    return Sample(
        index=_index(row, place),
        task=task,
        context=context,
        query=query,
        outputs=_references(row, given[0]),
        answer_prefix=text_of(row, "answer_prefix", empty=True) if "answer_prefix" in row else "",
        length=integer_of(row, "length", low=-1) if "length" in row else -1,
        budget=integer_of(row, "max_new_tokens", low=1)
        if "max_new_tokens" in row
        else default_budget,
        depths=_depths(row) if "depths" in row else (),
        extra=_extra(row, read | _COMMON),
    )


def split_question(text: str) -> tuple[str, str]:
    """An upstream RULER prompt as context and query, split at its last question opening."""
    for opening in _QUESTION_OPENINGS:
        start = text.rfind(opening)
        if start >= 0:
            return text[:start], text[start:]
    raise BadRow(
        'field "input": no question of a RULER task was found in it, so context and query cannot '
        'be told apart; give them as "input_context" and "input_query"'
    )


def _babilong(row: Row, task: str) -> tuple[str, str]:
    """Context and query of a BABILong row, the task explained as in our own samples."""
    if task not in TASKS:
        raise BadRow(
            f"a BABILong row of task {shown(task)}: call the file, or its field "
            f'"task", one of {", ".join(TASKS)}'
        )
    return prompt(task, text_of(row, "input")), f"Question: {text_of(row, 'question').strip()}"


def _index(row: Row, place: int) -> int:
    # Upstream's niah writer overwrites "index" with the place of the answer in the text, which
    # repeats; such rows carry the token position too and are numbered by their place instead.
    # The official predictions writer puts -1 where the input had no index.
    if "token_position_answer" in row or row.get("index", -1) == -1:
        return place
    return integer_of(row, "index", low=0)


def _references(row: Row, name: str) -> tuple[str, ...]:
    values = row[name]
    if isinstance(values, str):
        return (text_of(row, name),)
    if not isinstance(values, list) or not values:
        raise BadRow(f'field "{name}": {shown(values)} is not a text or a list of texts')
    label = f"{name}[{{}}]".format
    items = {label(number): value for number, value in enumerate(values)}
    return tuple(text_of(items, item) for item in items)


def _depths(row: Row) -> tuple[float, ...]:
    values = row["depths"]
    if not isinstance(values, list) or not all(
        isinstance(value, int | float) and 0 <= value <= 1 for value in values
    ):
        raise BadRow(f'field "depths": {shown(values)} is not a list of fractions')
    return tuple(float(value) for value in values)


def _extra(row: Row, read: frozenset[str]) -> Row:
    """The fields nothing here reads, provided that they can be written again."""
    extra = {name: value for name, value in row.items() if name not in read}
    for name, value in extra.items():
        try:
            dump_json(value)
        except ValueError:  # 1e999 is read as infinity, which JSON cannot write.
            raise BadRow(f"field {shown(name)} holds a number that is too large") from None
    return extra


def _task_of(path: Path) -> str:
    """The task a file is named for; upstream names the folder and calls the file by its split."""
    return path.parent.name if path.stem in ("validation", "test") else path.stem
