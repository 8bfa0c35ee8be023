"""Accessors of glTF as arrays (section 3.6.2 of its specification): strided, sparse, normalised."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.spatial.files.gltf.document import Document, Json

_COMPONENTS: Final = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_SIZES: Final = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_floats(
    document: Document, number: int, sizes: tuple[int, ...], where: str
) -> NDArray[np.float32]:
    """The accessor as float32 [N, C] with C one of `sizes`; integers scaled if it says normalised.

    It is a copy, which torch asks for: the file's bytes are read-only. `where` is what needs it,
    for errors.
    """
    values = _read(document, number, sizes, where)
    accessor = document.object("accessors", number)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if accessor.get("normalized") is True and values.dtype.itemsize < 4:
        top = np.float32(np.iinfo(values.dtype).max)
        return np.maximum(values.astype(np.float32) / top, -1)
    return values.astype(np.float32)


def read_wholes(
    document: Document, number: int, sizes: tuple[int, ...], where: str
) -> NDArray[np.int64]:
    """The accessor of unsigned whole numbers as int64 [N, C]."""
    values = _read(document, number, sizes, where)
    if values.dtype.kind != "u":
        document.fail(f"accessor {number} ({where})", "its numbers are not unsigned and whole")
    return values.astype(np.int64)


def num_elements(document: Document, number: int) -> int:
    """How many elements an accessor says it has."""
    return document.whole(document.object("accessors", number), "count", f"accessor {number}")


def _read(document: Document, number: int, sizes: tuple[int, ...], where: str) -> NDArray:
    where = f"accessor {number} ({where})"
    accessor = document.object("accessors", number)
    size = _SIZES.get(document.text(accessor, "type"))
    if size not in sizes:
        needed = " or ".join(name for name, one in _SIZES.items() if one in sizes)
        document.fail(where, f"its type is {accessor.get('type')!r:.40}; needed is {needed}")
    dtype = _dtype(document, accessor, where)
    count = document.whole(accessor, "count", where)
    document.allowance.take_elements(count, f"{document.name}: {where}")
    if "bufferView" in accessor:
        start = document.whole(accessor, "byteOffset", where, default=0)
        view = document.whole(accessor, "bufferView", where)
        values = _slice(document, view, start, dtype, (count, size), where)
    elif count > document.size or "sparse" not in accessor:
        # Zeros are allowed by the letter; of a file without data they are a promise of gigabytes.
        document.fail(where, f"{count:,} elements and no bufferView to hold them")
    else:
        values = np.zeros((count, size), dtype)
    if "sparse" in accessor:
        values = _with_sparse(document, accessor, values, where)
    return values


def _dtype(document: Document, parent: Json, where: str) -> np.dtype:
    kind = document.whole(parent, "componentType", where)
    if kind not in _COMPONENTS:
        document.fail(where, f"componentType {kind} is unknown")
    return np.dtype(_COMPONENTS[kind])


def _slice(
    document: Document,
    view: int,
    start: int,
    dtype: np.dtype,
    shape: tuple[int, int],
    where: str,
) -> NDArray:
    """[N, C] out of a buffer view; the values are not copied."""
    content, stride = document.view(view)
    count, size = shape
    step = stride or dtype.itemsize * size
    end = start + (count - 1) * step + dtype.itemsize * size if count else start
    if end > len(content) or step < dtype.itemsize * size:
        document.fail(
            where, f"{count:,} elements need {end:,} bytes of a bufferView of {len(content):,}"
        )
    return np.ndarray(shape, dtype, content, start, (step, dtype.itemsize))


def _with_sparse(document: Document, accessor: Json, values: NDArray, where: str) -> NDArray:
    """A copy with the elements that the accessor lists replaced."""
    sparse = document.part(accessor, "sparse", where)
    count = document.whole(sparse, "count", where, most=len(values))
    places = document.part(sparse, "indices", where)
    dtype = _dtype(document, places, where)
    if dtype.kind != "u":
        document.fail(where, "its sparse indices are not unsigned and whole")
    index = _of(document, places, dtype, (count, 1), where)[:, 0]
    if count and int(index.max()) >= len(values):
        document.fail(where, f"sparse index {int(index.max()):,} of {len(values):,} elements")
    found = values.copy()
    found[index] = _of(
        document,
        document.part(sparse, "values", where),
        values.dtype,
        (count, values.shape[1]),
        where,
    )
    return found


def _of(
    document: Document, parent: Json, dtype: np.dtype, shape: tuple[int, int], where: str
) -> NDArray:
    start = document.whole(parent, "byteOffset", where, default=0)
    return _slice(document, document.whole(parent, "bufferView", where), start, dtype, shape, where)
