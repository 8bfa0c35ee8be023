"""Scans: merging in any grouping and order, and their JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.core.files import dump_json
from modelgraft.language.decontamination.overlaps import Overlap, Scan, keep_worst, merge

FEW = st.sampled_from(["a", "b", "c"])
OVERLAPS = st.builds(Overlap, FEW, FEW, FEW, st.sampled_from([0.6, 0.75, 1.0]), st.just("n-gram"))


def scan_of(overlaps: list[Overlap]) -> Scan:
    found = Scan(documents=len(overlaps), tokens=10 * len(overlaps))
    for overlap in overlaps:
        keep_worst(found.rows, overlap.row_id, overlap)
        keep_worst(found.tests, overlap.test, overlap)
    return found


SCANS = st.lists(OVERLAPS, max_size=6).map(scan_of)


@settings(max_examples=30, deadline=None)
@given(SCANS, SCANS, SCANS)
def test_merging_is_associative_and_has_no_order(one: Scan, two: Scan, three: Scan) -> None:
    together = merge([one, two, three])
    assert merge([merge([one, two]), three]) == together
    assert merge([one, merge([two, three])]) == together
    assert merge([three, one, two]) == together
    assert merge([one, Scan()]) == one


@settings(max_examples=30, deadline=None)
@given(st.lists(OVERLAPS, max_size=12), st.randoms())
def test_equal_scans_are_equal_json(overlaps: list[Overlap], rng) -> None:
    text = dump_json(scan_of(overlaps).as_dict())
    rng.shuffle(overlaps)
    assert dump_json(scan_of(overlaps).as_dict()) == text
    assert Scan.from_dict(json.loads(text)) == scan_of(overlaps)


@pytest.mark.parametrize("value", [{}, {"documents": 1, "tokens": 1, "rows": [{}], "tests": []}])
def test_another_shape_is_no_scan(value: dict) -> None:
    with pytest.raises(InputError, match="not the scan of a train set"):
        Scan.from_dict(value)
