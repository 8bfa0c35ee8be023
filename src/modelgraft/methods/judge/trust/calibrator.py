"""A fitted calibrator in a file: the first slot's gain, what verdicts are worth, which may stand.

Everything in it belongs to one judge, asked in one way, and is refused for any other. Maps and
thresholds are of the confidence in the winner, not of the probability of the first candidate, so
an item with its candidates exchanged gets the mirrored judgment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.special import expit

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import read_json, sha256_file, write_json
from modelgraft.methods.judge.config import JudgeOptions
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judging.exemplars import examples_key
from modelgraft.methods.judge.judging.judgments import TIE, Asking, Judgment
from modelgraft.methods.judge.method.calibration import Calibrator as Map
from modelgraft.methods.judge.method.calibration import OddsMap
from modelgraft.methods.judge.method.guarantees import Status
from modelgraft.methods.judge.method.pairwise import Array, Calibration, Policy
from modelgraft.methods.judge.opening import label_of
from modelgraft.methods.judge.tuning.folders import FILE as JUDGE_FILE
from modelgraft.methods.judge.tuning.folders import is_tuned

FORMAT = 1
# Confidences that are certified, from certain over 24 that fall evenly in ln nats to a coin toss:
# a local model's labels are often a hundredth of a nat apart, a likelihood's several nats. It is
# fixed in advance, as the promise needs.
GRID: Array = np.array([1.0, *expit(np.geomspace(8.0, 0.01, 24)), 0.5])


@dataclass(frozen=True)
class Identity:
    """Who judges and how it is asked.

    `model` is the fingerprint of weights and chat template of a model on this machine, or of the
    files of a tuned judge, whatever they are called; behind a URL its name is all that is known.
    """

    judge: str
    reader: str
    model: str
    template: str
    rubric: str
    hardening: str
    reference: str
    examples: str
    samples: int
    temperature: float

    def as_dict(self) -> dict[str, Any]:
        """The identity as plain JSON values."""
        return asdict(self)


def identity_of(config: JudgeOptions, judge: Judge, asking: Asking) -> Identity:
    """That of an opened judge."""
    return Identity(
        # An address is not part of it, as it is not of stored answers.
        label_of(config, judge),
        config.how,
        _fingerprint(config, judge),
        f"{asking.template.name} {asking.template.key}",
        f"{asking.rubric.name} {asking.rubric.key}",
        asking.hardening,
        config.reference,
        examples_key(asking),
        asking.samples,
        # Only what is written is drawn.
        config.temperature if config.how == "written" else 0.0,
    )


def _fingerprint(config: JudgeOptions, judge: Judge) -> str:
    if is_tuned(config.judge):
        folder = Path(config.judge).expanduser()
        files = sorted((*folder.glob("*.safetensors"), folder / JUDGE_FILE))
        return hashlib.sha256("".join(map(sha256_file, files)).encode()).hexdigest()[:12]
    model, tokenizer = getattr(judge, "model", None), getattr(judge, "tokenizer", None)
    if model is None:
        return ""
    # It brings torch, which a run behind a URL does without.
    from modelgraft.language.endpoints.local import fingerprint

    return fingerprint(model, tokenizer)


def read_identity(values: Any, where: str) -> Identity:
    """The identity in parsed JSON. Raises `InputError`."""
    try:
        return Identity(**values)
    except TypeError as error:
        raise InputError(f"{where}: this is no judge's identity: {error}.") from None


# -- what is fitted --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """What verdicts of one policy are worth.

    `method` names the `map` of raw confidences, "none" without one. `status` is None when no
    promise was asked for; verdicts below the `threshold` of raw confidence, inf when nothing could
    be certified, do not stand.
    """

    method: str = "none"
    map: Map | None = None
    status: Status | None = None
    threshold: float = np.inf

    def confidence(self, raw: float) -> float:
        """The calibrated confidence in a verdict of this raw one."""
        return raw if self.map is None else float(self.map([raw])[0])


@dataclass(frozen=True)
class StoredCalibrator:
    """A calibrator with its judge. `prior` is what the first slot gains, in nats (PriDe).

    `contextual` and `batch` are the same by candidates without content and by the mean of one
    random order, None where they are not known. `both` is for both orders averaged, `one` for one
    order less the prior. `num_labels` stand behind it, for a promised `agreement` with `sureness`.
    """

    identity: Identity
    prior: float
    contextual: float | None
    batch: float | None
    both: Fitted
    one: Fitted
    num_labels: int
    agreement: float | None = None
    sureness: float | None = None

    def check(self, other: Identity) -> None:
        """Raise `ConfigError` naming both unless it was fitted to this judge, asked this way."""
        ours, theirs = self.identity.as_dict(), other.as_dict()
        named = [name for name in ours if name != "judge" or not ours["model"]]
        differ = [name for name in named if ours[name] != theirs[name]]
        if differ:
            told = "; ".join(
                f"{name} {ours[name]!r} there, {theirs[name]!r} here" for name in differ
            )
            raise ConfigError(
                "calibrator",
                f"--calibrator: it was fitted to {self.identity.judge}, and {other.judge} is asked "
                f"here: {told}.\n"
                "  Ask as it was asked there, or calibrate this judge.",
            )

    def fitted(self, swap: Policy) -> Fitted:
        """What goes with a policy."""
        return self.both if swap == "average" else self.one

    def apply(self, judgments: Sequence[Judgment], swap: Policy) -> list[Judgment]:
        """Judgments with their confidence; those below the threshold abstain.

        Judgments of one order must have been made with the `prior`.
        """
        return [applied(one, self.fitted(swap)) for one in judgments]


def applied(judgment: Judgment, fitted: Fitted) -> Judgment:
    """A judgment with calibrated confidence and probability; a tie claims nothing and stays."""
    if judgment.winner in (None, TIE):
        return judgment
    raw = raw_confidence(judgment)
    found = fitted.confidence(raw)
    probability = judgment.probability
    if probability is not None:
        probability = found if probability > 0.5 else 1 - found
    abstained = None if fitted.status is None else raw < fitted.threshold
    return replace(
        judgment,
        winner=None if abstained else judgment.winner,
        probability=probability,
        confidence=found,
        abstained=abstained,
    )


def raw_confidence(judgment: Judgment) -> float:
    """The probability that the judge itself gives to the winner, from 1/2 to 1; 0 without one.

    Of written verdicts, which have no size, it is 1 where both orders agree.
    """
    if judgment.winner in (None, TIE):
        return 0.0
    if judgment.probability is None:
        return 1.0 if judgment.is_consistent else 0.5
    return max(judgment.probability, 1 - judgment.probability)


# -- the file --------------------------------------------------------------------------------------


def save_calibrator(path: Path, found: StoredCalibrator) -> None:
    """Write the calibrator as JSON."""
    values = {
        "format": FORMAT,
        **asdict(found),
        "both": _fitted_values(found.both),
        "one": _fitted_values(found.one),
    }
    write_json(path, values)


def load_calibrator(path: Path) -> StoredCalibrator:
    """The calibrator in a file. Raises `InputError` naming what is wrong with it."""
    values = read_json(path, "a calibrator")
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(
            f"{path}: this is no calibrator of format {FORMAT}.\n"
            "  Name a calibrator.json that calibrate wrote."
        )
    try:
        fields = {name: value for name, value in values.items() if name != "format"}
        fields["identity"] = read_identity(fields["identity"], str(path))
        for name in ("both", "one"):
            fields[name] = _read_fitted(fields[name])
        return StoredCalibrator(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: this is no whole calibrator: {error}.") from None


def _fitted_values(found: Fitted) -> dict[str, Any]:
    values: dict[str, Any] = {"method": found.method, "status": found.status}
    if found.status == "certified":
        values["threshold"] = found.threshold
    if isinstance(found.map, Calibration):
        values["map"] = {"knots": found.map.knots.tolist(), "values": found.map.values.tolist()}
    elif isinstance(found.map, OddsMap):
        values["map"] = asdict(found.map)
    return values


def _read_fitted(values: dict[str, Any]) -> Fitted:
    given = values.get("map")
    found: Map | None = None
    if given is not None and "knots" in given:
        knots, heights = (np.array(given[name], dtype=np.float64) for name in ("knots", "values"))
        found = Calibration(knots, heights)
    elif given is not None:
        found = OddsMap(**{name: float(value) for name, value in given.items()})
    status = cast("Status | None", values["status"])
    threshold = float(values["threshold"]) if status == "certified" else np.inf
    return Fitted(str(values["method"]), found, status, threshold)
