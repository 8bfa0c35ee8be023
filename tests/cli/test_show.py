"""Results, progress and errors as people see them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from modelgraft.cli import show
from modelgraft.core.errors import InputError, Partial


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    lines = show.ProgressLines(clock=lambda: 0.0)
    for done in range(1, 1001):
        lines(done, 1000, "rows")
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "rows: 100 of 1,000"
    assert err[-1] == "rows: 1,000 of 1,000"
    assert len(err) == 10


def test_slow_progress_is_a_line_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = show.ProgressLines(clock=lambda: now)
    for done in range(100):
        now += 10.0
        lines(done, 10_000, "rows")
    assert len(capsys.readouterr().err.splitlines()) == 33


def test_another_piece_of_work_begins_its_tenths_anew(capsys: pytest.CaptureFixture[str]) -> None:
    lines = show.ProgressLines(clock=lambda: 0.0)
    for text in ("encoding", "answering"):
        for done in range(1, 5):
            lines(done, 4, text)
    assert len(capsys.readouterr().err.splitlines()) == 8


def test_work_of_unknown_length_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = show.ProgressLines(clock=lambda: now)
    now = 31.0
    lines(5, 0, "rows")
    assert capsys.readouterr().err == "rows: 5\n"


def test_quiet_means_no_listener_and_a_pipe_means_lines() -> None:
    with show.progress(quiet=True) as listener:
        assert listener is None
    with show.progress(quiet=False) as listener:
        assert isinstance(listener, show.ProgressLines)


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with show.progress(quiet=False) as listener:
        assert listener is not None and not isinstance(listener, show.ProgressLines)
        listener(1, 2, "rows [bold]")
        listener(2, 2, "rows [bold]")
    assert "rows [bold]" in terminal.getvalue()


def test_an_error_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    show.show_error(InputError("chair.glb: no texture coordinates.\n  Unwrap it first."))
    assert capsys.readouterr().err == (
        "InputError: chair.glb: no texture coordinates.\n  Unwrap it first.\n"
    )
    show.show_error(Partial("three of five."))
    assert capsys.readouterr().err == "Partial: three of five.\n"


def test_a_fault_of_ours_is_told_with_the_path_of_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}")
    try:
        raise ZeroDivisionError("a slip")
    except ZeroDivisionError as error:
        path = show.save_traceback(error, tmp_path)
        show.show_error(show.Crash(error, path))
    err = capsys.readouterr().err
    assert err.startswith("ZeroDivisionError: a slip\n") and str(path) in err
    assert path == tmp_path / "traceback.txt"
    assert 'raise ZeroDivisionError("a slip")' in path.read_text()


def test_a_traceback_without_a_run_folder_goes_to_a_temporary_file(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "missing"):
        path = show.save_traceback(ValueError("x\ud800"), folder)
        assert "ValueError: x\\ud800" in path.read_text()
        path.unlink()


def test_text_of_a_model_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    show.emit("red \x1b[31m and \x9b31m and \x07\ttab\nline")
    assert terminal.getvalue() == "red \ufffd[31m and \ufffd31m and \ufffd\ttab\nline\n"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert show.columns([("a", "bb"), ("ccc", "d")], indent="  ") == "  a    bb\n  ccc  d"
