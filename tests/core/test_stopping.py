"""Stopping: the first signal asks, the second ends, and none is ignored for long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core import stopping
from modelgraft.core.files import read_json
from modelgraft.core.runs import open_run

Start = Callable[..., "subprocess.Popen[str]"]
NONE = (None, None, None)


def state(folder: Path) -> str:
    return read_json(folder / "run.json")["state"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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


def stop(start: Start, folder: Path, seconds: str, signals: Sequence[int]) -> tuple[int, str, str]:
    worker = start(WORKER, str(folder), seconds)
    assert worker.stdout is not None and worker.stdout.readline() == "open\n"
    time.sleep(0.1)
    for number in signals:
        worker.send_signal(number)
        time.sleep(0.2)
    out, err = worker.communicate(timeout=10)
    return worker.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_after_the_step_and_the_run_can_go_on(
    tmp_path: Path, start: Start, number: int
) -> None:
    folder = tmp_path / "r"
    code, out, err = stop(start, folder, "0.05", [number])
    assert (code, out.strip()) == (130, "Interrupted")
    assert "stopping after this step" in err
    assert state(folder) == "interrupted"
    done = len(rows(folder / "steps.jsonl"))
    assert 0 < done < 40
    worker = start(WORKER, str(folder), "0")
    worker.communicate(timeout=10)
    assert worker.returncode == 0 and state(folder) == "done"
    assert [row["step"] for row in rows(folder / "steps.jsonl")] == list(range(40))


def test_a_second_signal_quits_in_the_middle_of_a_step(tmp_path: Path, start: Start) -> None:
    begin = time.monotonic()
    code, out, _ = stop(start, tmp_path / "r", "30", [signal.SIGINT, signal.SIGINT])
    assert (code, out.strip()) == (130, "KeyboardInterrupt")
    assert state(tmp_path / "r") == "interrupted"
    assert time.monotonic() - begin < 10


def test_the_handlers_of_the_caller_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with open_run(tmp_path / "r"):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


# A process with limits far below the real ones, which then does the work of `argv[2]`.
STUBBORN = """
    import hashlib, sys, time; from modelgraft import open_run; from modelgraft.core import stopping
    # A sleeping process unwinds, however busy the machine; one inside a long call never does.
    unwind_s = 20.0 if sys.argv[2] == "sleep" else 0.2
    stopping.HEED_S, stopping.UNWIND_S, stopping.RECORD_S = 0.7, unwind_s, 0.1
    try:
        with open_run(sys.argv[1]) as run:
            print("open", flush=True)
            if sys.argv[2] == "sleep":
                time.sleep(60)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # one call that lasts for minutes
    except KeyboardInterrupt:
        print("KeyboardInterrupt", flush=True); sys.exit(130)
"""


@pytest.mark.parametrize(
    ("work", "signals", "out"),
    [
        ("sleep", [signal.SIGTERM], "KeyboardInterrupt\n"),
        ("sleep", [signal.SIGHUP], "KeyboardInterrupt\n"),
        ("hash", [signal.SIGTERM], ""),
        ("hash", [signal.SIGHUP], ""),
        ("hash", [signal.SIGTERM, signal.SIGTERM], ""),
        ("hash", [signal.SIGINT, signal.SIGINT], ""),
    ],
)
def test_a_process_that_does_not_heed_ends_in_time_with_its_state_recorded(
    tmp_path: Path, start: Start, work: str, signals: list[int], out: str
) -> None:
    child = start(STUBBORN, str(tmp_path / "r"), work)
    assert child.stdout is not None and child.stdout.readline() == "open\n"
    for number in signals:
        time.sleep(0.1)
        child.send_signal(number)
    assert child.communicate(timeout=60)[0] == out
    assert child.returncode == 130
    assert state(tmp_path / "r") == "interrupted"


def test_one_interrupt_from_the_keyboard_waits_for_the_step(tmp_path: Path, start: Start) -> None:
    child = start(STUBBORN, str(tmp_path / "r"), "sleep")
    assert child.stdout is not None and child.stdout.readline() == "open\n"
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=2)
    child.kill()
    child.communicate()


def test_the_limits_together_are_the_ten_seconds_that_are_promised() -> None:
    assert stopping.HEED_S + stopping.UNWIND_S + stopping.RECORD_S <= 10


def test_a_disk_that_hangs_does_not_hold_the_process(start: Start) -> None:
    script = """
        import hashlib, time; from modelgraft.core import stopping
        stopping.HEED_S, stopping.UNWIND_S, stopping.RECORD_S = 0.1, 0.1, 0.1
        stopping.Stopping(record=lambda: time.sleep(60)).watch()
        print("open", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    """
    child = start(script)
    assert child.stdout is not None and child.stdout.readline() == "open\n"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    assert child.returncode == 130


def test_a_closed_terminal_does_not_stop_what_runs_under_nohup(
    tmp_path: Path, start: Start
) -> None:
    ignore = signal.SIGHUP, signal.SIG_IGN
    worker = start(WORKER, str(tmp_path / "r"), "0.01", preexec_fn=lambda: signal.signal(*ignore))
    assert worker.stdout is not None and worker.stdout.readline() == "open\n"
    worker.send_signal(signal.SIGHUP)
    worker.communicate(timeout=20)
    assert worker.returncode == 0 and state(tmp_path / "r") == "done"


def test_a_forked_child_ends_when_told_to_and_what_it_hears_does_not_stop_its_parent(
    tmp_path: Path, start: Start
) -> None:
    script = """
        import os, signal, sys, time
        from modelgraft import open_run; from modelgraft.core import stopping
        stopping.HEED_S = stopping.UNWIND_S = 0.1
        with open_run(sys.argv[1]) as run:
            child = os.fork()
            if child == 0:
                time.sleep(60)
            time.sleep(0.2)
            os.kill(child, signal.SIGINT)  # a terminal sends it to all; the parent decides
            time.sleep(0.2)
            os.kill(child, signal.SIGTERM)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), run.is_stopping)
            time.sleep(0.5)
            run.check()
            if os.fork() == 0:  # one that outlives the run does not hold it
                time.sleep(60)
        os.killpg(0, signal.SIGKILL)
    """
    child = start(script, str(tmp_path / "r"), start_new_session=True)
    assert child.communicate(timeout=20) == (f"-{int(signal.SIGTERM)} False\n", "")
    assert state(tmp_path / "r") == "done"


def test_a_run_leaves_signals_alone_in_other_threads_and_the_pipe_of_an_event_loop(
    tmp_path: Path,
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer)
    try:
        with open_run(tmp_path / "r"):
            pass
        assert signal.set_wakeup_fd(before) == writer
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
    thread = threading.Thread(target=lambda: open_run(tmp_path / "t").__enter__().__exit__(*NONE))
    thread.start()
    thread.join()
    assert state(tmp_path / "t") == "done"


def test_nothing_is_left_running_after_a_run(tmp_path: Path) -> None:
    threads = threading.active_count()
    handles = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with open_run(tmp_path / "r"):
            assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == handles
