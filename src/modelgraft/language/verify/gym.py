"""Tasks of the reasoning_gym package: rows with prompts, and its own scorers as a verifier.

The package is imported only when used. A task whose scorer runs Python on the model's text is
refused: what a model wrote is never evaluated.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import need
from modelgraft.language.verify.verdict import Verdict

_EVALUATES = re.compile(r"(?<!literal_)\b(?:eval|exec|parse_expr|sympify)\(")
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_PHRASE = re.compile(r"answer(?: is|:)[ \t]*([^\n]+)", re.IGNORECASE)


def rows(task: str, *, seed: int, size: int) -> Iterator[dict[str, Any]]:
    """Prompts of one task as records with `messages`, `ground_truth` (JSON) and `dataset`."""
    _refuse_unsafe(task)
    for entry in need("reasoning_gym", extra="gym").create_dataset(task, seed=seed, size=size):
        yield {
            "messages": [{"role": "user", "content": entry["question"]}],
            "ground_truth": json.dumps(entry, default=str),
            "dataset": "reasoning_gym",
        }


def reasoning_gym(response: str, truth: str) -> Verdict:
    """The score that the task's own scorer gives the answer; passed at 1.

    The answer is what the last <answer> tag holds, else what follows the last "answer is" or
    "answer:" on its line, else the whole response.
    """
    entry = _entry(truth)
    answer = find_answer(response)
    score = float(_scorer(entry["metadata"]["source_dataset"])(answer, entry))
    score = min(1.0, max(0.0, score))
    return Verdict(score == 1.0, score, f"{answer[:80]}, expected {entry['answer']!s:.80}")


def find_answer(response: str) -> str:
    """The answer of a response, without white space and a final stop."""
    start = response.rfind("<answer>")
    found = _TAG.findall(response[start:]) if start >= 0 else _PHRASE.findall(response)
    return (found[-1] if found else response).strip().removesuffix(".")


def reasoning_gym_faults(truth: Any) -> list[str]:
    """Why this entry cannot be scored; empty if it can."""
    try:
        _refuse_unsafe(_entry(truth)["metadata"]["source_dataset"])
    except InputError as error:
        return [str(error)]
    return []


def prepare(truth: str, options: Mapping[str, Any]) -> None:
    """Import the package and build the scorer."""
    _scorer(_entry(truth)["metadata"]["source_dataset"])


def _entry(truth: Any) -> dict[str, Any]:
    try:
        entry = json.loads(truth) if isinstance(truth, str) else truth
        is_entry = isinstance(entry["answer"], str | None) and entry["metadata"]["source_dataset"]
    except (ValueError, TypeError, KeyError):
        is_entry = False
    if not is_entry:
        raise InputError(
            "the ground truth must be a reasoning_gym entry with answer and "
            f"metadata.source_dataset, as JSON, not {truth!r:.60}"
        )
    return entry


def _refuse_unsafe(task: str) -> None:
    tasks = need("reasoning_gym.factory", extra="gym").DATASETS
    if task not in tasks:
        raise InputError(f"reasoning_gym has no task {task!r:.60}")
    if _EVALUATES.search(inspect.getsource(tasks[task][0])):
        raise InputError(f"the scorer of {task} runs Python on the model's answer; it is not used")


@functools.cache
def _scorer(task: str) -> Callable[[str, dict[str, Any]], float]:
    _refuse_unsafe(task)
    return need("reasoning_gym.factory", extra="gym").get_score_answer_fn(task)
