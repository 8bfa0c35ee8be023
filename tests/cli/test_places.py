"""Folders given on the command line: somebody else's, unwritable, unreadable, or gone."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]
COPY = ("thirteenth", "copy_text", "--text", "a")
LONG = "n" * 300
_PR_CAPBSET_DROP = 24
_CAPABILITIES = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may open anything


def like_anybody() -> None:
    """Let a child process of root be refused what the modes of files refuse to others."""
    if os.geteuid() == 0:
        library = ctypes.CDLL(None)
        for capability in _CAPABILITIES:
            assert library.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


@pytest.fixture
def sealed(thirteenth: Path, run: Run) -> Path:
    """A folder that nobody may look into, with a run inside."""
    folder = thirteenth / "sealed"
    assert run(*COPY, "--out", "sealed/r", "--quiet")[0] == 0
    folder.chmod(0)
    return folder


# -- somebody else's -------------------------------------------------------------------------------


def test_a_model_folder_given_as_out_keeps_every_byte(run: Run) -> None:
    Path("model").mkdir()
    theirs = {"config.json": '{"model_type": "llama"}', ".tmp-download": "half", "lock": "theirs"}
    for name, text in theirs.items():
        Path("model", name).write_text(text)
    code, out, err = run(*COPY, "--out", "model")
    assert (code, out) == (2, "")
    assert (
        "--out model: this folder holds other files (.tmp-download, config.json) and no run" in err
    )
    assert {path.name: path.read_text() for path in Path("model").iterdir()} == theirs


def test_the_working_folder_is_no_run_folder(run: Run) -> None:
    Path("notes.txt").write_text("mine")
    assert run(*COPY, "--out", ".")[0] == 2
    code, _, err = run(*COPY, "--out", "")
    assert code == 2 and "--out: the path is empty" in err
    assert os.listdir() == ["notes.txt"]


def test_a_traceback_is_not_written_into_a_folder_that_is_no_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("r").mkdir()
    Path("r/traceback.txt").write_text("theirs")
    monkeypatch.setattr("modelgraft.cli.action.open_run", lambda *_, **__: 1 / 0)
    assert run(*COPY, "--out", "r")[0] == 1
    assert Path("r/traceback.txt").read_text() == "theirs"


def test_a_page_of_somebody_else_is_not_replaced_by_a_demo(run: Run) -> None:
    Path("site").mkdir()
    Path("site/report.html").write_text("theirs")
    code, _, err = run("demo", "--out", "site")
    assert code == 2 and "--out site: its report.html is not that of a demo" in err
    assert Path("site/report.html").read_text() == "theirs" and len(os.listdir("site")) == 1


# -- unwritable ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["a.txt/sub", "/proc/nope", LONG, f"runs/{LONG}/x"])
@pytest.mark.parametrize(
    "words",
    [COPY, ("demo",), ("run", "one.yaml"), ("report", "r")],
    ids=["action", "demo", "recipe", "report"],
)
def test_a_place_where_nothing_can_be_is_named_before_the_work(
    run: Run, words: tuple[str, ...], place: str
) -> None:
    Path("a.txt").write_text("")
    Path("one.yaml").write_text(
        "format: 1\nsteps: [{id: a, action: thirteenth copy_text, config: {text: x}}]\n"
    )
    run(*COPY, "--out", "r", "--quiet")
    if words[0] == "report":
        place += "/page.html"
    code, out, err = run(*words, "--out", place)
    assert (code, out) == (2, "")
    assert "--out" in err and "Traceback" not in err and "fault of modelgraft" not in err
    assert "[1/" not in err  # no part of the demo has begun


def test_a_file_or_folder_in_the_place_of_the_other_is_named(run: Run) -> None:
    Path("a.txt").write_text("mine")
    run(*COPY, "--out", "r", "--quiet")
    for words in (COPY, ("demo",)):
        code, _, err = run(*words, "--out", "a.txt")
        assert code == 2 and "--out a.txt: this is a file, not a folder" in err
    for folder in ("r", "."):
        code, _, err = run("report", "r", "-o", folder)
        assert code == 2 and f"--out {folder}: this is a folder; add the name" in err
    assert Path("a.txt").read_text() == "mine"


def test_a_folder_that_may_not_be_written_is_unavailable(start: Start, thirteenth: Path) -> None:
    thirteenth.joinpath("ours").mkdir(mode=0o555)
    process = start(*COPY, "--out", "ours/r", preexec_fn=like_anybody)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "")
    assert "ours/r: the folder cannot be written: Permission denied" in err


@pytest.mark.parametrize("home", ["/proc/x", f"/tmp/{LONG}", "a.txt"])
def test_a_model_store_that_cannot_be_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    Path("a.txt").write_text("")
    monkeypatch.setenv("MODELGRAFT_HOME", home)
    code, out, err = run("models", "get", "smollm", "--offline")
    assert (code, out) == (2, "") and "MODELGRAFT_HOME" in err
    assert run("models")[0] == 0
    assert run("doctor")[0] in (0, 2)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (COPY, 2),
        (("demo",), 2),
        (("show", "r"), 2),
        (("run", "r.yaml"), 2),
        (("doctor",), 2),
        (("models",), 0),
        (("thirteenth",), 0),
    ],
)
def test_a_working_folder_that_was_deleted_ends_in_words(
    run: Run, thirteenth: Path, words: tuple[str, ...], code: int
) -> None:
    Path("gone").mkdir()
    os.chdir("gone")
    try:
        Path("../gone").rmdir()
        found, _, err = run(*words)
    finally:
        os.chdir(thirteenth)
    assert found == code
    assert "fault of modelgraft" not in err


# -- unreadable ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "report"])
@pytest.mark.parametrize("place", ["sealed", "sealed/r"])
def test_a_folder_that_may_not_be_read_is_an_input_error(
    start: Start, sealed: Path, command: str, place: str
) -> None:
    process = start(command, place, preexec_fn=like_anybody)
    out, err = process.communicate(timeout=60)
    sealed.chmod(0o755)
    assert (process.returncode, out) == (2, "")
    assert f"InputError: {place}: this folder cannot be read: Permission denied" in err


@pytest.mark.parametrize("place", [LONG, "r/run.json", "nope"])
def test_a_path_that_is_no_folder_is_an_input_error(run: Run, place: str) -> None:
    run(*COPY, "--out", "r", "--quiet")
    code, _, err = run("show", place)
    assert code == 2 and "fault of modelgraft" not in err


def test_a_file_whose_name_is_no_valid_text_can_be_read(run: Run) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    Path(name).write_text("one two")
    assert run("thirteenth", "count", name, "--out", "r")[0] == 0
    assert run("show", "r")[0] == 0 and run("report", "r")[0] == 0
    code, out, _ = run("thirteenth", "count", name, "--out", "r", "--json")
    assert code == 0 and json.loads(out)["numbers"][0]["value"] == 2
