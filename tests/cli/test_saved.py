"""show, compare, report: run folders read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def two_runs(run: Run, thirteenth: Path) -> None:
    Path("a.txt").write_text("one two three two")
    assert run("thirteenth", "count", "a.txt", "--out", "r1")[0] == 0
    words = ("--case", "lower", "--seed", "1", "--out", "runs/second")
    Path("b.txt").write_text("one two")
    assert run("thirteenth", "count", "b.txt", *words)[0] == 0


@pytest.mark.usefixtures("two_runs")
def test_show_prints_state_options_with_sources_and_the_result(run: Run) -> None:
    code, out, err = run("show", "r1")
    assert (code, err) == (0, "")
    assert out.startswith("Word counting count: done")
    assert "modelgraft thirteenth count a.txt --out r1" in out
    assert "counted by 0" in out and "r1/artefacts/words.txt" in out
    kept = json.loads(run("show", "r1", "--json")[1])
    assert kept["run"]["state"] == "done" and kept["config"]["values"]["repeats"] == 1


@pytest.mark.usefixtures("two_runs")
def test_a_run_may_be_named_without_its_parent_folder(run: Run) -> None:
    assert run("show", "second")[0] == 0


@pytest.mark.usefixtures("two_runs")
def test_compare_prints_only_what_differs(run: Run) -> None:
    code, out, _ = run("compare", "r1", "second")
    assert code == 0
    assert "case" in out and "seed" in out and "repeats" not in out
    found = json.loads(run("compare", "r1", "second", "--json")[1])
    assert {"name": "case", "a": "keep", "b": "lower"} in found["given"]
    assert (found["a"][0]["value"], found["b"][0]["value"]) == (4, 2)
    assert found["verdicts"][0] == {"name": "words", "b_is": "worse without interval"}


@pytest.mark.usefixtures("two_runs")
def test_report_writes_one_page_or_two_runs_side_by_side(run: Run) -> None:
    Path("r1/report.html").unlink()
    assert run("report", "r1")[1] == "r1/report.html\n"
    assert "Word counting" in Path("r1/report.html").read_text()
    assert run("report", "r1", "-o", "page.html")[1] == "page.html\n"
    assert run("report", "r1", "second", "--out", "both.html")[1] == "both.html\n"
    assert "lower" in Path("both.html").read_text()


@pytest.mark.usefixtures("two_runs")
@pytest.mark.parametrize("command", ["show", "report"])
def test_a_folder_without_a_run_is_refused_with_a_close_name(run: Run, command: str) -> None:
    code, out, err = run(command, "secnd")
    assert (code, out) == (2, "")
    assert "secnd: there is no run in this folder.\n  Did you mean runs/second?" in err


def test_a_failed_run_is_shown_with_its_error(run: Run) -> None:
    run("thirteenth", "fail", "input", "--out", "r")
    code, out, _ = run("show", "r")
    assert code == 0
    assert "failed" in out and "this row is no good" in out
