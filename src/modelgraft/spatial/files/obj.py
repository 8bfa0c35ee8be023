"""OBJ with its MTL: polygons over separate lists of positions, UVs and normals.

UVs have v up already. Colours of maps: see `mtl`. Colours behind positions (`v x y z r g b`) are
sRGB in the file and linear in a `Mesh`.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.colours import linear_of
from modelgraft.spatial.files.corners import fans, joined
from modelgraft.spatial.files.limits import Allowance, beside, read_bounded
from modelgraft.spatial.files.mtl import material_of, read_mtl
from modelgraft.spatial.files.text import numbers, require_small, rows
from modelgraft.spatial.meshes import Asset, Floats, Material, Mesh, Part

Longs = NDArray[np.int64]

_MAX_PARTS: Final = 100_000
_LISTS: Final = (b"v", b"vt", b"vn")
_NUMBERS: Final = (*_LISTS, b"f")  # a comment may follow them; names may hold its mark
_SKIPPED: Final = {b"l": "lines", b"p": "points", b"curv": "curves", b"surf": "surfaces"}


class _Faces(NamedTuple):
    """The lines of the faces that share an object and a material."""

    lines: list[bytes]
    seen: array
    """How many positions, UVs and normals stood above each line, for indices from behind."""


class _Tables(NamedTuple):
    """The lists of the file; indices point into them from 1."""

    positions: NDArray[np.float64]
    uvs: NDArray[np.float64]
    normals: NDArray[np.float64]


def read_obj(path: Path) -> Asset:
    """The faces of an OBJ file, a part for each object and material, polygons taken into fans.

    `Asset.remarks` says what was left out: lines, curves, materials and pictures that are not
    there. `InputError` for whatever is damaged or beyond the limits of `files.limits`.
    """
    allowance = Allowance(str(path))
    content = read_bounded(path, allowance)
    require_small(content, str(path))
    reader = _Reader(path, allowance)
    reader.read(content)
    parts = reader.parts()
    if not parts:
        raise InputError(
            f"{path}: no faces.\n  Export the mesh with its faces; points and lines alone cannot "
            "be painted."
        )
    return Asset(tuple(parts), path.stem, tuple(dict.fromkeys(reader.remarks)))


class _Reader:
    def __init__(self, path: Path, allowance: Allowance) -> None:
        self.remarks: list[str] = []
        self._path, self._allowance = path, allowance
        self._lists: dict[bytes, list[bytes]] = {key: [] for key in _LISTS}
        self._faces: dict[tuple[str, str], _Faces] = {}
        self._libraries: list[str] = []

    def read(self, content: bytes) -> None:
        """Sort the lines of the file by what they are."""
        positions, uvs, normals = (self._lists[key] for key in _LISTS)
        object_name, material = "", ""
        target: _Faces | None = None
        for line in content.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines():
            key, _, rest = line.strip().replace(b"\t", b" ").partition(b" ")
            if b"#" in rest and key in _NUMBERS:
                rest = rest.partition(b"#")[0]
            if key == b"v":
                positions.append(rest)
            elif key == b"f":
                if target is None:
                    place = (object_name, material)
                    target = self._faces.setdefault(place, _Faces([], array("q")))
                target.lines.append(rest)
                target.seen.extend((len(positions), len(uvs), len(normals)))
            elif key == b"vt":
                uvs.append(rest)
            elif key == b"vn":
                normals.append(rest)
            elif key == b"usemtl":
                material, target = _named(rest), None
            elif key == b"o":
                object_name, target = _named(rest), None
            elif key == b"mtllib":
                self._libraries.append(_named(rest))
            elif key in _SKIPPED:
                self.remarks.append(f"{self._path}: has {_SKIPPED[key]}; left out.")
        if len(self._faces) > _MAX_PARTS:
            raise InputError(
                f"{self._path}: more than {_MAX_PARTS:,} objects and materials.\n  Join some."
            )

    def parts(self) -> list[Part]:
        """The meshes with their materials, in the order of the file."""
        tables = _Tables(
            *(
                rows(self._lists[key], least, f"{self._path}: {key.decode()}")
                for key, least in zip(_LISTS, (3, 2, 3), strict=True)
            )
        )
        self._allowance.take_elements(sum(len(one) for one in tables), str(self._path))
        materials = self._materials()
        found = []
        for (object_name, material), faces in self._faces.items():
            name = object_name or material or self._path.stem
            mesh = self._mesh(faces, tables, name)
            if mesh is None:
                self.remarks.append(f'{self._path}: mesh "{name}": no faces; left out.')
                continue
            chosen = materials.get(material)
            plain = Material(material or "material", wrap="repeat")
            found.append(Part(mesh, chosen or plain, is_textured=chosen is not None))
        return found

    # -- meshes ------------------------------------------------------------------------------------

    def _mesh(self, faces: _Faces, tables: _Tables, name: str) -> Mesh | None:
        where = f'{self._path}: mesh "{name}"'
        counts, corners = self._corners(faces, where)
        self._allowance.take_elements(corners.size, where)
        for column, what, table in zip(corners.T, ("vertex", "UV", "normal"), tables, strict=True):
            if not len(table) and what != "vertex" and (column >= 0).any():
                self.remarks.append(f"{where}: its faces name {what}s, and there are none.")
                column[:] = -1
            if len(column) and int(column.max()) >= len(table):
                raise InputError(
                    f"{where}: a face names {what} {int(column.max()) + 1:,}, and there are "
                    f"{len(table):,}.\n  The file is damaged; export it again."
                )
        triangles = fans(counts)
        if not len(triangles):
            return None
        if (corners[:, 0] < 0).any():
            raise InputError(f"{where}: a corner of a face names no vertex.\n  Export it again.")
        first, inverse = joined(corners)
        kept = corners[first]
        mesh = Mesh(
            _singles(tables.positions[kept[:, 0], :3]),
            inverse[triangles].astype(np.int32),
            uvs=self._of(tables.uvs, kept[:, 1], 2, f"{where}: UVs"),
            normals=self._of(tables.normals, kept[:, 2], 3, f"{where}: normals"),
            colours=self._colours(tables.positions, kept[:, 0], where),
            name=name,
        )
        if not np.isfinite(mesh.vertices).all():
            raise InputError(
                f"{where}: a position is not finite.\n"
                "  Delete the vertex in a modeller and export it again."
            )
        return self._with_unit_normals(mesh, where)

    def _corners(self, faces: _Faces, where: str) -> tuple[Longs, Longs]:
        """Corners a polygon [P], and of each corner [C, 3] its indices from 0, -1 for none."""
        counts = np.array([len(line.split()) for line in faces.lines], np.int64)
        text = b" ".join(faces.lines).replace(b"//", b"/0/")
        num, slashes = int(counts.sum()), text.count(b"/")
        width = slashes // num + 1 if num else 1
        found = np.zeros(0)
        if width <= 3 and slashes == (width - 1) * num:
            found = numbers(text.replace(b"/", b" "), where)
        if len(found) != width * num or not _is_even(faces.lines, width):
            found, width = _one_by_one(text, where), 3
        with np.errstate(invalid="ignore"):
            index = np.zeros((num, 3), np.int64)
            index[:, :width] = found.reshape(num, width).astype(np.int64)
        seen = np.frombuffer(faces.seen, np.int64).reshape(-1, 3)
        from_behind = index < 0
        if from_behind.any():
            above = np.repeat(seen, counts, axis=0)
            index = np.where(from_behind, above + index + 1, index)
            if (index[from_behind] < 1).any():
                raise InputError(
                    f"{where}: an index from behind points before the first.\n"
                    "  The file is damaged; export it again."
                )
        return counts, index - 1

    def _of(self, table: NDArray[np.float64], index: Longs, size: int, where: str) -> Floats | None:
        """The rows of a table, or None when a corner has none or one is not finite; told."""
        if not len(index) or (index < 0).all():
            return None
        if (index < 0).any():
            self.remarks.append(f"{where}: some corners have none; all are left out.")
            return None
        found = _singles(table[index, :size])
        if not np.isfinite(found).all():
            self.remarks.append(f"{where}: some are not finite; all are left out.")
            return None
        return found

    def _colours(self, table: NDArray[np.float64], index: Longs, where: str) -> Floats | None:
        if table.shape[1] < 6:
            return None
        values = table[index, 3:6]
        if not np.isfinite(values).all():
            self.remarks.append(f"{where}: some of its colours are not finite; left out.")
            return None
        self.remarks.append(f"{where}: has colours of vertices; taken as sRGB.")
        return linear_of(np.clip(values, 0, 1)).astype(np.float32)

    def _with_unit_normals(self, mesh: Mesh, where: str) -> Mesh:
        if mesh.normals is None:
            return mesh
        length = np.linalg.norm(mesh.normals, axis=1, keepdims=True)
        if (length <= 1e-6).any():
            self.remarks.append(f"{where}: some normals have no direction; all are left out.")
            return replace(mesh, normals=None)
        return replace(mesh, normals=(mesh.normals / length).astype(np.float32))

    # -- materials ---------------------------------------------------------------------------------

    def _materials(self) -> dict[str, Material]:
        """Those that faces use, by name."""
        used = {material for _, material in self._faces}
        found: dict[str, Material] = {}
        for name in dict.fromkeys(self._libraries):
            source = beside(self._path.parent, name, f"{self._path}: mtllib")
            if not os.path.exists(source):
                self.remarks.append(
                    f"{self._path}: its materials, {source}, are not there; left out."
                )
                continue
            listed = read_mtl(source, self._allowance)
            for one in sorted(used & listed.keys()):
                found[one] = material_of(
                    one, listed[one], source, self._allowance, self.remarks.append
                )
        for one in sorted(used - found.keys() - {""}):
            self.remarks.append(f'{self._path}: material "{one}" is nowhere; left out.')
        return found


def _named(rest: bytes) -> str:
    return rest.decode("utf-8", "replace").strip()[:200]


def _singles(values: NDArray[np.float64]) -> Floats:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _is_even(lines: list[bytes], width: int) -> bool:
    """Whether the first corner of every line has as many indices as all have on average."""
    return all(line.lstrip().partition(b" ")[0].count(b"/") == width - 1 for line in lines)


def _one_by_one(text: bytes, where: str) -> NDArray[np.float64]:
    """The indices [3 C] of corners that have one to three of them each; 0 for none."""
    found = []
    for corner in text.split():
        index = [one or b"0" for one in corner.split(b"/")]
        if len(index) > 3:
            raise InputError(
                f"{where}: a corner of a face is {corner[:40].decode(errors='replace')!r}.\n"
                "  The file is damaged; export it again."
            )
        found.append(b" ".join(index + [b"0"] * (3 - len(index))))
    values = numbers(b" ".join(found), where)
    if len(values) != 3 * len(found):
        raise InputError(f"{where}: a face names no number.\n  The file is damaged.")
    return values
