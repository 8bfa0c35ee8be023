"""PLY: points and meshes as columns, ASCII or binary of either order read, little-endian written.

A header of text lines names elements (`vertex`, `face`) with their counts and properties; the rows
of each element follow, a property being a number or a list with its length before it. Splats are
vertices with columns of their own, such as `f_dc_0` or `rot_0`, and need nothing else.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.core.files import write_atomic
from modelgraft.spatial.files.corners import fans
from modelgraft.spatial.files.limits import Allowance, read_bounded
from modelgraft.spatial.files.text import numbers, require_small

Longs = NDArray[np.int64]

_TYPES: Final = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_NAMES: Final = {
    "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint",
    "f4": "float", "f8": "double",
}  # fmt: skip
_ORDERS: Final = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_HEADER_BYTES: Final = 1 << 16
_MAX_PROPERTIES: Final = 1000
_MAX_UNEVEN: Final = 10_000_000  # rows that are gone through one by one


class Ply(NamedTuple):
    """What is read of a PLY file."""

    columns: dict[str, NDArray[Any]]
    """The properties of its vertices, each [V] in the type of the file."""
    faces: NDArray[np.int32] | None
    """[F, 3], polygons taken apart into fans; None without faces."""
    corner_uvs: NDArray[np.float32] | None
    """[F, 3, 2] with v up, where the faces bring UVs of their own."""
    comments: tuple[str, ...]


class _Property(NamedTuple):
    name: str
    type: str
    count_type: str = ""
    """Of the length before a list."""


class _Element(NamedTuple):
    name: str
    count: int
    properties: list[_Property]


class _Header(NamedTuple):
    order: str
    """`<` or `>`; nothing for text."""
    elements: list[_Element]
    comments: list[str]
    size: int


def read_ply(path: Path, allowance: Allowance | None = None) -> Ply:
    """The vertices, faces and comments of a PLY file; further elements are passed over.

    `InputError` for a file that is none, holds less than its header promises, is beyond the limits
    of `files.limits`, or whose faces name vertices that are not there.
    """
    allowance = allowance or Allowance(str(path))
    content = read_bounded(path, allowance)
    header = _header(content, str(path))
    rows = _Rows(content, header, str(path))
    columns: dict[str, NDArray[Any]] = {}
    faces = corner_uvs = None
    for element in header.elements:
        allowance.take_elements(element.count, f"{path}: element {element.name}")
        found, lists = rows.read(element)
        if element.name == "vertex":
            if lists:
                raise _damaged(str(path), "its vertices hold lists, which are not read")
            columns = found
        elif element.name == "face":
            faces, corner_uvs = _faces(lists, str(path))
        elif element.name == "tristrips":
            raise InputError(
                f"{path}: faces as strips (tristrips), which are not read.\n"
                "  Save it from a mesh program with plain faces."
            )
    if not columns:
        raise _damaged(str(path), "it has no vertices")
    num = len(next(iter(columns.values())))
    if faces is not None and len(faces) and not 0 <= faces.min() <= faces.max() < num:
        wrong = int(faces.min()) if faces.min() < 0 else int(faces.max())
        raise _damaged(str(path), f"a face names vertex {wrong:,}, and there are {num:,}")
    triangles = None if faces is None else faces.astype(np.int32)
    return Ply(columns, triangles, corner_uvs, tuple(header.comments))


def write_ply(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    faces: NDArray[np.integer] | None = None,
    comments: Sequence[str] = (),
) -> None:
    """Write vertices with these properties [V] each, and triangles [F, 3] if there are any.

    Binary, little-endian, in the order and the types of the columns; the same bytes for the same
    arrays; whole or not at all.
    """
    kinds = {name: np.asarray(one).dtype.str[1:] for name, one in columns.items()}
    num = len(next(iter(columns.values())))
    rows = np.empty(num, [(name, f"<{kind}") for name, kind in kinds.items()])
    for name, one in columns.items():
        rows[name] = one
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {one}" for one in comments)]
    lines.append(f"element vertex {num}")
    lines += [f"property {_NAMES[kind]} {name}" for name, kind in kinds.items()]
    body = rows.tobytes()
    if faces is not None:
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        table = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
        table["count"], table["corners"] = 3, faces
        body += table.tobytes()
    header = "\n".join([*lines, "end_header"]) + "\n"
    write_atomic(path, header.encode("ascii") + body)


# -- header ----------------------------------------------------------------------------------------


def _header(content: bytes, name: str) -> _Header:
    if not re.match(rb"ply[ \t]*\r?\n", content):
        raise InputError(
            f"{name}: not a PLY file: it does not begin with a line `ply`.\n"
            "  It may be damaged or have the wrong suffix."
        )
    end = re.search(rb"\nend_header[ \t]*\r?\n", content[:_MAX_HEADER_BYTES])
    if end is None:
        raise _damaged(name, f"no end_header in its first {_MAX_HEADER_BYTES:,} bytes")
    lines = content[: end.start()].decode("ascii", "replace").splitlines()[1:]
    order, comments, elements = None, [], []
    for line in lines:
        words = line.split()
        if not words or words[0] == "obj_info":
            continue
        if words[0] == "comment":
            comments.append(line.strip()[len("comment") :].strip())
        elif words[0] == "format" and len(words) == 3 and words[1] in _ORDERS:
            order = _ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3 and re.fullmatch(r"\d{1,12}", words[2]):
            elements.append(_Element(words[1], int(words[2]), []))
        elif words[0] == "property" and elements:
            elements[-1].properties.append(_property(words, name))
        else:
            raise _damaged(name, f"its header has the line {line[:60]!r}")
    if order is None:
        raise _damaged(name, "its header names no format that is known")
    if sum(len(one.properties) for one in elements) > _MAX_PROPERTIES:
        raise _damaged(name, f"more than {_MAX_PROPERTIES} properties")
    for one in elements:
        names = [each.name for each in one.properties]
        if len(set(names)) < len(names):
            raise _damaged(name, f"element {one.name} has two properties of one name")
    return _Header(order, elements, comments, end.end())


def _property(words: list[str], name: str) -> _Property:
    if len(words) == 3 and words[1] in _TYPES:
        return _Property(words[2], _TYPES[words[1]])
    if len(words) == 5 and words[1] == "list" and {words[2], words[3]} <= _TYPES.keys():
        if _TYPES[words[2]][0] != "f":
            return _Property(words[4], _TYPES[words[3]], _TYPES[words[2]])
    raise _damaged(name, f"its header has the line {' '.join(words)[:60]!r}")


# -- rows ------------------------------------------------------------------------------------------


class _List(NamedTuple):
    """A list property: the lengths [N] and all values one after another."""

    counts: Longs
    values: NDArray[Any]


_Read = tuple[dict[str, NDArray[Any]], dict[str, _List]]


class _Rows:
    """The rows behind a header, read element by element."""

    def __init__(self, content: bytes, header: _Header, name: str) -> None:
        self._name = name
        self._order = header.order
        self._at = header.size
        self._content = content
        self._numbers = np.zeros(0)
        if not header.order:
            require_small(content, name)
            self._numbers, self._at = numbers(content[header.size :], name), 0

    def read(self, element: _Element) -> _Read:
        """The single values and the lists of an element."""
        size = len(self._content) if self._order else len(self._numbers)
        least = sum(self._width(one.count_type or one.type) for one in element.properties)
        if element.count * least > size - self._at:
            unit = "bytes" if self._order else "numbers"
            raise _damaged(
                self._name,
                f"{element.count:,} rows of {element.name} need {element.count * least:,} {unit}, "
                f"and {max(0, size - self._at):,} are there",
            )
        if not element.count:
            singles = {o.name: np.zeros(0, o.type) for o in element.properties if not o.count_type}
            lists = {o.name: np.zeros(0, o.type) for o in element.properties if o.count_type}
            none = np.zeros(0, np.int64)
            return singles, {name: _List(none, values) for name, values in lists.items()}
        return self._even(element) or self._uneven(element)

    def _width(self, kind: str) -> int:
        return np.dtype(kind).itemsize if self._order else 1

    def _even(self, element: _Element) -> _Read | None:
        """The rows at once, when all have lists as long as the first row's; None when not."""
        fields: list[tuple[str, int]] = []
        at = self._at
        size = len(self._content) if self._order else len(self._numbers)
        for one in element.properties:
            length = 1
            if one.count_type:
                length = self._number(at, one.count_type)
                fields.append((one.count_type, 1))
                at += self._width(one.count_type)
            fields.append((one.type, length))
            at += self._width(one.type) * length
            if at > size:
                return None
        if element.count * (at - self._at) > size - self._at:
            return None
        columns = iter(self._table(fields, element.count))
        found, lists = {}, {}
        for one in element.properties:
            if not one.count_type:
                found[one.name] = next(columns)[:, 0]
                continue
            counts, values = next(columns)[:, 0].astype(np.int64), next(columns)
            if (counts != values.shape[1]).any():
                return None
            lists[one.name] = _List(counts, values.reshape(-1))
        self._at += element.count * (at - self._at)
        return found, lists

    def _table(self, fields: list[tuple[str, int]], count: int) -> list[NDArray[Any]]:
        """Columns [N, length] of rows that are all alike, by type and length."""
        if not self._order:
            width = sum(length for _, length in fields)
            block = self._numbers[self._at : self._at + width * count].reshape(count, width)
            ends = np.cumsum([length for _, length in fields])
            return [
                _cast(block[:, end - length : end], kind)
                for (kind, length), end in zip(fields, ends, strict=True)
            ]
        dtype = np.dtype(
            [(f"f{i}", self._order + kind, (length,)) for i, (kind, length) in enumerate(fields)]
        )
        block: Any = np.frombuffer(self._content, dtype, count, self._at)
        return [block[f"f{i}"].astype(kind) for i, (kind, _) in enumerate(fields)]

    def _number(self, at: int, kind: str) -> int:
        """The length of a list that stands at this place."""
        if not self._order:
            value = self._numbers[at] if at < len(self._numbers) else -1
            found = int(value) if 0 <= value < 1 << 31 else -1
        else:
            width = np.dtype(kind).itemsize
            order = "little" if self._order == "<" else "big"
            found = int.from_bytes(self._content[at : at + width], order, signed=kind[0] == "i")
        if found < 0:
            raise _damaged(self._name, "a list has no sound length")
        return found

    def _uneven(self, element: _Element) -> _Read:
        """The rows one by one, for lists of several lengths."""
        if element.count > _MAX_UNEVEN:
            raise _damaged(
                self._name, f"{element.count:,} rows of {element.name} with lists of any length"
            )
        places = {one.name: array("q") for one in element.properties}
        counts = {one.name: array("q") for one in element.properties if one.count_type}
        size = len(self._content) if self._order else len(self._numbers)
        steps = [
            (one.name, one.count_type, self._width(one.count_type or "u1"), self._width(one.type))
            for one in element.properties
        ]
        at = self._at
        for _ in range(element.count):
            for name, count_type, count_width, width in steps:
                if count_type:
                    length = self._number(at, count_type)
                    counts[name].append(length)
                    at += count_width
                    places[name].append(at)
                    at += width * length
                else:
                    places[name].append(at)
                    at += width
            if at > size:
                raise _damaged(self._name, f"it ends inside its rows of {element.name}")
        self._at = at
        found, lists = {}, {}
        for one in element.properties:
            starts = np.array(places[one.name], np.int64)
            if one.count_type:
                lengths = np.array(counts[one.name], np.int64)
                within = np.arange(int(lengths.sum())) - np.repeat(
                    np.cumsum(lengths) - lengths, lengths
                )
                ends = np.repeat(starts, lengths) + within * self._width(one.type)
                lists[one.name] = _List(lengths, self._gathered(ends, one.type))
            else:
                found[one.name] = self._gathered(starts, one.type)
        return found, lists

    def _gathered(self, starts: Longs, kind: str) -> NDArray[Any]:
        """The values that begin at these places."""
        if not self._order:
            return _cast(self._numbers[starts], kind)
        width = np.dtype(kind).itemsize
        content = np.frombuffer(self._content, np.uint8)
        raw = content[starts[:, None] + np.arange(width)]
        return raw.reshape(-1).view(self._order + kind).astype(kind)


def _cast(values: NDArray[np.float64], kind: str) -> NDArray[Any]:
    """Numbers of text in the type that the header says; what does not fit becomes any value."""
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(kind)


def _faces(lists: dict[str, _List], name: str) -> tuple[Longs | None, NDArray[np.float32] | None]:
    corners = lists.get("vertex_indices") or lists.get("vertex_index")
    if corners is None:
        raise _damaged(name, "its faces have no vertex_indices")
    if corners.values.dtype.kind == "f":
        raise _damaged(name, "its faces name vertices by fractions")
    triangles = fans(corners.counts)
    faces = corners.values.astype(np.int64)[triangles]
    texture = lists.get("texcoord")
    if texture is None or not len(faces):
        return faces, None
    if (texture.counts != 2 * corners.counts).any():
        raise _damaged(name, "its faces have not two UVs for each corner")
    return faces, texture.values.reshape(-1, 2)[triangles].astype(np.float32)


def _damaged(name: str, what: str) -> InputError:
    return InputError(
        f"{name}: not a sound PLY file: {what}.\n  Copy it or save it again from its program."
    )
