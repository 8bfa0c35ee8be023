"""demo: every method once, each part in its own folder, one page, and no part hides another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def card(thirteenth: Path) -> Path:
    return thirteenth.parent / "methods" / "thirteenth" / "card.py"


def test_every_part_runs_and_the_path_of_the_page_comes_last(run: Run, thirteenth: Path) -> None:
    code, out, err = run("demo")
    assert code == 0
    assert out.splitlines()[-1] == "runs/demo/report.html"
    page = Path("runs/demo/report.html").read_text()
    assert "Word counting: copy_text" in page and "Word counting: wait" in page
    assert "[1/2] thirteenth copy_text" in err
    for action in ("copy_text", "wait"):
        assert Path("runs/demo/thirteenth", action, "report.html").is_file()
    copied = Path("runs/demo/thirteenth/copy_text/artefacts/copy.txt")
    assert copied.read_text() == "of the demo, with a comma"


def test_a_part_keeps_the_command_a_person_would_type(run: Run, thirteenth: Path) -> None:
    run("demo", "--out", "d")
    command = json.loads(Path("d/thirteenth/copy_text/run.json").read_text())["command"]
    assert command[:3] == ["modelgraft", "thirteenth", "copy_text"]
    code, _, err = run(*command[1:])
    assert code == 0 and "finished before" in err


def test_finished_parts_are_used_again(run: Run, thirteenth: Path) -> None:
    first = run("demo")
    again = run("demo")
    assert again[1] == first[1]
    assert again[2].count("finished before") == 2


def test_changed_options_run_again_and_keep_the_old_run(run: Run, thirteenth: Path) -> None:
    run("demo")
    code, _, err = run("demo", "--seed", "3")
    assert code == 0
    assert "held a run with other options" in err
    assert Path("runs/demo/thirteenth/wait.before-1/result.json").is_file()


def test_a_run_of_another_commit_is_not_shown_as_todays(run: Run, thirteenth: Path) -> None:
    run("demo")
    state = Path("runs/demo/thirteenth/wait/run.json")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"commit": "0123456789ab"}))
    code, _, err = run("demo")
    assert code == 0 and "thirteenth/wait held a run of another version" in err
    assert Path("runs/demo/thirteenth/wait.before-1/result.json").is_file()
    assert json.loads(state.read_text())["commit"] != "0123456789ab"
    assert err.count("finished before") == 1


@pytest.mark.parametrize(
    ("how", "code"), [("bug", 1), ("input", 2), ("partial", 3), ("unavailable", 4)]
)
def test_a_part_that_fails_is_named_and_the_others_still_run(
    run: Run, thirteenth: Path, how: str, code: int
) -> None:
    path = card(thirteenth)
    path.write_text(path.read_text().replace("demo=(", f'demo=(("fail", {{"how": "{how}"}}), '))
    found, out, _ = run("demo", "--json")
    assert found == code
    parts = json.loads(out)["parts"]
    assert [part["exit_code"] for part in parts] == [code, 0, 0]
    assert parts[0]["problem"]
    assert parts[0]["problem"] in Path("runs/demo/report.html").read_text()


def test_a_demo_with_a_wrong_option_does_not_stop_the_rest(run: Run, thirteenth: Path) -> None:
    path = card(thirteenth)
    path.write_text(path.read_text().replace("demo=(", 'demo=(("wait", {"stpes": 1}), '))
    code, out, _ = run("demo")
    assert code == 2
    assert "there is no such option; did you mean --steps?" in out
    assert "copied" in out


def test_a_method_that_cannot_be_read_is_on_the_page(run: Run, thirteenth: Path) -> None:
    broken = thirteenth.parent / "methods" / "broken"
    broken.mkdir()
    (broken / "card.py").write_text("CARD = 1 / 0\n")
    code, _, _ = run("demo")
    assert code == 1
    assert "cannot be read: ZeroDivisionError" in Path("runs/demo/report.html").read_text()
    assert run("demo", "--only", "thirteenth")[0] == 0


def test_only_names_methods_that_exist(run: Run, thirteenth: Path) -> None:
    assert run("demo", "--only", " thirteenth , thirteenth", "--out", "d")[0] == 0
    code, _, err = run("demo", "--only", "thirtenth")
    assert code == 2 and "did you mean thirteenth?" in err
    assert not Path("runs").exists()
