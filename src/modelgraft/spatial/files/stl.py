"""STL: bare triangles, binary (80 bytes, a u32 count, 50 bytes a face) or text, read only."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.limits import Allowance, read_bounded
from modelgraft.spatial.files.text import numbers, require_small
from modelgraft.spatial.meshes import Asset, Mesh, Part, weld

_HEADER_BYTES: Final = 84
_FACE: Final = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
_VERTEX: Final = re.compile(rb"^[ \t]*vertex[ \t]+([^\r\n]+)", re.MULTILINE | re.IGNORECASE)


def read_stl(path: Path) -> Asset:
    """The mesh of an STL file, corners at one place being one vertex; no UVs, no material.

    The normals of the file are left out: they say no more than the corners do. `InputError` for a
    file that is none, is cut off, or holds positions that are not finite.
    """
    allowance = Allowance(str(path))
    content = read_bounded(path, allowance)
    corners = _binary(content, path, allowance)
    if corners is None:
        corners = _text(content, path, allowance)
    if not np.isfinite(corners).all():
        face = int(np.argmin(np.isfinite(corners).all(axis=(1, 2))))
        raise InputError(
            f"{path}: a corner of face {face:,} is not finite.\n  Export it again from its program."
        )
    flat = np.ascontiguousarray(corners.reshape(-1, 3))
    ids = weld(flat)
    vertices = np.empty((int(ids.max(initial=-1)) + 1, 3), np.float32)
    vertices[ids] = flat
    if not len(vertices):
        raise InputError(f"{path}: no faces.\n  Export it again from its program.")
    faces = ids.reshape(-1, 3).astype(np.int32)
    return Asset((Part(Mesh(vertices, faces, name=path.stem)),), path.stem)


def _binary(content: bytes, path: Path, allowance: Allowance) -> np.ndarray | None:
    """The corners [F, 3, 3] of a binary file; None when it reads as text."""
    if len(content) < _HEADER_BYTES:
        return None
    (count,) = struct.unpack_from("<I", content, _HEADER_BYTES - 4)
    needed = _HEADER_BYTES + count * _FACE.itemsize
    if needed > len(content):
        if content.lstrip()[:5].lower() == b"solid":
            return None
        raise InputError(
            f"{path}: not a sound STL file: it promises {count:,} faces, {needed:,} bytes, and has "
            f"{len(content):,}.\n  Copy it or export it again."
        )
    if content.lstrip()[:5].lower() == b"solid" and needed != len(content):
        return None
    allowance.take_elements(6 * count, str(path))
    faces: Any = np.frombuffer(content, _FACE, count, _HEADER_BYTES)
    return faces["corners"].astype(np.float32)


def _text(content: bytes, path: Path, allowance: Allowance) -> np.ndarray:
    require_small(content, str(path))
    lines = _VERTEX.findall(content)
    if not lines or len(lines) % 3:
        raise InputError(
            f"{path}: not a sound STL file: {len(lines):,} lines with a vertex, which are no whole "
            "triangles.\n  Copy it or export it again."
        )
    allowance.take_elements(2 * len(lines), str(path))
    found = numbers(b" ".join(lines), str(path))
    if len(found) != 3 * len(lines):
        raise InputError(f"{path}: a vertex without three numbers.\n  Copy it or export it again.")
    with np.errstate(over="ignore"):
        return found.astype(np.float32).reshape(-1, 3, 3)
