"""How far judges agree with people and with each other, from judgments that were made already."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import BadRow, Reject, Row, present, read_rows, shown
from modelgraft.core.runs import Run
from modelgraft.evaluation.exact import mcnemar
from modelgraft.evaluation.intervals import Array, bootstrap_mean, paired_bootstrap
from modelgraft.methods.judge.config import AgreeConfig
from modelgraft.methods.judge.exports.files import read_judgments
from modelgraft.methods.judge.judging.judgments import TIE, Judgment
from modelgraft.methods.judge.method.agreement import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    intraclass_correlation,
    krippendorff_alpha,
    scott_pi,
)
from modelgraft.methods.judge.method.annotators import alternative_annotator_test
from modelgraft.methods.judge.method.coefficients import Coefficient, Labels, bootstrap
from modelgraft.methods.judge.method.drift import Drift, agreement_drift, label_drift
from modelgraft.methods.judge.method.meta_evaluation import meta_evaluate
from modelgraft.methods.judge.method.rank_correlation import Correlation
from modelgraft.methods.judge.method.significance import holm

_BELOW = "the labels of the items"
_PERSONS = 3  # of the alternative annotator test, at least
_MOST_LABELS = 10  # names of winners, such as a, b and tie, whose shares can be told apart


@dataclass(frozen=True)
class Vote:
    """What one person said of an item: the better candidate or "tie", or a candidate's score."""

    item: str
    rater: str
    choice: str | None = None
    candidate: str = ""
    score: float = np.nan


@dataclass
class _Told:
    """The numbers of an action and what cannot be told."""

    numbers: list[Number] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def coefficient(self, name: str, measure: Any, *columns: Labels, **fields: Any) -> None:
        """A coefficient with its bootstrap interval over items, or why it is undefined."""
        found = bootstrap(measure, *columns)
        if found.reason:
            self.remarks.append(f"{name}: not measured, {found.reason}.")
            return
        self.numbers.append(Number(name, found.value, found.low, found.high, found.n, **fields))

    def drift(self, what: str, found: Drift, num: int) -> None:
        """What has added up since the first run, beside the limit."""
        last = float(found.sums[-1])
        self.numbers.append(
            Number(f"drift of {what} (CUSUM)", last, n=num, baseline=found.limit, better="lower")
        )

    def mean(self, name: str, values: Sequence[float], **fields: Any) -> None:
        """A mean with its bootstrap interval; nothing without values."""
        if values:
            found = bootstrap_mean(np.array(values))
            self.numbers.append(Number(name, found.value, found.low, found.high, found.n, **fields))


def agree(config: AgreeConfig, run: Run) -> Result:
    """Hold judges to people, to each other, and to what they said before."""
    reject = run.reject if config.on_error == "skip" else None
    judges = _judges(config, reject)
    votes = read_votes(config.votes, reject=reject) if config.votes else _of_labels(judges)
    choices = [one for one in votes if one.choice is not None]
    scores = [one for one in votes if one.choice is None]
    told = _Told()
    if choices:
        _choices(told, judges, choices, config.advantage)
    if scores:
        _scores(told, judges, scores)
    if len(judges) > 1:
        _between(told, judges)
    if config.over_time:
        _drift(told, judges)
    if not told.numbers:
        raise InputError(
            "none of the judgments has a label, and no votes were given.\n"
            "  Name what people said: --votes FILE, rows of item, rater and choice or score."
        )
    run.progress(1, 1, "agreement")
    return Result(tuple(told.numbers), remarks=tuple(told.remarks))


# -- what people said ------------------------------------------------------------------------------


def read_votes(path: Path, *, reject: Reject | None) -> list[Vote]:
    """Votes of people from JSONL: a row a vote, or items with their `votes`.

    {"item", "rater", "choice"} or {"item", "rater", "candidate", "score"}, with the candidate's id,
    or "tie", as the choice; an item has the same without "item" in its list `votes`. The second
    vote of a rater on the same thing is bad.
    """
    parsed = read_rows(path, _votes, reject=reject)
    votes = [one for row in parsed for one in row]
    seen = Counter((one.item, one.rater, one.candidate) for one in votes)
    twice = [key for key, num in seen.items() if num > 1]
    if twice:
        item, rater, _ = twice[0]
        raise InputError(f"{path}: {rater} voted twice on item {item}; keep one of the votes.")
    return votes


def _votes(row: Row, place: int) -> list[Vote]:
    if "votes" not in row:
        return [_vote(row, str(present(row, "item")))]
    listed = row["votes"]
    if not isinstance(listed, list):
        raise BadRow(f'field "votes": {shown(listed)} is no list')
    item = str(row.get("id", f"row-{place + 1}"))
    for one in listed:
        if not isinstance(one, dict):
            raise BadRow(f'field "votes": {shown(one)} is no vote')
    return [_vote(one, item) for one in listed]


def _vote(row: Row, item: str) -> Vote:
    rater = str(present(row, "rater"))
    if isinstance(row.get("choice"), str):
        return Vote(item, rater, row["choice"])
    score = row.get("score")
    if not isinstance(score, int | float) or isinstance(score, bool) or not np.isfinite(score):
        raise BadRow(f'rater {shown(rater)}: a "choice" or a finite "score" is needed')
    return Vote(item, rater, None, str(row.get("candidate", "a")), float(score))


def _of_labels(judges: Mapping[str, Mapping[str, Judgment]]) -> list[Vote]:
    """The labels that the items came with, as the votes of one rater."""
    known: dict[str, Judgment] = {}
    for judged in judges.values():
        known |= judged
    return [
        Vote(one.item, _BELOW, one.label) for one in known.values() if isinstance(one.label, str)
    ]


def _judges(config: AgreeConfig, reject: Reject | None) -> dict[str, dict[str, Judgment]]:
    judges: dict[str, dict[str, Judgment]] = {}
    for path in config.runs:
        name = path.name if path.is_dir() else path.stem
        if name in judges:
            name = str(path)
        if name in judges:
            raise ConfigError("runs", f"{path}: this run was named twice.")
        judges[name] = {one.item: one for one in read_judgments(path, reject=reject)}
    return judges


# -- choices ---------------------------------------------------------------------------------------


def _choices(
    told: _Told,
    judges: Mapping[str, Mapping[str, Judgment]],
    votes: Sequence[Vote],
    advantage: float,
) -> None:
    """Agreement with each vote, beyond chance, and whether a judge may stand in for a person."""
    by_item: dict[str, dict[str, str]] = defaultdict(dict)
    for vote in votes:
        by_item[vote.item][vote.rater] = vote.choice or ""
    raters = sorted({vote.rater for vote in votes})
    items = sorted(by_item)
    table = np.array([[by_item[item].get(rater) for rater in raters] for item in items],
                     dtype=object)  # fmt: skip
    among = [value for one in by_item.values() if (value := _pairs_agree([*one.values()])) == value]
    told.mean("people agree with each other", among, unit="share")
    if len(raters) > 1:
        told.coefficient("people: Krippendorff's alpha", krippendorff_alpha, table)
        told.coefficient("people: Fleiss' kappa", fleiss_kappa, table)
    base = float(np.mean(among)) if among else None
    for name, judged in judges.items():
        said = [judged[item].winner if item in judged else None for item in items]
        shares = [
            float(np.mean([vote == winner for vote in by_item[item].values()]))
            for item, winner in zip(items, said, strict=True)
            if winner is not None
        ]
        told.mean(f"{name}: agrees with people", shares, unit="share", baseline=base)
        missing = sum(one is None for one in said)
        told.numbers.append(Number(f"{name}: voted items without a verdict", missing, n=len(items),
                                   better="lower"))  # fmt: skip
        majority = [_majority([*by_item[item].values()]) for item in items]
        told.coefficient(f"{name}: Cohen's kappa with the majority", cohen_kappa, majority, said)
        both = np.array([majority, said], dtype=object).T
        told.coefficient(f"{name}: Scott's pi with the majority", scott_pi, majority, said)
        told.coefficient(f"{name}: Gwet's AC1 with the majority", gwet_ac1, both)
        with_judge = np.column_stack([table, np.array(said, dtype=object)])
        if len(raters) > 1:
            told.coefficient(
                f"{name} among the people: Krippendorff's alpha", krippendorff_alpha, with_judge
            )
        if len(raters) >= _PERSONS:
            _alternative(told, name, said, table, advantage)


def _alternative(
    told: _Told, name: str, said: Sequence[str | None], table: Any, advantage: float
) -> None:
    try:
        found = alternative_annotator_test(said, table, advantage=advantage)
    except InputError as error:
        told.remarks.append(f"{name}: {str(error).splitlines()[0]}")
        return
    told.numbers += [
        Number(f"{name}: wins against a person, of the persons", found.winning_rate,
               n=len(found.humans), unit="share", baseline=0.5),
        Number(f"{name}: agrees with the others at least as well as a person", found.advantage,
               n=len(said), unit="share", baseline=0.5),
    ]  # fmt: skip
    verdict = "may" if found.may_replace else "may not"
    told.remarks.append(
        f"{name} {verdict} stand in for a person here (alternative annotator test, with an "
        f"advantage of {advantage:g} for its price)."
    )


def _pairs_agree(votes: Sequence[str]) -> float:
    """The share of pairs of votes that are the same; nan with fewer than two."""
    pairs = list(combinations(votes, 2))
    return float(np.mean([one == other for one, other in pairs])) if pairs else np.nan


def _majority(votes: Sequence[str]) -> str:
    """What most said; a tie where that is more than one choice."""
    counts = Counter(votes).most_common()
    return TIE if len(counts) > 1 and counts[0][1] == counts[1][1] else counts[0][0]


# -- scores ----------------------------------------------------------------------------------------


def _scores(
    told: _Told, judges: Mapping[str, Mapping[str, Judgment]], votes: Sequence[Vote]
) -> None:
    """Rank correlations with the mean human score: inside items, of candidates, and pooled."""
    given: dict[tuple[str, str], list[float]] = defaultdict(list)
    for vote in votes:
        given[vote.item, vote.candidate].append(vote.score)
    keys = sorted(given)
    human = np.array([np.mean(given[key]) for key in keys])
    kinds: tuple[Correlation, ...] = ("kendall", "spearman")
    for name, judged in judges.items():
        scores: Array = np.array([_score(judged, *key) for key in keys])
        items, candidates = [key[0] for key in keys], [key[1] for key in keys]
        for kind in kinds:
            found = meta_evaluate(items, candidates, human, scores, correlation=kind)
            label = f"{name}: {kind.title()} with people"
            _correlation(told, f"{label}, by item", found.by_document, found.documents)
            _correlation(told, f"{label}, by candidate name", found.by_system)
            _correlation(told, f"{label}, pooled", found.pooled)
        both = np.column_stack([human, scores])
        told.coefficient(f"{name}: ICC(2,1) with people", intraclass_correlation, both)
        unread = int(np.isnan(scores).sum())
        told.numbers.append(
            Number(f"{name}: rated answers without a score", unread, n=len(keys), better="lower")
        )


def _score(judged: Mapping[str, Judgment], item: str, candidate: str) -> float:
    return float(judged[item].scores.get(candidate, np.nan)) if item in judged else np.nan


def _correlation(told: _Told, name: str, found: Coefficient, each: Array | None = None) -> None:
    if found.reason:
        told.remarks.append(f"{name}: not measured, {found.reason}.")
        return
    low = high = None
    if each is not None and len(each):
        interval = bootstrap_mean(each)
        low, high = interval.low, interval.high
    told.numbers.append(Number(name, found.value, low, high, found.num, baseline=0.0))
    if found.num_skipped:
        told.remarks.append(f"{name}: {found.num_skipped} left out, their scores do not differ.")


# -- judges ----------------------------------------------------------------------------------------


def _between(told: _Told, judges: Mapping[str, Mapping[str, Judgment]]) -> None:
    """How often judges differ, and which one is right more often, tested exactly."""
    tests = []
    for (name, one), (other_name, other) in combinations(judges.items(), 2):
        shared = sorted(set(one) & set(other))
        said = [(one[item].winner, other[item].winner) for item in shared]
        differ = [float(a != b) for a, b in said if a is not None and b is not None]
        told.mean(f"{name} and {other_name} differ", differ, unit="share", better="lower",
                  baseline=0.0)  # fmt: skip
        both = [
            (float(one[item].is_right or False), float(other[item].is_right or False))
            for item in shared
            if one[item].is_right is not None and other[item].is_right is not None
        ]
        if both:
            ours, theirs = np.array(both).T
            gap = paired_bootstrap(ours, theirs)
            told.numbers.append(
                Number(f"{name} above {other_name}, right", gap.value, gap.low, gap.high, gap.n,
                       unit="share", baseline=0.0)
            )  # fmt: skip
            tests.append((f"{name} against {other_name}", mcnemar(ours, theirs).p, len(both)))
    adjusted = holm([p for _, p, _ in tests]) if tests else ()
    told.numbers += [
        Number(f"{name}: p of equal accuracy (McNemar, Holm)", float(p), n=num, better="lower")
        for (name, _, num), p in zip(tests, adjusted, strict=True)
    ]


def _drift(told: _Told, judges: Mapping[str, Mapping[str, Judgment]]) -> None:
    """Whether later runs on the items of the first have left what it was trusted for (CUSUM)."""
    (first_name, first), *later = judges.items()
    shared = set(first).intersection(*(one for _, one in later))
    if not shared:
        told.remarks.append("drift: the runs have no item in common.")
        return
    alarms = {}
    said = [Counter(judged[item].winner for item in shared) for judged in judges.values()]
    names = sorted({one for run in said for one in run if one is not None})
    counts = np.array([[run[one] for one in names] for run in said])
    if 2 <= len(names) <= _MOST_LABELS and counts.sum(axis=1).all():
        found = label_drift(counts[1:], reference=counts[0])
        told.drift("the verdicts", found, len(shared))
        alarms["its verdicts"] = found.alarm
    else:
        told.remarks.append("drift of the verdicts: not measured, their winners have no few names.")
    rights = [
        [one for item in sorted(shared) if (one := judged[item].is_right) is not None]
        for judged in judges.values()
    ]
    if all(rights):
        agreed = [sum(one) for one in rights]
        num = [len(one) for one in rights]
        found = agreement_drift(agreed[1:], num[1:], reference=(agreed[0], num[0]))
        told.drift("the agreement", found, len(shared))
        alarms["its agreement"] = found.alarm
    for what, alarm in alarms.items():
        if alarm is not None:
            told.remarks.append(
                f"drift: {what} left those of {first_name} in {later[alarm][0]}; measure the judge "
                "anew before you use it."
            )
