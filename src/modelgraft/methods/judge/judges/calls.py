"""One question to a judge and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from modelgraft.methods.judge.data import Candidate, Item, candidate_name
from modelgraft.methods.judge.extract import Status
from modelgraft.methods.judge.method.readout import Reading
from modelgraft.methods.judge.prompts import Hardening, Template, show
from modelgraft.methods.judge.rubric import Rubric

# The labels of a pair by their number: those for the first, for the second, and the tie.
_SIDES: dict[int, tuple[list[int], list[int], int | None]] = {
    2: ([0], [1], None),
    3: ([0], [1], 2),
    5: ([0, 1], [3, 4], 2),
}


@dataclass(frozen=True)
class Call:
    """A judge's look at candidates of an item, in the order in which they are shown.

    `sample` tells draws of the same call apart. `notes` fill the template's slots role, side and
    talk, of which the last is data like the candidates; `examples` are labelled pairs for its slot
    of this name. `parts` are those of the shown texts of a pair, in their order, for the slot
    parts.
    """

    item: Item
    order: tuple[int, ...]
    template: Template
    rubric: Rubric
    hardening: Hardening = "fence"
    sample: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[Item, ...] = ()
    parts: tuple[tuple[str, ...], ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those that are shown, in their order."""
        return tuple(self.item.candidates[place] for place in self.order)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the judge chooses from: the template's labels, the rubric's, or a list's letters."""
        if self.template.mode == "list":
            return tuple(candidate_name(slot).upper() for slot in range(len(self.order)))
        return self.template.labels or self.rubric.labels

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers of the labels: the rubric's, or where the template has its own, 1 and 0.

        Of two labels the first is the good one, as in Yes and No; a third is a tie.
        """
        if not self.template.labels:
            return self.rubric.numbers
        return (1.0, 0.0, 0.5)[: len(self.template.labels)]

    def shown(self, controls: Sequence[str] = ()) -> tuple[tuple[Any, ...], str]:
        """The chat turns and the beginning of the judge's own."""
        found = show(
            self.template,
            self.rubric,
            self.item,
            self.candidates,
            hardening=self.hardening,
            controls=controls,
            notes=self.notes,
            examples=self.examples,
            parts=self.parts,
        )
        return found.messages, found.stem


@dataclass(frozen=True)
class Verdict:
    """What came of a call.

    `probabilities` are those of the labels where the judge's could be read, normalised, with their
    `mass` before; `label` is the chosen one, None unless `status` is ok. `score` is a number that
    some readers give instead (a likelihood, a reward), `scores` those that a written verdict gives
    to both. Tokens are counted as the reader computed them: what calls share counts once.
    """

    item: str
    order: tuple[int, ...]
    labels: tuple[str, ...]
    label: str | None
    status: Status
    probabilities: tuple[float, ...] | None = None
    mass: float | None = None
    score: float | None = None
    scores: tuple[float, float] | None = None
    text: str = ""
    sample: int = 0
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def reading(self) -> Reading | None:
        """The labels' probabilities, if there are any."""
        if self.probabilities is None or self.mass is None:
            return None
        return Reading(self.labels, np.array(self.probabilities), self.mass, "ok")

    @property
    def log_odds(self) -> float:
        """Log-odds that the first shown of a pair wins; nan where they are not known.

        A written verdict counts as certainty without a size: plus or minus infinity, 0 for a tie.
        So does a tie that is the likeliest label. Of five labels the outer ones are the clear ones.
        """
        first, second, tie = _SIDES[len(self.labels)]
        if self.probabilities is not None and self.mass is not None:
            chances = np.array(self.probabilities)
            if chances.argmax() == tie:
                return 0.0
            with np.errstate(divide="ignore", invalid="ignore"):
                return float(np.log(chances[first].sum()) - np.log(chances[second].sum()))
        if self.score is not None:
            return self.score
        if self.label is None:
            return np.nan
        place = self.labels.index(self.label)
        return np.inf if place in first else -np.inf if place in second else 0.0

    def as_row(self) -> dict[str, Any]:
        """The verdict as a row of JSONL."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "", {})}


def verdict_of(call: Call, reading: Reading, **fields: Any) -> Verdict:
    """The verdict that a reading of the labels comes to."""
    if reading.status == "no_verdict":
        return failed(call, "no_verdict", mass=0.0, **fields)
    return Verdict(
        call.item.id,
        call.order,
        call.labels,
        reading.label,
        "truncated" if reading.status == "truncated" else "ok",
        tuple(reading.probabilities.tolist()),
        reading.mass,
        sample=call.sample,
        **fields,
    )


def failed(call: Call, status: Status, **fields: Any) -> Verdict:
    """The verdict of a call that came to none."""
    return Verdict(
        call.item.id, call.order, call.labels, None, status, sample=call.sample, **fields
    )


def scored(
    calls: Sequence[Call],
    shown: Sequence[tuple[Call | None, dict[str, Any]]],
    scores: Callable[[Sequence[tuple[str, str]]], Sequence[float]],
) -> list[Verdict]:
    """Verdicts of a judge that gives a number to an answer, and to a pair the difference of two.

    `shown` is what each call comes to in the judge's context, None where it does not fit, and what
    is to be told of it. `scores` gets every instruction with an answer once.
    """
    texts = {
        (call.item.instruction, one.text): None
        for call, _ in shown
        if call is not None
        for one in call.candidates
    }
    values = dict(zip(texts, scores(list(texts)), strict=True))
    found = []
    for asked, (call, meta) in zip(calls, shown, strict=True):
        if call is None:
            found.append(failed(asked, "error", meta=meta))
            continue
        own = [values[call.item.instruction, one.text] for one in call.candidates]
        if not np.isfinite(own).all():
            found.append(failed(asked, "no_verdict", meta=meta))
            continue
        is_pair = len(own) == 2
        score = own[0] - own[1] if is_pair else own[0]
        label = asked.labels[0 if score > 0 else 1] if is_pair and score else None
        found.append(
            Verdict(asked.item.id, asked.order, asked.labels, label, "ok", score=score,
                    sample=asked.sample, meta=meta)
        )  # fmt: skip
    return found


class Judge(Protocol):
    """Whoever gives verdicts."""

    @property
    def name(self) -> str:
        """Its name for reports: the model and how it is read."""
        ...

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """A verdict for each call, in their order; what fails is a verdict with its status."""
        ...
