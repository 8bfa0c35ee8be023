"""From any asset to one mesh in the unit box, with one texture that all its faces share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.assets.noticing import notices
from modelgraft.methods.material_anything.assets.origins import joined, nearest
from modelgraft.spatial.meshes import (
    Asset,
    Material,
    Mesh,
    Part,
    Placement,
    decimated,
    face_areas,
    normalised,
    with_normals,
)
from modelgraft.spatial.soundness import require_sound
from modelgraft.spatial.tangents import with_tangents
from modelgraft.spatial.uv.coverage import uv_faults
from modelgraft.spatial.uv.unwrapping import unwrap as unwrapped

Unwrap = Literal["auto", "always", "keep"]
"""When a mesh gets new UVs: if its own cannot be painted for, always, or never."""
Green = Literal["gl", "dx"]
"""Where green of a normal map points: up, as in glTF, or down, as in DirectX."""

MAX_FACES: Final = 300_000
"""More are reduced or refused: they are smaller than a texel, and every step takes longer."""

Longs = NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """What is painted, and what it was made of."""

    mesh: Mesh
    """In the unit box around the origin, with sound UVs, normals and tangents; no colours."""
    source: Asset
    """The asset in the same box, with its own parts, materials and UVs: pictures are of it."""
    placement: Placement
    """Where it stood."""
    part: Longs
    """The part of `source` that each face of `mesh` belongs to [F]."""
    is_reduced: bool
    """Whether `mesh` has fewer faces; else it has those of `source`, one part after the other."""
    remarks: tuple[str, ...]
    """What was changed, left out or looks wrong, a sentence each, for a person."""


def prepare(
    asset: Asset,
    *,
    texture_px: int,
    faces: int | None = None,
    unwrap: Unwrap = "auto",
    normal: Green = "gl",
    file: Path | str | None = None,
) -> Prepared:
    """The asset as one mesh for maps of `texture_px`; `file` stands for it in messages.

    UVs are kept where all parts have them and no texel would be painted twice; otherwise, or if
    `unwrap` says so, all parts get new ones in one atlas. `faces` reduces a mesh that has more,
    which takes new UVs too; its pictures are still of the whole one. `InputError` for what cannot
    be painted: above `MAX_FACES` without `faces`, values that are not finite, faulty UVs that are
    to be kept. What is mended instead is told in `remarks`.
    """
    name = str(file or asset.name)
    _refuse_many(asset, faces, unwrap, name)
    parts, remarks = _sound(asset, normal, name)
    source, placement = normalised(replace(asset, parts=parts))
    whole, part = joined(source)
    if faces is None or len(whole.faces) <= faces:
        mesh, told = _charted(whole, source, texture_px, unwrap, name)
    else:
        mesh, told = _reduced(whole, faces, name)
        part = part[nearest(whole, mesh.vertices[mesh.faces].mean(axis=1)).face]
    if mesh.uvs is None:
        mesh, how = _unwrapped(mesh, texture_px, name)
        told += how
    return Prepared(
        with_tangents(mesh),
        source,
        placement,
        part,
        is_reduced=faces is not None and len(whole.faces) > faces,
        remarks=(*asset.remarks, *notices(asset, name), *remarks, *told),
    )


# -- parts -----------------------------------------------------------------------------------------


def _refuse_many(asset: Asset, faces: int | None, unwrap: Unwrap, name: str) -> None:
    """Raise what can be said before any work."""
    num = sum(len(part.mesh.faces) for part in asset.parts)
    if faces is None and num > MAX_FACES:
        raise InputError(
            f"{name}: {num:,} faces; at most {MAX_FACES:,} are painted as they are.\n"
            "  They would be smaller than texels and slow down every step. Reduce it now with "
            "--faces 200000, or in a modeller."
        )
    if faces is not None and num > faces and unwrap == "keep":
        raise InputError(
            f"{name}: {num:,} faces to be reduced to {faces:,}, and UVs to be kept.\n"
            "  A reduced mesh has other vertices, so its UVs are new: leave --unwrap auto, or "
            "leave out --faces."
        )


def _sound(asset: Asset, normal: Green, name: str) -> tuple[tuple[Part, ...], list[str]]:
    """The parts that can be painted, with normals, and what was done to them."""
    remarks, parts, flipped = [], [], {}
    for number, part in enumerate(asset.parts):
        where = f'{name}: mesh "{part.mesh.name}" (part {number})'
        if len(asset.parts) > 1 and _has_no_area(part.mesh):
            remarks.append(f"{where}: none of its faces has an area; the part is left out.")
            continue
        part, told = require_sound(part, where)
        remarks += told
        mesh = _without_strays(part.mesh)
        if mesh.normals is None:
            mesh = with_normals(mesh)
            remarks.append(
                f"{where}: no normals; made smooth where faces meet at less than 60 degrees."
            )
        if normal == "dx":
            key = id(part.material)
            flipped[key] = flipped.get(key) or _green_up(part.material)
            part = replace(part, material=flipped[key])
        parts.append(replace(part, mesh=mesh))
    if not parts:
        raise InputError(
            f"{name}: no part has a face with an area.\n"
            "  Look at it in a modeller: a zero scale is the usual cause."
        )
    return tuple(parts), remarks


def _has_no_area(mesh: Mesh) -> bool:
    """False for meshes that are damaged otherwise, which are not left out quietly."""
    is_whole = len(mesh.faces) > 0 and 0 <= mesh.faces.min() <= mesh.faces.max() < len(
        mesh.vertices
    )
    return is_whole and bool((face_areas(mesh) == 0).all())


def _without_strays(mesh: Mesh) -> Mesh:
    """Without vertices of no face, which would make the box too large."""
    ids, faces = np.unique(mesh.faces, return_inverse=True)
    return mesh if len(ids) == len(mesh.vertices) else mesh.taken(ids, faces.reshape(-1, 3))


def _green_up(material: Material) -> Material:
    if material.normal is None:
        return material
    turned = material.normal.copy()
    turned[..., 1] = 255 - turned[..., 1]
    return replace(material, normal=turned)


# -- faces and charts ------------------------------------------------------------------------------


def _reduced(whole: Mesh, faces: int, name: str) -> tuple[Mesh, list[str]]:
    part, told = require_sound(Part(decimated(whole, faces)), f"{name}: reduced to {faces:,} faces")
    mesh = with_normals(_without_strays(part.mesh))
    remark = (
        f"{name}: {len(whole.faces):,} faces reduced to {len(mesh.faces):,}; they get new UVs. "
        "Colours are still taken from the whole mesh."
    )
    return mesh, [remark, *told]


def _charted(
    whole: Mesh, source: Asset, texture_px: int, unwrap: Unwrap, name: str
) -> tuple[Mesh, list[str]]:
    """The mesh with its own UVs, or with none where it gets new ones, and why."""
    if unwrap == "always":
        return replace(whole, uvs=None), []
    where = f'{name}: mesh "{whole.name}" (part 0)'
    if len(source.parts) > 1:
        where = f"{name}: its {len(source.parts)} parts together"
        lacking = [number for number, one in enumerate(source.parts) if one.mesh.uvs is None]
        if lacking:
            mesh = source.parts[lacking[0]].mesh.name
            where = f'{name}: mesh "{mesh}" (part {lacking[0]})'
    faults = uv_faults(whole, where, texture_px)
    if not faults:
        assert whole.uvs is not None
        return replace(whole, uvs=whole.uvs.clip(0, 1)), []
    if unwrap == "keep":
        raise InputError(
            "\n".join(faults) + "\n  Leave --unwrap auto to have it unwrapped here; parts that "
            "share texels get places of their own then."
        )
    return replace(whole, uvs=None), [one.split("\n")[0] for one in faults]


def _unwrapped(mesh: Mesh, texture_px: int, name: str) -> tuple[Mesh, list[str]]:
    found = unwrapped(mesh, texture_px)
    by = {"xatlas": "charts by xatlas", "boxes": "box projection"}[found.by]
    told = [f"{name}: unwrapped anew into one atlas, {by}."]
    return found.mesh, told + ([f"{name}: {found.remark}"] if found.remark else [])
