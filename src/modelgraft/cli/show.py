"""What a command says: its result on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from modelgraft.core.errors import ModelgraftError, Unavailable

_LINE_EVERY_S = 30.0
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
Listener = Callable[[int, int, str], None]


class Crash(Exception):
    """An error that is a fault of ours; its traceback lies in the file `path`."""

    def __init__(self, error: BaseException, path: Path) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.path = path


def emit(text: str) -> None:
    """Print to standard output; a reader that has gone away is no error, a full disk is."""
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        pass
    except OSError as error:
        raise Unavailable(
            f"standard output cannot be written: {error.strerror}.\n"
            "  What a run did is in its folder; modelgraft show prints it again."
        ) from None


def emit_json(value: Any) -> None:
    """Print one JSON object to standard output."""
    from modelgraft.core.files import dump_json

    emit(dump_json(value, indent=2))


def note(text: str) -> None:
    """Print to standard error; that nobody can read it does not end the work."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    if stream.isatty():  # what a model or a document says must not drive the terminal
        text = _CONTROLS.sub("\ufffd", text)
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError:
        # The interpreter flushes its streams once more at exit; that must not fail either.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        raise


def show_error(error: BaseException) -> None:
    """Say an error as people read it: no traceback, but the way to it when the fault is ours."""
    if isinstance(error, ModelgraftError):
        note(f"{type(error).__name__}: {error}")
    elif isinstance(error, Crash):
        note(
            f"{error}\n  This is a fault of modelgraft, not of your input. The traceback is in "
            f"{error.path};\n  please report it with the command you typed."
        )
    else:
        note("interrupted")


def save_traceback(error: BaseException, folder: Path | None) -> Path:
    """Keep the traceback in the run folder, or in a temporary file where that is none."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    if folder is not None and os.path.isfile(folder / "run.json"):
        with contextlib.suppress(OSError):
            path = folder / "traceback.txt"
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            return path
    handle, name = tempfile.mkstemp(prefix="modelgraft-", suffix=".txt")
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows of cells as aligned text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


# -- progress --------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress(*, quiet: bool) -> Generator[Listener | None]:
    """A listener for `Run.listener`: a bar on a terminal, else a line every 10 % or 30 s."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as listener:
            yield listener
    else:
        yield ProgressLines()


class ProgressLines:
    """Says how far the work is at every tenth of it, and after every half minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.last_tenth = 0
        self.last_time = clock()

    def __call__(self, done: int, total: int, text: str) -> None:
        """Print a line when one is due."""
        tenth = 10 * done // total if total > 0 else 0
        if tenth < self.last_tenth:  # another piece of work begins
            self.last_tenth = 0
        if tenth > self.last_tenth or self.clock() - self.last_time >= _LINE_EVERY_S:
            self.last_tenth = tenth
            self.last_time = self.clock()
            note(f"{text}: {done:,} of {total:,}" if total > 0 else f"{text}: {done:,}")


class _Terminal:
    """Standard error as the bar writes to it: when the terminal is closed, the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


@contextlib.contextmanager
def _bar() -> Generator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    parts = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(file=cast(TextIO, _Terminal(sys.stderr)))
    with Progress(*parts, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def listener(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, description=text)

        yield listener
