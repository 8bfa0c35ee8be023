"""The actions of the judge, as the card names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import dump_json, write_atomic, write_json
from modelgraft.core.lazy import need
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import bootstrap_mean
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.language.endpoints.calls import Calls
from modelgraft.methods.judge.bench.benching import bench
from modelgraft.methods.judge.config import (
    AuditConfig,
    CompareConfig,
    ListRanker,
    RankConfig,
    Ranker,
    ScoreConfig,
    SelectConfig,
    TuneConfig,
)
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.exports.exporting import check_export, export, ranked_judgments
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judging import judgments as judging
from modelgraft.methods.judge.judging import ranking
from modelgraft.methods.judge.judging.aligning import compare_aligned, parts_template
from modelgraft.methods.judge.judging.drafts import Ask, with_steps
from modelgraft.methods.judge.judging.exemplars import with_examples, without_examples
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.judging.listing import rank_lists
from modelgraft.methods.judge.judging.ranking import Ranked
from modelgraft.methods.judge.judging.reconsidering import compare_reconsidered
from modelgraft.methods.judge.judging.retrieving import (
    check_grades,
    orders_of,
    retrieval_numbers,
    write_relevance,
)
from modelgraft.methods.judge.judging.scoring import (
    Scored,
    read_graph,
    score_checklist,
    score_claims,
    score_criteria,
    score_graph,
)
from modelgraft.methods.judge.leaderboard.boards import leaderboard, win_rate_numbers
from modelgraft.methods.judge.opening import (
    asker_of,
    asking_of,
    items_of,
    open_judge,
    store_of,
    with_references,
)
from modelgraft.methods.judge.panel.panel import panel
from modelgraft.methods.judge.probes.attacks import ATTACKS
from modelgraft.methods.judge.probes.transforms import PROBES
from modelgraft.methods.judge.rubric import read_rubric, write_rubric
from modelgraft.methods.judge.summaries import (
    abstention_numbers,
    agreement_numbers,
    failure_numbers,
    order_numbers,
    unanswered,
    winner_numbers,
    write_judgments,
    write_rows,
)
from modelgraft.methods.judge.synthesis.synthesising import synthesise
from modelgraft.methods.judge.trust.agreeing import agree
from modelgraft.methods.judge.trust.audit import audit_pairs
from modelgraft.methods.judge.trust.calibrating import calibrate
from modelgraft.methods.judge.trust.calibrator import identity_of, load_calibrator
from modelgraft.methods.judge.trust.cascading import cascade
from modelgraft.methods.judge.trust.recorded import IDENTITY

__all__ = [
    "agree",
    "audit",
    "bench",
    "calibrate",
    "cascade",
    "compare",
    "leaderboard",
    "panel",
    "rank",
    "reproduce",
    "score",
    "select",
    "synthesise",
    "tune",
]


def score(config: ScoreConfig, run: Run) -> Result:
    """Score every candidate by itself."""
    asking = asking_of(config, "point")
    items = items_of(config, run, at_least=1)
    check_grades(items)
    with store_of(config, run) as store:
        calls = Calls(config, run, store)
        items = with_references(config, run, items, calls)
        judge = open_judge(config, run, store, calls=calls)
        scored = _scored(config, run, items, judge, asking, asker_of(config, calls))
    judgments, verdicts = scored.judgments, scored.verdicts
    if scored.parts:
        write_rows(run, "parts", scored.parts, "What each candidate's score is made of")
    write_judgments(run, judgments, verdicts)
    write_relevance(run, items, judgments, judge=judge.name)
    values = [value for one in judgments for value in one.scores.values()]
    found = bootstrap_mean(np.array(values)) if values else None
    numbers = [
        Number("candidates", sum(len(one.candidates) for one in items)),
        *([Number("mean score", found.value, found.low, found.high, found.n)] if found else []),
        *agreement_numbers(judgments),
        *retrieval_numbers(items, orders_of(items, judgments, better=asking.rubric.better)),
        *failure_numbers(verdicts),
    ]
    return Result(tuple(numbers), partial=unanswered(verdicts))


def _scored(
    config: ScoreConfig, run: Run, items: list[Item], judge: Judge, asking: Asking, ask: Ask
) -> Scored:
    """The scores in the way that the options ask for."""
    if (config.by != "rubric" or config.criteria) and asking.template.labels:
        raise ConfigError(
            "template",
            f"--template {asking.template.name} has labels of its own, and here each question "
            "has its labels.\n  Use a template without, such as point.",
        )
    if config.graph is not None:
        return score_graph(items, judge, asking, read_graph(config.graph))
    if config.by == "checklist":
        return score_checklist(
            items, judge, asking, ask, num=config.questions,
            reading=config.reading, pooling=config.pooling,
        )  # fmt: skip
    if config.by == "claims":
        return score_claims(
            items, judge, asking, ask, reading=config.reading, pooling=config.pooling
        )
    criteria = [read_rubric(name) for name in config.criteria] or [asking.rubric]
    if config.steps:
        criteria = [with_steps(one, ask) for one in criteria]
        for one in criteria:
            write_rubric(run.add("text", f"{one.name}.json", "A rubric with its steps"), one)
    if config.criteria:
        return score_criteria(
            items, judge, asking, criteria, reading=config.reading, pooling=config.pooling
        )
    found = judging.score(
        items, judge, replace(asking, rubric=criteria[0]), reading=config.reading,
        pooling=config.pooling,
    )  # fmt: skip
    return Scored(*found, [])


def compare(config: CompareConfig, run: Run) -> Result:
    """Say which of two candidates is better, and what the order they are shown in does."""
    asking = with_examples(asking_of(config, "pair"), config.examples, run, config.on_error)
    parts = parts_template(asking) if config.swap == "align" else asking.template
    stored = load_calibrator(config.calibrator) if config.calibrator else None
    items = without_examples(items_of(config, run, at_least=2, at_most=2), asking)
    check_export(config, items)
    with store_of(config, run) as store:
        calls = Calls(config, run, store)
        items = with_references(config, run, items, calls)
        judge = open_judge(config, run, store, calls=calls)
        identity = identity_of(config, judge, asking)
        prior = config.prior
        if stored is not None:
            stored.check(identity)
            prior = stored.prior
        num_again: int | None = None
        if config.swap == "synthesise":
            judgments, verdicts, num_again = compare_reconsidered(items, judge, asking)
        elif config.swap == "align":
            judgments, verdicts, num_again = compare_aligned(items, judge, asking, parts)
        else:
            judgments, verdicts = judging.compare(
                items, judge, asking, swap=config.swap, prior=prior, seed=run.seed
            )
            judgments = judgments if stored is None else stored.apply(judgments, config.swap)
    write_judgments(run, judgments, verdicts)
    write_json(run.add("text", IDENTITY, "Who judged, and how it was asked"), identity.as_dict())
    numbers = [
        Number("pairs", len(items)),
        *agreement_numbers(judgments),
        *abstention_numbers(judgments),
        *([] if num_again is None else [Number("pairs asked again", num_again, n=len(items))]),
        *order_numbers(judgments),
        *win_rate_numbers(run, items, judgments),
        *export(config, run, items, judgments, judge=judge.name),
    ]
    return Result((*numbers, *failure_numbers(verdicts)), partial=unanswered(verdicts))


def rank(config: RankConfig, run: Run) -> Result:
    """Rank the candidates of each item, the best first."""
    asking = asking_of(config, "list" if config.shows_lists else "pair")
    items = items_of(config, run, at_least=2)
    check_export(config, items)
    check_grades(items)
    with store_of(config, run) as store:
        calls = Calls(config, run, store)
        items = with_references(config, run, items, calls)
        judge = open_judge(config, run, store, calls=calls)
        if config.shows_lists:
            by = cast("ListRanker", config.by)
            rankings, verdicts = rank_lists(items, judge, asking, by, top=config.top, seed=run.seed)
        else:
            rankings, verdicts = ranking.rank(
                items,
                judge,
                asking,
                cast("Ranker", config.by),
                swap=config.swap,
                budget=config.comparisons,
                top=config.top,
                seed=run.seed,
            )
    write_rows(run, "rankings", rankings, "The candidates of each item, the best first")
    write_rows(run, "verdicts", verdicts, "One row for each look of the judge")
    what = "lists shown" if config.shows_lists else "pairs compared"
    numbers = [
        *_comparisons(items, rankings, what),
        *retrieval_numbers(items, {one.item: one.order for one in rankings}),
        *export(config, run, items, ranked_judgments(items, rankings), judge=judge.name),
    ]
    return Result((*numbers, *failure_numbers(verdicts)), partial=unanswered(verdicts))


def select(config: SelectConfig, run: Run) -> Result:
    """Keep the best candidate of each item."""
    items = items_of(config, run, at_least=1)
    asking = asking_of(config, "point" if config.by == "score" else "pair")
    check_export(config, items)
    with store_of(config, run) as store:
        calls = Calls(config, run, store)
        items = with_references(config, run, items, calls)
        judge = open_judge(config, run, store, calls=calls)
        if config.by == "score":
            judgments, verdicts = judging.score(items, judge, asking)
            numbers = agreement_numbers(judgments)
            # Who is alone is the best one, as in a knock-out.
            judgments = [
                replace(one, winner=item.candidates[0].id) if len(item.candidates) == 1 else one
                for item, one in zip(items, judgments, strict=True)
            ]
        else:
            rankings, verdicts = ranking.rank(
                items, judge, asking, config.by, swap=config.swap, seed=run.seed
            )
            judgments = ranked_judgments(items, rankings)
            numbers = _comparisons(items, rankings)
    chosen = {one.item: one.winner for one in judgments}
    path = run.add("text", "selected.jsonl", "The best candidate of each item")
    rows = [_selected(item, chosen[item.id]) for item in items]
    write_atomic(path, "".join(dump_json(row) + "\n" for row in rows if row is not None))
    write_rows(run, "verdicts", verdicts, "One row for each look of the judge")
    numbers += export(config, run, items, judgments, judge=judge.name)
    return Result((*numbers, *failure_numbers(verdicts)), partial=unanswered(verdicts))


def audit(config: AuditConfig, run: Run) -> Result:
    """Measure a judge before its verdicts are used."""
    _check_names("probes", config.probes, PROBES)
    _check_names("attacks", config.attacks, ATTACKS)
    asking = asking_of(config, "pair")
    if config.names and len(config.names) != len(asking.template.labels):
        raise ConfigError(
            "names",
            f"--names: {len(config.names)} for the {len(asking.template.labels)} labels of "
            f"--template {asking.template.name}.",
        )
    items = items_of(config, run, at_least=2, at_most=2)
    with store_of(config, run) as store:
        calls = Calls(config, run, store)
        items = with_references(config, run, items, calls)
        judge = open_judge(config, run, store, calls=calls)
        found = audit_pairs(
            items,
            judge,
            asking,
            run,
            probes=config.probes,
            attacks=config.attacks,
            own=config.own,
            names=config.names,
        )
    write_judgments(run, found.judgments, found.verdicts)
    numbers = [Number("pairs", len(items)), *agreement_numbers(found.judgments), *found.numbers]
    return Result(
        (*numbers, *failure_numbers(found.verdicts)),
        remarks=tuple(found.remarks),
        partial=unanswered(found.verdicts),
    )


def tune(config: TuneConfig, run: Run) -> Result:
    """Tune a judge on labelled pairs, and measure it on held-out ones."""
    # It brings torch, which the other actions do without behind a URL.
    need("transformers", extra="hf")
    from modelgraft.methods.judge.tuning.tune import tune as tune_judge

    return tune_judge(config, run)


def reproduce(config: ReproduceConfig, run: Run) -> Result:
    """The survey's claims at this scale."""
    # They bring torch, which the other actions do without behind a URL.
    from modelgraft.methods.judge.experiments import EXPERIMENTS

    return reproduce_experiments(
        "judge",
        EXPERIMENTS,
        names=config.experiments,
        quick=config.quick,
        run=run,
        folder=config.folder,
    )


def _check_names(option: str, given: Sequence[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(option, f"--{option} {name}: there are {', '.join(known)}.")


def _selected(item: Item, winner: str | None) -> dict[str, Any] | None:
    """The item with its best candidate; None when there is no single best one."""
    best = next((one for one in item.candidates if one.id == winner), None)
    if best is None:
        return None
    return {"id": item.id, "instruction": item.instruction, "chosen": best.id, "text": best.text}


def _comparisons(
    items: Sequence[Item], rankings: Sequence[Ranked], what: str = "pairs compared"
) -> list[Number]:
    """How much the judge was shown, and how often the labelled candidate came first."""
    every = sum(len(one.candidates) * (len(one.candidates) - 1) // 2 for one in items)
    return [
        Number("items", len(items)),
        Number(what, sum(one.num_compared for one in rankings), baseline=float(every),
               better="lower"),
        Number("of these without a verdict", sum(one.num_open for one in rankings),
               better="lower"),
        *winner_numbers(items, [one.winner for one in rankings]),
    ]  # fmt: skip
