"""The actions of the judge, as the card names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import bootstrap_mean, wilson
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.language.endpoints.store import CallStore
from modelgraft.methods.judge import judging, ranking
from modelgraft.methods.judge.audit import audit_pairs
from modelgraft.methods.judge.config import (
    AuditConfig,
    CompareConfig,
    RankConfig,
    ScoreConfig,
    SelectConfig,
)
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging import TIE, Judgment
from modelgraft.methods.judge.opening import asking_of, items_of, open_judge
from modelgraft.methods.judge.probes.attacks import ATTACKS
from modelgraft.methods.judge.probes.transforms import PROBES
from modelgraft.methods.judge.ranking import Ranked

STORE = "calls.sqlite"


def score(config: ScoreConfig, run: Run) -> Result:
    """Score every candidate by itself."""
    asking = asking_of(config, "point")
    items = items_of(config, run, at_least=1)
    with CallStore(run.folder / STORE) as store:
        judge = open_judge(config, run, store)
        judgments, verdicts = judging.score(
            items, judge, asking, reading=config.reading, pooling=config.pooling
        )
    write_judgments(run, judgments, verdicts)
    values = [value for one in judgments for value in one.scores.values()]
    found = bootstrap_mean(np.array(values)) if values else None
    numbers = [
        Number("candidates", sum(len(one.candidates) for one in items)),
        *([Number("mean score", found.value, found.low, found.high, found.n)] if found else []),
        *_agreement(judgments),
        *_failures(verdicts),
    ]
    return Result(tuple(numbers))


def compare(config: CompareConfig, run: Run) -> Result:
    """Say which of two candidates is better, and what the order they are shown in does."""
    asking = asking_of(config, "pair")
    items = [one for one in items_of(config, run, at_least=2) if len(one.candidates) == 2]
    with CallStore(run.folder / STORE) as store:
        judge = open_judge(config, run, store)
        judgments, verdicts = judging.compare(
            items, judge, asking, swap=config.swap, prior=config.prior, seed=run.seed
        )
    write_judgments(run, judgments, verdicts)
    numbers = [Number("pairs", len(items)), *_agreement(judgments), *_order(judgments)]
    return Result((*numbers, *_failures(verdicts)))


def rank(config: RankConfig, run: Run) -> Result:
    """Rank the candidates of each item, the best first."""
    asking = asking_of(config, "pair")
    items = items_of(config, run, at_least=2)
    with CallStore(run.folder / STORE) as store:
        judge = open_judge(config, run, store)
        rankings, verdicts = ranking.rank(
            items,
            judge,
            asking,
            config.by,
            swap=config.swap,
            budget=config.budget,
            top=config.top,
            seed=run.seed,
        )
    _write(run, "rankings", rankings, "The candidates of each item, the best first")
    _write(run, "verdicts", verdicts, "One row for each look of the judge")
    return Result((*_comparisons(items, rankings), *_failures(verdicts)))


def select(config: SelectConfig, run: Run) -> Result:
    """Keep the best candidate of each item."""
    items = items_of(config, run, at_least=1)
    asking = asking_of(config, "point" if config.by == "score" else "pair")
    with CallStore(run.folder / STORE) as store:
        judge = open_judge(config, run, store)
        if config.by == "score":
            judgments, verdicts = judging.score(items, judge, asking)
            chosen = {one.item: one.winner for one in judgments}
            numbers = _agreement(judgments)
        else:
            rankings, verdicts = ranking.rank(
                items, judge, asking, config.by, swap=config.swap, seed=run.seed
            )
            chosen = {one.item: one.order[0] for one in rankings}
            numbers = _comparisons(items, rankings)
    path = run.add("text", "selected.jsonl", "The best candidate of each item")
    rows = [_selected(item, chosen[item.id]) for item in items]
    write_atomic(path, "".join(dump_json(row) + "\n" for row in rows if row is not None))
    _write(run, "verdicts", verdicts, "One row for each look of the judge")
    return Result((*numbers, *_failures(verdicts)))


def audit(config: AuditConfig, run: Run) -> Result:
    """Measure a judge before its verdicts are used."""
    _check_names("probes", config.probes, PROBES)
    _check_names("attacks", config.attacks, ATTACKS)
    asking = asking_of(config, "pair")
    items = [one for one in items_of(config, run, at_least=2) if len(one.candidates) == 2]
    with CallStore(run.folder / STORE) as store:
        judge = open_judge(config, run, store)
        found = audit_pairs(items, judge, asking, run, probes=config.probes, attacks=config.attacks)
    write_judgments(run, found.judgments, found.verdicts)
    numbers = [Number("pairs", len(items)), *_agreement(found.judgments), *found.numbers]
    return Result((*numbers, *_failures(found.verdicts)), remarks=tuple(found.remarks))


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


def _comparisons(items: Sequence[Item], rankings: Sequence[Ranked]) -> list[Number]:
    """How many pairs were compared, and how often the labelled candidate came first."""
    every = sum(len(one.candidates) * (len(one.candidates) - 1) // 2 for one in items)
    known = [
        (item.label, one.order[0])
        for item, one in zip(items, rankings, strict=True)
        if isinstance(item.label, str) and item.label != TIE
    ]
    numbers = [
        Number("items", len(items)),
        Number("pairs compared", sum(one.num_compared for one in rankings), baseline=float(every),
               better="lower"),
        Number("pairs without a verdict", sum(one.num_open for one in rankings), better="lower"),
    ]  # fmt: skip
    if known:
        share = wilson(sum(label == first for label, first in known), len(known))
        bounds = _percent(share.low), _percent(share.high)
        name = "the labelled one comes first"
        numbers.append(Number(name, 100 * share.value, *bounds, share.n, unit="%"))
    return numbers


def write_judgments(run: Run, judgments: Sequence[Judgment], verdicts: Sequence[Verdict]) -> None:
    """Both as JSONL artefacts."""
    _write(run, "judgments", judgments, "One row for each item")
    _write(run, "verdicts", verdicts, "One row for each look of the judge")


def _write(run: Run, name: str, rows: Sequence[Any], caption: str) -> None:
    path = run.add("text", f"{name}.jsonl", caption)
    write_atomic(path, "".join(dump_json(one.as_row()) + "\n" for one in rows))


def _agreement(judgments: Sequence[Judgment]) -> list[Number]:
    """How often the winner is the labelled one, ties and missing verdicts wrong."""
    known = [one for one in judgments if isinstance(one.label, str) and one.label != TIE]
    if not known:
        return []
    decided = [one for one in known if one.winner is not None]
    right = wilson(sum(one.is_right or False for one in decided), max(1, len(decided)))
    return [
        Number("agrees with the label", 100 * right.value, _percent(right.low),
               _percent(right.high), len(decided), unit="%", baseline=50.0),
        Number("labelled items without a verdict", len(known) - len(decided), better="lower"),
    ]  # fmt: skip


def _order(judgments: Sequence[Judgment]) -> list[Number]:
    """What both orders say: consistency, and what the first slot gains."""
    both = [one for one in judgments if one.is_consistent is not None]
    numbers = []
    if both:
        share = wilson(sum(one.is_consistent or False for one in both), len(both))
        numbers.append(Number("both orders agree", 100 * share.value, _percent(share.low),
                              _percent(share.high), share.n, unit="%"))  # fmt: skip
    gains = [one.position for one in both if one.position is not None]
    if gains:
        found = bootstrap_mean(np.array(gains))
        numbers.append(Number("gain of the first slot", found.value, found.low, found.high,
                              found.n, unit="nats", baseline=0.0))  # fmt: skip
    return numbers


def _failures(verdicts: Sequence[Verdict]) -> list[Number]:
    """Verdicts that were not ok, by status, and the mean mass of the labels."""
    failed: Counter[str] = Counter(one.status for one in verdicts if one.status != "ok")
    numbers = [
        Number("verdicts", len(verdicts)),
        Number("verdicts that failed", failed.total(), n=len(verdicts), better="lower"),
        *(Number(f"failed: {name}", num, better="lower") for name, num in sorted(failed.items())),
    ]
    masses: list[Any] = [one.mass for one in verdicts if one.mass is not None]
    if masses:
        numbers.append(Number("probability on the labels", float(np.mean(masses)), n=len(masses)))
    return numbers


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
