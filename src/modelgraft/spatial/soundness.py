"""What must hold of a mesh before anything is made of it: refused, mended and told, or told."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.edges import sorted_edges
from modelgraft.spatial.meshes import Mesh, Part, face_areas, same_rows, weld

MAX_FACES: Final = 5_000_000
"""More are refused: every step after this one costs at least as much as the faces are many."""


def require_sound(part: Part, where: str) -> tuple[Part, tuple[str, ...]]:
    """The part without faces that have no area, its front outside, and what a person must know.

    `where` says the file, the mesh and the primitive. `InputError` when a value is not finite, an
    index has no vertex, no face is left or there are more than `MAX_FACES`. Told and left as they
    are: edges of more than two faces, faces that disagree on their front, sheets of two sides.
    Told and turned: a closed shape of which all faces look inwards.
    """
    _refuse(part.mesh, where)
    mesh, remarks = _without_flat_faces(part.mesh, where)
    welded = weld(mesh.vertices)[mesh.faces]
    _, edge, is_forward = sorted_edges(welded)
    counts = np.bincount(edge)
    num_crowded = int((counts > 2).sum())
    if num_crowded:
        remarks.append(
            f"{where}: {num_crowded:,} of {len(counts):,} edges have more than two faces "
            "(non-manifold); charts and normals may break there."
        )
    num_twice = len(mesh.faces) - int(same_rows(np.sort(welded, axis=1).astype("i4")).max()) - 1
    if num_twice:
        remarks.append(
            f"{where}: {num_twice:,} faces lie on another one with the same corners, as in sheets "
            "of two sides; they take room in a texture and may flicker."
        )
    forward = np.bincount(edge, is_forward)
    num_torn = int(((counts == 2) & (forward != 1)).sum())
    if num_torn:
        remarks.append(
            f"{where}: at {num_torn:,} of {len(counts):,} edges the two faces disagree on which "
            "side is the front; what is seen from behind is not painted. Recalculate the outside "
            "in a modeller."
        )
    elif bool((counts == 2).all()) and _volume(mesh) < 0:
        mesh = _turned(mesh)
        remarks.append(f"{where}: all faces looked inwards; they were turned over.")
    return replace(part, mesh=mesh), tuple(remarks)


def _refuse(mesh: Mesh, where: str) -> None:
    if len(mesh.faces) > MAX_FACES:
        raise InputError(
            f"{where}: {len(mesh.faces):,} faces; at most {MAX_FACES:,} are taken.\n"
            "  Reduce it with `modelgraft.spatial.meshes.decimated` or in a modeller; 200,000 are "
            "plenty for textures."
        )
    if not len(mesh.faces) or not len(mesh.vertices):
        raise InputError(
            f"{where}: no triangles.\n  Export the mesh with its faces; points and lines alone "
            "cannot be painted."
        )
    low, high = int(mesh.faces.min()), int(mesh.faces.max())
    if low < 0 or high >= len(mesh.vertices):
        wrong = low if low < 0 else high
        raise InputError(
            f"{where}: a face names vertex {wrong:,}, and there are {len(mesh.vertices):,}.\n"
            "  The file is damaged or its exporter at fault; export it again."
        )
    for name in ("vertices", "uvs", "normals", "tangents", "colours"):
        values = getattr(mesh, name)
        if values is not None and not np.isfinite(values).all():
            place = int(np.argmin(np.isfinite(values).all(axis=1)))
            raise InputError(
                f"{where}: the {name} of vertex {place:,} are not finite: {values[place].tolist()}."
                "\n  Delete the vertex or recompute them in a modeller, and export again."
            )


def _without_flat_faces(mesh: Mesh, where: str) -> tuple[Mesh, list[str]]:
    areas = face_areas(mesh)
    # Below this share of the squared extent, float32 positions no longer say where the front is.
    extent = float(np.ptp(mesh.vertices.astype(np.float64), axis=0).max())
    is_flat = ~(areas > 1e-14 * extent**2)
    if not is_flat.any():
        return mesh, []
    if is_flat.all():
        raise InputError(
            f"{where}: none of its {len(areas):,} faces has an area.\n"
            "  Look at it in a modeller: a zero scale is the usual cause."
        )
    told = f"{where}: {int(is_flat.sum()):,} of {len(areas):,} faces have no area; left out."
    return replace(mesh, faces=mesh.faces[~is_flat]), [told]


def _volume(mesh: Mesh) -> float:
    """Six times the volume inside, negative when the faces look inwards."""
    middle = mesh.vertices.mean(axis=0, dtype=np.float64)
    a, b, c = (mesh.vertices.astype(np.float64) - middle)[mesh.faces].swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum())


def _turned(mesh: Mesh) -> Mesh:
    """The mesh with every face turned over, and normals that looked inwards too."""
    faces = np.ascontiguousarray(mesh.faces[:, ::-1])
    return replace(
        mesh,
        faces=faces,
        normals=_outwards(replace(mesh, faces=faces), mesh.normals),
        tangents=None,
    )


def _outwards(mesh: Mesh, normals: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    if normals is None:
        return None
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces].swapaxes(0, 1)
    agreement = (np.cross(b - a, c - a) * normals[mesh.faces].sum(axis=1)).sum()
    return normals if agreement >= 0 else -normals
