"""What an earlier attempt left in a run folder, and whether another may go on there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.core.errors import ConfigError, InputError, Unavailable
from modelgraft.core.files import Lock, is_leftover, read_json, sha256_file, write_errors
from modelgraft.core.provenance import commit, versions
from modelgraft.core.results import Result
from modelgraft.core.settings import Settings

# What an attempt writes about itself; anything else is work that a later attempt builds on.
_ABOUT_ITSELF = ("run.json", "config.json", "log.jsonl", "lock")
_STALE = ("rejects.jsonl", "choices.json", "report.html", "traceback.txt")


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


def has_run(folder: Path) -> bool:
    """Whether the folder is that of a run."""
    return os.path.isfile(folder / "run.json")


def read_state(folder: Path) -> dict[str, Any]:
    """What `run.json` says of the run in `folder`; `InputError` when it is no such record."""
    path = folder / "run.json"
    state = read_json(path, "the state of a run")
    if not isinstance(state, dict) or not isinstance(state.get("state"), str):
        raise InputError(f"{path}: this is not the state of a run; choose another folder.")
    return state


def was_killed(folder: Path) -> bool:
    """Whether the run in `folder` calls itself running, but no process works in it any more."""
    return read_state(folder)["state"] == "running" and not Lock(folder / "lock").is_held()


def finished_result(folder: Path, settings: Settings, record: RunRecord) -> Result | None:
    """The stored result when this very run was finished in `folder` before, else None.

    None as well when a file of the result is missing or was changed. Raises `ConfigError`, as
    `open_run` does, when the folder holds a run of another config.
    """
    if settings.resume == "never" or not has_run(folder):
        return None
    require_same_config(folder, settings, record)
    path = folder / "result.json"
    if read_state(folder)["state"] != "done" or not path.exists():
        return None
    result = Result.from_dict(read_json(path, "the result of a run"))
    if fault := result.fault():
        raise InputError(
            f"{path}: {fault}.\n  Delete this file, and the same command does its work again."
        )
    hashes = {artefact.path: artefact.sha256 for artefact in result.artefacts}
    return result if all_match(folder, hashes) else None


def differences(folder: Path, settings: Settings, record: RunRecord) -> list[str]:
    """What the run in `folder` was given otherwise, one line each; nothing when it can go on.

    An attempt that left no work binds nobody to what it was given.
    """
    path = folder / "config.json"
    if record.config is None or not has_run(folder) or not path.exists() or not has_work(folder):
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
    hashes = old.get("inputs")
    if record.inputs is not None and isinstance(hashes, dict):
        lines += _changed_inputs(hashes, record.inputs)
    return lines


def _changed_inputs(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    # One that was not there before is no difference: the earlier attempt cannot have used it.
    for name in then:
        if name not in now:
            yield f"{name}: no longer {'an input' if os.path.exists(name) else 'there'}"
        elif then[name] != now[name]:
            yield f"{name}: the content has changed"


def has_work(folder: Path) -> bool:
    """Whether the run folder holds something that a resumed run would build on."""
    names = (*_ABOUT_ITSELF, *_STALE)
    with os.scandir(folder) as entries:
        return any(_is_filled(one) for one in entries if one.name not in names)


def _is_filled(entry: os.DirEntry[str]) -> bool:
    if is_leftover(entry.name):
        return False
    if entry.is_dir(follow_symlinks=False):
        return bool(os.listdir(entry.path))
    return entry.stat(follow_symlinks=False).st_size > 0


def forget(folder: Path) -> None:
    """Delete what an attempt without work said of its inputs; another takes its place."""
    for name in _STALE:
        (folder / name).unlink(missing_ok=True)


def require_same_config(folder: Path, settings: Settings, record: RunRecord) -> None:
    """Raise `ConfigError` with the difference when the folder holds a run of another config."""
    if lines := differences(folder, settings, record):
        raise ConfigError(
            "out",
            f"{folder} holds a run with another config:\n  "
            + "\n  ".join(lines)
            + "\n  Choose another --out, or repeat the old command to go on with it.",
        )


def require_own_folder(folder: Path) -> None:
    """Raise `ConfigError` when the folder holds files and none of them is the record of a run."""
    with write_errors(folder, "the folder"):
        entries = list(os.scandir(folder))
    if has_run(folder):  # asked last, for a run that begins at this moment
        read_state(folder)
        return
    if strange := sorted(one.name for one in entries if not _may_precede_the_record(one)):
        some = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
        raise ConfigError(
            "out",
            f"--out {folder}: this folder holds other files ({some}) and no run.\n"
            "  A run needs a folder of its own; choose an empty one, or one that is not there.",
        )


def _may_precede_the_record(entry: os.DirEntry[str]) -> bool:
    """Whether a run that was killed as it began may have left this."""
    if entry.name == "artefacts" and entry.is_dir():
        return not os.listdir(entry.path)
    return entry.name == "lock" or is_leftover(entry.name)


def made_by_other_code(folder: Path) -> bool:
    """Whether another version or commit of modelgraft made the run in `folder`."""
    if not has_run(folder):
        return False
    state = read_state(folder)
    known = state.get("versions")
    then = known.get("modelgraft") if isinstance(known, dict) else None, state.get("commit")
    return then != (versions().get("modelgraft"), commit())


def set_aside(folder: Path) -> Path:
    """Rename a run folder to make room for a new run; `Unavailable` while a process works in it."""
    lock = Lock(folder / "lock")
    if not lock.acquire():
        raise in_use(folder, lock)
    try:
        number = 1
        while (aside := folder.with_name(f"{folder.name}.before-{number}")).exists():
            number += 1
        with write_errors(aside, "the folder"):
            os.rename(folder, aside)
    finally:
        lock.release()
    return aside


def in_use(folder: Path, lock: Lock) -> Unavailable:
    """The error of a second process in a run folder."""
    return Unavailable(
        f"{folder}: process {lock.holder()} is working in this run folder.\n"
        "  Wait until it ends, stop it, or choose another --out."
    )


def all_match(folder: Path, hashes: Mapping[str, str]) -> bool:
    """Whether every file that is listed is in the folder and has its hash."""
    try:
        return all(sha256_file(folder / name) == digest for name, digest in hashes.items())
    except (OSError, ValueError):  # ValueError: no file can have this name
        return False
