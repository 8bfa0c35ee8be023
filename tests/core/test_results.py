"""Results: what was stored comes back, and what is no result is known as such."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.core.results import Artefact, Number, Result, format_value

finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300)
numbers = st.builds(
    Number,
    name=st.text(),
    value=finite,
    low=st.none() | finite,
    high=st.none() | finite,
    n=st.none() | st.integers(0, 10**12),
    unit=st.text(),
    baseline=st.none() | finite,
    better=st.sampled_from(["higher", "lower"]),
)
artefacts = st.builds(
    Artefact, kind=st.sampled_from(["image", "trace"]), path=st.text(), caption=st.text()
)
results = st.builds(
    Result,
    numbers=st.lists(numbers, max_size=3).map(tuple),
    artefacts=st.lists(artefacts, max_size=3).map(tuple),
    text=st.text(),
    remarks=st.lists(st.text(), max_size=3).map(tuple),
    partial=st.text(),
)


@given(results)
def test_a_result_comes_back_from_json_as_it_was(result: Result) -> None:
    assert Result.from_dict(json.loads(json.dumps(result.as_dict()))) == result
    assert result.fault() == ""


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"numbers": [], "artefacts": [], "text": "", "remarks": []},
        {"numbers": 5, "artefacts": [], "text": "", "remarks": [], "partial": ""},
        {"numbers": [5], "artefacts": [], "text": "", "remarks": [], "partial": ""},
        {"numbers": [{"name": "x"}], "artefacts": [], "text": "", "remarks": [], "partial": ""},
        {"numbers": [], "artefacts": [{"a": 1}], "text": "", "remarks": [], "partial": ""},
    ],
)
def test_what_has_another_shape_is_no_result(value: Any) -> None:
    with pytest.raises(InputError, match=r"result\.json does not hold a result"):
        Result.from_dict(value)


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (Result((Number("x", float("nan")),)), "the number 'x' is malformed"),
        (Result((Number("x", float("inf")),)), "the number 'x' is malformed"),
        (Result((Number("x", 10**400),)), "the number 'x' is malformed"),
        (Result((Number("x", 1, high=float("nan")),)), "the number 'x' is malformed"),
        (Result((Number("x", True),)), "the number 'x' is malformed"),
        (Result(artefacts=(Artefact("image", 5, ""),)), "the artefact 5 is malformed"),  # ty: ignore
        (Result(text=5), "its words are no text"),  # ty: ignore
        (Result(remarks=("a", 5)), "its words are no text"),  # ty: ignore
    ],
)
def test_a_value_of_another_kind_is_a_fault(part: Result, fault: str) -> None:
    assert part.fault() == fault


def test_a_number_is_told_with_its_interval() -> None:
    assert Number("f1", 0.41, 0.38, 0.44, 200).text() == "0.41 [0.38, 0.44]"
    assert Number("f1", 0.41, low=0.38).text() == "0.41"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (12345, "12,345"),
        (-1234567.0, "-1,234,567"),
        (0.123456, "0.1235"),
        (1234.56, "1,234.6"),
        (1.5e-7, "1.5e-07"),
        (2.5e9 + 0.5, "2.500e+09"),
        (1e20, "1.000e+20"),
    ],
)
def test_a_value_is_written_for_people(value: float, text: str) -> None:
    assert format_value(value) == text
