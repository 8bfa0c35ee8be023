"""The 2 % rule, the policies and the table."""

from __future__ import annotations

import json

import pytest

from modelgraft.core.files import dump_json
from modelgraft.language.decontamination.index import EvalIndex, Evaluation, Suite
from modelgraft.language.decontamination.matching import Document, scan
from modelgraft.language.decontamination.report import Action, Cell, OnDev, decontaminate, judge


def prompt(name: str, number: int) -> str:
    return " ".join(f"{name}{number}-{place}" for place in range(6))


def evaluation(name: str, suite: Suite, size: int = 100) -> Evaluation:
    return Evaluation.of(name, {str(i): prompt(name, i) for i in range(size)}, suite)


SEEN, UNSEEN = evaluation("seen", "dev"), evaluation("unseen", "unseen")


def train_set(seen: int, unseen: int) -> list[Document]:
    """Copies of so many tests, and as many other rows."""
    rows = [("clean", "nothing that any test says, in any of its words")]
    rows += [(f"s{i}", f"Solve: {prompt('seen', i)}") for i in range(seen)]
    return rows + [(f"u{i}", prompt("unseen", i)) for i in range(unseen)]


@pytest.mark.parametrize(
    ("seen", "unseen", "on_dev", "action", "because"),
    [
        (0, 0, "remove rows", "keep", ()),
        (2, 2, "remove rows", "keep", ()),
        (3, 0, "remove rows", "remove rows", ("seen",)),
        (3, 2, "remove rows", "remove rows", ("seen",)),
        (3, 0, "drop set", "drop set", ("seen",)),
        (0, 3, "remove rows", "drop set", ("unseen",)),
        (3, 3, "remove rows", "drop set", ("seen", "unseen")),
    ],
)
def test_more_than_two_per_cent_contaminates_and_the_suite_decides_what_is_done(
    seen: int, unseen: int, on_dev: OnDev, action: Action, because: tuple[str, ...]
) -> None:
    report = decontaminate([SEEN, UNSEEN], {"set": train_set(seen, unseen)}, on_dev=on_dev)
    (one,) = report.sets
    assert (one.action, one.because) == (action, because)
    assert len(one.overlaps) == seen + unseen


def test_rows_that_match_any_test_are_removed_each_with_its_reason() -> None:
    (one,) = decontaminate([SEEN, UNSEEN], {"set": train_set(3, 1)}).sets
    assert [(r.row_id, r.evaluation, r.test_id, r.score) for r in one.removed] == [
        ("s0", "seen", "0", 1.0),
        ("s1", "seen", "1", 1.0),
        ("s2", "seen", "2", 1.0),
        ("u0", "unseen", "0", 1.0),
    ]


def test_after_the_removal_nothing_overlaps() -> None:
    rows = train_set(5, 2)
    (one,) = decontaminate([SEEN, UNSEEN], {"set": rows}).sets
    removed = {overlap.row_id for overlap in one.removed}
    rest = [row for row in rows if row[0] not in removed]
    assert [row_id for row_id, _ in rest] == ["clean"]
    (after,) = decontaminate([SEEN, UNSEEN], {"set": rest}).sets
    assert after.action == "keep" and not after.overlaps


def test_a_set_that_is_kept_keeps_its_few_overlapping_rows_but_names_them() -> None:
    (one,) = decontaminate([SEEN, UNSEEN], {"set": train_set(1, 0)}).sets
    assert one.removed == () and one.overlaps[0].row_id == "s0"


def test_the_table_has_a_row_per_train_set_and_a_column_per_evaluation() -> None:
    sets = {"one": train_set(3, 0), "two|b": train_set(0, 40), "none": []}
    report = decontaminate([SEEN, UNSEEN], sets)
    assert report.markdown().splitlines() == [
        "| train set | seen | unseen |",
        "| --- | ---: | ---: |",
        "| one | 3.0 | 0.0 |",
        "| two\\|b | 0.0 | 40.0 |",
        "| none | 0.0 | 0.0 |",
    ]


def test_per_cent_are_of_the_tests_not_of_the_rows() -> None:
    copies = [(f"r{i}", prompt("seen", 0)) for i in range(50)]
    (one,) = decontaminate([SEEN, UNSEEN], {"set": copies}).sets
    assert one.cells[0].percent == 1 and one.action == "keep" and len(one.overlaps) == 50


def test_short_tests_count_and_are_told_apart() -> None:
    tests = Evaluation.of("e", {"a": "what is it", "b": "who is it", "c": prompt("c", 0)})
    rows = [("r", "What is it?"), ("s", prompt("c", 0))]
    (one,) = decontaminate([tests], {"set": rows}).sets
    assert one.cells == (Cell("e", "dev", instances=3, overlapping=2, exact=1),)
    (one,) = decontaminate([tests], {"set": rows}, short="never").sets
    assert one.cells == (Cell("e", "dev", instances=3, overlapping=1, exact=0),)


@pytest.mark.parametrize(("overlapping", "expected"), [(2, False), (3, True)])
def test_two_per_cent_exactly_is_clean(overlapping: int, expected: bool) -> None:
    assert Cell("e", "dev", 100, overlapping, 0).is_contaminated is expected


def test_an_evaluation_without_tests_is_clean() -> None:
    cell = Cell("e", "dev", 0, 0, 0)
    assert cell.percent == 0 and not cell.is_contaminated


def test_the_report_is_json_with_the_removed_rows_and_their_reasons() -> None:
    report = decontaminate([SEEN, UNSEEN], {"set": train_set(3, 0)})
    (one,) = json.loads(dump_json(report.as_dict()))["sets"]
    assert one["train_set"] == "set" and one["action"] == "remove rows"
    assert one["removed"] == ["s0", "s1", "s2"]
    assert one["overlaps"][0] == {
        "row_id": "s0",
        "evaluation": "seen",
        "test_id": "0",
        "score": 1.0,
        "rule": "n-gram",
    }
    assert one["cells"][0]["percent"] == 3.0 and one["cells"][0]["is_contaminated"] is True


def test_a_report_can_be_made_of_a_scan_made_elsewhere() -> None:
    rows = train_set(3, 0)
    found = scan(EvalIndex.build([SEEN, UNSEEN]), rows)
    (one,) = decontaminate([SEEN, UNSEEN], {"set": rows}).sets
    assert judge("set", found, [SEEN, UNSEEN]) == one
