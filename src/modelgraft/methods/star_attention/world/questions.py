"""Questions over numbered documents: the `qa` tasks of RULER.

`qa_1` and `qa_2` read the user's SQuAD and HotpotQA files. `qa_syn_1` and `qa_syn_2` are our
stand-ins with one and two hops over invented biographies; they are tasks of their own name, so a
score never passes for the real one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.core.files import read_json
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.world.fitting import Draft, Growth
from modelgraft.methods.star_attention.world.haystacks import split_sentences

BUDGET = 32
_RULE = "Answer the question from the documents alone, with nothing but the answer."


@dataclass(frozen=True)
class Question:
    """A question, its accepted answers, and the documents (by number) that hold them.

    `near` documents share the topic and are the preferred distractors.
    """

    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    near: tuple[int, ...] = ()


@dataclass(frozen=True)
class QuestionSet:
    """Documents and the questions asked about them; `source` names their origin."""

    source: str
    documents: tuple[str, ...]
    questions: tuple[Question, ...]


def qa_growth(questions: QuestionSet, index: int, length: int, seed: int) -> Growth:
    """Question number `index` among its gold documents and any number of distractor sentences.

    Distractors of the same topic come first. The last one is cut after a sentence (ours): whole
    documents would leave short contexts far from full.
    """
    if not 0 <= index < len(questions.questions):
        raise InputError(
            f"{questions.source}: sample {index} was asked for, but this file has "
            f"{len(questions.questions)} questions.\n"
            "  Ask for fewer samples, or bring more questions."
        )
    question = questions.questions[index]
    distractors, num_sentences = _distractors(questions, question, length, random.Random(seed))
    gold = tuple(questions.documents[number] for number in question.gold)
    layout_seed = rng_seed(seed, "layout")

    def build(size: int) -> Draft:
        documents = [*gold, *_first_sentences(distractors, size)]
        random.Random(layout_seed).shuffle(documents)
        numbered = (
            f"Document {number}:\n{document}" for number, document in enumerate(documents, start=1)
        )
        context = f"{_RULE}\n\n" + "\n\n".join(numbered) + "\n"
        query = f"{_RULE}\n\nQuestion: {question.text}"
        return Draft(context, query, question.answers, "Answer:", gold)

    return Growth(build, 0, num_sentences, questions.source)


def _distractors(
    questions: QuestionSet, question: Question, length: int, rng: random.Random
) -> tuple[list[tuple[str, tuple[str, ...]]], int]:
    """Distractors with their sentences, more than `length` tokens can hold, and their number."""
    known = {*question.gold, *question.near}
    others = [number for number in range(len(questions.documents)) if number not in known]
    order = rng.sample(question.near, len(question.near))
    order += rng.sample(others, min(len(others), length))
    distractors = []
    num_sentences = 0
    for number in order:
        text = questions.documents[number]
        distractors.append((text, split_sentences(text)))
        num_sentences += len(distractors[-1][1])
        if num_sentences > length:
            break
    return distractors, num_sentences


def _first_sentences(
    documents: list[tuple[str, tuple[str, ...]]], num_sentences: int
) -> Iterator[str]:
    for text, sentences in documents:
        if num_sentences <= 0:
            return
        yield text if len(sentences) <= num_sentences else " ".join(sentences[:num_sentences])
        num_sentences -= len(sentences)


def read_squad(path: Path) -> QuestionSet:
    """The answerable questions of a SQuAD file (version 1.1 or 2.0), in the order of the file."""
    articles = _field(read_json(path, "a SQuAD file"), "data", list, f"{path}")
    numbers: dict[str, int] = {}
    questions: list[Question] = []
    for article, where in _each(articles, f"{path}: data"):
        paragraphs = list(_each(_field(article, "paragraphs", list, where), f"{where}.paragraphs"))
        texts = [_field(paragraph, "context", str, place) for paragraph, place in paragraphs]
        own = tuple(dict.fromkeys(numbers.setdefault(text, len(numbers)) for text in texts))
        for (paragraph, place), text in zip(paragraphs, texts, strict=True):
            gold = numbers[text]
            near = tuple(number for number in own if number != gold)
            for entry, spot in _each(_field(paragraph, "qas", list, place), f"{place}.qas"):
                if entry.get("is_impossible", False):
                    continue
                answers = _each(_field(entry, "answers", list, spot), f"{spot}.answers")
                accepted = tuple(
                    dict.fromkeys(_field(item, "text", str, at) for item, at in answers)
                )
                asked = _field(entry, "question", str, spot)
                questions.append(Question(asked, _some(accepted, spot), (gold,), near))
    return _question_set(path, numbers, questions)


def read_hotpot(path: Path) -> QuestionSet:
    """The questions of a HotpotQA distractor file, in the order of the file.

    Gold are the paragraphs named in `supporting_facts`; the question's other paragraphs are
    preferred distractors (upstream RULER keeps all ten, which no short context can hold).
    """
    rows = read_json(path, "a HotpotQA file")
    if not isinstance(rows, list):
        raise InputError(f"{path}: a HotpotQA file is a JSON list of questions; this is not one.")
    numbers: dict[str, int] = {}
    questions: list[Question] = []
    for row, where in _each(rows, f"{path}: question"):
        titles: dict[str, int] = {}
        for pair in _field(row, "context", list, where):
            title, sentences = _pair(pair, list, f'{where}: field "context"')
            text = f"{title}\n{''.join(map(str, sentences))}"
            titles[title] = numbers.setdefault(text, len(numbers))
        facts = _field(row, "supporting_facts", list, where)
        needed = {_pair(fact, int, f'{where}: field "supporting_facts"')[0] for fact in facts}
        gold = tuple(number for title, number in titles.items() if title in needed)
        if not gold:
            raise InputError(f'{where}: no paragraph of "context" is named in "supporting_facts".')
        near = tuple(number for number in titles.values() if number not in gold)
        answers = _some((_field(row, "answer", str, where),), where)
        questions.append(Question(_field(row, "question", str, where), answers, gold, near))
    return _question_set(path, numbers, questions)


def _pair(value: Any, second: type, where: str) -> tuple[str, Any]:
    if not (isinstance(value, list) and len(value) == 2):
        raise InputError(f"{where}: expected pairs that start with a title.")
    if not (isinstance(value[0], str) and isinstance(value[1], second)):
        raise InputError(f"{where}: expected pairs that start with a title.")
    return value[0], value[1]


def _question_set(path: Path, numbers: dict[str, int], questions: list[Question]) -> QuestionSet:
    if not questions:
        raise InputError(f"{path}: there is no answerable question in this file.")
    return QuestionSet(str(path), tuple(numbers), tuple(questions))


def _each(rows: list[Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    for number, row in enumerate(rows):
        place = f"{where}[{number}]"
        if not isinstance(row, dict):
            raise InputError(f"{place}: expected a JSON object, got {type(row).__name__}.")
        yield row, place


def _field(row: Any, name: str, kind: type, where: str) -> Any:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "text"
        raise InputError(f'{where}: field "{name}" is missing or not {wanted}.')
    return value


def _some(answers: tuple[str, ...], where: str) -> tuple[str, ...]:
    if not answers or not all(answers):
        raise InputError(f"{where}: an answerable question needs at least one non-empty answer.")
    return answers
