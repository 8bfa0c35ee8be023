"""Meshes as PLY: which columns mean what, among the names that mesh programs write.

Colours of vertices are sRGB in the file, as every program takes them (the format does not say),
and linear in a `Mesh`. UVs have v up.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.colours import bytes_of, linear_of, srgb_of
from modelgraft.spatial.files.corners import joined
from modelgraft.spatial.files.limits import Allowance, beside, read_bounded
from modelgraft.spatial.files.ply import Ply, read_ply, write_ply
from modelgraft.spatial.files.textures import read_texture
from modelgraft.spatial.meshes import Asset, Floats, Material, Mesh, Part, same_rows

_UVS: Final = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_COLOURS: Final = (
    ("red", "green", "blue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ("r", "g", "b"),
)
_TEXTURE: Final = "TextureFile"


def read_mesh_ply(path: Path) -> Asset:
    """The mesh of a PLY file with the normals, UVs, colours and picture that it brings.

    The picture is that of a comment `TextureFile`, in sRGB. `InputError` as `read_ply` raises it,
    and for points without faces or positions that are not finite.
    """
    allowance = Allowance(str(path))
    ply = read_ply(path, allowance)
    if ply.faces is None or not len(ply.faces):
        raise InputError(
            f"{path}: points without faces.\n"
            "  A mesh is needed: let a scanning program make a surface of the points."
        )
    vertices = _columns(ply, (("x", "y", "z"),))
    if vertices is None:
        raise InputError(f"{path}: its vertices have no x, y and z.\n  Save it as a mesh.")
    if not np.isfinite(vertices).all():
        place = int(np.argmin(np.isfinite(vertices).all(axis=1)))
        raise InputError(
            f"{path}: the position of vertex {place:,} is not finite.\n"
            "  Delete the vertex in a mesh program and save it again."
        )
    remarks: list[str] = []
    mesh = Mesh(
        vertices,
        ply.faces,
        uvs=_finite(_columns(ply, _UVS), "UVs", path, remarks),
        normals=_unit(_columns(ply, (("nx", "ny", "nz"),)), path, remarks),
        colours=_colours(ply, path, remarks),
        name=path.stem,
    )
    mesh = _with_corner_uvs(mesh, ply, path, remarks)
    picture = _picture(ply, path, allowance) if mesh.uvs is not None else None
    material = Material(path.stem, albedo=picture, wrap="repeat")
    part = Part(mesh, material, is_textured=picture is not None)
    return Asset((part,), path.stem, tuple(remarks))


def write_mesh_ply(path: Path, mesh: Mesh) -> None:
    """Write a mesh with its normals, UVs (`s`, `t`) and colours; binary, whole or not at all."""
    columns: dict[str, NDArray[Any]] = dict(zip("xyz", mesh.vertices.T, strict=True))
    if mesh.normals is not None:
        columns |= dict(zip(("nx", "ny", "nz"), mesh.normals.T, strict=True))
    if mesh.uvs is not None:
        columns |= dict(zip(_UVS[0], mesh.uvs.T, strict=True))
    if mesh.colours is not None:
        columns |= dict(zip(_COLOURS[0], bytes_of(srgb_of(mesh.colours)).T, strict=True))
    write_ply(path, columns, mesh.faces)


def _columns(ply: Ply, names: tuple[tuple[str, ...], ...]) -> Floats | None:
    """The first of several sets of columns that is there in whole, side by side."""
    for one in names:
        if all(name in ply.columns for name in one):
            return np.stack([ply.columns[name].astype(np.float32) for name in one], axis=1)
    return None


def _finite(values: Floats | None, what: str, path: Path, remarks: list[str]) -> Floats | None:
    if values is not None and not np.isfinite(values).all():
        remarks.append(f"{path}: some of its {what} are not finite; all of them are left out.")
        return None
    return values


def _unit(normals: Floats | None, path: Path, remarks: list[str]) -> Floats | None:
    normals = _finite(normals, "normals", path, remarks)
    if normals is None:
        return None
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    if (length <= 1e-6).any():
        remarks.append(f"{path}: some of its normals have no direction; all are left out.")
        return None
    return (normals / length).astype(np.float32)


def _colours(ply: Ply, path: Path, remarks: list[str]) -> Floats | None:
    for names in _COLOURS:
        found = [ply.columns[name] for name in names if name in ply.columns]
        if len(found) < 3:
            continue
        top = np.iinfo(found[0].dtype).max if found[0].dtype.kind in "iu" else 1
        values = np.stack([one.astype(np.float64) / top for one in found], axis=1)
        if not np.isfinite(values).all():
            remarks.append(f"{path}: some of its colours are not finite; all are left out.")
            return None
        remarks.append(f"{path}: has colours of vertices; taken as sRGB.")
        return linear_of(np.clip(values, 0, 1)).astype(np.float32)
    return None


def _with_corner_uvs(mesh: Mesh, ply: Ply, path: Path, remarks: list[str]) -> Mesh:
    """The mesh with the UVs that its faces bring: a vertex is there once for each of them."""
    if ply.corner_uvs is None:
        return mesh
    uvs = _finite(ply.corner_uvs.reshape(-1, 2), "UVs", path, remarks)
    if uvs is None:
        return mesh
    corners = mesh.faces.ravel().astype(np.int64)
    first, inverse = joined(np.stack([corners, same_rows(uvs)], axis=1))
    found = mesh.taken(corners[first], inverse.reshape(-1, 3))
    return replace(found, uvs=uvs[first])


def _picture(ply: Ply, path: Path, allowance: Allowance) -> NDArray[np.uint8] | None:
    for comment in ply.comments:
        key, _, name = comment.partition(" ")
        if key == _TEXTURE and name.strip():
            source = beside(path.parent, name.strip(), f"{path}: {_TEXTURE}")
            content = read_bounded(source, allowance)
            return read_texture(content, "3 or 4", name=str(source), allowance=allowance)
    return None
