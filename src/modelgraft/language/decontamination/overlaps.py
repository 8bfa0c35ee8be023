"""What a scan finds: for each row its worst test, for each test its worst row; and their merging.

Nothing here depends on the order of the documents or on how they were cut into shards: of two
findings the same one is kept wherever they meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from modelgraft.core.errors import InputError

Rule = Literal["n-gram", "exact"]
Test = tuple[str, str]


@dataclass(frozen=True)
class Overlap:
    """A test instance that one train document contains, at least in part.

    `score` is the matched share of the test's tokens, averaged over its fields (Tulu 3, section
    3.1); 1 by the rule "exact", which compares whole texts.
    """

    row_id: str
    evaluation: str
    test_id: str
    score: float
    rule: Rule = "n-gram"

    @property
    def test(self) -> Test:
        """Evaluation and test id."""
        return self.evaluation, self.test_id


@dataclass(frozen=True)
class Scan:
    """The overlaps of some train documents with the tests of an index.

    documents, tokens: how much was scanned; a row has one document per user turn.
    rows: for each row that overlaps any test, the highest score (of its turns and of all tests).
    tests: for each test that any row overlaps, the highest score.
    Equal scores: the first evaluation, test id and row id in order of letters.
    """

    documents: int = 0
    tokens: int = 0
    rows: dict[str, Overlap] = field(default_factory=dict)
    tests: dict[Test, Overlap] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The scan as plain JSON values, in an order of its own."""
        return {
            "documents": self.documents,
            "tokens": self.tokens,
            "rows": [asdict(self.rows[key]) for key in sorted(self.rows)],
            "tests": [asdict(self.tests[key]) for key in sorted(self.tests)],
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Scan:
        """The scan that `as_dict` wrote; `InputError` when the shape is another."""
        try:
            rows = [Overlap(**one) for one in value["rows"]]
            tests = [Overlap(**one) for one in value["tests"]]
            return cls(
                value["documents"],
                value["tokens"],
                {one.row_id: one for one in rows},
                {one.test: one for one in tests},
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"this is not the scan of a train set: {error}.") from None


def merge(scans: Iterable[Scan]) -> Scan:
    """The scan of all their documents together; associative, in any order."""
    documents = tokens = 0
    rows: dict[str, Overlap] = {}
    tests: dict[Test, Overlap] = {}
    for one in scans:
        documents += one.documents
        tokens += one.tokens
        for overlap in one.rows.values():
            keep_worst(rows, overlap.row_id, overlap)
        for overlap in one.tests.values():
            keep_worst(tests, overlap.test, overlap)
    return Scan(documents, tokens, rows, tests)


def keep_worst(found: dict[Any, Overlap], key: str | Test, overlap: Overlap) -> None:
    """Note the overlap unless a worse one is noted."""
    known = found.get(key)
    if known is None or _order(overlap) < _order(known):
        found[key] = overlap


def _order(overlap: Overlap) -> tuple[float, str, str, str]:
    return -overlap.score, overlap.evaluation, overlap.test_id, overlap.row_id
