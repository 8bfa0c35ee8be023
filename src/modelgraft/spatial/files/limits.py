"""How much a file may ask for, counted before it is given, and which files beside it may be read.

A file of a few bytes can promise gigabytes, name files anywhere and be referred to without end.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from modelgraft.core.errors import InputError

MAX_FILE_BYTES: Final = 1 << 30
"""Of one file, and of all files read for one asset."""
MAX_ELEMENTS: Final = 50_000_000
"""Vertices and indices of one asset, counted as often as they are used."""
MAX_TEXELS: Final = 8192 * 8192
"""Of one picture: the largest texture that every viewer takes."""
MAX_ALL_TEXELS: Final = 4 * MAX_TEXELS
"""Of all pictures of one asset."""


class Allowance:
    """What is left of the limits for one asset; `name` is that of its file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._bytes = MAX_FILE_BYTES
        self._elements = MAX_ELEMENTS
        self._texels = MAX_ALL_TEXELS

    def take_bytes(self, num: int, where: str) -> None:
        """Count bytes that are about to be read or decoded."""
        self._bytes -= num
        if self._bytes < 0:
            raise InputError(
                f"{where}: more than {MAX_FILE_BYTES:,} bytes for one asset.\n"
                "  Split it, or export it with fewer vertices and smaller textures."
            )

    def take_elements(self, num: int, where: str) -> None:
        """Count vertices or indices that are about to be made."""
        self._elements -= num
        if self._elements < 0:
            raise InputError(
                f"{where}: more than {MAX_ELEMENTS:,} vertices and indices in one asset.\n"
                "  Split it, or reduce its meshes in a modeller."
            )

    def take_texels(self, num: int, where: str) -> None:
        """Count pixels that are about to be unpacked."""
        self._texels -= num
        if self._texels < 0:
            raise InputError(
                f"{where}: the textures of one asset have more than {MAX_ALL_TEXELS:,} pixels.\n"
                "  Export it with smaller textures."
            )


def read_bounded(path: Path, allowance: Allowance) -> bytes:
    """The content of a regular file within the limits; `InputError` names what cannot be read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: not a file.")
        allowance.take_bytes(found.st_size, str(path))
        with open(path, "rb") as file:
            return file.read(found.st_size)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None


def beside(folder: Path, reference: str, where: str) -> Path:
    """The path of a file that another one in `folder` refers to by a relative reference.

    It must lie in that folder or below, links followed: `InputError` for anything else. Percent
    codes are undone and a backslash counts as a slash. The file need not be there.
    """
    name = unquote(reference).replace("\\", "/")
    parts = name.split("/")
    if not name or "\0" in name or name.startswith("/") or ":" in parts[0] or ".." in parts:
        raise InputError(
            f"{where}: refers to {reference[:200]!r}; only files in its own folder are read.\n"
            "  Put that file beside it, and let it be named by its name alone; or export a GLB, "
            "which holds everything."
        )
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: {reference[:200]!r} cannot be followed: {error}.") from None
    if not inside:
        raise InputError(
            f"{where}: {reference[:200]!r} is a link that leaves the folder.\n"
            "  Put a copy of the file there instead."
        )
    return path
