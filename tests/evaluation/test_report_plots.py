"""Plots: the file says what was measured, and the drawing shows that and nothing else."""

from __future__ import annotations

import itertools
import math
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from modelgraft.core.errors import InputError
from modelgraft.evaluation.report import Axis, Plot, Series, Table, Turn, save_trace
from modelgraft.evaluation.report.artefacts import table_view
from modelgraft.evaluation.report.axes import clear, linear_ticks, log_ticks, scale
from modelgraft.evaluation.report.drawing import draw
from modelgraft.evaluation.report.figures import with_interval
from modelgraft.evaluation.report.formats import load_trace

LENGTHS = [1024, 2048, 4096, 8192]
DENSE = Series("dense", LENGTHS, [1.9, 5.1, None, 53.8], [1.7, 4.9, None, 50], [2, 5.3, None, 57])
STAR = Series("star", LENGTHS, [1.7, 4.2, 10.9, 31.2])


def plot(kind: str = "line", **changes: object) -> Plot:
    fields: dict = {"kind": kind, "title": "Prefill", "x": Axis("length"), "y": Axis("seconds")}
    return Plot(**(fields | {"series": [DENSE, STAR]} | changes))


def parse(drawing: str) -> ET.Element:
    return ET.fromstring(drawing)  # noqa: S314 - our own drawing; it must be well formed


def titles(drawing: str) -> list[str]:
    return [one.text or "" for one in parse(drawing).iter("title")]


def test_a_saved_plot_loads_equal_and_non_finite_values_become_missing(tmp_path: Path) -> None:
    y = np.array([1.5, math.nan, math.inf, 4.0])
    given = plot(series=[Series("dense", np.array(LENGTHS), y)], value=Axis("v", low=0.0, high=1.0))
    given.save(tmp_path / "plot.json")
    loaded = Plot.load(tmp_path / "plot.json")
    assert loaded.series == [Series("dense", LENGTHS, [1.5, None, None, 4.0])]
    assert (loaded.x, loaded.value, loaded.kind) == (given.x, given.value, "line")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "pie"}, "plot kind 'pie'; there are: line, bar, heatmap, dots"),
        ({"series": []}, "at least one series with one point"),
        ({"series": [Series("a", [1, 2], [1.0])]}, "series 'a': y must be a list as long as x"),
        ({"series": [Series("a", [1, "two"], [1.0, 2.0])]}, "x mixes numbers and text"),
        ({"series": [Series("a", [1], ["high"])]}, "series 'a': y holds 'high'"),
        ({"series": [Series("a", [math.nan], [1.0])]}, "x holds nan"),
        ({"series": [Series("a", [1], [1e200])]}, "values up to 1e+100"),
        ({"x": Axis(log=True), "series": [Series("a", [0], [1.0])]}, "logarithmic x cannot show 0"),
        ({"y": Axis(log=True), "series": [Series("a", [1], [-1.0])]}, "logarithmic y cannot show"),
        ({"x": Axis(log=True), "series": [Series("a", ["k"], [1.0])]}, "needs numbers"),
        ({"y": Axis(low=2, high=1)}, "axis y: low 2 must be below high 1"),
    ],
)
def test_a_wrong_plot_is_refused_with_what_is_wrong(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        plot(**changes)


def test_every_measured_point_can_be_read_by_hovering_and_in_the_table() -> None:
    for kind in ("line", "dots", "bar"):
        drawing = draw(plot(kind), 720)
        assert "dense, length 1,024: 1.90 [1.70, 2.00]" in titles(drawing), kind
        assert "star, length 8,192: 31.2" in titles(drawing), kind
        assert not any("dense, length 4,096" in title for title in titles(drawing)), kind
    table = plot().table()
    assert table.columns == ["length", "dense", "star"]
    assert table.rows[2] == [4096, None, 10.9]
    assert table.rows[0] == [1024, "1.90 [1.70, 2.00]", 1.7]


def test_a_line_breaks_where_nothing_was_measured() -> None:
    lines = re.findall(r'<path d="([^"]+)" class="line c0">', draw(plot(), 720))
    assert [line.count("L") + 1 for line in lines] == [2, 1]


def test_a_point_stands_where_its_value_is_on_the_axis() -> None:
    series = [Series("a", [0, 10], [0.0, 1.0])]
    drawing = draw(plot("dots", series=series, y=Axis("share", low=0, high=1)), 720)
    ticks = {
        float(t): float(y)
        for y, t in re.findall(r'y="([0-9.]+)" class="tick end">([0-9.]+)', drawing)
    }
    marks = re.findall(r'cy="([0-9.]+)" r="3.5"', drawing)
    # A label's foot lies four pixels below its line.
    assert [float(mark) for mark in marks] == pytest.approx(
        [ticks[0.0] - 4, ticks[1.0] - 4], abs=0.2
    )


def test_an_axis_always_holds_the_data() -> None:
    asked = scale(Axis(low=0, high=1), [0.2, 1.2], 0, 100)
    assert asked.low == 0 and asked.high >= 1.2
    assert scale(Axis(low=0, high=1), [0.2], 0, 100).high == 1
    assert scale(Axis(low=2), [3.0], 0, 100, zero=True).low == 0


def test_bars_start_at_zero_on_both_sides() -> None:
    series = [Series("a", ["x", "y"], [2.0, -1.0])]
    bars = re.findall(
        r'<rect class="bar c0" x="[0-9.]+" width="[0-9.]+" y="([0-9.]+)" height="([0-9.]+)"',
        draw(plot("bar", series=series), 720),
    )
    (top, tall), (below, short) = [(float(y), float(h)) for y, h in bars]
    assert top + tall == pytest.approx(below, abs=0.2)
    assert tall == pytest.approx(2 * short, abs=0.2)


def test_long_names_get_lying_bars_and_no_name_is_cut() -> None:
    names = ["first block, as the paper has it", "previous block", "shuffled first block"]
    given = plot("bar", series=[Series("NLL", names, [0.3, 0.4, 0.5])])
    for width in (340, 720):
        texts = [one.text for one in parse(draw(given, width)).iter("text")]
        assert set(names) <= set(texts), width


def test_a_heat_map_has_one_cell_for_each_pair_and_marks_the_missing() -> None:
    rows = [Series("0 %", LENGTHS, [1.0, 0.5, 0.0, None]), Series("50 %", LENGTHS[:2], [0.25, 1.0])]
    given = plot("heatmap", series=rows, value=Axis("share", low=0, high=1))
    drawing = draw(given, 720)
    assert len([title for title in titles(drawing) if ": " in title]) == 8
    assert titles(drawing).count("50 %, 8,192: not measured") == 1
    shades = [float(s) for s in re.findall(r'class="cell" fill-opacity="([0-9.]+)"', drawing)]
    assert shades[:5] == [1.0, 0.53, 0.06, 0.29, 1.0]
    assert given.table().rows[1] == ["50 %", 0.25, 1.0, None, None]


@pytest.mark.parametrize("kind", ["line", "dots", "bar", "heatmap"])
def test_any_finite_data_gives_a_well_formed_drawing_inside_its_box(kind: str) -> None:
    rng = random.Random(kind)
    for case in range(60):
        log = rng.random() < 0.3
        size = rng.choice([1, 2, 7, 150])

        def value(log: bool = log) -> float:
            found = rng.choice([0.0, 1.0, 1e-12, 10.0 ** rng.uniform(-90, 99), rng.gauss(5, 1e-9)])
            return found or 1.0 if log else rng.choice([1, -1]) * found

        x = (
            sorted({abs(value(True)) for _ in range(size)})
            if case % 2
            else ["k" * i for i in range(size)]
        )
        y = [rng.choice([None, value(), value()]) for _ in x]
        axes = {"x": Axis("x", log=log and case % 2 == 1), "y": Axis("y", log=log)}
        given = plot(kind, series=[Series("<a>", x, y), Series("b", x[:1], [value()])], **axes)
        for width in (340, 720):
            root = parse(draw(given, width))
            high = float(root.attrib["height"])
            for one in root.iter("circle"):
                assert 0 <= float(one.attrib["cx"]) <= width
                assert 0 <= float(one.attrib["cy"]) <= high
            for one in root.iter("rect"):
                assert float(one.attrib["width"]) >= 0 and float(one.attrib["height"]) >= 0
            assert "nan" not in draw(given, width) and "inf" not in draw(given, width)


def test_ticks_are_round_and_cover_the_data() -> None:
    rng = random.Random(0)
    for _ in range(300):
        low = rng.uniform(-1, 1) * 10 ** rng.uniform(-6, 6)
        high = low + 10 ** rng.uniform(-4, 6)
        ticks = linear_ticks(low, high, 5)
        slack = (high - low) * 1e-6
        assert ticks[0] <= low + slack and ticks[-1] >= high - slack
        assert 4 <= len(ticks) <= 9
        first, last = 10 ** rng.uniform(-9, 0), 10 ** rng.uniform(0.1, 12)
        powers = log_ticks(first, last)
        assert powers[0] <= first * 1.001 and powers[-1] >= last * 0.999
        assert len(powers) <= 12 and powers == sorted(powers)


def test_a_logarithmic_axis_gives_equal_ratios_equal_room() -> None:
    x = scale(Axis(log=True), [1, 100], 0, 200, exact=True)
    assert [x(1), x(10), x(100)] == pytest.approx([0, 100, 200])


def test_labels_kept_under_an_axis_never_touch() -> None:
    kept = clear([(float(px), "8,192") for px in range(0, 300, 7)])
    assert len(kept) > 3
    assert all(b[0] - a[0] >= 35 for a, b in itertools.pairwise(kept))


def test_an_interval_decides_the_decimals() -> None:
    assert with_interval(0.9, 0.745, 0.972) == "0.90 [0.74, 0.97]"
    assert with_interval(31.23, 30.1, 32.9) == "31.2 [30.1, 32.9]"
    assert with_interval(8192.4, 8000, 8400) == "8,192 [8,000, 8,400]"
    assert with_interval(-0.001, -0.3, 0.3) == "0.00 [\u22120.30, 0.30]"
    assert with_interval(1.0, 1.0, 1.0) == "1 [1, 1]"
    assert with_interval(math.nan, 0, 1) == "not measured"


def test_a_table_keeps_numbers_sortable_and_aligned(tmp_path: Path) -> None:
    table = Table(["length", "seconds", "mode"], [[1024, 1.9, "star"], [8192, math.nan, None]])
    table.save(tmp_path / "t.json")
    view = table_view(Table.load(tmp_path / "t.json"))
    assert view.numeric == (True, True, False)
    assert [cell.text for cell in view.rows[1]] == ["8,192", "", ""]
    (tmp_path / "t.csv").write_text('\ufefflength,found\r\n007,"0.41 [0.38, 0.44]"\r\n', "utf-8")
    view = table_view(Table.load(tmp_path / "t.csv"))
    assert view.columns == ("length", "found")
    assert [(cell.text, cell.number) for cell in view.rows[0]] == [
        ("007", "007"),
        ("0.41 [0.38, 0.44]", "0.41"),
    ]


def test_a_table_with_a_short_row_is_refused() -> None:
    with pytest.raises(InputError, match="row 2 has 1 cells, the table has 2 columns"):
        Table(["a", "b"], [[1, 2], [3]])


def test_a_trace_comes_back_as_it_was_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    turns = [Turn("user", "one\ntwo \u2028 \U0001f600", 1.5), Turn("star", "")]
    save_trace(tmp_path / "t.jsonl", turns)
    with open(tmp_path / "t.jsonl", "a") as handle:
        handle.write('{"role": "star", "te')
    assert load_trace(tmp_path / "t.jsonl") == turns


def test_writing_a_report_imports_no_model_library() -> None:
    code = (
        "import sys; import modelgraft.evaluation.report.pages;"
        "print([name for name in ('torch', 'transformers', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
