"""A leaderboard of models from battles, wherever these come from, or from items judged now."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import write_atomic
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import Reject, shown
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Interval
from modelgraft.evaluation.report.formats import Cell, Table
from modelgraft.evaluation.report.plots import Axis, Plot, Series
from modelgraft.language.endpoints.calls import Calls
from modelgraft.methods.judge.bench.guessing import first_row
from modelgraft.methods.judge.config import LeaderboardConfig
from modelgraft.methods.judge.data import Candidate, Item, read_items
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging import judgments as judging
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.leaderboard.fought import (
    GENERATOR,
    Fought,
    decided,
    fought_by,
    names_generators,
    pairs_of,
    read_annotated,
    read_fought,
    read_games,
    read_winners,
)
from modelgraft.methods.judge.leaderboard.rated import Rated, rate
from modelgraft.methods.judge.leaderboard.win_rates import (
    Controlled,
    against_baseline,
    choose_baseline,
    win_rates,
)
from modelgraft.methods.judge.opening import (
    asking_of,
    open_judge,
    store_of,
    with_references,
)
from modelgraft.methods.judge.summaries import failure_numbers, unanswered, write_judgments
from modelgraft.methods.judge.world.lexicon import FILLER
from modelgraft.methods.judge.world.pairs import CATEGORIES, GOOD, world_pairs

_OF_WORLD = 30
_TOLD = 20  # models whose numbers are told one by one; the table has all
_READERS = {"battles": read_fought, "alpaca_eval": read_annotated, "arena_hard": read_games}
_COLUMNS = (
    "rank", "model", "rating", "low", "high", "best rank", "worst rank", "battles", "wins", "ties",
    "losses", "win rate", "win rate low", "win rate high", "against baseline",
    "length-controlled", "length-controlled low", "length-controlled high",
)  # fmt: skip


@dataclass(frozen=True)
class Sourced:
    """Battles, and the verdicts that were asked for them now."""

    found: list[Fought]
    verdicts: Sequence[Verdict] = ()


def leaderboard(config: LeaderboardConfig, run: Run) -> Result:
    """Rate models by comparisons of their answers."""
    sourced = _sourced(config, run)
    found = decided(sourced.found)
    if not found:
        raise InputError(f"none of {len(sourced.found):,} battles has a verdict.")
    rated = rate(found, by=config.rating, style=config.style, rounds=config.rounds, seed=run.seed)
    baseline = choose_baseline(found, config.baseline)
    controlled = against_baseline(found, baseline, rounds=config.rounds, seed=run.seed)
    rates = win_rates(found)
    rows = _rows(found, rated, rates, controlled)
    _write(run, rows, rated, config.rating)
    numbers = [
        Number("battles", len(found)),
        Number("battles without a verdict", len(sourced.found) - len(found),
               n=len(sourced.found), better="lower"),
        Number("prompts", len({one.prompt for one in found})),
        *_numbers(rated, rates, controlled),
        *(failure_numbers(sourced.verdicts) if sourced.verdicts else []),
    ]  # fmt: skip
    remarks = [*rated.remarks, *controlled.remarks, f"win rates are also against {baseline}."]
    return Result(
        tuple(numbers),
        text=_text(rows),
        remarks=tuple(remarks),
        partial=unanswered(sourced.verdicts),
    )


# -- where battles come from -----------------------------------------------------------------------


def _sourced(config: LeaderboardConfig, run: Run) -> Sourced:
    reject = run.reject if config.on_error == "skip" else None
    kind = _kind(config)
    if kind != "items":
        if config.judgments is not None:
            raise ConfigError(
                "judgments",
                f"--judgments goes with items, and {config.items} holds battles ({kind}).",
            )
        assert config.items is not None
        return Sourced(_READERS[kind](config.items, reject=reject)[: config.num])
    pairs = pairs_of(items_to_judge(config, seed=run.seed, reject=reject))
    if config.judgments is None:
        return _judged(config, run, pairs)
    return Sourced(fought_by(pairs, read_winners(config.judgments, pairs, reject=reject)))


def items_to_judge(config: LeaderboardConfig, *, seed: int, reject: Reject | None) -> list[Item]:
    """The items of the file, or the embedded world's contest; none where it holds battles."""
    if _kind(config) != "items":
        return []
    if config.items is None:
        return world_contest(config.num or _OF_WORLD, seed=seed)
    return read_items(config.items, reject=reject, at_least=2)[: config.num]


def _kind(config: LeaderboardConfig) -> str:
    """What the file holds: battles of some format, or items as without a file."""
    if config.format != "auto":
        return config.format
    return "items" if config.items is None else _kind_of(config.items)


def _kind_of(path: Path) -> str:
    """What a file holds, by the fields of a row; a folder is one of annotations or of games."""
    if path.is_dir():
        has_annotations = next(path.rglob("annotations.json"), None) is not None
        return "alpaca_eval" if has_annotations else "arena_hard"
    row = first_row(path)
    for kind, fields in (
        ("battles", ("model_a", "model_b", "winner")),
        ("alpaca_eval", ("output_1", "output_2", "preference")),
        ("arena_hard", ("games",)),
        ("items", ("candidates",)),
    ):
        if all(field in row for field in fields):
            return kind
    raise InputError(
        f"{path}: a row has the fields {shown(sorted(row))}; these are no battles and no items.\n"
        '  Battles have "model_a", "model_b" and "winner", items have "candidates" of which each '
        'names a "generator".'
    )


def _judged(config: LeaderboardConfig, run: Run, pairs: Sequence[Item]) -> Sourced:
    """Battles between the candidates of pairs, judged in both orders."""
    asking = asking_of(config, "pair")
    with store_of(config, run) as store:
        calls = Calls(config, run, store)
        pairs = with_references(config, run, pairs, calls)
        judge = open_judge(config, run, store, calls=calls)
        judgments, verdicts = judging.compare(pairs, judge, asking)
    write_judgments(run, judgments, verdicts)
    return Sourced(fought_by(pairs, judgments), verdicts)


def world_contest(num: int, *, seed: int) -> list[Item]:
    """Questions of the embedded world with the answers of three writers of known worth.

    careful is always right, hasty in half of the cases, and chatty never, at length and politely.
    """
    each = -(-num // len(CATEGORIES))
    pairs = world_pairs(each, seed=seed)
    mixed = [pairs[place] for start in range(each) for place in range(start, len(pairs), each)]
    found = []
    for item in mixed[:num]:
        rng = random.Random(rng_seed("judge", "contest", seed, item.id))
        good, bad = sorted(item.candidates, key=lambda one: one.id != GOOD)
        said = {
            "careful": good.text,
            "hasty": rng.choice((good.text, bad.text)),
            "chatty": f"{bad.text} {' '.join(rng.sample(FILLER, 2))}",
        }
        writers = [Candidate(name, text, {GENERATOR: name}) for name, text in said.items()]
        rng.shuffle(writers)
        found.append(replace(item, candidates=tuple(writers), label=None))
    return found


# -- what is told ----------------------------------------------------------------------------------


def win_rate_numbers(
    run: Run, items: Sequence[Item], judgments: Sequence[Judgment]
) -> list[Number]:
    """The win rate of each generator over judged pairs, also as a table; none without generators.

    Items whose candidates do not both name one are left out.
    """
    named = [item for item in items if names_generators(item)]
    found = decided(fought_by(named, judgments))
    if not found:
        return []
    rates = sorted(win_rates(found).items(), key=lambda one: -one[1].value)
    rows: list[list[Cell]] = [[model, *rate] for model, rate in rates]
    table = Table(["generator", "win rate (%)", "low", "high", "items"], rows)
    table.save(run.add("table", "win_rates.json", "How often each generator wins, ties a half"))
    return [Number(f"{model}: win rate", *rate, unit="%", baseline=50.0)
            for model, rate in rates[:_TOLD]]  # fmt: skip


def _rows(
    found: Sequence[Fought],
    rated: Rated,
    rates: dict[str, Interval],
    controlled: Controlled,
) -> list[list[Cell]]:
    counts: dict[str, Counter[int]] = {model: Counter() for model in rated.models}
    for one in found:
        sign = int(np.sign(float(one.outcome or 0) - 0.5))
        counts[one.first][sign] += one.weight
        counts[one.second][-sign] += one.weight
    rows: list[list[Cell]] = []
    for rank, place in enumerate(np.argsort(-rated.rating, kind="stable"), start=1):
        model = rated.models[place]
        own, raw = counts[model], rates[model]
        against = controlled.models.get(model)
        held = against.controlled if against is not None else None
        rows.append([
            rank, model, float(rated.rating[place]), _known(rated.low[place]),
            _known(rated.high[place]), *(int(one) for one in rated.ranks[place]),
            own.total(), own[1], own[0], own[-1], raw.value, raw.low, raw.high,
            against.raw.value if against is not None else None,
            *(held[:3] if held is not None else (None, None, None)),
        ])  # fmt: skip
    return rows


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _write(run: Run, rows: Sequence[Sequence[Cell]], rated: Rated, rating: str) -> None:
    """The table as JSON and CSV, and the intervals as a plot."""
    caption = "Models by rating, with 95 % intervals; win rates in percent"
    Table(_COLUMNS, rows, caption).save(run.add("table", "leaderboard.json", caption))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    write_atomic(run.add("table", "leaderboard.csv", "The same for a spreadsheet"), text.getvalue())
    names = [str(row[1]) for row in rows]
    value, low, high = ([row[column] for row in rows] for column in (2, 3, 4))
    series = Series(rating, names, value, low, high)  # ty: ignore[invalid-argument-type]
    plot = Plot("dots", "Ratings", Axis("model"), Axis("rating"), [series])
    plot.save(run.add("plot", "ratings.json", "Each bar is a 95 % interval"))


def _numbers(rated: Rated, rates: dict[str, Interval], controlled: Controlled) -> list[Number]:
    numbers = [Number("models", len(rated.models))]
    for place in np.argsort(-rated.rating, kind="stable")[:_TOLD]:
        model = rated.models[place]
        ends = _known(rated.low[place]), _known(rated.high[place])
        n = rates[model].n
        numbers.append(
            Number(f"{model}: rating", float(rated.rating[place]), *ends, n, baseline=1000.0)
        )
        numbers.append(Number(f"{model}: win rate", *rates[model], unit="%", baseline=50.0))
        against = controlled.models.get(model)
        if against is not None and against.controlled is not None:
            name = f"{model}: win rate against {controlled.baseline}, length-controlled"
            numbers.append(Number(name, *against.controlled, unit="%", baseline=against.raw.value))
    numbers += [
        Number(f"style, {one.style}", one.value, one.low, one.high, unit="nats/sd", baseline=0.0)
        for one in rated.slopes
    ]
    return numbers


def _text(rows: Sequence[Sequence[Cell]]) -> str:
    """The table as it is printed: rank, model, rating with its bounds, win rates."""
    lines = [("rank", "model", "rating", "ranks", "win rate", "length-controlled")]
    for row in rows:
        rank, model, rating, low, high, best, worst = row[:7]
        bounds = f" [{low:.0f}, {high:.0f}]" if low is not None and high is not None else ""
        held = "" if row[15] is None else f"{row[15]:.1f} %"
        lines.append((
            str(rank), str(model), f"{rating:.0f}{bounds}", f"{best}-{worst}",
            f"{row[11]:.1f} %", held,
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
