"""Tables: alignment, left-out columns, missing cells and Markdown that cannot break."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.results import Number, format_value
from modelgraft.evaluation.tables import markdown_table, text_table

FULL = Number("exact match", 0.9, 0.7, 0.97, 20, "", 0.85)
SPEED = Number("prefill", 1.31, 1.28, 1.35, 9, "x", 1.0)
LOSS = Number("answer NLL", 0.201, n=20, baseline=0.179, better="lower")
BARE = Number("peak memory", 1234.5, unit="MB")

numbers = st.lists(
    st.builds(
        Number,
        name=st.text(min_size=1, max_size=20),
        value=st.floats(allow_nan=True, allow_infinity=True),
        low=st.none() | st.floats(-1e6, 1e6),
        high=st.none() | st.floats(-1e6, 1e6),
        n=st.none() | st.integers(0, 10**7),
        unit=st.sampled_from(["", "x", "s", "tokens/s"]),
        baseline=st.none() | st.floats(-1e6, 1e6),
        better=st.sampled_from(["higher", "lower"]),
    ),
    min_size=1,
    max_size=6,
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_text_table_reads_as_a_person_would_write_it():
    assert text_table([FULL, SPEED, LOSS]).splitlines() == [
        "measure       value  95 % interval   n  baseline  better",
        "exact match     0.9  [0.7, 0.97]    20      0.85  higher",
        "prefill      1.31 x  [1.28, 1.35]    9       1 x  higher",
        "answer NLL    0.201  -              20     0.179  lower",
    ]


def test_the_markdown_table_aligns_numbers_to_the_right():
    assert markdown_table([SPEED]).splitlines() == [
        "| measure | value | 95 % interval | n | baseline | better |",
        "| --- | ---: | --- | ---: | ---: | --- |",
        "| prefill | 1.31 x | [1.28, 1.35] | 9 | 1 x | higher |",
    ]


def test_a_column_that_nobody_fills_is_left_out():
    assert text_table([BARE]).splitlines() == [
        "measure           value",
        "peak memory  1,234.5 MB",
    ]
    assert cells(markdown_table([BARE]).splitlines()[0]) == ["measure", "value"]


def test_half_an_interval_is_shown_as_missing():
    row = cells(markdown_table([Number("a", 1.0, low=0.5), FULL]).splitlines()[2])
    assert row == ["a", "1", "-", "-", "-", "-"]


def test_a_value_that_was_not_measured_is_a_dash_and_not_a_figure():
    row = cells(markdown_table([Number("a", math.nan, n=3, unit="s")]).splitlines()[2])
    assert row == ["a", "-", "3"]


def test_no_numbers_say_so():
    assert text_table([]) == "no numbers"
    assert markdown_table(iter(())) == "No numbers."


@given(numbers)
def test_every_text_row_starts_each_left_column_at_the_same_place(values):
    lines = text_table(values).split("\n")
    assert len(lines) == 1 + len(values)
    end = lines[0].index("value") + len("value")
    assert all(line[end : end + 2].strip() == "" for line in lines)


@given(numbers)
def test_every_markdown_row_has_as_many_cells_as_the_header(values):
    lines = markdown_table(values).split("\n")
    assert len(lines) == 2 + len(values)
    assert len({len(cells(line)) for line in lines}) == 1


@given(numbers)
def test_both_tables_show_the_same_figures(values):
    for line, number in zip(markdown_table(values).split("\n")[2:], values, strict=True):
        shown = format_value(number.value) if math.isfinite(number.value) else "-"
        assert cells(line)[1].split(" ")[0] == shown
        assert shown in text_table([number])
