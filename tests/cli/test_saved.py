"""show, compare, report: run folders read again."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]


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
    assert json.loads(run("report", "r1", "--json")[1]) == {"page": "r1/report.html"}


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


def test_a_killed_run_is_not_shown_as_running(run: Run, start: Start) -> None:
    process = start("thirteenth", "wait", "--seconds", "0.2", "--steps", "900", "--out", "r")
    while not Path("r/steps.jsonl").exists():
        time.sleep(0.05)
    assert run("show", "r")[1].startswith("Word counting wait: running")
    process.kill()
    process.communicate()
    out = run("show", "r")[1]
    assert out.startswith("Word counting wait: killed; run the same command again to go on\n")
    assert json.loads(run("show", "r", "--json")[1])["run"]["state"] == "killed"
    assert json.loads(Path("r/run.json").read_text())["state"] == "running"


def test_the_state_of_a_run_says_on_which_machine_it_works_and_no_evidence_does(
    run: Run, two_runs: None
) -> None:
    host = platform.node()
    assert json.loads(Path("r1/run.json").read_text())["host"] == host
    for name in ("result.json", "config.json", "report.html", "log.jsonl"):
        assert host not in Path("r1", name).read_text()


def test_a_folder_of_runs_names_the_runs_in_it(run: Run) -> None:
    Path("r.yaml").write_text(
        "format: 1\nname: pipe\nsteps:\n- {id: a, action: thirteenth wait}\n"
        "- {id: b, action: thirteenth wait}\n"
    )
    assert run("run", "r.yaml", "--quiet")[0] == 0
    for name in ("runs/pipe", "pipe"):
        code, _, err = run("show", name)
        assert code == 2
        assert "a folder of runs.\n  There are: runs/pipe/a, runs/pipe/b." in err


@pytest.mark.usefixtures("two_runs")
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("run.json", None, "[]"),
        ("run.json", None, "5"),
        ("config.json", None, "[]"),
        ("result.json", None, "[]"),
        ("result.json", '"value": 4', '"value": NaN'),
        ("result.json", '"value": 4', '"value": "x"'),
        ("result.json", '"path": "artefacts/words.txt"', '"path": 5'),
    ],
)
def test_a_damaged_run_folder_is_told_in_words(
    run: Run, name: str, old: str | None, new: str
) -> None:
    path = Path("r1", name)
    path.write_text(new if old is None else path.read_text().replace(old, new))
    for words in (
        ("show", "r1"),
        ("show", "r1", "--json"),
        ("compare", "r1", "second"),
        ("compare", "second", "r1", "--json"),
        ("report", "r1"),
        ("thirteenth", "count", "a.txt", "--out", "r1"),
        ("demo", "--out", "."),
    ):
        code, _, err = run(*words)
        assert code in (0, 2), words
        assert "fault of modelgraft" not in err
