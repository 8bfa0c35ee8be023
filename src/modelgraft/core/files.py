"""Files that are whole or absent: atomic writes, folders, append-only journals and locks.

Temporary names lie beside their target (a rename across file systems is not atomic) and start
with `.tmp-`; whatever a killed process leaves under such a name is never read and may be deleted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from modelgraft.core.errors import ConfigError, InputError, Unavailable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK = (*DISK_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_NO_PLACE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
)
_LEFTOVER = re.compile(r"\.tmp-(trash-)?\d+-")


def fsync_folder(folder: Path) -> None:
    """Make a rename inside this folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_errors(path: Path, what: str = "the file") -> Generator[None]:
    """Turn a full, read-only, over-quota or broken disk into `Unavailable` that names the place.

    For blocks that run other code too: any other `OSError` may have another cause and passes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise _unwritable(path, what, error) from error


@contextlib.contextmanager
def write_errors(path: Path, what: str = "the file") -> Generator[None]:
    """Turn every `OSError` of a write to `path` into an error that names the place.

    `ConfigError` where no file or folder can ever be, `Unavailable` otherwise.
    """
    try:
        yield
    except OSError as error:
        raise _unwritable(path, what, error) from error


def _unwritable(path: Path, what: str, error: OSError) -> ConfigError | Unavailable:
    if error.errno in _NO_PLACE:
        return ConfigError(
            "",
            f"{path}: {what} cannot be made: {error.strerror}.\n"
            "  Choose another place (--out for runs, MODELGRAFT_HOME for models).",
        )
    try:
        room = f"{shutil.disk_usage(_existing(path)).free:,} bytes are free there"
    except OSError:
        room = "its free space is unknown"
    return Unavailable(
        f"{path}: {what} cannot be written: {error.strerror}; {room}.\n"
        "  Nothing that was there before has changed. Make room, or choose another place "
        "(--out for runs, MODELGRAFT_HOME for models), and run the same command again."
    )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not os.path.exists(path):
        path = path.parent
    return path


def require_space(folder: Path, num_bytes: int, what: str) -> None:
    """Refuse before the work starts when the disk has less than 1.5 times `num_bytes` free."""
    with write_errors(folder, what):
        free = shutil.disk_usage(_existing(folder)).free
    if free < 1.5 * num_bytes:
        raise Unavailable(
            f"{folder}: {what} needs about {num_bytes:,} bytes (and half as much again to work "
            f"in), but {free:,} are free.\n  Make room, or choose another folder."
        )


def make_folder(folder: Path) -> None:
    """Make the folder and its parents, unless they are there."""
    with write_errors(folder, "the folder"):
        folder.mkdir(parents=True, exist_ok=True)


def is_leftover(name: str) -> bool:
    """Whether this is the name of something that a killed process may have left half done."""
    return _LEFTOVER.match(name) is not None


def sweep_leftovers(folder: Path) -> None:
    """Delete what killed processes left in this folder; nobody else may be writing there."""
    for path in folder.glob(".tmp-*"):
        if not is_leftover(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write the whole file or leave the old one untouched; the data is on the disk on return."""
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with write_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Strict JSON text: no NaN, keys in the order given."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
        text = json.dumps(value, indent=indent, allow_nan=False)
    return text


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON."""
    write_atomic(path, dump_json(value, indent=2) + "\n")


def read_json(path: Path, what: str = "a JSON file") -> Any:
    """The parsed file, or `InputError` with the line that does not parse."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {what}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {what} cannot be read: {error}.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON ({error.msg}).") from None
    except RecursionError:
        raise InputError(f"{path}: {what} is nested too deeply.") from None
    except ValueError:  # a whole number of thousands of digits
        raise InputError(f"{path}: {what} holds a number that cannot be read.") from None


def sha256_file(path: Path) -> str:
    """The SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_folder(final: Path) -> Generator[Path]:
    """A temporary folder that is synced and renamed to `final` when the block ends well.

    `final` must not exist. When the block raises, the temporary folder is deleted.
    """
    temporary = final.with_name(f".tmp-{os.getpid()}-{final.name}")
    try:
        with write_errors(final, "the folder"):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        with disk_errors(final, "the folder"):
            yield temporary
        with write_errors(final, "the folder"):
            _fsync_tree(temporary)
            os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    with write_errors(final, "the folder"):
        fsync_folder(final.parent)


def _fsync_tree(top: Path) -> None:
    for folder, _, names in os.walk(top):
        for name in names:
            with open(Path(folder, name), "rb") as handle:
                os.fsync(handle.fileno())
        fsync_folder(Path(folder))


def remove_folder(folder: Path) -> None:
    """Delete a folder so that a kill in between leaves nothing that looks whole."""
    trash = folder.with_name(f".tmp-trash-{os.getpid()}-{folder.name}")
    with write_errors(folder, "the folder"):
        os.rename(folder, trash)
        shutil.rmtree(trash)


class Journal:
    """An append-only JSONL file whose acknowledged rows survive a kill.

    A row is acknowledged when `append` returns. A torn last line (killed while writing) is cut
    off when the journal is opened; a broken line anywhere else is an `InputError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        with write_errors(path, "the journal"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = open(path, "a+b")
            self._handle.seek(0)
            content = self._handle.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                self._handle.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self.rows.append(json.loads(line))
            except ValueError:
                raise InputError(
                    f"{path}:{number}: this line of the journal is damaged.\n"
                    "  Start in a new folder, or delete the line to have its work done again."
                ) from None

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and wait until it is on the disk."""
        line = dump_json(row).encode() + b"\n"
        end = self._handle.seek(0, os.SEEK_END)
        with write_errors(self.path, "the journal"):
            try:
                self._handle.write(line)
                self._handle.flush()
                os.fsync(self._handle.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    self._handle.close()
                with open(self.path, "r+b") as handle:
                    handle.truncate(end)
                self._handle = open(self.path, "a+b")
                raise
        self.rows.append(row)

    def close(self) -> None:
        """Close the file; the rows stay readable."""
        self._handle.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Lock:
    """An exclusive lock on a path, held by one process and freed by the system when it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: Any = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock; False when another process holds it and `wait` is off."""
        with write_errors(self.path, "the lock"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = open(self.path, "a+")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                handle.close()
                return False
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
        self._handle = handle
        return True

    def is_held(self) -> bool:
        """Whether a process holds the lock, as far as can be told; nothing is written."""
        try:
            handle = open(self.path, "rb")
        except OSError:
            return False
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def holder(self) -> str:
        """The process id written by the present holder, or `unknown`."""
        try:
            return self.path.read_text().strip() or "unknown"
        except (OSError, ValueError):
            return "unknown"

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
