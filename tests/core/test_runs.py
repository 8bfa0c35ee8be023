"""Runs: one writer, one config, resumable after a kill, a full disk or a wish to stop."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import modelgraft
from modelgraft.core.errors import ConfigError, InputError, Interrupted, Partial, Unavailable
from modelgraft.core.files import read_json, sha256_file
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import (
    Run,
    RunRecord,
    Settings,
    differences,
    finished_result,
    made_by_other_code,
    open_run,
    set_aside,
)

KILLS = 40
RECORD = RunRecord("m", "a", ("modelgraft", "m", "a"), {"lr": 0.1, "ends": [1]}, {"lr": "flag"})


def start(script: str, *words: str, **kwargs: Any) -> subprocess.Popen[str]:
    """A Python process of its own that runs `script` and talks through pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(modelgraft.__file__).parents[1])},
        **kwargs,
    )


def state(folder: Path) -> str:
    return read_json(folder / "run.json")["state"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- what a run leaves -----------------------------------------------------------------------------


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


# -- one writer, one config ------------------------------------------------------------------------


def test_a_second_run_in_the_folder_is_refused_and_names_the_process(tmp_path: Path) -> None:
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
    tmp_path: Path,
) -> None:
    with open_run(tmp_path / "r", record=RunRecord("m", "a", (), {}, {}, inputs={"a.txt": "1"})):
        pass
    now = RunRecord("m", "a", (), {}, {}, inputs={"b.txt": "2"})
    assert differences(tmp_path / "r", Settings(), now) == ["a.txt: no longer there"]


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


def test_a_run_set_aside_keeps_its_files_under_a_free_name(tmp_path: Path) -> None:
    for expected in ("r.before-1", "r.before-2"):
        with open_run(tmp_path / "r"):
            pass
        assert set_aside(tmp_path / "r") == tmp_path / expected
        assert state(tmp_path / expected) == "done"


# -- checkpoints -----------------------------------------------------------------------------------


def test_the_newest_checkpoint_that_verifies_is_found(tmp_path: Path) -> None:
    with open_run(tmp_path / "r") as run:
        assert run.latest_checkpoint() is None
        for step in (1, 2, 3):
            run.save_checkpoint(step, lambda folder: save(folder, "x"))
        kept = sorted(path.name for path in (tmp_path / "r" / "checkpoints").iterdir())
        assert kept == ["step-00000002", "step-00000003"]
        (tmp_path / "r" / "checkpoints" / "step-00000003" / "model").write_text("damaged")
        found = run.latest_checkpoint()
    assert found is not None and found.name == "step-00000002"


def test_a_checkpoint_of_the_same_step_goes_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        save(folder, "half")
        raise ValueError

    with open_run(tmp_path / "r") as run:
        saved = run.save_checkpoint(1, lambda folder: save(folder, "old"))
        with pytest.raises(ValueError):
            run.save_checkpoint(1, fail)
        assert run.latest_checkpoint() == saved and (saved / "model").read_text() == "old"
        assert run.save_checkpoint(1, lambda folder: save(folder, "new")) == saved
        assert run.latest_checkpoint() == saved and (saved / "model").read_text() == "new"
        assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("old_is_there", [True, False])
def test_a_kill_while_a_checkpoint_is_replaced_keeps_the_new_one(
    tmp_path: Path, old_is_there: bool
) -> None:
    with open_run(tmp_path / "r") as run:
        final = run.save_checkpoint(1, lambda folder: save(folder, "new"))
    final.rename(final.with_name("step-00000001-fresh"))
    if old_is_there:
        with open_run(tmp_path / "other") as run:
            old = run.save_checkpoint(1, lambda folder: save(folder, "old"))
        old.rename(final)
    with open_run(tmp_path / "r") as run:
        assert run.latest_checkpoint() == final
    assert (final / "model").read_text() == "new" and list(final.parent.iterdir()) == [final]


def save(folder: Path, text: str) -> None:
    (folder / "model").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep" / "state").write_text(text)


# One process forks the writers: each is killed at a random moment, and only the kill is waited for.
KILLER = """
    import os, random, signal, sys, time
    from pathlib import Path
    from modelgraft import open_run
    from modelgraft.core.files import read_json, sha256_file
    from modelgraft.core.provenance import commit, versions

    folder, kills = Path(sys.argv[1]), int(sys.argv[2])

    def save(target, step):
        (target / "model").write_text(str(step) * 20_000)
        (target / "state").write_text(str(step))

    def work(pipe):
        with open_run(folder) as run, run.journal("calls.jsonl") as journal:
            found = run.latest_checkpoint()
            step = int((found / "state").read_text()) if found else 0
            os.write(pipe, b"0 ")
            while True:
                step += 1
                journal.append({"step": step})
                run.save_checkpoint(step, lambda target: save(target, step))
                os.write(pipe, b"%d " % step)

    versions(), commit()
    draw, acknowledged = random.Random(0), 0
    for _ in range(kills):
        receive, send = os.pipe()
        writer = os.fork()
        if writer == 0:
            work(send)
        os.close(send)
        told = os.read(receive, 2)
        time.sleep(draw.uniform(0, 0.25))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        while more := os.read(receive, 4096):
            told += more
        os.close(receive)
        acknowledged = max(acknowledged, *map(int, told.split()))
        for listed in (folder / "checkpoints").glob("step-*"):
            for name, digest in read_json(listed / "manifest.json").items():
                assert sha256_file(listed / name) == digest, listed
    print(acknowledged)
"""


def test_forty_kills_lose_no_checkpoint_and_no_row_that_was_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    out, err = start(KILLER, str(folder), str(KILLS)).communicate()
    assert not err
    acknowledged = int(out)
    assert acknowledged >= KILLS // 2  # else every kill came before any work
    with open_run(folder) as run:
        assert run.resumed
        found = run.latest_checkpoint()
        assert found is not None and int((found / "state").read_text()) >= acknowledged
        with run.journal("calls.jsonl") as journal:
            assert {row["step"] for row in journal.rows} >= set(range(1, acknowledged + 1))
    assert not list(folder.rglob(".tmp-*"))


# -- a full disk -----------------------------------------------------------------------------------


def limited(num_bytes: int) -> Any:
    """Files of the child process may not grow beyond this size."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def test_a_full_disk_keeps_the_checkpoint_before_and_names_the_place(tmp_path: Path) -> None:
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


def test_a_log_that_cannot_grow_ends_the_run_in_words_and_keeps_its_lines(tmp_path: Path) -> None:
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


# -- stopping --------------------------------------------------------------------------------------

WORKER = """
    import sys, time; from modelgraft import open_run
    from modelgraft.core.errors import Interrupted
    try:
        with open_run(sys.argv[1]) as run, run.journal("steps.jsonl") as journal:
            print("open", flush=True)
            for step in range(len(journal.rows), 40):
                run.check()
                time.sleep(float(sys.argv[2]))
                journal.append({"step": step})
    except (Interrupted, KeyboardInterrupt) as error:
        print(type(error).__name__, flush=True); sys.exit(130)
"""


def stop(folder: Path, seconds: str, signals: Sequence[int]) -> tuple[int, str, str]:
    worker = start(WORKER, str(folder), seconds)
    assert worker.stdout is not None and worker.stdout.readline() == "open\n"
    time.sleep(0.1)
    for number in signals:
        worker.send_signal(number)
        time.sleep(0.2)
    out, err = worker.communicate(timeout=10)
    return worker.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_the_run_can_go_on(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "r"
    code, out, err = stop(folder, "0.05", [number])
    assert (code, out.strip()) == (130, "Interrupted")
    assert "stopping after this step" in err
    assert state(folder) == "interrupted"
    done = len(rows(folder / "steps.jsonl"))
    assert 0 < done < 40
    worker = start(WORKER, str(folder), "0")
    worker.communicate(timeout=10)
    assert worker.returncode == 0 and state(folder) == "done"
    assert [row["step"] for row in rows(folder / "steps.jsonl")] == list(range(40))


def test_a_second_signal_quits_in_the_middle_of_a_step(tmp_path: Path) -> None:
    begin = time.monotonic()
    code, out, _ = stop(tmp_path / "r", "30", [signal.SIGINT, signal.SIGINT])
    assert (code, out.strip()) == (130, "KeyboardInterrupt")
    assert state(tmp_path / "r") == "interrupted"
    assert time.monotonic() - begin < 10


def test_the_handlers_of_the_caller_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with open_run(tmp_path / "r"):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_progress_reaches_the_listener_and_the_log(tmp_path: Path) -> None:
    heard = []
    with open_run(tmp_path / "r") as run:
        run.listener = lambda *words: heard.append(words)
        run.progress(1, 2, "rows")
        run.progress(2, 2, "rows")
    assert heard == [(1, 2, "rows"), (2, 2, "rows")]
    assert [row["event"] for row in rows(tmp_path / "r" / "log.jsonl")].count("progress") == 2


def test_leftovers_of_a_killed_process_are_swept_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "r" / "checkpoints" / ".tmp-99-step-1").mkdir(parents=True)
    (tmp_path / "r" / ".tmp-99-run.json").write_text("half")
    with open_run(tmp_path / "r") as run:
        assert isinstance(run, Run)
    assert not list((tmp_path / "r").rglob(".tmp-*"))
