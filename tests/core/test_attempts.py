"""What an earlier attempt left: one writer, one config, and nobody else's folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core import runs
from modelgraft.core.attempts import (
    RunRecord,
    differences,
    finished_result,
    made_by_other_code,
    set_aside,
    was_killed,
)
from modelgraft.core.errors import ConfigError, InputError, Unavailable
from modelgraft.core.files import read_json
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings

Start = Callable[..., "subprocess.Popen[str]"]
RECORD = RunRecord("m", "a", ("modelgraft", "m", "a"), {"lr": 0.1, "ends": [1]}, {"lr": "flag"})


def state(folder: Path) -> str:
    return read_json(folder / "run.json")["state"]


def test_a_second_run_in_the_folder_is_refused_and_names_the_process(
    tmp_path: Path, start: Start
) -> None:
    script = """
        import sys; from modelgraft import open_run
        with open_run(sys.argv[1]):
            print("open", flush=True); sys.stdin.read()
    """
    holder = start(script, str(tmp_path / "r"))
    assert holder.stdout is not None and holder.stdout.readline() == "open\n"
    with pytest.raises(Unavailable, match=f"process {holder.pid} is working in this run folder"):
        open_run(tmp_path / "r").__enter__()
    with pytest.raises(Unavailable, match=f"process {holder.pid}"):
        set_aside(tmp_path / "r")
    holder.communicate()
    with open_run(tmp_path / "r") as run:
        assert run.resumed


def test_another_config_is_refused_with_every_difference(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", seed=1, record=RECORD):
        pass
    other = RunRecord("m", "a", (), {"lr": 0.2, "ends": [1], "new": "x"})
    with pytest.raises(ConfigError) as caught:
        open_run(tmp_path / "r", seed=2, record=other).__enter__()
    lines = str(caught.value).splitlines()
    assert "  lr: 0.1 there, 0.2 now" in lines
    assert "  new: None there, 'x' now" in lines
    assert "  seed: 1 there, 2 now" in lines
    assert "Choose another --out" in lines[-1]
    assert state(tmp_path / "r") == "done"


def test_the_same_command_goes_on_and_another_action_does_not(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", record=RECORD) as run:
        assert not run.resumed
    with open_run(tmp_path / "r", record=RECORD) as run:
        assert run.resumed
    other = RunRecord("m", "b", (), RECORD.config)
    assert differences(tmp_path / "r", Settings(), other) == ["the action: m a there"]


def test_a_finished_run_gives_its_result_until_a_file_of_it_changes(tmp_path: Path) -> None:
    folder, settings = tmp_path / "r", Settings()
    assert finished_result(folder, settings, RECORD) is None
    with open_run(folder, settings=settings, record=RECORD) as run:
        run.add("text", "a.txt", "A note.").write_text("hello")
        stored = run.finish(Result(text="answer"))
        assert finished_result(folder, settings, RECORD) == stored
    assert finished_result(folder, settings, RECORD) == stored
    assert finished_result(folder, Settings(resume="never"), RECORD) is None
    (folder / "artefacts" / "a.txt").write_text("tampered")
    assert finished_result(folder, settings, RECORD) is None


def test_a_changed_input_of_a_run_counts_as_a_difference(tmp_path: Path) -> None:
    first = RunRecord("m", "a", (), {}, {}, inputs={"rows.jsonl": "1"})
    with open_run(tmp_path / "r", record=first):
        pass
    assert differences(tmp_path / "r", Settings(), first) == []
    second = RunRecord("m", "a", (), {}, {}, inputs={"rows.jsonl": "2"})
    assert differences(tmp_path / "r", Settings(), second) == [
        "rows.jsonl: the content has changed"
    ]


def test_an_input_that_is_gone_differs_and_one_that_only_now_is_there_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path / "r", record=RunRecord("m", "a", (), {}, {}, inputs={"a.txt": "1"})):
        pass
    now = RunRecord("m", "a", (), {}, {}, inputs={"b.txt": "2"})
    assert differences(tmp_path / "r", Settings(), now) == ["a.txt: no longer there"]
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("still here")
    assert differences(tmp_path / "r", Settings(), now) == ["a.txt: no longer an input"]


@pytest.mark.parametrize("change", [{"commit": "0123456789ab"}, {"versions": {"modelgraft": "0"}}])
def test_a_run_of_another_version_or_commit_is_told_apart(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert not made_by_other_code(tmp_path / "r")
    with open_run(tmp_path / "r"):
        pass
    assert not made_by_other_code(tmp_path / "r")
    path = tmp_path / "r" / "run.json"
    path.write_text(json.dumps(read_json(path) | change))
    assert made_by_other_code(tmp_path / "r")


def test_a_run_set_aside_keeps_its_files_under_a_free_name(tmp_path: Path) -> None:
    for expected in ("r.before-1", "r.before-2"):
        with open_run(tmp_path / "r"):
            pass
        assert set_aside(tmp_path / "r") == tmp_path / expected
        assert state(tmp_path / expected) == "done"


# -- a folder of somebody else ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [["config.json", "model.safetensors"], ["notes.txt"], [".tmp-mine"], ["artefacts/a"]]
)
def test_a_folder_with_files_and_no_run_is_refused_and_left_as_it_was(
    tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("theirs")
    with pytest.raises(ConfigError) as caught:
        open_run(tmp_path, record=RECORD).__enter__()
    assert f"--out {tmp_path}: this folder holds other files ({names[0].partition('/')[0]}" in (
        str(caught.value)
    )
    assert caught.value.exit_code == 2
    found = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert found == set(names)
    assert differences(tmp_path, Settings(), RECORD) == []


def test_what_a_run_that_was_killed_as_it_began_leaves_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "artefacts").mkdir()
    (tmp_path / "lock").write_text("99")
    (tmp_path / ".tmp-99-run.json").write_text('{"state"')
    with open_run(tmp_path, record=RECORD) as run:
        assert not run.resumed
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_record_of_a_run_comes_before_all_else_that_could_be_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def fail(path: Path, value: Any) -> None:
        seen.append({one.name for one in path.parent.iterdir()})
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        open_run(tmp_path / "r", record=RECORD).__enter__()
    assert seen == [{"lock"}]


# -- a killed run ----------------------------------------------------------------------------------


def test_a_run_is_known_as_killed_when_no_process_holds_it_any_more(
    tmp_path: Path, start: Start
) -> None:
    script = """
        import sys; from modelgraft import open_run
        with open_run(sys.argv[1]):
            print("open", flush=True); sys.stdin.read()
    """
    holder = start(script, str(tmp_path / "r"))
    assert holder.stdout is not None and holder.stdout.readline() == "open\n"
    assert not was_killed(tmp_path / "r")
    holder.kill()
    holder.communicate()
    assert state(tmp_path / "r") == "running" and was_killed(tmp_path / "r")
    with open_run(tmp_path / "r"):
        assert not was_killed(tmp_path / "r")
    assert not was_killed(tmp_path / "r")


# -- an attempt that left nothing ------------------------------------------------------------------


def fail_on_input(folder: Path, row: dict[str, Any] | None = None) -> None:
    """An attempt that meets a bad row, and does work before that only if `row` is given."""
    with pytest.raises(InputError), open_run(folder, record=RECORD) as run:
        run.reject("a.jsonl", 3, "", "no text")
        run.choose_once("dtype", lambda: "float32")
        run.add("text", "notes.txt", "Notes.")
        with run.journal("answers.jsonl") as journal:
            if row is not None:
                journal.append(row)
        raise InputError("a.jsonl: no good")


def test_an_attempt_that_left_no_work_does_not_bind_its_folder(tmp_path: Path) -> None:
    fail_on_input(tmp_path / "r")
    other = RunRecord("m", "b", (), {"lr": 0.5}, {}, inputs={"b.jsonl": "2"})
    assert differences(tmp_path / "r", Settings(seed=4), other) == []
    with open_run(tmp_path / "r", seed=4, record=other) as run:
        assert not run.resumed
        assert run.choose_once("dtype", lambda: "bfloat16") == "bfloat16"
    assert read_json(tmp_path / "r" / "config.json")["values"] == {"lr": 0.5}
    assert not (tmp_path / "r" / "rejects.jsonl").exists()


@pytest.mark.parametrize("write", ["journal", "artefact", "checkpoint", "metric"])
def test_an_attempt_that_left_work_binds_its_folder(tmp_path: Path, write: str) -> None:
    with pytest.raises(InputError), open_run(tmp_path / "r", record=RECORD) as run:
        if write == "journal":
            with run.journal("answers.jsonl") as journal:
                journal.append({"id": 1})
        elif write == "artefact":
            run.add("text", "notes.txt", "Notes.").write_text("done so far")
        elif write == "checkpoint":
            run.save_checkpoint(1, lambda folder: None)
        else:
            run.metric(1, loss=1.0)
        raise InputError("a.jsonl: no good")
    other = RunRecord("m", "a", (), {**(RECORD.config or {}), "lr": 0.5})
    assert differences(tmp_path / "r", Settings(), other) == ["lr: 0.1 there, 0.5 now"]
    with pytest.raises(ConfigError):
        open_run(tmp_path / "r", record=other).__enter__()


# -- damage ----------------------------------------------------------------------------------------


def finished(folder: Path) -> Path:
    with open_run(folder, record=RECORD) as run:
        run.add("text", "a.txt", "A note.").write_text("hello")
        run.finish(Result((Number("x", 0.5),), text="answer"))
    return folder


@pytest.mark.parametrize("text", ["[]", "5", "{}", '{"state": 5}', "{", "", "1" * 5000, "[" * 9999])
@pytest.mark.parametrize(
    "use", [finished_result, lambda f, s, r: open_run(f, record=r).__enter__()]
)
def test_a_damaged_state_is_named(tmp_path: Path, text: str, use: Callable[..., object]) -> None:
    folder = finished(tmp_path / "r")
    (folder / "run.json").write_text(text)
    (folder / "lock").unlink()
    with pytest.raises(InputError, match=r"run\.json"):
        use(folder, Settings(), RECORD)
    assert not (folder / "lock").exists()  # it may be somebody else's


@pytest.mark.parametrize("text", ["[]", '{"values": 5}', "{", '{"values": []}'])
def test_a_damaged_config_is_named(tmp_path: Path, text: str) -> None:
    folder = finished(tmp_path / "r")
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        differences(folder, Settings(), RECORD)


def test_damaged_inputs_and_versions_of_an_earlier_run_are_no_match(tmp_path: Path) -> None:
    folder = finished(tmp_path / "r")
    for name, change in (("config.json", {"inputs": [1]}), ("run.json", {"versions": [1]})):
        path = folder / name
        path.write_text(json.dumps(read_json(path) | change))
    given = RunRecord("m", "a", (), RECORD.config, {}, inputs={"b.txt": "1"})
    assert differences(folder, Settings(), given) == []
    assert made_by_other_code(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 0.5', '"value": NaN'),
        ('"value": 0.5', '"value": 1e999'),
        ('"value": 0.5', f'"value": 1{"0" * 400}'),
        ('"value": 0.5', '"value": "x"'),
        ('"value": 0.5', '"value": true'),
        ('"low": null', '"low": "x"'),
        ('"n": null', '"n": []'),
        ('"name": "x"', '"name": 5'),
        ('"better": "higher"', '"better": []'),
        ('"path": "artefacts/a.txt"', '"path": 5'),
        ('"kind": "text"', '"kind": "song"'),
        ('"text": "answer"', '"text": 5'),
        ('"remarks": []', '"remarks": [5]'),
        ('"remarks": []', '"remarks": 5'),
        ('"numbers": [', '"numbers": 5, "more": ['),
        ('"artefacts": [', '"artefacts": [5, '),
    ],
)
def test_a_damaged_result_is_named_instead_of_shown(tmp_path: Path, old: str, new: str) -> None:
    folder = finished(tmp_path / "r")
    text = (folder / "result.json").read_text()
    assert old in text
    (folder / "result.json").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=r"result\.json"):
        finished_result(folder, Settings(), RECORD)
