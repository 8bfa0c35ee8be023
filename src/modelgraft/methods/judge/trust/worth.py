"""What a judge's verdicts are worth: their confidence before and after, and what may stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array, wilson
from modelgraft.methods.judge.config import CalibrateConfig, CalibratorName
from modelgraft.methods.judge.judging.judgments import TIE, Judgment
from modelgraft.methods.judge.method.calibration import CALIBRATORS, Method, cross_fitted
from modelgraft.methods.judge.method.guarantees import (
    DEFAULT_AT_LEAST,
    Certificate,
    certify,
    labels_needed,
)
from modelgraft.methods.judge.method.reliability import negative_log_likelihood, reliability
from modelgraft.methods.judge.summaries import percent
from modelgraft.methods.judge.trust.calibrator import GRID, Fitted, raw_confidence

# A map needs this many verdicts of either kind, so that every fold holds some.
FEWEST_OF_A_KIND = 10


@dataclass
class Worth:
    """What the verdicts of one policy are worth on the labelled items that have a winner.

    `confidence` is the judge's own, `calibrated` that of maps fitted without the item's cluster.
    The certificate counts labelled items without a winner as never accepted, and looks at one item
    of each cluster: its test is one of independent items.
    """

    name: str
    num: int
    confidence: Array
    calibrated: Array
    is_right: Array
    fitted: Fitted
    certificate: Certificate | None = None
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        name: str,
        judgments: Sequence[Judgment],
        clusters: Sequence[str],
        config: CalibrateConfig,
        seed: int,
    ) -> Worth:
        """The worth of judgments in `clusters`, by those whose label names the better candidate."""
        pairs = zip(judgments, clusters, strict=True)
        known = [(one, own) for one, own in pairs
                 if isinstance(one.label, str) and one.label != TIE]  # fmt: skip
        raw = np.array([raw_confidence(one) for one, _ in known])
        right = np.array([float(one.is_right or False) for one, _ in known])
        own = [cluster for _, cluster in known]
        won = raw > 0
        fitted, calibrated, remarks = fit_map(
            raw[won], right[won], [own[place] for place in np.flatnonzero(won)],
            choice=config.calibrator, folds=config.folds, seed=seed,
        )  # fmt: skip
        worth = cls(name, len(known), raw[won], calibrated, right[won], fitted,
                    remarks=[f"{name}: {one}" for one in remarks])  # fmt: skip
        if config.agreement is not None:
            drawn = one_of_each(own, seed)
            if told := drawn_remark(len(drawn), len(known)):
                worth.remarks.append(f"{name}: {told}")
            worth.certify(raw[drawn], right[drawn], config.agreement, config.confidence)
        return worth

    def certify(self, raw: Array, right: Array, agreement: float, sureness: float) -> None:
        """Certify the threshold of the judge's own confidence on independent items [drawn]."""
        alpha, delta = 1 - agreement, 1 - sureness
        found = certify(
            raw,
            right,
            alpha=alpha,
            delta=delta,
            grid=GRID,
            at_least=first_test(raw.size, alpha, delta),
        )
        self.certificate = found
        self.fitted = replace(self.fitted, status=found.status, threshold=found.threshold)
        if found.status == "uncertifiable":
            self.remarks.append(f"{self.name}: {uncertifiable(found, agreement)}")

    def numbers(self) -> list[Number]:
        """Measures before and after, and what the certificate gives."""
        numbers = [
            Number(f"{self.name}: labelled items without a winner",
                   self.num - self.confidence.size, n=self.num, better="lower"),
        ]  # fmt: skip
        if not self.confidence.size:
            return numbers
        found = wilson(self.is_right.sum(), self.is_right.size)
        numbers.append(
            Number(f"{self.name}: agrees with the label", 100 * found.value, percent(found.low),
                   percent(found.high), found.n, unit="%", baseline=50.0)
        )  # fmt: skip
        before = reliability(self.confidence, self.is_right)
        after = reliability(self.calibrated, self.is_right)
        for what, name in (
            ("ECE, equal width", "error_by_width"),
            ("ECE, equal mass", "error_by_mass"),
            ("Brier score", "brier"),
            ("NLL", "nll"),
            ("risk-coverage area", "aurc"),
        ):
            values: list[float] = [getattr(one, name) for one in (after, before)]
            if np.isfinite(values[0]):
                base = values[1] if np.isfinite(values[1]) else None
                numbers.append(Number(f"{self.name}: {what}", values[0], n=before.num,
                                      baseline=base, better="lower"))  # fmt: skip
        if not np.isnan(after.auroc.value):
            numbers.append(Number(f"{self.name}: AUROC", after.auroc.value, n=before.num,
                                  baseline=before.auroc.value))  # fmt: skip
        return numbers + self._certified()

    def _certified(self) -> list[Number]:
        found = self.certificate
        if found is None:
            return []
        numbers = [
            Number(f"{self.name}: verdicts that stand", 100 * found.coverage, n=found.num,
                   unit="%")
        ]  # fmt: skip
        if found.status == "certified":
            share = wilson(found.num_errors, found.num_accepted)
            numbers += [
                Number(f"{self.name}: certified confidence", found.threshold),
                Number(f"{self.name}: errors among those", 100 * share.value, percent(share.low),
                       percent(share.high), share.n, unit="%", better="lower"),
                Number(f"{self.name}: certified errors at most", 100 * found.bound, unit="%",
                       better="lower"),
            ]  # fmt: skip
        elif found.num_needed is not None:
            numbers.append(Number(f"{self.name}: labels that would be needed", found.num_needed,
                                  baseline=float(found.num), better="lower"))  # fmt: skip
        return numbers


def one_of_each(clusters: Sequence[str], seed: int) -> list[int]:
    """The place of one item of each cluster, drawn by the seed before any verdict is looked at.

    All places where every item is a cluster of its own.
    """
    rng = np.random.default_rng(rng_seed("judge", "one of each", seed))
    drawn: dict[str, int] = {}
    for place in rng.permutation(len(clusters)).tolist():
        drawn.setdefault(clusters[place], place)
    return sorted(drawn.values())


def drawn_remark(num: int, total: int) -> str:
    """That not all labelled items certify, and what is promised then; empty where all do."""
    if num == total:
        return ""
    return (
        f"certified on {num:,} of {total:,} labelled items, one of each group or instruction, "
        "drawn in advance: the others say nothing independent. The promise counts every group "
        "alike, and of further labels those of other groups help."
    )


def first_test(num: int, alpha: float, delta: float) -> int:
    """How many accepted verdicts the first test has, by the number of labels alone.

    That is 100, for a smaller one fails by a single unlucky error; of fewer than 200 labels half,
    but never fewer than could pass without an error.
    """
    least = labels_needed(0, 1, alpha=alpha, delta=delta) or 1
    return max(least, min(DEFAULT_AT_LEAST, num // 2))


def uncertifiable(found: Certificate, agreement: float) -> str:
    """Why nothing could be certified, and how many labels would do."""
    if not found.num_accepted:
        why = "no labelled item has a verdict with a winner"
    elif found.num_needed is None:
        why = "no number of labels would do, for the share of errors there is too high"
    else:
        why = f"some {found.num_needed:,} labels would be needed if its share of errors stays"
    return (
        f"uncertifiable: with {found.num:,} labels an agreement of {100 * agreement:g} % cannot be "
        f"promised ({found.num_errors} errors in {found.num_accepted} verdicts at the strictest "
        f"threshold tested); {why}. Applied, it lets no verdict stand."
    )


def fit_map(
    raw: Array,
    right: Array,
    groups: Sequence[str],
    *,
    choice: CalibratorName = "auto",
    folds: int = 5,
    seed: int = 0,
) -> tuple[Fitted, Array, list[str]]:
    """The map of the least cross-fitted NLL, cross-fitted confidences, and remarks.

    With too few verdicts of a kind there is no map, and with the choice `auto` none that is not
    better than the judge's own confidences; those are taken then.
    """
    if len(set(groups)) == 1:
        return Fitted(), raw, [
            "no map of confidences: all verdicts are of one group or instruction, and two are "
            "needed to see whether a map holds."
        ]  # fmt: skip
    fewest = int(min(right.sum(), right.size - right.sum()))
    if fewest < FEWEST_OF_A_KIND:
        return Fitted(), raw, [
            f"no map of confidences: {int(right.sum())} of {right.size} verdicts are right, and "
            f"{FEWEST_OF_A_KIND} right and wrong ones are needed to fit one."
        ]  # fmt: skip
    names: list[Method] = list(CALIBRATORS) if choice == "auto" else [choice]
    folds = min(folds, len(set(groups)))
    try:
        tried: dict[Method, Array] = {
            name: cross_fitted(
                CALIBRATORS[name], raw, right, groups=groups, num_folds=folds, seed=seed
            )
            for name in names
        }
    except InputError as error:  # groups are so few that a fold leaves one kind of verdict
        return Fitted(), raw, [f"no map of confidences: {str(error).splitlines()[0]}"]
    losses = {name: negative_log_likelihood(found, right) for name, found in tried.items()}
    own = negative_log_likelihood(raw, right)
    best = min(losses, key=losses.__getitem__)
    told = ", ".join(f"{name} {loss:.4f}" for name, loss in {**losses, "none": own}.items())
    if choice == "auto" and own <= losses[best]:
        return Fitted(), raw, [f"no map of confidences: the judge's own are better (NLL {told})."]
    fitted = Fitted(best, CALIBRATORS[best](raw, right))
    return fitted, tried[best], [f"map of confidences: {best} (NLL {told})."]
