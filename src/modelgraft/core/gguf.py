"""The header of a GGUF file, read with every length checked before it is believed.

Layout (version 2 and 3, little-endian): the magic `GGUF`, a u32 version, u64 counts of tensors and
of metadata entries, the entries (name, type, value), the tensor table, then the data.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

from modelgraft.core.errors import InputError

Scalar = bool | int | float | str

_FORMATS = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", None, None)))
_FORMATS |= {10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_ENTRIES = 10_000
_MAX_TENSORS = 100_000
_MAX_STRING_BYTES = 1 << 20
_MAX_ARRAY = 4_000_000
_MAX_SIZES = 8


def gguf_metadata(path: Path) -> dict[str, Scalar]:
    """The metadata entries that hold one value; arrays (the vocabulary) are walked and left out.

    Raises `InputError` for a file that is not GGUF, is cut short or promises impossible lengths.
    """
    return _header(path).metadata


def gguf_num_weights(path: Path) -> int:
    """How many numbers the tensors of the file hold; raises as `gguf_metadata` does."""
    return _header(path).num_weights


def _header(path: Path) -> _Header:
    try:
        with open(path, "rb") as file:
            return _Header(file, path.stat().st_size)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
    except _Malformed as error:
        raise InputError(
            f"{path}: not a sound GGUF file: {error}.\n  Fetch it or convert the model again."
        ) from None


class _Malformed(Exception):
    pass


class _Header:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.metadata: dict[str, Scalar] = {}
        self.num_weights = 0
        self.read()

    def read(self) -> None:
        if self.file.read(4) != b"GGUF":
            raise _Malformed("it does not begin with the letters GGUF")
        version = self.number("<I")
        if version not in (2, 3):
            raise _Malformed(f"version {version}; 2 and 3 can be read")
        num_tensors, num_entries = self.number("<Q"), self.number("<Q")
        if num_tensors > _MAX_TENSORS or num_entries > _MAX_ENTRIES:
            raise _Malformed(f"it promises {num_tensors:,} tensors and {num_entries:,} entries")
        for _ in range(num_entries):
            name = self.text()
            value = self.value(self.number("<I"))
            if value is not None:
                self.metadata[name] = value
        for _ in range(num_tensors):
            self.num_weights += self.tensor()

    def tensor(self) -> int:
        """The number of values of one entry of the tensor table (name, sizes, type, offset)."""
        self.text()
        num_sizes = self.number("<I")
        if num_sizes > _MAX_SIZES:
            raise _Malformed(f"a tensor of {num_sizes:,} dimensions")
        sizes = [self.number("<Q") for _ in range(num_sizes)]
        self.exactly(4 + 8)
        return math.prod(sizes)

    def exactly(self, num_bytes: int) -> bytes:
        data = self.file.read(num_bytes)
        if len(data) != num_bytes:
            raise _Malformed("it ends inside its header")
        return data

    def number(self, form: str) -> int:
        return struct.unpack(form, self.exactly(struct.calcsize(form)))[0]

    def text(self) -> str:
        length = self.number("<Q")
        if length > _MAX_STRING_BYTES:
            raise _Malformed(f"a text of {length:,} bytes in its header")
        return self.exactly(length).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Scalar | None:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self.skip_array()
            return None
        if form := _FORMATS.get(kind):
            return self.number(form)
        raise _Malformed(f"unknown value type {kind}")

    def skip_array(self) -> None:
        kind, length = self.number("<I"), self.number("<Q")
        if length > _MAX_ARRAY:
            raise _Malformed(f"an array of {length:,} values in its header")
        if form := _FORMATS.get(kind):
            end = self.file.seek(length * struct.calcsize(form), 1)
            if end > self.size:
                raise _Malformed("it ends inside its header")
        elif kind == _STRING:
            for _ in range(length):
                self.text()
        else:
            raise _Malformed(f"an array of type {kind}")
