"""The binary container of glTF 2.0 (section 4 of its specification): JSON and one buffer.

Little-endian: the letters `glTF`, a u32 version and length of the file; then chunks, each with a
u32 length, a u32 kind and its bytes, padded to 4.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from modelgraft.core.errors import InputError

MAGIC: Final = b"glTF"
_HEADER: Final = struct.Struct("<4sII")
_CHUNK: Final = struct.Struct("<I4s")
_JSON, _BINARY = b"JSON", b"BIN\0"


class Chunks(NamedTuple):
    """The two chunks of a GLB; None where it has no binary one."""

    text: bytes
    binary: memoryview | None


def split_glb(content: bytes, name: str) -> Chunks:
    """The chunks of a GLB file; `InputError` when it is none, cut off or of another version."""
    if len(content) < _HEADER.size or content[:4] != MAGIC:
        raise InputError(
            f"{name}: not a GLB file: it does not begin with the letters glTF.\n"
            "  It may be damaged or have the wrong suffix; export it again as GLB."
        )
    _, version, length = _HEADER.unpack_from(content)
    if version != 2:
        raise InputError(
            f"{name}: glTF version {version}; version 2 is read.\n"
            "  Open it in a modeller and export it again as glTF 2.0 (GLB)."
        )
    if length > len(content):
        raise _cut_off(name, f"it says {length:,} bytes and has {len(content):,}")
    chunks = _chunks(memoryview(content)[:length], name)
    if not chunks or chunks[0][0] != _JSON:
        raise InputError(f"{name}: its first chunk is not JSON.\n  Export it again as GLB.")
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == _BINARY else None
    return Chunks(bytes(chunks[0][1]), binary)


def _chunks(content: memoryview, name: str) -> list[tuple[bytes, memoryview]]:
    """The first two chunks: all that the specification knows; the lengths of all are checked."""
    found: list[tuple[bytes, memoryview]] = []
    at = _HEADER.size
    while at < len(content):
        if at + _CHUNK.size > len(content):
            raise _cut_off(name, "it ends inside the header of a chunk")
        length, kind = _CHUNK.unpack_from(content, at)
        at += _CHUNK.size
        if length > len(content) - at:
            raise _cut_off(name, f"a chunk says {length:,} bytes, and {len(content) - at:,} follow")
        if len(found) < 2:
            found.append((kind, content[at : at + length]))
        at += length
    return found


def _cut_off(name: str, what: str) -> InputError:
    return InputError(
        f"{name}: the file is cut off or damaged: {what}.\n  Copy it or export it again."
    )


def join_glb(text: bytes, binary: bytes) -> bytes:
    """The GLB file of a JSON text and its one buffer."""
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    length = _HEADER.size + 2 * _CHUNK.size + len(text) + len(binary)
    return b"".join(
        (
            _HEADER.pack(MAGIC, 2, length),
            _CHUNK.pack(len(text), _JSON),
            text,
            _CHUNK.pack(len(binary), _BINARY),
            binary,
        )
    )
