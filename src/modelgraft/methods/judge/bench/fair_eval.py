"""FairEval (Wang et al. 2023): answers of two models to 80 questions, and one verdict of people.

question.jsonl          {"question_id", "text", "category"}
answer/answer_M.jsonl   {"question_id", "text", "model_id"}, a file a model
review/*human*.txt      a word a line in the order of the questions: a name of a model, or TIE
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.core.rows import Reject, Row, text_of
from modelgraft.methods.judge.bench.fields import TIE, id_of
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Candidate, Item

_NAMES = {"gpt35": "chatgpt"}  # The review calls it by its product.


@dataclass(frozen=True)
class _Text:
    question: str
    text: str
    category: str = ""


def read_fair_eval(
    path: Path,
    *,
    reject: Reject | None,
    models: tuple[str, str] = ("gpt35", "vicuna-13b"),
) -> list[Item]:
    """The pairs of two models in a folder of FairEval; the group is the category.

    Candidates are named as the files of their answers. A review of these two gives the labels, if
    there is one. A question without an answer of both is rejected.
    """
    asked = path / "question.jsonl"
    questions = _texts(asked, reject, with_category=True)
    files = [path / "answer" / f"answer_{model}.jsonl" for model in models]
    texts = [{one.question: one.text for one in _texts(file, reject)} for file in files]
    labels = _labels(path, models)
    if labels and len(labels) != len(questions):
        raise InputError(f"{path}: {len(labels)} verdicts of people on {len(questions)} questions.")
    items = []
    for place, one in enumerate(questions):
        missing = [file for file, own in zip(files, texts, strict=True) if one.question not in own]
        if missing:
            reason = f"question {one.question} has no answer in {missing[0].name}"
            if reject is None:
                raise InputError(f"{asked}: {reason}.")
            reject(asked, place + 1, one.question, reason)
            continue
        pair = (
            Candidate(model, own[one.question]) for model, own in zip(models, texts, strict=True)
        )
        label = labels[place] if labels else None
        items.append(Item(one.question, one.text, tuple(pair), label=label, group=one.category))
    return items


def _texts(path: Path, reject: Reject | None, *, with_category: bool = False) -> list[_Text]:
    def parse(row: Row, place: int) -> _Text:
        category = text_of(row, "category") if with_category else ""
        return _Text(id_of(row, "question_id"), text_of(row, "text", empty=True), category)

    return read_records(
        path, parse, reject=reject, key=lambda one: one.question, id_field="question_id"
    )


def _labels(folder: Path, models: tuple[str, str]) -> list[str]:
    """The models' names, or tie, a question; empty without a review of the two."""
    path = folder / "review" / f"review_{models[0]}_{models[1]}_human.txt"
    if not path.is_file():
        return []
    known = {_plain(_NAMES.get(model, model)): model for model in models} | {TIE: TIE}
    labels, faults = [], []
    for number, line in enumerate(path.read_bytes().decode(errors="replace").split("\n"), start=1):
        if word := line.strip():
            if _plain(word) in known:
                labels.append(known[_plain(word)])
            else:
                faults.append(f"{path}:{number}: {word[:40]!r} is none of {', '.join(known)}.")
    if faults:
        raise InputError("\n  ".join(faults[:10]))
    return labels


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
