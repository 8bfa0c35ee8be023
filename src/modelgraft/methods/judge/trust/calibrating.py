"""The action calibrate: what a judge's verdicts are worth, learnt from items that people labelled.

Items are judged in both orders. From that come what the first slot gains, a map from the judge's
own confidence to how often it is right, and on request a threshold of confidence above which
verdicts agree with people as often as promised; all for both orders averaged and for one order,
which costs half the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.core.files import read_json, write_json
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array, bootstrap_mean
from modelgraft.language.endpoints.calls import Calls
from modelgraft.methods.judge.config import CalibrateConfig
from modelgraft.methods.judge.data import Candidate, Item, cluster_of
from modelgraft.methods.judge.exports.files import read_judgments
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging.exemplars import with_examples, without_examples
from modelgraft.methods.judge.judging.judgments import (
    TIE,
    Asking,
    Judgment,
    pair_judgment,
    pair_orders,
    read_orders,
)
from modelgraft.methods.judge.method.pairwise import calibrate_swaps, one_order_prior
from modelgraft.methods.judge.opening import (
    asking_of,
    items_of,
    open_judge,
    store_of,
    with_references,
)
from modelgraft.methods.judge.summaries import (
    failure_numbers,
    percent,
    unanswered,
    write_judgments,
)
from modelgraft.methods.judge.trust.calibrator import (
    Identity,
    StoredCalibrator,
    identity_of,
    read_identity,
    save_calibrator,
)
from modelgraft.methods.judge.trust.recorded import (
    IDENTITY,
    RecordedJudge,
    recorded_options,
)
from modelgraft.methods.judge.trust.winning import win_rates
from modelgraft.methods.judge.trust.worth import Worth
from modelgraft.methods.judge.trust.worth_plots import reliability_plot, risk_plot

FEWEST_LABELS = 10
_ROUNDING = 1e-9
_NULL, _NULLS = "N/A", 16
# What shows each pair once in either order; synthesise and align ask again where those disagree.
_BOTH_ORDERS = ("average", "consensus", "score")


@dataclass
class Pairs:
    """Pairs that were judged in both orders: the verdicts of each by order."""

    items: list[Item]
    verdicts: list[dict[tuple[int, int], list[Verdict]]]
    seed: int
    both: list[Judgment] = field(init=False)

    def __post_init__(self) -> None:
        self.both = [
            pair_judgment(item, self._own(item, verdicts), "average")
            for item, verdicts in zip(self.items, self.verdicts, strict=True)
        ]

    @staticmethod
    def _own(
        item: Item, verdicts: dict[tuple[int, int], list[Verdict]]
    ) -> dict[tuple[int, int], list[Verdict]]:
        return verdicts if pair_orders(item, "average") else {}

    @property
    def gains(self) -> Array:
        """u [items], what the first slot gains in nats; nan where it has no size."""
        return np.array([np.nan if one.position is None else one.position for one in self.both])

    def one_order(self, priors: Sequence[float]) -> list[Judgment]:
        """Judgments by one order, drawn from the texts' hash, less a prior for each item."""
        found = []
        for item, verdicts, prior in zip(self.items, self.verdicts, priors, strict=True):
            orders = pair_orders(item, "random", seed=self.seed)
            own = {order: verdicts[order] for order in orders}
            found.append(pair_judgment(item, own, "random", prior))
        return found


def judge_both_orders(
    items: Sequence[Item], judge: Judge, asking: Asking, seed: int
) -> tuple[Pairs, list[Verdict]]:
    """Every pair in both orders, equal texts without a call."""
    each, verdicts = read_orders(items, judge, asking)
    return Pairs(list(items), each, seed), verdicts


def calibrate(config: CalibrateConfig, run: Run) -> Result:
    """Fit a calibrator for `compare --calibrator`, and say what it is worth."""
    judged = config if config.run is None else recorded_options(config.run, config.items, run.seed)
    asking = with_examples(asking_of(judged, "pair"), config.examples, run, config.on_error)
    items = without_examples(items_of(judged, run, at_least=2, at_most=2), asking)
    told = []
    if config.run is not None:
        num = len(items)
        items = judged_there(items, config.run)
        if len(items) < num:
            told.append(f"{num - len(items)} items were not judged in {config.run.name}: left out.")
    _check_labels(items)
    with store_of(config, run) as store:
        judge: Judge
        if config.run is None:
            calls = Calls(config, run, store)
            items = with_references(config, run, items, calls)
            judge = open_judge(config, run, store, calls=calls)
            identity = identity_of(config, judge, asking)
        else:
            where = config.run / "artefacts" / IDENTITY
            identity = read_identity(read_json(where, "a judge's identity"), str(where))
            judge = RecordedJudge(config.run, identity.judge)
            asking = replace(asking, samples=identity.samples)
        pairs, verdicts = judge_both_orders(items, judge, asking, run.seed)
        contextual = None if config.run else contextual_prior(items, judge, asking)
    write_judgments(run, pairs.both, verdicts)
    write_json(run.add("text", IDENTITY, "Who judged, and how it was asked"), identity.as_dict())
    result = _found(config, run, pairs, identity, contextual)
    numbers = (*result.numbers, *failure_numbers(verdicts))
    remarks = (*told, *result.remarks)
    return replace(result, numbers=numbers, remarks=remarks, partial=unanswered(verdicts))


def judged_there(items: Sequence[Item], folder: Path) -> list[Item]:
    """Those of the items that a finished run judged: what it showed as examples it did not.

    Raises `InputError` for a run that asked again under the same key, or in one order, and for
    one that judged none of them.
    """
    swap = read_json(folder / "config.json", "the config of a run")["values"].get("swap", "average")
    if swap not in _BOTH_ORDERS:
        raise InputError(
            f"{folder}: it was made with --swap {swap}, and a calibrator is fitted to one look at "
            "each pair in both orders.\n"
            f"  Name a run of compare --swap {', '.join(_BOTH_ORDERS[:-1])} or {_BOTH_ORDERS[-1]}."
        )
    known = {one.item for one in read_judgments(folder, reject=None)}
    found = [one for one in items if one.id in known]
    if not found:
        raise InputError(
            f"{folder}: none of these {len(items)} items was judged there.\n"
            "  Give the items of that run, with the same ids."
        )
    return found


def _found(
    config: CalibrateConfig,
    run: Run,
    pairs: Pairs,
    identity: Identity,
    contextual: float | None,
) -> Result:
    gains = pairs.gains
    prior = float(np.nanmean(gains)) if not np.isnan(gains).all() else 0.0
    one = pairs.one_order([prior] * len(gains))
    clusters = [cluster_of(item) for item in pairs.items]
    both = Worth.of("both orders", pairs.both, clusters, config, run.seed)
    single = Worth.of("one order", one, clusters, config, run.seed)
    stored = StoredCalibrator(
        identity,
        prior,
        contextual,
        batch_prior(pairs),
        both.fitted,
        single.fitted,
        both.num,
        config.agreement,
        None if config.agreement is None else config.confidence,
    )
    path = run.add("text", "calibrator.json", "For compare --calibrator")
    save_calibrator(path, stored)
    for worth in (both, single):
        name = worth.name.replace(" ", "-")
        reliability_plot(
            run, name, f"Confidence and agreement, {worth.name}",
            worth.confidence, worth.calibrated, worth.is_right,
        )  # fmt: skip
    risk_plot(run, {worth.name: (worth.confidence, worth.is_right) for worth in (both, single)})
    remarks = [*both.remarks, *single.remarks]
    if np.isnan(gains).all():
        remarks.append("the verdicts have no size, so what the first slot gains is not known.")
    rates, told = win_rates(pairs.items, pairs.both)
    numbers = [
        Number("pairs", len(pairs.items)),
        *_prior_numbers(pairs, stored, config.folds),
        *half_the_calls(pairs),
        *both.numbers(),
        *single.numbers(),
        *rates,
    ]
    return Result(tuple(numbers), remarks=(*remarks, *told))


def _check_labels(items: Sequence[Item]) -> None:
    num = sum(isinstance(one.label, str) and one.label != TIE for one in items)
    if num < FEWEST_LABELS:
        raise InputError(
            f"{num} of {len(items)} pairs have a label that names the better candidate: "
            f"{FEWEST_LABELS} are the least to learn from, and a certificate needs more.\n"
            '  Add the field "label" to rows: the id of the better candidate.'
        )


# -- what the first slot gains ---------------------------------------------------------------------


def contextual_prior(items: Sequence[Item], judge: Judge, asking: Asking) -> float | None:
    """The mean log-odds of the first slot for candidates that say "N/A"; None without a size."""
    nothing = (Candidate("a", _NULL), Candidate("b", _NULL))
    shown = [one.with_candidates(nothing) for one in items[:_NULLS]]
    odds = [one.log_odds for one in judge.read([asking.call(one, 0, 1) for one in shown])]
    kept = [one for one in odds if np.isfinite(one)]
    return one_order_prior(kept) if kept else None


def batch_prior(pairs: Pairs) -> float | None:
    """The mean log-odds of the first slot over one random order of all items."""
    odds = [
        one.log_odds
        for item, verdicts in zip(pairs.items, pairs.verdicts, strict=True)
        for order in pair_orders(item, "random", seed=pairs.seed)
        for one in verdicts[order]
    ]
    kept = [one for one in odds if np.isfinite(one)]
    return one_order_prior(kept) if kept else None


def _prior_numbers(pairs: Pairs, stored: StoredCalibrator, folds: int) -> list[Number]:
    gains = pairs.gains[~np.isnan(pairs.gains)]
    if not gains.size:
        return []
    found = bootstrap_mean(gains)
    numbers = [
        Number("gain of the first slot (PriDe)", found.value, found.low, found.high, found.n,
               unit="nats", baseline=0.0)
    ]  # fmt: skip
    for name, value in (("contextual", stored.contextual), ("batch", stored.batch)):
        if value is not None:
            numbers.append(Number(f"gain of the first slot ({name})", value, unit="nats",
                                  baseline=found.value))  # fmt: skip
    content = np.array([one.content for one in pairs.both if one.content is not None])
    first, second = (1 / (1 + np.exp(-(gains + sign * content))) for sign in (1, -1))
    known = [cluster_of(item) for item, one in zip(pairs.items, pairs.both, strict=True)
             if one.content is not None]  # fmt: skip
    before = float(np.abs(first + second - 1).mean())
    if before > _ROUNDING and len(set(known)) > 1:
        after = orders_apart(first, second, known, folds=folds, seed=pairs.seed)
        numbers.append(Number("orders apart after CalibraEval", after, n=gains.size,
                              baseline=before, better="lower"))  # fmt: skip
    return numbers


def orders_apart(
    first: Array, second: Array, clusters: Sequence[str], *, folds: int, seed: int
) -> float:
    """The mean of |g(p1) + g(p2) - 1| by CalibraEval's maps g, each fitted without the item's fold.

    `first` and `second` are the probabilities [items] of the first slot in each order; items of a
    cluster are in one fold.
    """
    names, place = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(rng_seed("judge", "orders apart", seed))
    fold = (rng.permutation(names.size) % min(folds, names.size))[place]
    apart = np.empty_like(first)
    for number in range(fold.max() + 1):
        held = fold == number
        swaps = calibrate_swaps(first[~held], second[~held])
        apart[held] = np.abs(swaps(first[held]) + swaps(second[held]) - 1)
    return float(apart.mean())


def half_the_calls(pairs: Pairs) -> list[Number]:
    """How often one order agrees with the label, as it stands and less the prior of the others.

    A tie is half right: a judge that goes by the slot alone has nothing left to decide by.
    """
    gains = pairs.gains
    num = int((~np.isnan(gains)).sum())
    if num < 2:
        return []
    # Each item's prior is that of all others, so it is never fitted to itself.
    left_out = (np.nansum(gains) - np.nan_to_num(gains)) / (num - (~np.isnan(gains)))
    found = {}
    for name, priors in (("as it stands", np.zeros(len(gains))), ("less the prior", left_out)):
        known = [one for one in pairs.one_order(priors.tolist()) if one.is_right is not None]
        points = [0.5 if one.winner == TIE else float(one.is_right or False)
                  for one in known if one.label != TIE]  # fmt: skip
        if not points:
            return []
        found[name] = bootstrap_mean(np.array(points))
    ours, before = found["less the prior"], found["as it stands"]
    return [
        Number("one order less the prior agrees with the label", 100 * ours.value,
               percent(ours.low), percent(ours.high), ours.n, unit="%",
               baseline=100 * before.value)
    ]  # fmt: skip
