"""A run: one folder with its config, log, metrics, checkpoints, artefacts and result.

One process writes a run folder at a time. Running the same command in the same folder resumes;
another config is refused with the difference. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Literal

from modelgraft.core.errors import ConfigError, InputError, Interrupted, Partial, Unavailable
from modelgraft.core.files import (
    Journal,
    Lock,
    atomic_folder,
    disk_errors,
    dump_json,
    fsync_folder,
    read_json,
    remove_folder,
    sha256_file,
    write_json,
)
from modelgraft.core.provenance import commit, versions
from modelgraft.core.results import Artefact, Kind, Result
from modelgraft.core.settings import Settings

State = Literal["running", "done", "partial", "failed", "interrupted"]
Listener = Callable[[int, int, str], None]
_PROGRESS_LOG_S = 5.0
# Ends the name of a whole checkpoint until it takes the place of an older one of its step.
_FRESH = "-fresh"


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run before it starts; it is stored in `run.json` and `config.json`.

    `inputs` maps the files the run reads to their hashes.
    """

    method: str = ""
    action: str = ""
    command: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    sources: Mapping[str, str] | None = None
    inputs: Mapping[str, str] | None = None


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


def finished_result(folder: Path, settings: Settings, record: RunRecord) -> Result | None:
    """The stored result when this very run was finished in `folder` before, else None.

    None as well when a file of the result is missing or was changed. Raises `ConfigError`, as
    `open_run` does, when the folder holds a run of another config.
    """
    if settings.resume == "never" or not (folder / "run.json").exists():
        return None
    _check_same_config(folder, settings, record)
    if read_json(folder / "run.json", "the state of a run").get("state") != "done":
        return None
    if not (folder / "result.json").exists():
        return None
    result = Result.from_dict(read_json(folder / "result.json", "the result of a run"))
    hashes = {artefact.path: artefact.sha256 for artefact in result.artefacts}
    return result if _all_match(folder, hashes) else None


def differences(folder: Path, settings: Settings, record: RunRecord) -> list[str]:
    """What the run in `folder` was given otherwise, one line each; nothing when it can go on."""
    path = folder / "config.json"
    if record.config is None or not path.exists():
        return []
    old = read_json(path, "the config of a run")
    if not isinstance(old, dict) or not isinstance(old.get("values"), dict):
        raise InputError(f"{path}: this is not the config of a run; choose another --out.")
    was = " ".join(str(old.get(name)) for name in ("method", "action"))
    lines = [] if was == f"{record.method} {record.action}" else [f"the action: {was} there"]
    then = {**old["values"], "seed": old.get("seed"), "dtype": old.get("dtype")}
    now = {**record.config, "seed": settings.seed, "dtype": settings.dtype}
    lines += [
        f"{name}: {then.get(name)!r} there, {now.get(name)!r} now"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]
    if record.inputs is not None:
        hashes = old.get("inputs") or {}
        # One that was not there before is no difference: the earlier attempt cannot have used it.
        for name in hashes:
            if name not in record.inputs:
                lines.append(f"{name}: no longer there")
            elif hashes[name] != record.inputs[name]:
                lines.append(f"{name}: the content has changed")
    return lines


def made_by_other_code(folder: Path) -> bool:
    """Whether another version or commit of modelgraft made the run in `folder`."""
    path = folder / "run.json"
    if not path.exists():
        return False
    state = read_json(path, "the state of a run")
    then = (state.get("versions") or {}).get("modelgraft"), state.get("commit")
    return then != (versions().get("modelgraft"), commit())


def set_aside(folder: Path) -> Path:
    """Rename a run folder to make room for a new run; `Unavailable` while a process works in it."""
    lock = Lock(folder / "lock")
    if not lock.acquire():
        raise _in_use(folder, lock)
    try:
        number = 1
        while (aside := folder.with_name(f"{folder.name}.before-{number}")).exists():
            number += 1
        os.rename(folder, aside)
    finally:
        lock.release()
    return aside


def _in_use(folder: Path, lock: Lock) -> Unavailable:
    return Unavailable(
        f"{folder}: process {lock.holder()} is working in this run folder.\n"
        "  Wait until it ends, stop it, or choose another --out."
    )


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
        self._stop: int | None = None
        self._handlers: dict[int, Any] = {}
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
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError("out", f"--out {self.folder}: this is a file, not a folder.")
        state = self.folder / "run.json"
        if not state.exists() and self.settings.resume == "must":
            raise ConfigError("resume", f"--resume must: there is no run in {self.folder}.")
        if not self._lock.acquire():
            raise _in_use(self.folder, self._lock)
        try:
            self.resumed = state.exists()  # another process may have made it before the lock
            if self.resumed and self.settings.resume == "never":
                raise ConfigError(
                    "resume",
                    f"--resume never: {self.folder} holds a run already; choose another --out.",
                )
            if self.resumed:
                _check_same_config(self.folder, self.settings, self.record)
            self.artefacts.mkdir(parents=True, exist_ok=True)
            self._sweep()
            if self.record.config is not None:
                write_json(self.folder / "config.json", self._config())
            self._write_state("running")
            self.log("resumed" if self.resumed else "started")
            self._watch_signals()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any):
        try:
            if error is None:
                if not self._finished:
                    self.finish(Result(artefacts=tuple(self._artefacts)))
            else:
                with contextlib.suppress(Unavailable):  # the first error is the one to tell
                    self._record_failure(error)
        finally:
            self._close()

    def _record_failure(self, error: BaseException) -> None:
        state: State = "failed"
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, Interrupted | KeyboardInterrupt):
            state, text = "interrupted", "stopped by a person or the system"
        elif isinstance(error, Partial):
            state = "partial"
        self._write_state(state, error=text)
        self.log(state, error=text)

    def _close(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
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

    def _sweep(self) -> None:
        for folder in (self.folder, self.folder / "checkpoints", self.artefacts):
            for path in folder.glob(".tmp-*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        for fresh in (self.folder / "checkpoints").glob(f"step-*{_FRESH}"):
            _put_in_place(fresh, fresh.with_name(fresh.name.removesuffix(_FRESH)))

    def _write_state(self, state: State, error: str = "") -> None:
        now = time.time()
        write_json(
            self.folder / "run.json",
            {
                "state": state,
                "method": self.record.method,
                "action": self.record.action,
                "command": list(self.record.command),
                "seed": self.seed,
                "device": self.settings.device,
                "dtype": self.settings.dtype,
                "pid": os.getpid(),
                "started": _stamp(self._start),
                "finished": None if state == "running" else _stamp(now),
                "seconds": round(now - self._start, 3),
                "versions": versions(),
                "commit": commit(),
                "error": error,
            },
        )

    # -- stopping ------------------------------------------------------------------------------

    def _watch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop is not None:
            raise KeyboardInterrupt
        self._stop = number
        text = b"stopping after this step; press Ctrl-C again to quit at once\n"
        with contextlib.suppress(OSError):  # print is not safe in a signal handler
            os.write(2, text)

    @property
    def is_stopping(self) -> bool:
        """Whether someone asked the run to stop."""
        return self._stop is not None

    def check(self) -> None:
        """Raise `Interrupted` if someone asked the run to stop; call it between items."""
        if self._stop is not None:
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
        with disk_errors(self.folder / name, "the log"):
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
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def added(self) -> tuple[Artefact, ...]:
        """The artefacts added so far, in order."""
        return tuple(self._artefacts)

    def finish(self, result: Result) -> Result:
        """Write `result.json` with every artefact's hash, and close the state.

        Artefacts added to the run come first; the stored result is returned.
        """
        listed = {artefact.path: artefact for artefact in (*self._artefacts, *result.artefacts)}
        hashed = tuple(
            replace(artefact, sha256=sha256_file(self.folder / path))
            for path, artefact in listed.items()
        )
        stored = replace(result, artefacts=hashed)
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
        final = self.folder / "checkpoints" / f"step-{step:08d}"
        fresh = final.with_name(final.name + _FRESH) if final.exists() else final
        with atomic_folder(fresh) as folder:
            write(folder)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            manifest = {str(path.relative_to(folder)): sha256_file(path) for path in files}
            write_json(folder / "manifest.json", manifest)
        if fresh != final:
            _put_in_place(fresh, final)
        for old in self._checkpoints()[keep:]:
            remove_folder(old)
        self.log("checkpoint", step=step)
        return final

    def _checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("step-*"), reverse=True)

    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint whose files match their manifest, or None."""
        for folder in self._checkpoints():
            if _verifies(folder):
                return folder
            self.log("damaged checkpoint passed over", folder=folder.name)
        return None


def _check_same_config(folder: Path, settings: Settings, record: RunRecord) -> None:
    if lines := differences(folder, settings, record):
        raise ConfigError(
            "out",
            f"{folder} holds a run with another config:\n  "
            + "\n  ".join(lines)
            + "\n  Choose another --out, or repeat the old command to go on with it.",
        )


def _put_in_place(fresh: Path, final: Path) -> None:
    if final.exists():
        remove_folder(final)
    os.rename(fresh, final)
    fsync_folder(final.parent)


def _verifies(folder: Path) -> bool:
    try:
        return _all_match(folder, read_json(folder / "manifest.json", "a manifest"))
    except InputError:
        return False


def _all_match(folder: Path, hashes: Mapping[str, str]) -> bool:
    try:
        return all(sha256_file(folder / name) == digest for name, digest in hashes.items())
    except OSError:
        return False


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
