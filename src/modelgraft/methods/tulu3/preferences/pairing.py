"""From prompts to pairs: the work of the action, prompt by prompt, in a run that can be killed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from modelgraft.core.processes import refuse_processes
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import Reject
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.core.settings import Settings
from modelgraft.language.endpoints.calls import LATER, Calls, call_numbers, model_label, still_open
from modelgraft.language.endpoints.exchange import Failure, Reply
from modelgraft.language.endpoints.store import CallStore
from modelgraft.methods.tulu3.config import PreferencesConfig
from modelgraft.methods.tulu3.preferences.binarise import Drop, binarise, mean_rating
from modelgraft.methods.tulu3.preferences.judging import (
    STUB,
    Case,
    Judgement,
    check_judge,
    judge_all,
)
from modelgraft.methods.tulu3.preferences.outcomes import write_outcomes
from modelgraft.methods.tulu3.preferences.questions import (
    Question,
    read_questions,
    world_questions,
)
from modelgraft.methods.tulu3.preferences.respond import Answer, Pool, open_pool, respond_all
from modelgraft.methods.tulu3.preferences.rubrics import ASPECTS
from modelgraft.methods.tulu3.preferences.sheets import TOKENS_PER_RESPONSE

JOURNAL = "outcomes.jsonl"
# Prompts between two changes of model: bounds the memory, and how often a local model is loaded.
_AT_ONCE = 1024
Row = dict[str, Any]


def preferences(config: PreferencesConfig, run: Run) -> Result:
    """Pairs of a chosen and a rejected answer to every prompt that allows one.

    Writes `pairs.jsonl` (preference records), `audit.jsonl` (every prompt with all answers, their
    ratings by aspect and the judge's own words) and `manifest.json`. A prompt without a pair is
    recorded in `rejects.jsonl` with its reason. Each prompt's outcome is acknowledged once; a run
    that was stopped goes on with the others and asks nothing that was answered.
    """
    refuse_processes("preferences", "only training shares it")
    pool = open_pool(config)
    check_judge(config)
    questions = _questions(config, seed=run.seed, reject=run.reject)
    missing: list[Failure] = []
    with run.journal(JOURNAL) as journal, CallStore(run.folder / "calls.sqlite") as store:
        calls = Calls(config, run, store)
        rows: dict[str, Row] = {row["id"]: row for row in journal.rows}
        todo = [question for question in questions if question.id not in rows]
        for start in range(0, len(todo), _AT_ONCE):
            run.check()
            for outcome in _outcomes(todo[start : start + _AT_ONCE], pool, calls, config, run.seed):
                if isinstance(outcome, Failure):
                    missing.append(outcome)
                    continue
                journal.append(outcome)
                rows[outcome["id"]] = outcome
            if any(failure.kind == "budget" for failure in missing):
                break
    num_open = sum(question.id not in rows for question in questions)
    return write_outcomes(
        questions, rows, config, run, partial=still_open(num_open, "prompts", missing)
    )


def estimate_preferences(config: PreferencesConfig, settings: Settings) -> list[Number]:
    """What `preferences` would ask of models, if all answer; invented ones cost nothing."""
    pool = open_pool(config)
    check_judge(config)
    questions = _questions(config, seed=settings.seed, reject=lambda *_: None)
    labels = (label for one in questions for label in pool.draw(one.id, settings.seed))
    members = (pool.members[label] for label in labels)
    asked = Counter(name for name in members if isinstance(name, str))
    num_tokens = asked.total() * config.max_new_tokens
    num_answers, num_judgements = pool.num_answers * len(questions), len(ASPECTS) * len(questions)
    if config.judge != STUB:
        asked[config.judge] += num_judgements
        num_tokens += num_judgements * TOKENS_PER_RESPONSE * pool.num_answers
    return [
        Number("prompts", len(questions)),
        Number("answers", num_answers),
        Number("judgements at most", num_judgements),
        *call_numbers(asked, num_tokens),
    ]


def _questions(config: PreferencesConfig, *, seed: int, reject: Reject) -> list[Question]:
    """The prompts of the file, or of the embedded world."""
    if config.prompts is None:
        return world_questions(config.num, seed=seed)
    return read_questions(config.prompts, reject=reject)[: config.num]


def _outcomes(
    questions: Sequence[Question], pool: Pool, calls: Calls, config: PreferencesConfig, seed: int
) -> Iterator[Row | Failure]:
    """The row of each question, or why it must wait for another attempt."""
    answered = respond_all(pool, questions, calls, config, seed)
    cases = {
        question.id: Case(question, tuple(answer.text for answer in answers))
        for question, answers in zip(questions, answered, strict=True)
        if not any(answer.failure for answer in answers)
    }
    judged = judge_all([*cases.values()], calls, config, seed)
    judgements = dict(zip(cases, judged, strict=True))
    for question, answers in zip(questions, answered, strict=True):
        judgement = judgements.get(question.id)
        failures = [answer.failure for answer in answers if answer.failure]
        if judgement is not None:
            failures = [one for one in judgement.outcomes.values() if isinstance(one, Failure)]
        later = [failure for failure in failures if failure.kind in LATER]
        if later:
            yield later[0]
        elif judgement is None:
            yield _row(question, answers, None, "no answer", config, seed)
        else:
            yield _judged_row(question, answers, judgement, config, seed)


def _judged_row(
    question: Question,
    answers: Sequence[Answer],
    judgement: Judgement,
    config: PreferencesConfig,
    seed: int,
) -> Row:
    means = [mean_rating(ratings) for ratings in judgement.ratings]
    rng = random.Random(rng_seed("preferences", "binarise", seed, question.id))
    found = binarise(means, [answer.text for answer in answers], rng)
    if isinstance(found, str):
        return _row(question, answers, judgement, found, config, seed)
    return _row(question, answers, judgement, "", config, seed) | {"pair": list(found)}


def _row(
    question: Question,
    answers: Sequence[Answer],
    judgement: Judgement | None,
    dropped: Drop | str,
    config: PreferencesConfig,
    seed: int,
) -> Row:
    """Everything that is known of a prompt: what the audit shows and all else is made from."""
    responses: list[Row] = []
    for place, answer in enumerate(answers):
        ratings = judgement.ratings[place] if judgement else {}
        response: Row = {"model": answer.model, "text": answer.text, "is_cut": answer.is_cut}
        if answer.failure:
            response["failure"] = f"{answer.failure.kind}: {answer.failure.message}"
        responses.append(response | {"mean": mean_rating(ratings), "ratings": dict(ratings)})
    outcomes = judgement.outcomes if judgement else {}
    return {
        "id": question.id,
        "source": question.source,
        "seed": seed,
        "responses": responses,
        "judge": model_label(config.judge),
        "judgements": {
            name: one.text if isinstance(one, Reply) else {"failure": f"{one.kind}: {one.message}"}
            for name, one in outcomes.items()
        },
        "dropped": dropped,
        "pair": None,
    }
