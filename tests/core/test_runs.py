"""Runs: what they leave, how they end, and what a full disk does to them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.errors import ConfigError, InputError, Interrupted, Partial
from modelgraft.core.files import read_json, sha256_file
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run, RunRecord, Settings, open_run

Start = Callable[..., "subprocess.Popen[str]"]
RECORD = RunRecord("m", "a", ("modelgraft", "m", "a"), {"lr": 0.1, "ends": [1]}, {"lr": "flag"})


def state(folder: Path) -> str:
    return read_json(folder / "run.json")["state"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_its_state_config_log_metrics_rejects_and_result(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with open_run(folder, seed=3, record=RECORD) as run:
        assert state(folder) == "running"
        run.metric(1, loss=0.5)
        run.reject("rows.jsonl", 7, "id-7", "no text")
        run.add("text", "notes/a.txt", "A note.").write_text("hello")
        stored = run.finish(Result((Number("accuracy", 0.5, 0.4, 0.6, 100),)))
    assert state(folder) == "done"
    config = read_json(folder / "config.json")
    assert config["values"] == {"lr": 0.1, "ends": [1]}
    assert config["sources"] == {"lr": "flag"}
    assert (config["method"], config["action"], config["seed"]) == ("m", "a", 3)
    assert [row["event"] for row in rows(folder / "log.jsonl")] == ["started", "finished"]
    assert rows(folder / "metrics.jsonl")[0]["loss"] == 0.5
    assert rows(folder / "rejects.jsonl")[0]["line"] == 7
    assert stored.artefacts[0].sha256 == sha256_file(folder / "artefacts" / "notes" / "a.txt")
    assert Result.from_dict(read_json(folder / "result.json")) == stored


def test_a_block_that_ends_without_a_result_still_closes_the_run(tmp_path: Path) -> None:
    with open_run(tmp_path / "r") as run:
        run.add("text", "a.txt", "A note.").write_text("hello")
    assert state(tmp_path / "r") == "done"
    assert len(read_json(tmp_path / "r" / "result.json")["artefacts"]) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError("x"), "failed"), (Partial("half"), "partial"), (Interrupted("s"), "interrupted")],
)
def test_a_run_that_raises_says_how_it_ended(
    tmp_path: Path, error: Exception, expected: str
) -> None:
    with pytest.raises(type(error)), open_run(tmp_path / "r"):
        raise error
    assert state(tmp_path / "r") == expected


def test_a_partial_result_is_marked_in_the_state(tmp_path: Path) -> None:
    with open_run(tmp_path / "r") as run:
        run.finish(Result(partial="the budget is spent"))
    assert state(tmp_path / "r") == "partial"


def test_an_artefact_cannot_lie_outside_the_run(tmp_path: Path) -> None:
    with open_run(tmp_path / "r") as run:
        for name in ("../x", "a/../../x", "../artefacts-too/x"):
            with pytest.raises(InputError, match="must lie inside"):
                run.add("text", name, "Outside.")


def test_a_command_that_is_no_valid_text_is_still_recorded(tmp_path: Path) -> None:
    record = RunRecord(command=("modelgraft", os.fsdecode(b"caf\xe9.txt")))
    with open_run(tmp_path / "r", record=record):
        pass
    assert os.fsencode(read_json(tmp_path / "r" / "run.json")["command"][1]) == b"caf\xe9.txt"


def test_a_torn_last_line_of_a_log_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    with open_run(tmp_path / "r") as run:
        run.metric(1, loss=1.0)
    with open(tmp_path / "r" / "metrics.jsonl", "a") as handle:
        handle.write('{"step": 2, "lo')
    with open_run(tmp_path / "r") as run:
        run.metric(2, loss=0.5)
    assert (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[-1].endswith('"loss": 0.5}')


def test_a_choice_is_made_once_and_kept_by_the_resumed_run(tmp_path: Path) -> None:
    made = iter(["bfloat16", "second", "float32"])
    with open_run(tmp_path / "r") as run:
        assert run.choose_once("dtype", lambda: next(made)) == "bfloat16"
        assert run.choose_once("other", lambda: next(made)) == "second"
    with open_run(tmp_path / "r") as run:
        assert run.choose_once("dtype", lambda: next(made)) == "bfloat16"
    assert read_json(tmp_path / "r" / "choices.json") == {"dtype": "bfloat16", "other": "second"}
    assert next(made) == "float32"


def test_choices_that_were_damaged_are_named(tmp_path: Path) -> None:
    with open_run(tmp_path / "r") as run:
        (tmp_path / "r" / "choices.json").write_text("[]")
        with pytest.raises(InputError, match="not the choices of a run"):
            run.choose_once("dtype", lambda: "float32")


def test_a_rejected_line_is_recorded_once_over_all_attempts(tmp_path: Path) -> None:
    for line in (8, 9):
        with open_run(tmp_path / "r") as run:
            run.reject("a.jsonl", 7, "id-7", "no text")
            run.reject("a.jsonl", 7, "id-7", "no text")
            run.reject("b.jsonl", 7, "id-7", "no text")
            run.reject("a.jsonl", line, "", "no text")
    found = [(row["file"], row["line"]) for row in rows(tmp_path / "r" / "rejects.jsonl")]
    assert found == [("a.jsonl", 7), ("b.jsonl", 7), ("a.jsonl", 8), ("a.jsonl", 9)]


def test_progress_reaches_the_listener_and_the_log(tmp_path: Path) -> None:
    heard = []
    with open_run(tmp_path / "r") as run:
        run.listener = lambda *words: heard.append(words)
        run.progress(1, 2, "rows")
        run.progress(2, 2, "rows")
    assert heard == [(1, 2, "rows"), (2, 2, "rows")]
    assert [row["event"] for row in rows(tmp_path / "r" / "log.jsonl")].count("progress") == 2


def test_resume_never_and_must_are_obeyed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no run in"):
        open_run(tmp_path / "r", settings=Settings(resume="must")).__enter__()
    assert not (tmp_path / "r").exists()
    with open_run(tmp_path / "r", settings=Settings(resume="never")):
        pass
    with pytest.raises(ConfigError, match="holds a run already"):
        open_run(tmp_path / "r", settings=Settings(resume="never")).__enter__()
    with open_run(tmp_path / "r", settings=Settings(resume="must")) as run:
        assert run.resumed


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    with pytest.raises(ConfigError, match="this is a file, not a folder"):
        open_run(tmp_path / "r").__enter__()


def test_leftovers_of_a_killed_process_are_swept_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with open_run(folder):
        pass
    (folder / "checkpoints" / ".tmp-99-step-1").mkdir(parents=True)
    (folder / "checkpoints" / ".tmp-trash-99-step-0").mkdir()
    (folder / ".tmp-99-run.json").write_text("half")
    (folder / "artefacts" / ".tmp-99-a.txt").write_text("half")
    (folder / "artefacts" / ".tmp-mine").write_text("not a name of ours")
    with open_run(folder) as run:
        assert isinstance(run, Run)
    assert list(folder.rglob(".tmp-*")) == [folder / "artefacts" / ".tmp-mine"]


# -- a full disk -----------------------------------------------------------------------------------


def limited(num_bytes: int) -> Any:
    """Files of the child process may not grow beyond this size."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def test_a_full_disk_keeps_the_checkpoint_before_and_names_the_place(
    tmp_path: Path, start: Start
) -> None:
    script = """
        import sys; from modelgraft import open_run
        from modelgraft.core.errors import Unavailable
        with open_run(sys.argv[1]) as run:
            run.save_checkpoint(1, lambda folder: (folder / "model").write_text("x" * 1000))
            try:
                run.save_checkpoint(2, lambda folder: (folder / "model").write_text("x" * 99_999))
            except Unavailable as error:
                print(error.exit_code, error)
                raise
    """
    child = start(script, str(tmp_path / "r"), preexec_fn=limited(20_000))
    out, _ = child.communicate()
    assert out.startswith("4 ")
    assert "step-00000002" in out and "bytes are free" in out
    kept = [path.name for path in (tmp_path / "r" / "checkpoints").iterdir()]
    assert kept == ["step-00000001"]
    assert state(tmp_path / "r") == "failed"


def test_a_log_that_cannot_grow_ends_the_run_in_words_and_keeps_its_lines(
    tmp_path: Path, start: Start
) -> None:
    script = """
        import sys; from modelgraft import open_run
        with open_run(sys.argv[1]) as run:
            for step in range(10_000):
                run.metric(step, loss=0.5)
    """
    child = start(script, str(tmp_path / "r"), preexec_fn=limited(9_000))
    _, err = child.communicate()
    assert "Unavailable: " in err and "metrics.jsonl" in err
    lines = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines[:-1]] == list(range(len(lines) - 1))
    assert state(tmp_path / "r") == "failed"


def test_rows_that_were_left_out_are_counted_in_the_result(tmp_path):
    with open_run(tmp_path / "run", seed=0) as run:
        run.reject("rows.jsonl", 3, "x", "no text")
        run.reject("rows.jsonl", 5, "y", "no text")
        result = run.finish(Result((Number("rows", 7),)))
    assert [(one.name, one.value) for one in result.numbers] == [("rows", 7), ("rows left out", 2)]
    with open_run(tmp_path / "other", seed=0) as run:
        assert run.finish(Result()).numbers == ()
