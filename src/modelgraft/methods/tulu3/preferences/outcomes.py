"""What the outcomes of all prompts come to: the files of a run, its drops and its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from modelgraft.core.files import dump_json, sha256_file, write_atomic, write_json
from modelgraft.core.inputs import config_inputs
from modelgraft.core.options import flatten
from modelgraft.core.provenance import commit, versions
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import wilson
from modelgraft.evaluation.report import Table
from modelgraft.language.endpoints.calls import model_label
from modelgraft.methods.tulu3.config import PreferencesConfig
from modelgraft.methods.tulu3.data import Pair, record_row
from modelgraft.methods.tulu3.preferences.questions import Question
from modelgraft.methods.tulu3.preferences.rubrics import ASPECTS
from modelgraft.methods.tulu3.world.checks import score

Row = Mapping[str, Any]

_REASONS = {
    "no answer": "a model gave no answer",
    "no rating": "a response has no rating that could be read",
    "tied": "all responses have the same mean rating",
    "same text": "every lower response repeats the text of the highest",
}


def write_outcomes(
    questions: Sequence[Question],
    rows: Mapping[str, Row],
    config: PreferencesConfig,
    run: Run,
    *,
    partial: str,
) -> Result:
    """Write pairs, audit, manifest and rejects, and count them; `rows` are outcomes by id.

    The order is that of the questions, whatever the order in which they were settled.
    """
    settled = [(question, rows[question.id]) for question in questions if question.id in rows]
    for question, row in settled:
        if row["dropped"]:
            run.reject(question.file, question.line, question.id, _reason(row))
    pairs = [(question, row) for question, row in settled if row["pair"]]
    made = [record_row(_pair(question, row)) for question, row in pairs]
    files = {
        "pairs.jsonl": (made, "Preference pairs"),
        "audit.jsonl": ([row for _, row in settled], "Every prompt with its answers and ratings"),
    }
    hashes = {}
    for name, (lines, caption) in files.items():
        path = run.add("text", name, caption)
        write_atomic(path, "".join(f"{dump_json(line)}\n" for line in lines))
        hashes[name] = sha256_file(path)
    manifest = _manifest([row for _, row in settled], len(questions), config, run)
    manifest["files"] = hashes
    write_json(run.add("text", "manifest.json", "What went in and what came out"), manifest)
    _model_table(manifest["models"]).save(run.add("table", "models.json", "Answers of each model"))
    if not pairs and not partial:
        partial = f"none of {len(questions):,} prompts gave a pair"
    return Result(
        numbers=tuple(_numbers(settled, len(questions), model_label(config.on_policy))),
        text=f"{len(pairs):,} pairs of {len(questions):,} prompts.",
        remarks=_remarks(config),
        partial=partial,
    )


def _pair(question: Question, row: Row) -> Pair:
    chosen, rejected = (row["responses"][place] for place in row["pair"])
    return Pair(
        question.id,
        question.messages,
        chosen["text"],
        rejected["text"],
        question.source,
        (chosen["mean"], rejected["mean"]),
        (chosen["model"], rejected["model"]),
    )


def _reason(row: Row) -> str:
    told = _REASONS[row["dropped"]]
    if row["dropped"] == "no answer":
        faults = [f"{one['model']} ({one['failure']})" for one in row["responses"]
                  if "failure" in one]  # fmt: skip
        return f"{told}: {'; '.join(faults)}"
    if row["dropped"] == "no rating":
        models = [one["model"] for one in row["responses"] if one["mean"] is None]
        return f"{told}: {', '.join(models)}"
    return told


def _manifest(
    rows: Sequence[Row], num_questions: int, config: PreferencesConfig, run: Run
) -> dict[str, Any]:
    by_source: dict[str, Counter[str]] = {}
    models: dict[str, Counter[str]] = {}
    for row in rows:
        by_source.setdefault(row["source"], Counter())[row["dropped"] or "pairs"] += 1
        pair = row["pair"] or (None, None)
        for place, response in enumerate(row["responses"]):
            of_model = models.setdefault(response["model"], Counter())
            of_model["answers"] += "failure" not in response
            of_model["chosen"] += place == pair[0]
            of_model["rejected"] += place == pair[1]
    return {
        "stage": "preferences",
        "seed": run.seed,
        "config": flatten(config),
        "inputs": config_inputs(config),
        "prompts": num_questions,
        "without_outcome": num_questions - len(rows),
        "sources": {name: dict(by_source[name]) for name in sorted(by_source)},
        "models": {name: dict(models[name]) for name in sorted(models)},
        "judge": model_label(config.judge),
        "aspects": [aspect.name for aspect in ASPECTS],
        "versions": versions(),
        "commit": commit(),
    }


def _model_table(models: Mapping[str, Mapping[str, int]]) -> Table:
    columns = ("answers", "chosen", "rejected")
    rows = [(name, *(counts[column] for column in columns)) for name, counts in models.items()]
    return Table(("model", *columns), rows, "How often each model answered and was chosen.")


def _numbers(
    settled: Sequence[tuple[Question, Row]], num_questions: int, on_policy: str
) -> list[Number]:
    rows = [row for _, row in settled]
    pairs = [(question, row) for question, row in settled if row["pair"]]
    drops = Counter(row["dropped"] for row in rows)
    numbers = [Number("pairs", len(pairs), n=num_questions)]
    numbers += [
        Number(f"dropped: {why}", drops[why], n=num_questions, better="lower") for why in _REASONS
    ]
    responses = [one for row in rows for one in row["responses"] if "failure" not in one]
    if responses:
        cut = sum(one["is_cut"] for one in responses)
        numbers.append(_share("answers cut at the limit", cut, len(responses), better="lower"))
    judged = [one for row in rows if row["judgements"] for one in row["responses"]]
    if judged:
        asked = len(judged) * len(ASPECTS)
        unread = asked - sum(len(one["ratings"]) for one in judged)
        numbers.append(_share("ratings that could not be read", unread, asked, better="lower"))
    if on_policy and pairs:
        own = sum(row["responses"][row["pair"][0]]["model"] == on_policy for _, row in pairs)
        numbers.append(_share("own model's answer chosen", own, len(pairs)))
    orders = [_true_order(question, row) for question, row in pairs if question.task]
    if orders:
        equal = orders.count(0)
        numbers.append(_share("pairs of truly equal answers", equal, len(orders), better="lower"))
    if unequal := len(orders) - orders.count(0):
        right = orders.count(1)
        numbers.append(_share("other pairs whose chosen answer is truly better", right, unequal))
    return numbers


def _share(name: str, num: int, total: int, **fields: Any) -> Number:
    share = wilson(num, total)
    return Number(name, share.value, share.low, share.high, share.n, **fields)


def _true_order(question: Question, row: Row) -> int:
    """1 where the chosen answer is truly better by the world's score, 0 where equal, else -1."""
    assert question.task is not None
    chosen, rejected = (score(question.task, row["responses"][at]["text"]) for at in row["pair"])
    return (chosen > rejected) - (chosen < rejected)


def _remarks(config: PreferencesConfig) -> tuple[str, ...]:
    remarks = []
    if config.judge == "stub":
        remarks.append(
            "The stub judged by the world's truth and drew a share of "
            f"{config.judge_error:g} of its ratings blindly."
        )
    if config.on_policy:
        remarks.append("One side of every pair is your model's: --answers does not count.")
    return tuple(remarks)
