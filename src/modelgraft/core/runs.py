"""A run: one folder with its config, log, metrics, checkpoints, artefacts and result.

One process writes a run folder at a time. Running the same command in the same folder resumes;
another config is refused with the difference. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from modelgraft.core.attempts import (
    RunRecord,
    forget,
    has_run,
    has_work,
    in_use,
    require_own_folder,
    require_same_config,
)
from modelgraft.core.checkpoints import latest_checkpoint, mend_checkpoints, save_checkpoint
from modelgraft.core.errors import (
    ConfigError,
    InputError,
    Interrupted,
    ModelgraftError,
    Partial,
)
from modelgraft.core.files import (
    Journal,
    Lock,
    dump_json,
    make_folder,
    read_json,
    sha256_file,
    sweep_leftovers,
    write_errors,
    write_json,
)
from modelgraft.core.provenance import commit, versions
from modelgraft.core.results import Artefact, Kind, Number, Result
from modelgraft.core.settings import Settings
from modelgraft.core.stopping import Stopping

State = Literal["running", "done", "partial", "failed", "interrupted"]
Listener = Callable[[int, int, str], None]
_PROGRESS_LOG_S = 5.0
_STOPPED = "stopped by a person or the system"


def open_run(
    folder: str | Path,
    *,
    seed: int | None = None,
    settings: Settings | None = None,
    record: RunRecord | None = None,
) -> Run:
    """A run in `folder`, new or resumed; use it as a context manager.

    Raises `Unavailable` when another process works in the folder, and `ConfigError` when the
    folder holds a run of another config or `settings.resume` forbids going on.
    """
    settings = settings or Settings()
    if seed is not None:
        settings = replace(settings, seed=seed)
    return Run(Path(folder), settings, record or RunRecord())


class Run:
    """One open run folder. Made by `open_run`."""

    def __init__(self, folder: Path, settings: Settings, record: RunRecord) -> None:
        self.folder = folder
        self.settings = settings
        self.record = record
        self.listener: Listener | None = None
        self.resumed = False
        self._lock = Lock(folder / "lock")
        self._logs: dict[str, BinaryIO] = {}
        self._artefacts: list[Artefact] = []
        self._rejected: set[tuple[Any, Any]] | None = None
        self._stopping = Stopping(self._give_up)
        self._writing = threading.Lock()
        self._last_progress = 0.0
        self._start = time.time()
        self._finished = False

    @property
    def seed(self) -> int:
        """The seed of this run."""
        return self.settings.seed

    @property
    def artefacts(self) -> Path:
        """The folder for files a person may want to see."""
        return self.folder / "artefacts"

    # -- opening and closing -------------------------------------------------------------------

    def __enter__(self) -> Run:
        if os.path.lexists(self.folder) and not os.path.isdir(self.folder):
            raise ConfigError("out", f"--out {self.folder}: this is a file, not a folder.")
        if not has_run(self.folder) and self.settings.resume == "must":
            raise ConfigError("resume", f"--resume must: there is no run in {self.folder}.")
        make_folder(self.folder)
        require_own_folder(self.folder)
        if not self._lock.acquire():
            raise in_use(self.folder, self._lock)
        try:
            if has_run(self.folder):  # another process may have made it before the lock
                self._meet_earlier_attempt()
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def _meet_earlier_attempt(self) -> None:
        if self.settings.resume == "never":
            raise ConfigError(
                "resume",
                f"--resume never: {self.folder} holds a run already; choose another --out.",
            )
        require_same_config(self.folder, self.settings, self.record)
        self.resumed = has_work(self.folder)
        if not self.resumed:
            forget(self.folder)

    def _open(self) -> None:
        sweep_leftovers(self.folder)
        self._write_state("running")  # first, because it makes this folder that of a run
        make_folder(self.artefacts)
        sweep_leftovers(self.artefacts)
        mend_checkpoints(self._checkpoints)
        if self.record.config is not None:
            write_json(self.folder / "config.json", self._config())
        self.log("resumed" if self.resumed else "started")
        self._stopping.watch()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any):
        try:
            if error is None:
                if not self._finished:
                    self.finish(Result(artefacts=tuple(self._artefacts)))
            else:
                with contextlib.suppress(ModelgraftError):  # the first error is the one to tell
                    self._record_failure(error)
        finally:
            self._close()

    def _record_failure(self, error: BaseException) -> None:
        state: State = "failed"
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, Interrupted | KeyboardInterrupt):
            state, text = "interrupted", _STOPPED
        elif isinstance(error, Partial):
            state = "partial"
        self._write_state(state, error=text)
        self.log(state, error=text)

    def _give_up(self) -> None:
        """Say for a main thread that does not stop that the run was stopped."""
        if not self._finished:
            self._record_failure(Interrupted(_STOPPED))

    def _close(self) -> None:
        self._stopping.close()
        for handle in self._logs.values():
            with contextlib.suppress(OSError):  # a full disk, reported by the write that met it
                handle.close()
        self._logs.clear()
        self._lock.release()

    def _config(self) -> dict[str, Any]:
        return {
            "format": 1,
            "method": self.record.method,
            "action": self.record.action,
            "seed": self.seed,
            "dtype": self.settings.dtype,
            "values": self.record.config,
            "sources": self.record.sources or {},
            "inputs": self.record.inputs or {},
        }

    def _write_state(self, state: State, error: str = "") -> None:
        now = time.time()
        values = {
            "state": state,
            "method": self.record.method,
            "action": self.record.action,
            "command": list(self.record.command),
            "seed": self.seed,
            "device": self.settings.device,
            "dtype": self.settings.dtype,
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "started": _stamp(self._start),
            "finished": None if state == "running" else _stamp(now),
            "seconds": round(now - self._start, 3),
            "versions": versions(),
            "commit": commit(),
            "error": error,
        }
        with self._writing:  # two threads may want to, see `_give_up`
            write_json(self.folder / "run.json", values)

    # -- stopping ------------------------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        """Whether someone asked the run to stop."""
        return self._stopping.is_wanted

    def check(self) -> None:
        """Raise `Interrupted` if someone asked the run to stop; call it between items."""
        if self.is_stopping:
            raise Interrupted(
                f"{self.folder}: stopped; what is done is kept.\n"
                "  Run the same command again to go on."
            )

    # -- what is recorded ----------------------------------------------------------------------

    def log(self, event: str, **fields: Any) -> None:
        """Append an event to `log.jsonl`."""
        self._append("log.jsonl", {"time": round(time.time(), 3), "event": event, **fields})

    def metric(self, step: int, **values: float) -> None:
        """Append measured values to `metrics.jsonl`."""
        self._append("metrics.jsonl", {"step": step, "time": round(time.time(), 3), **values})

    def reject(self, file: str | Path, line: int, id: str, reason: str) -> None:
        """Record a row that was left out, with the reason, in `rejects.jsonl`; a line once."""
        if self._rejected is None:  # an earlier attempt met the same rows
            earlier = _read_log(self.folder / "rejects.jsonl")
            self._rejected = {(row.get("file"), row.get("line")) for row in earlier}
        if (str(file), line) not in self._rejected:
            row = {"file": str(file), "line": line, "id": id, "reason": reason}
            self._append("rejects.jsonl", row)
            self._rejected.add((str(file), line))

    def _append(self, name: str, row: dict[str, Any]) -> None:
        with write_errors(self.folder / name, "the log"):
            if name not in self._logs:
                self._logs[name] = _open_log(self.folder / name)
            self._logs[name].write(dump_json(row).encode() + b"\n")
            self._logs[name].flush()

    def progress(self, done: int, total: int, text: str) -> None:
        """Say how far the work is: shown by the listener, logged at most every five seconds."""
        if self.listener is not None:
            self.listener(done, total, text)
        now = time.monotonic()
        if now - self._last_progress > _PROGRESS_LOG_S or done >= total:
            self._last_progress = now
            self.log("progress", done=done, total=total, text=text)

    def choose_once(self, name: str, make: Callable[[], str]) -> str:
        """What `make()` chose when this run first asked for `name`; a resumed run keeps it.

        For choices that a measurement decides and another attempt might decide otherwise.
        """
        path = self.folder / "choices.json"
        choices = read_json(path, "the choices of a run") if path.exists() else {}
        if not isinstance(choices, dict):
            raise InputError(f"{path}: these are not the choices of a run; choose another --out.")
        if name not in choices:
            choices[name] = make()
            write_json(path, choices)
            self.log("chosen", name=name, value=choices[name])
        return str(choices[name])

    def journal(self, name: str) -> Journal:
        """The append-only journal `name` of this run, with the rows of earlier attempts."""
        return Journal(self.folder / name)

    def add(self, kind: Kind, name: str, caption: str) -> Path:
        """The path for a new artefact, which the result will list; write the file to it."""
        relative = f"artefacts/{name}"
        path = (self.folder / relative).resolve()
        if not path.is_relative_to(self.artefacts.resolve()):
            raise InputError(f"{name}: an artefact must lie inside {self.artefacts}.")
        self._artefacts = [known for known in self._artefacts if known.path != relative]
        self._artefacts.append(Artefact(kind, relative, caption))
        make_folder(path.parent)
        return path

    @property
    def added(self) -> tuple[Artefact, ...]:
        """The artefacts added so far, in order."""
        return tuple(self._artefacts)

    def finish(self, result: Result) -> Result:
        """Write `result.json` with every artefact's hash, and close the state.

        Artefacts added to the run come first, rows that were left out are counted last; the stored
        result is returned.
        """
        listed = {artefact.path: artefact for artefact in (*self._artefacts, *result.artefacts)}
        hashed = tuple(
            replace(artefact, sha256=sha256_file(self.folder / path))
            for path, artefact in listed.items()
        )
        left_out = [Number("rows left out", len(self._rejected))] if self._rejected else []
        stored = replace(result, numbers=(*result.numbers, *left_out), artefacts=hashed)
        write_json(self.folder / "result.json", stored.as_dict())
        self._write_state("partial" if result.partial else "done")
        self.log("finished", partial=result.partial)
        self._finished = True
        return stored

    # -- checkpoints ---------------------------------------------------------------------------

    def save_checkpoint(self, step: int, write: Callable[[Path], None], *, keep: int = 2) -> Path:
        """A checkpoint folder that exists whole or not at all; the newest `keep` are kept.

        `write(folder)` puts the files into a temporary folder; their hashes go to its manifest. An
        older checkpoint of the same step goes only when the new one is whole.
        """
        saved = save_checkpoint(self._checkpoints, step, write, keep)
        self.log("checkpoint", step=step)
        return saved

    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint whose files match their manifest, or None."""
        return latest_checkpoint(
            self._checkpoints,
            lambda folder: self.log("damaged checkpoint passed over", folder=folder.name),
        )

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def _open_log(path: Path) -> BinaryIO:
    handle = open(path, "a+b")
    if handle.seek(0, os.SEEK_END):
        handle.seek(-1, os.SEEK_END)
        if handle.read(1) != b"\n":  # a kill or a full disk tore the last line
            handle.write(b"\n")
    return handle


def _read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; a line that a kill tore is passed over."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def _stamp(seconds: float) -> str:
    zone = datetime.UTC
    return datetime.datetime.fromtimestamp(seconds, zone).isoformat(timespec="seconds")
