"""Triangle meshes with their materials, as glTF holds them, and what is asked of their shape."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import need
from modelgraft.spatial.edges import groups, half_edge_pairs

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """Triangles whose attributes share one index: a vertex on a UV seam is there once a chart."""

    vertices: Floats
    """[V, 3] in the world: right-handed, y up."""
    faces: Ints
    """[F, 3]; seen from its front a triangle runs counter-clockwise."""
    uvs: Floats | None = None
    """[V, 2] with v up: (0, 0) is the lower left corner of a texture."""
    normals: Floats | None = None
    """[V, 3], unit."""
    tangents: Floats | None = None
    """[V, 4]: the unit direction of growing u, and w, so that (N x T) w is that of growing v."""
    colours: Floats | None = None
    """[V, 3], linear: what the albedo is multiplied with."""
    name: str = "mesh"

    def taken(self, ids: NDArray[np.integer], faces: NDArray[np.integer]) -> Mesh:
        """The mesh of the vertices `ids` [V'] of this one, with all they carry, and `faces`."""
        parts = {one: getattr(self, one) for one in ("uvs", "normals", "tangents", "colours")}
        return replace(
            self,
            vertices=self.vertices[ids],
            faces=faces.astype(np.int32, copy=False),
            **{one: value if value is None else value[ids] for one, value in parts.items()},
        )


@dataclass(frozen=True)
class Material:
    """glTF's metallic-roughness material; a map is multiplied with its factor."""

    name: str = "material"
    albedo: Bytes | None = None
    """[H, W, 3 or 4] in sRGB; the fourth channel is opacity, linear."""
    rough_metal: Bytes | None = None
    """[H, W, 3], linear: roughness in green, metallic in blue; red is 255."""
    normal: Bytes | None = None
    """[H, W, 3], linear: the normal in the tangent frame, green up."""
    albedo_factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Linear."""
    roughness_factor: float = 1.0
    metallic_factor: float | None = None
    """None where nobody said: 1 under a `rough_metal` map and 0 without one; see `metallic`."""
    normal_scale: float = 1.0
    alpha_mode: Literal["opaque", "mask", "blend"] = "opaque"
    alpha_cutoff: float = 0.5
    """Below this opacity nothing is seen; for `mask`."""
    wrap: Literal["clamp", "repeat"] = "clamp"
    """How maps go on outside of their square."""
    double_sided: bool = False
    is_unlit: bool = False
    """Whether the albedo is shown as it is, without light."""

    @property
    def metallic(self) -> float:
        """The factor that metallic is multiplied with."""
        if self.metallic_factor is not None:
            return self.metallic_factor
        return 0.0 if self.rough_metal is None else 1.0


@dataclass(frozen=True)
class Part:
    """One mesh and what it is made of; a glTF primitive."""

    mesh: Mesh
    material: Material = field(default_factory=Material)
    is_textured: bool = False
    """Whether the file gave it a material."""


@dataclass(frozen=True)
class Asset:
    """What a file holds: its parts in world coordinates, in the order of the file."""

    parts: tuple[Part, ...]
    name: str = "asset"
    remarks: tuple[str, ...] = ()
    """What a reader left out or changed, a sentence each, for a person."""


# -- places ----------------------------------------------------------------------------------------


class Placement(NamedTuple):
    """Where a normalised shape stood: its box's centre [3] and the length of its longest side."""

    centre: Doubles
    scale: float

    def applied(self, mesh: Mesh) -> Mesh:
        """The mesh with the box's centre at the origin and its longest side 1."""
        return replace(mesh, vertices=((mesh.vertices - self.centre) / self.scale).astype("f4"))

    def undone(self, mesh: Mesh) -> Mesh:
        """A normalised mesh back where it stood, up to rounding."""
        return replace(mesh, vertices=(mesh.vertices * self.scale + self.centre).astype("f4"))


def bounds(*meshes: Mesh) -> tuple[Doubles, Doubles]:
    """The lowest and the highest corner [3] of the box around the vertices of all the meshes."""
    low = np.min([mesh.vertices.min(axis=0) for mesh in meshes], axis=0)
    high = np.max([mesh.vertices.max(axis=0) for mesh in meshes], axis=0)
    return low.astype(np.float64), high.astype(np.float64)


def normalised(asset: Asset) -> tuple[Asset, Placement]:
    """The asset with the centre of its box at the origin and the longest side 1, and its placement.

    `InputError` for a shape without extent.
    """
    low, high = bounds(*(part.mesh for part in asset.parts))
    placement = Placement((low + high) / 2, float((high - low).max()))
    if placement.scale <= 0:
        raise InputError(
            f"{asset.name}: all its vertices lie in one point, so it cannot be scaled.\n"
            "  Look at it in a modeller: a zero scale on its node is the usual cause."
        )
    parts = tuple(replace(part, mesh=placement.applied(part.mesh)) for part in asset.parts)
    return replace(asset, parts=parts), placement


def weld(vertices: Floats) -> NDArray[np.int64]:
    """A number for each vertex [V]: the same for the same position, to the last bit.

    Numbers run from 0 without gaps, in no particular order. Minus zero is zero.
    """
    return same_rows(vertices)


def same_rows(values: Floats | Ints) -> NDArray[np.int64]:
    """A number for each row of [N, C], from 0 without gaps: the same for the same values."""
    if not len(values):
        return np.zeros(0, np.int64)
    bits = np.ascontiguousarray(values + values.dtype.type(0)).view(np.int32)
    order = np.lexsort(bits.T)
    is_new = np.zeros(len(values), bool)
    is_new[1:] = (np.diff(bits[order], axis=0) != 0).any(axis=1)
    ids = np.empty(len(values), np.int64)
    ids[order] = np.cumsum(is_new)
    return ids


# -- faces -----------------------------------------------------------------------------------------


def face_normals(mesh: Mesh) -> Doubles:
    """The unit normal of each face [F, 3], to its front; zero for faces without area."""
    across = _across(mesh)
    length = np.linalg.norm(across, axis=1, keepdims=True)
    return np.divide(across, length, out=np.zeros_like(across), where=length > 0)


def face_areas(mesh: Mesh) -> Doubles:
    """The area of each face [F]."""
    return np.linalg.norm(_across(mesh), axis=1) / 2


def _across(mesh: Mesh) -> Doubles:
    """The cross product of two sides of each face [F, 3]."""
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces].swapaxes(0, 1)
    return np.cross(b - a, c - a)


def corner_angles(corners: Doubles) -> Doubles:
    """The angles [F, 3] of triangles [F, 3, 3]; 0 where a side has no length."""
    there = np.roll(corners, -1, axis=1) - corners
    back = np.roll(corners, 1, axis=1) - corners
    across = np.linalg.norm(np.cross(there, back), axis=2)
    return np.arctan2(across, (there * back).sum(axis=2))


# -- normals ---------------------------------------------------------------------------------------


def vertex_normals(mesh: Mesh) -> Floats:
    """Smooth normals [V, 3]: the faces' around each position, weighted by their angles there.

    Vertices at one position get one normal, so a UV seam does not show. (0, 0, 1) where no face
    has an area.
    """
    ids = weld(mesh.vertices)
    return _gathered(mesh, ids[mesh.faces].ravel(), int(ids.max()) + 1)[ids]


def with_normals(mesh: Mesh, *, crease_deg: float = 60.0) -> Mesh:
    """The mesh with smooth normals that break at edges where faces meet at more than `crease_deg`.

    glTF asks for flat faces where a file has no normals, and scans and generated shapes come
    without any though they are smooth: an angle serves both, since hard-surface models meet at
    wide angles and fine tessellations at narrow ones. Vertices on a break are there once a side,
    all others stay as they are; tangents are dropped, for they belong to other normals.
    """
    ids = weld(mesh.vertices)
    welded = ids[mesh.faces]
    normals = face_normals(mesh)
    pairs = half_edge_pairs(welded)
    facing = (normals[pairs[:, 0] // 3] * normals[pairs[:, 1] // 3]).sum(axis=1)
    group = groups(welded, pairs[facing >= np.cos(np.radians(crease_deg)) - 1e-9])
    num = int(group.max(initial=0)) + 1
    of_group = _gathered(mesh, group, num)
    corners = mesh.faces.ravel().astype(np.int64)
    _, first, inverse = np.unique(corners * num + group, return_index=True, return_inverse=True)
    found = mesh.taken(corners[first], inverse.reshape(-1, 3))
    return replace(found, normals=of_group[group[first]], tangents=None)


def _gathered(mesh: Mesh, group: NDArray[np.int64], num: int) -> Floats:
    """The unit sum [num, 3] over the corners [3 F] of each group of their faces' normals."""
    angles = corner_angles(mesh.vertices.astype(np.float64)[mesh.faces])
    weighted = (face_normals(mesh)[:, None] * angles[..., None]).reshape(-1, 3)
    sums = np.stack([np.bincount(group, one, num) for one in weighted.T], axis=1)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    sums = np.where(length > 1e-12, sums, [0.0, 0.0, 1.0])
    return (sums / np.where(length > 1e-12, length, 1)).astype(np.float32)


# -- budgets ---------------------------------------------------------------------------------------


def decimated(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about `faces` faces at most, by quadric error; the same if it has no more.

    UVs, normals and colours are lost, for they belong to vertices that are gone. Raises
    `MissingExtra` without fast_simplification (extra `spatial`).
    """
    if len(mesh.faces) <= faces:
        return mesh
    simplify = need("fast_simplification", extra="spatial").simplify
    ids = weld(mesh.vertices)
    points = np.zeros((ids.max() + 1, 3), np.float64)
    points[ids] = mesh.vertices
    found, triangles = simplify(points, ids[mesh.faces].astype(np.int32), target_count=faces)
    return Mesh(found.astype(np.float32), triangles.astype(np.int32), name=mesh.name)
