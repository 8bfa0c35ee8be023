"""The action cascade: the cheapest judge that is sure enough answers, and the promise is for all.

People's labels are used twice. One part of the labelled items fits a map from each judge's own
confidence to how often it is right, so that one threshold means the same for all of them; the rest
certifies that threshold along one path for all judges together (`method.cascades`). Items whose
label names no better candidate are then asked of the cheapest judge first, and of the next where it
is not sure enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array, wilson
from modelgraft.methods.judge.config import CascadeConfig
from modelgraft.methods.judge.data import Item, cluster_of
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging.judgments import TIE, Asking, Judgment
from modelgraft.methods.judge.method.cascades import (
    Cascade,
    cascade_by_path,
    cost_per_verdict,
)
from modelgraft.methods.judge.opening import (
    asking_of,
    items_of,
    open_judges,
    store_of,
)
from modelgraft.methods.judge.summaries import (
    failure_numbers,
    percent,
    unanswered,
    write_judgments,
    write_rows,
)
from modelgraft.methods.judge.trust.calibrating import judge_both_orders
from modelgraft.methods.judge.trust.calibrator import Fitted, applied, raw_confidence
from modelgraft.methods.judge.trust.worth import (
    drawn_remark,
    first_test,
    fit_map,
    one_of_each,
    uncertifiable,
)

FEWEST_LABELS = 40
_TO_FIT = 0.4  # of the labelled items, for the maps


@dataclass
class Tier:
    """A judge of the cascade: how it is asked, its map, and what a pair costs it."""

    name: str
    judge: Judge
    asking: Asking
    price: float | None
    fitted: Fitted = field(default_factory=Fitted)
    num_pairs: int = 0

    @property
    def cost(self) -> float:
        """The cost of a pair in both orders: the given one, or the tokens counted so far."""
        if self.price is not None:
            return self.price
        tokens = num_tokens(self.judge)
        return tokens / self.num_pairs if self.num_pairs and tokens else 1.0

    def compare(self, items: Sequence[Item], run: Run, verdicts: list[Verdict]) -> list[Judgment]:
        """Judgments by both orders; the verdicts are added to the list."""
        pairs, found = judge_both_orders(items, self.judge, self.asking, run.seed)
        verdicts += found
        self.num_pairs += len(items)
        return pairs.both

    def confidences(self, judgments: Sequence[Judgment]) -> Array:
        """Calibrated confidences [items], 0 without a winner."""
        raw = [raw_confidence(one) for one in judgments]
        return np.array([self.fitted.confidence(one) if one else 0.0 for one in raw])


@dataclass(frozen=True)
class Decision:
    """Who decided an item, None where nobody was sure enough."""

    item: str
    judge: str | None
    winner: str | None
    confidence: float | None

    def as_row(self) -> dict[str, Any]:
        """The decision as a row of JSONL."""
        return {"item": self.item, "judge": self.judge, "winner": self.winner,
                "confidence": self.confidence}  # fmt: skip


def num_tokens(judge: Judge) -> int:
    """Tokens that a judge has computed or an endpoint has counted so far, 0 if nobody counts."""
    counts = getattr(judge, "counts", None)
    return counts.computed if counts is not None else getattr(judge, "num_tokens", 0)


def cascade(config: CascadeConfig, run: Run) -> Result:
    """Certify a cascade on the labelled items, and answer the others with it."""
    members = config.members
    askings = [asking_of(one, "pair") for one in members]
    items = items_of(config, run, at_least=2, at_most=2)
    fitting, held, rest = split(items, run.seed)
    drawn = one_of_each([cluster_of(one) for one in held], run.seed)
    certifying = [held[place] for place in drawn]
    verdicts: list[Verdict] = []
    with store_of(config, run) as store:
        prices = config.costs or [None] * len(members)
        judges, names = open_judges(config, run, store)
        tiers = [Tier(*one) for one in zip(names, judges, askings, prices, strict=True)]
        remarks = [one for tier in tiers for one in _fit(tier, fitting, run, verdicts)]
        tables = [tier.compare(certifying, run, verdicts) for tier in tiers]
        judged = zip(tiers, tables, strict=True)
        confidence = np.array([tier.confidences(own) for tier, own in judged])
        right = np.array([[float(one.is_right or False) for one in own] for own in tables])
        alpha, delta = 1 - config.agreement, 1 - config.confidence
        found = cascade_by_path(
            confidence, right, alpha=alpha, delta=delta,
            at_least=first_test(len(certifying), alpha, delta),
        )  # fmt: skip
        alone = cascade_by_path(
            confidence[-1:], right[-1:], alpha=alpha, delta=delta,
            at_least=first_test(len(certifying), alpha, delta),
        )  # fmt: skip
        judgments, decisions = answer(rest, tiers, found, run, verdicts)
    if told := drawn_remark(len(certifying), len(held)):
        remarks.append(told)
    if not found.is_certified:
        remarks.append(uncertifiable(found.certificates[0], config.agreement))
    write_judgments(run, judgments, verdicts)
    write_rows(run, "decisions", decisions, "Who decided each item, and how sure")
    numbers = [
        *_promise(found, config),
        *_costs(found, alone, confidence, tiers, config),
        *_shares(decisions, tiers),
        *failure_numbers(verdicts),
    ]
    return Result(tuple(numbers), remarks=tuple(remarks), partial=unanswered(verdicts))


def split(items: Sequence[Item], seed: int) -> tuple[list[Item], list[Item], list[Item]]:
    """Labelled items that fit maps, labelled ones that may certify, and those to answer.

    Those to answer have no label, or one that is a tie or a score. Items of a cluster stay
    together. Raises `InputError` for too few labels.
    """
    labelled = [one for one in items if isinstance(one.label, str) and one.label != TIE]
    if len(labelled) < FEWEST_LABELS:
        raise InputError(
            f"{len(labelled)} of {len(items)} pairs have a label that names the better candidate: "
            f"a cascade needs {FEWEST_LABELS}, to fit its judges and to certify them.\n"
            '  Add the field "label" to rows: the id of the better candidate.'
        )
    clusters = sorted({cluster_of(one) for one in labelled})
    rng = np.random.default_rng(rng_seed("judge", "cascade", seed))
    order = rng.permutation(len(clusters))
    chosen = {clusters[place] for place in order[: round(_TO_FIT * len(clusters))]}
    fitting = [one for one in labelled if cluster_of(one) in chosen]
    held = [one for one in labelled if cluster_of(one) not in chosen]
    rest = [one for one in items if not isinstance(one.label, str) or one.label == TIE]
    return fitting, held, rest


def _fit(tier: Tier, items: Sequence[Item], run: Run, verdicts: list[Verdict]) -> list[str]:
    """Fit the tier's map; remarks."""
    judged = zip(items, tier.compare(items, run, verdicts), strict=True)
    known = [(item, one) for item, one in judged if one.winner not in (None, TIE)]
    raw = np.array([raw_confidence(one) for _, one in known])
    right = np.array([float(one.is_right or False) for _, one in known])
    groups = [cluster_of(item) for item, _ in known]
    tier.fitted, _, remarks = fit_map(raw, right, groups, seed=run.seed)
    return [f"{tier.name}: {one}" for one in remarks]


def answer(
    items: Sequence[Item],
    tiers: Sequence[Tier],
    found: Cascade,
    run: Run,
    verdicts: list[Verdict],
) -> tuple[list[Judgment], list[Decision]]:
    """Judgments of items by the first tier that is sure enough; the others abstain."""
    judgments: dict[str, Judgment] = {}
    decided: dict[str, Decision] = {}
    left = list(items)
    for tier, threshold in zip(tiers, found.thresholds.tolist(), strict=True):
        if not left or not np.isfinite(threshold):
            continue
        run.log("cascade", judge=tier.name, items=len(left))
        own = tier.compare(left, run, verdicts)
        passed_on = []
        for item, one, sure in zip(left, own, tier.confidences(own).tolist(), strict=True):
            judgments[item.id] = replace(applied(one, tier.fitted), abstained=sure < threshold)
            if sure < threshold:
                passed_on.append(item)
            else:
                decided[item.id] = Decision(item.id, tier.name, one.winner, sure)
        left = passed_on
    nothing = {item.id: Decision(item.id, None, None, None) for item in items}
    given = [
        judgments.get(item.id, Judgment(item.id, item.group, item.label, abstained=True))
        for item in items
    ]
    return (
        [replace(one, winner=None) if one.abstained else one for one in given],
        list((nothing | decided).values()),
    )


# -- what it is worth ------------------------------------------------------------------------------


def _promise(found: Cascade, config: CascadeConfig) -> list[Number]:
    one = found.certificates[0]
    numbers = [
        Number("labelled items that certify", one.num),
        Number("verdicts that stand, of labelled items", 100 * one.coverage, n=one.num, unit="%"),
    ]
    if found.is_certified:
        share = wilson(one.num_errors, one.num_accepted)
        numbers += [
            Number("certified confidence", one.threshold),
            Number("errors among those", 100 * share.value, percent(share.low),
                   percent(share.high), share.n, unit="%", better="lower"),
            Number("certified errors at most", 100 * one.bound, unit="%", better="lower",
                   baseline=100 * (1 - config.agreement)),
        ]  # fmt: skip
    elif one.num_needed is not None:
        numbers.append(Number("labels that would be needed to certify", one.num_needed,
                              baseline=float(one.num), better="lower"))  # fmt: skip
    return numbers


def _costs(
    found: Cascade, alone: Cascade, confidence: Array, tiers: Sequence[Tier], config: CascadeConfig
) -> list[Number]:
    """What a verdict that stands costs, beside the last judge alone with the same promise."""
    unit = "" if config.costs else "tokens"
    costs = [tier.cost for tier in tiers]
    names = zip(tiers, costs, strict=True)
    numbers = [Number(f"cost of a pair: {tier.name}", cost, unit=unit) for tier, cost in names]
    ours = cost_per_verdict(found, confidence, costs)
    theirs = cost_per_verdict(alone, confidence[-1:], costs[-1:])
    if np.isfinite(ours):
        numbers.append(Number("cost of a certified verdict", ours, unit=unit, better="lower",
                              baseline=theirs if np.isfinite(theirs) else None))  # fmt: skip
    numbers.append(Number("verdicts that stand, the last judge alone", 100 * alone.coverage,
                          n=confidence.shape[1], unit="%"))  # fmt: skip
    return numbers


def _shares(decisions: Sequence[Decision], tiers: Sequence[Tier]) -> list[Number]:
    """Who answered how many of the items that no label decides."""
    if not decisions:
        return []
    counts = Counter(one.judge for one in decisions)
    named = {f"answered by {tier.name}": counts[tier.name] for tier in tiers}
    numbers = [Number("items to answer", len(decisions))]
    for name, num in (named | {"abstained": counts[None]}).items():
        share = wilson(num, len(decisions))
        numbers.append(Number(name, 100 * share.value, percent(share.low), percent(share.high),
                              share.n, unit="%"))  # fmt: skip
    return numbers
