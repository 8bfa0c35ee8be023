"""From overlaps to what is done with each train set (Tulu 3, section 3.1).

A set is contaminated for an evaluation when more than 2 % of its tests overlap. A set that is
contaminated for an unseen evaluation is dropped; for a dev evaluation it is dropped where that
costs little, else the rows that match any test are removed. Other sets stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from modelgraft.evaluation.tables import markdown_rows
from modelgraft.language.decontamination.index import EvalIndex, Evaluation, Short, Suite
from modelgraft.language.decontamination.matching import Document, scan
from modelgraft.language.decontamination.overlaps import Overlap, Scan

Action = Literal["keep", "remove rows", "drop set"]
OnDev = Literal["remove rows", "drop set"]
MAX_PERCENT = 2


@dataclass(frozen=True)
class Cell:
    """How many tests of one evaluation one train set overlaps.

    `exact` of the `overlapping` tests are too short for n-grams and were found as whole texts.
    """

    evaluation: str
    suite: Suite
    instances: int
    overlapping: int
    exact: int

    @property
    def percent(self) -> float:
        """Overlapping tests, in per cent of all."""
        return 100 * self.overlapping / self.instances if self.instances else 0.0

    @property
    def is_contaminated(self) -> bool:
        """Whether more than 2 % overlap."""
        return 100 * self.overlapping > MAX_PERCENT * self.instances


@dataclass(frozen=True)
class SetReport:
    """One train set: its overlap with each evaluation, what to do with it, and why.

    `because` names the evaluations it is contaminated for, `overlaps` every row that overlaps a
    test, with its worst one. By "remove rows" these go; by "drop set" all do; by "keep" none.
    """

    train_set: str
    documents: int
    tokens: int
    cells: tuple[Cell, ...]
    action: Action
    because: tuple[str, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def removed(self) -> tuple[Overlap, ...]:
        """The rows to remove one by one, each with the reason: evaluation, test id and score."""
        return self.overlaps if self.action == "remove rows" else ()

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        cells = [
            asdict(cell) | {"percent": cell.percent, "is_contaminated": cell.is_contaminated}
            for cell in self.cells
        ]
        return (
            asdict(self)
            | {"cells": cells, "because": list(self.because)}
            | {
                "overlaps": [asdict(overlap) for overlap in self.overlaps],
                "removed": [overlap.row_id for overlap in self.removed],
            }
        )


@dataclass(frozen=True)
class DecontaminationReport:
    """One row per train set, one column per evaluation."""

    sets: tuple[SetReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"sets": [one.as_dict() for one in self.sets]}

    def markdown(self) -> str:
        """The table: per cent of the tests of each evaluation that each train set overlaps."""
        names = [cell.evaluation for cell in self.sets[0].cells] if self.sets else []
        rows = [
            (one.train_set, *(f"{cell.percent:.1f}" for cell in one.cells)) for one in self.sets
        ]
        return markdown_rows(("train set", *names), rows, (False, *(True for _ in names)))


def decontaminate(
    evaluations: Sequence[Evaluation],
    train_sets: Mapping[str, Iterable[Document]],
    *,
    on_dev: OnDev = "remove rows",
    short: Short = "exact",
) -> DecontaminationReport:
    """What each train set overlaps and what to do about it (Tulu 3, section 3.1).

    `train_sets` gives the documents, (row id, text), of each set; each is read once. `on_dev` and
    `short` as in `judge` and `EvalIndex.build`.
    """
    index = EvalIndex.build(evaluations, short=short)
    return DecontaminationReport(
        tuple(
            judge(name, scan(index, documents), evaluations, on_dev=on_dev)
            for name, documents in train_sets.items()
        )
    )


def judge(
    train_set: str, found: Scan, evaluations: Iterable[Evaluation], *, on_dev: OnDev = "remove rows"
) -> SetReport:
    """The report on one scanned train set.

    `on_dev` is done when the set is contaminated for a dev evaluation and for no unseen one.
    """
    overlapping = Counter(evaluation for evaluation, _ in found.tests)
    exact = Counter(one.evaluation for one in found.tests.values() if one.rule == "exact")
    cells = tuple(
        Cell(one.name, one.suite, len(one.instances), overlapping[one.name], exact[one.name])
        for one in evaluations
    )
    guilty = [cell for cell in cells if cell.is_contaminated]
    action: Action = "keep"
    if guilty:
        is_seen = all(cell.suite == "dev" for cell in guilty)
        action = on_dev if is_seen else "drop set"
    return SetReport(
        train_set=train_set,
        documents=found.documents,
        tokens=found.tokens,
        cells=cells,
        action=action,
        because=tuple(cell.evaluation for cell in guilty),
        overlaps=tuple(found.rows[row_id] for row_id in sorted(found.rows)),
    )
