"""Standard streams that are closed or full, and Ctrl-C before there is anything to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import modelgraft

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]
COPY = ("thirteenth", "copy_text", "--text", "a", "--out", "r")


def closing(*numbers: int) -> Callable[[], None]:
    """Close these streams in the child before its program starts, as `>&-` does."""
    return lambda: [os.close(number) for number in numbers] and None


@pytest.mark.parametrize("words", [("--help",), COPY, ("show", "r")])
@pytest.mark.parametrize("numbers", [(1,), (2,), (0, 1, 2)], ids=str)
def test_a_closed_stream_changes_neither_the_work_nor_the_exit_code(
    start: Start, run: Run, words: tuple[str, ...], numbers: tuple[int, ...]
) -> None:
    if words[0] == "show":
        run(*COPY)
    process = start(*words, preexec_fn=closing(*numbers))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Error" not in err and bool(out) is (1 not in numbers)
    if words is COPY:
        assert json.loads(Path("r/run.json").read_text())["state"] == "done"
        for path in Path("r").rglob("*.json*"):  # nothing was printed into a file
            text = path.read_text()
            assert all(map(json.loads, text.splitlines() if path.suffix == ".jsonl" else [text]))


def test_a_full_standard_output_is_unavailable_and_the_run_is_kept(start: Start) -> None:
    with open("/dev/full", "w") as full:
        for words in (COPY, ("--help",), ("show", "r", "--json")):
            process = start(*words, stdout=full)
            _, err = process.communicate(timeout=60)
            assert process.returncode == 4, words
            assert "Unavailable: standard output cannot be written: No space left" in err
            assert "Traceback" not in err and "Exception ignored" not in err
    assert json.loads(Path("r/run.json").read_text())["state"] == "done"


def test_a_full_standard_error_does_not_spoil_a_run(start: Start) -> None:
    with open("/dev/full", "w") as full:
        process = start(*COPY, stderr=full)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "copied\n")


def test_the_end_of_a_terminal_stops_a_run_and_leaves_it_resumable(start: Start) -> None:
    terminal, theirs = os.openpty()
    words = ("thirteenth", "wait", "--steps", "400", "--seconds", "0.05", "--out", "r")
    process = start(*words, stderr=theirs, env_more={"TERM": "xterm"})
    os.close(theirs)
    while b"waiting" not in os.read(terminal, 4096):  # the bar is there
        continue
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(Path("r/run.json").read_text())["state"] == "interrupted"


# Presses Ctrl-C while the named module is being imported.
PRESS = """
import os, signal, sys

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
from modelgraft.cli.main import main
sys.exit(main(["doctor"]))
"""


@pytest.mark.parametrize(
    "module", ["modelgraft.cli.dispatch", "modelgraft.core.card", "modelgraft.cli.doctor", "torch"]
)
def test_an_interrupt_before_any_work_ends_quietly_with_130(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRESS, module],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(modelgraft.__file__).parents[1])},
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr in ("", "interrupted\n")


def test_the_entry_point_imports_hardly_anything_that_an_interrupt_could_hit() -> None:
    script = (
        "import sys; import modelgraft; before = set(sys.modules)\n"
        "import modelgraft.cli.main; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "['modelgraft.cli', 'modelgraft.cli.main']\n"
