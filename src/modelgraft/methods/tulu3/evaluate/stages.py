"""Stages of one model side by side, dev beside unseen, as in the tables of Tulu 3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.core.files import Journal, write_atomic
from modelgraft.core.processes import refuse_processes
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.evaluation.intervals import Interval, bootstrap_mean, wilson
from modelgraft.evaluation.report import Table, Turn, save_trace
from modelgraft.evaluation.tables import markdown_rows
from modelgraft.language.load import (
    DType,
    Loaded,
    is_measured,
    load_causal_lm,
    load_skeleton,
)
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.adapter.models import prepare_tokenizer
from modelgraft.methods.tulu3.config import EvaluateConfig
from modelgraft.methods.tulu3.evaluate.suites import (
    Answers,
    Kind,
    Outcome,
    Suite,
    answer_all,
    judge_all,
    listed,
    prompt_ids,
    read_suites,
)
from modelgraft.methods.tulu3.train.estimates import Sizes, operations, sizes_of
from modelgraft.methods.tulu3.verifying import verifier_pool

KINDS: tuple[Kind, Kind] = ("dev", "unseen")
AVERAGE = "average"
_SHOWN = 2  # answers of each skill that the report shows


@dataclass(frozen=True)
class Stage:
    """A model as one stage left it: its name in the table and the outcomes on both suites."""

    name: str
    model: str
    outcomes: Mapping[Kind, tuple[Outcome, ...]]

    def skills(self, kind: Kind) -> dict[str, list[Outcome]]:
        """The outcomes of one suite by skill."""
        found: dict[str, list[Outcome]] = {}
        for one in self.outcomes[kind]:
            found.setdefault(one.skill, []).append(one)
        return found

    def scores(self, kind: Kind, k: int) -> dict[str, Interval]:
        """pass@k of each skill with its interval, and their plain mean as `average`."""
        found = {name: _score(outcomes, k) for name, outcomes in self.skills(kind).items()}
        return {**found, AVERAGE: macro_mean(list(found.values()))}


def _score(outcomes: Sequence[Outcome], k: int) -> Interval:
    shares = [one.pass_at(k) for one in outcomes]
    if all(share in (0.0, 1.0) for share in shares):
        return wilson(sum(shares), len(shares))
    return bootstrap_mean(shares)


def macro_mean(parts: Sequence[Interval]) -> Interval:
    """The plain mean of independent shares, with an interval from their own ones.

    The distances of each share to its bounds add up by squares (method of variance estimates
    recovery; Zou and Donner 2008). It has no interval when one of them has none.
    """
    num, total = len(parts), sum(one.n for one in parts)
    mean = sum(one.value for one in parts) / num
    below = above = 0.0
    for one in parts:
        if one.low is None or one.high is None:
            return Interval(mean, None, None, total)
        below += (one.value - one.low) ** 2
        above += (one.high - one.value) ** 2
    return Interval(mean, mean - math.sqrt(below) / num, mean + math.sqrt(above) / num, total)


def evaluate(config: EvaluateConfig, run: Run) -> Result:
    """Let every model answer both suites, and put the stages side by side.

    That every model is there and every prompt leaves room for an answer is checked before the first
    one answers. What is answered is kept in `answers.jsonl`, and a resumed run goes on from there.
    """
    refuse_processes("evaluate", "only training shares it")
    suites = read_suites(config, seed=run.seed)
    for model in dict.fromkeys(config.models):
        _check(model, suites, config, run.settings)
    stages = []
    with verifier_pool() as pool:
        for name, model in zip(config.names or config.models, config.models, strict=True):
            stages.append(_stage(name, model, suites, config, run, pool))
    return stage_result(stages, config.k, run)


def _check(
    name: str, suites: Sequence[Suite], config: EvaluateConfig, settings: Settings
) -> tuple[Sizes, int]:
    """The sizes of a model, and how many tokens it reads of all prompts."""
    skeleton = load_skeleton(name, device=settings.device, offline=settings.offline)
    tokenizer, new = _with_template(skeleton).tokenizer, config.max_new_tokens
    try:
        asked = [prompt_ids(skeleton.model, tokenizer, one.prompts, new) for one in suites]
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return sizes_of(skeleton.model), sum(len(ids) for own in asked for ids in own)


def estimate_evaluate(config: EvaluateConfig, settings: Settings) -> list[Number]:
    """What `evaluate` would cost: items, answers, tokens and operations, if no answer ends early.

    A prompt is read once for all of its answers, and a model that is named twice answers once.
    """
    suites = read_suites(config, seed=settings.seed)
    models = list(dict.fromkeys(config.models))
    each = config.samples * sum(len(one.prompts) for one in suites)
    flop = 0
    for model in models:
        sizes, num_read = _check(model, suites, config, settings)
        flop += sizes.forward_flop * (num_read + each * config.max_new_tokens)
    answers = len(models) * each
    return [
        Number("models", len(models)),
        *(Number(f"items of the {one.kind} suite", len(one.prompts)) for one in suites),
        Number("answers", answers),
        Number("tokens written at most", answers * config.max_new_tokens, unit="tokens"),
        operations(flop, at_most=True),
    ]


def _load(name: str, settings: Settings) -> Loaded:
    # Scores must not depend on which number type happens to be the faster one on this CPU.
    is_open = is_measured(settings.dtype, settings.device)
    dtype: DType = "float32" if is_open else settings.dtype
    loaded = load_causal_lm(name, device=settings.device, dtype=dtype, offline=settings.offline)
    return _with_template(loaded)


def _with_template(loaded: Loaded) -> Loaded:
    """A model without a chat template gets that of Tulu."""
    template = "own" if loaded.tokenizer.chat_template else "tulu"
    prepare_tokenizer(loaded.tokenizer, template)
    return loaded


def _stage(
    name: str,
    model: str,
    suites: Sequence[Suite],
    config: EvaluateConfig,
    run: Run,
    pool: Pool,
) -> Stage:
    outcomes: dict[Kind, tuple[Outcome, ...]] = {}
    loaded: Loaded | None = None
    with run.journal("answers.jsonl") as journal:
        for one in suites:
            known = _journaled(journal, model, one.kind)
            if len(known) == config.samples * len(one.prompts):
                said = listed(known, len(one.prompts), config.samples)
            else:
                loaded = loaded or _load(model, run.settings)
                said = _answer(loaded, name, one, config, run, journal)
            outcomes[one.kind] = tuple(judge_all(pool, one.prompts, said))
    return Stage(name, model, outcomes)


def _answer(
    loaded: Loaded, name: str, suite: Suite, config: EvaluateConfig, run: Run, journal: Journal
) -> list[list[str]]:
    """What a model says to the prompts of a suite; each batch of answers is journaled."""

    def report(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, f"{name} answers the {suite.kind} suite")

    def keep(answers: Answers) -> None:
        rows = [[*place, text] for place, text in answers.items()]
        journal.append({"model": loaded.name, "suite": suite.kind, "answers": rows})

    return answer_all(
        loaded.model,
        loaded.tokenizer,
        suite.prompts,
        samples=config.samples,
        temperature=config.temperature if config.samples > 1 else 0.0,
        max_new_tokens=config.max_new_tokens,
        batch=config.batch,
        seed=run.seed,
        report=report,
        known=_journaled(journal, loaded.name, suite.kind),
        keep=keep,
    )


def _journaled(journal: Journal, model: str, kind: Kind) -> Answers:
    return {
        (place, number): text
        for row in journal.rows
        if (row["model"], row["suite"]) == (model, kind)
        for place, number, text in row["answers"]
    }


# -- the table -------------------------------------------------------------------------------------


def stage_result(stages: Sequence[Stage], k: int, run: Run) -> Result:
    """The stage table as artefacts (JSON, Markdown), numbers and remarks."""
    columns = ["skill", *(f"{stage.name} {kind}" for stage in stages for kind in KINDS)]
    scores = [{kind: stage.scores(kind, k) for kind in KINDS} for stage in stages]
    skills = list(dict.fromkeys(name for one in scores for kind in KINDS for name in one[kind]))
    skills = [*(name for name in skills if name != AVERAGE), AVERAGE]
    rows = [
        [name, *(_percent(one[kind].get(name)) for one in scores for kind in KINDS)]
        for name in skills
    ]
    what = "share that passed" if k == 1 else f"pass@{k}"
    table = Table(columns, rows, f"{what} in percent; unseen is looked at last")
    table.save(run.add("table", "stages.json", "Stages side by side, dev and unseen"))
    markdown = markdown_rows(columns, [list(map(_cell, row)) for row in rows]) + "\n"
    write_atomic(run.add("text", "stages.md", "The same table in Markdown"), markdown)
    _save_answers(stages, run)
    numbers = [
        Number(
            f"{stage.name}: {kind} {AVERAGE}",
            one[kind][AVERAGE].value,
            one[kind][AVERAGE].low,
            one[kind][AVERAGE].high,
            n=one[kind][AVERAGE].n,
            unit="share",
            baseline=scores[0][kind][AVERAGE].value if place else None,
        )
        for place, (stage, one) in enumerate(zip(stages, scores, strict=True))
        for kind in KINDS
    ]
    return Result(tuple(numbers), text=markdown, remarks=tuple(over_fitted(stages, scores)))


def over_fitted(
    stages: Sequence[Stage], scores: Sequence[Mapping[Kind, Mapping[str, Interval]]]
) -> list[str]:
    """A sentence for each step between stages in which a skill rose on dev and fell on unseen.

    So too for the average, all there is to compare where the suites have no skill in common.
    """
    found = []
    for before, after, old, new in zip(stages, stages[1:], scores, scores[1:], strict=False):
        for name in new["dev"].keys() & new["unseen"].keys():
            if name not in old["dev"] or name not in old["unseen"]:
                continue
            dev = new["dev"][name].value - old["dev"][name].value
            unseen = new["unseen"][name].value - old["unseen"][name].value
            if dev > 0 > unseen:
                found.append(
                    f"over-fitted: from {before.name} to {after.name}, {name} rose by "
                    f"{100 * dev:.1f} points on dev and fell by {-100 * unseen:.1f} on unseen."
                )
    return sorted(found)


def _percent(score: Interval | None) -> float | None:
    return None if score is None else round(100 * score.value, 1)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def _save_answers(stages: Sequence[Stage], run: Run) -> None:
    """Some prompts of each skill with what every stage answered."""
    turns = []
    first = stages[0]
    for kind in KINDS:
        for skill, outcomes in first.skills(kind).items():
            for place, one in enumerate(outcomes[:_SHOWN]):
                turns.append(Turn(f"{kind}, {skill}", one.prompt))
                for stage in stages:
                    other = stage.skills(kind)[skill][place]
                    mark = "passed" if other.passed[0] else "not passed"
                    turns.append(Turn(f"{stage.name} ({mark})", other.answers[0]))
    save_trace(run.add("trace", "answers.jsonl", "What each stage answered"), turns)
