"""Answers rated on four aspects, one call for each with all answers on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelgraft.core.errors import ConfigError
from modelgraft.core.seeds import rng_seed
from modelgraft.language.endpoints.calls import Calls
from modelgraft.language.endpoints.exchange import Failure, Outcome, Reply
from modelgraft.methods.tulu3.config import PreferencesConfig
from modelgraft.methods.tulu3.preferences.questions import Question
from modelgraft.methods.tulu3.preferences.rubrics import ASPECTS
from modelgraft.methods.tulu3.preferences.sheets import (
    Ratings,
    Sheet,
    make_sheet,
    read_ratings,
    write_ratings,
)
from modelgraft.methods.tulu3.world.replies import rate

STUB = "stub"


@dataclass(frozen=True)
class Case:
    """A question and the texts of all answers to it."""

    question: Question
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """The judge's outcome for each aspect, and the ratings of each response by aspect.

    A rating is None where the judge says that the aspect does not apply; the aspect is absent
    where no rating could be read.
    """

    outcomes: dict[str, Outcome]
    ratings: tuple[Ratings, ...]


def check_judge(config: PreferencesConfig) -> None:
    """Raise `ConfigError` when the stub would have to judge prompts that the world knows not."""
    if config.judge == STUB and config.prompts is not None:
        raise ConfigError(
            "judge",
            "--judge stub knows the truth of the embedded world alone, and cannot judge answers to "
            f"{config.prompts}.\n  Name a model, or a URL#MODEL.",
        )


def judge_all(
    cases: Sequence[Case], calls: Calls, config: PreferencesConfig, seed: int
) -> list[Judgement]:
    """The judgement of each case."""
    sheets = [
        make_sheet(case.question.messages, case.texts, aspect)
        for case in cases
        for aspect in ASPECTS
    ]
    if config.judge == STUB:
        outcomes = _stub(cases, sheets, config.judge_error, seed)
    else:
        outcomes = calls.ask(config.judge, [sheet.request for sheet in sheets])
    num = len(ASPECTS)
    parts = range(0, len(sheets), num)
    return [_judgement(sheets[at : at + num], outcomes[at : at + num]) for at in parts]


def _stub(
    cases: Sequence[Case], sheets: Sequence[Sheet], error_rate: float, seed: int
) -> list[Outcome]:
    """The world's judge, whose ratings of each aspect err independently."""
    outcomes: list[Outcome] = []
    for place, sheet in enumerate(sheets):
        case, aspect = cases[place // len(ASPECTS)], ASPECTS[place % len(ASPECTS)]
        task = case.question.task
        assert task is not None, "check_judge lets the stub judge the world only"
        draw = rng_seed("preferences", "judge", seed, aspect.name)
        ratings = [rate(task, text, error_rate=error_rate, seed=draw) for text in case.texts]
        text = write_ratings(dict(zip(sheet.labels, ratings, strict=True)))
        outcomes.append(Reply(text=text, model=STUB))
    return outcomes


def _judgement(sheets: Sequence[Sheet], outcomes: Sequence[Outcome]) -> Judgement:
    names = [aspect.name for aspect in ASPECTS]
    labels = sheets[0].labels
    ratings: list[dict[str, int | None]] = [{} for _ in labels]
    for name, sheet, outcome in zip(names, sheets, outcomes, strict=True):
        found = {} if isinstance(outcome, Failure) else read_ratings(outcome.text, sheet.labels)
        for of_response, label in zip(ratings, sheet.labels, strict=True):
            if label in found:
                of_response[name] = found[label]
    return Judgement(dict(zip(names, outcomes, strict=True)), tuple(ratings))
