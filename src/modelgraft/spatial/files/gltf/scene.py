"""The nodes of a glTF scene as an asset in world coordinates.

Skins stand in the pose that the nodes give, which is the rest pose unless an exporter left another
one; morph targets, animations, lights and cameras are left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.gltf.accessors import num_elements, read_floats, read_wholes
from modelgraft.spatial.files.gltf.document import REMEDIES, Document, Json
from modelgraft.spatial.files.gltf.materials import Coordinates, Materials
from modelgraft.spatial.files.limits import Allowance, read_bounded
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part, vertex_normals

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

_MAX_DEPTH: Final = 64
_MAX_PARTS: Final = 100_000
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_DRACO: Final = "KHR_draco_mesh_compression"


def read_gltf(path: Path) -> Asset:
    """The default scene of a .glb or .gltf file, its triangles only.

    Albedo maps are sRGB, all others linear; `Asset.remarks` says what was left out. `InputError`
    for whatever is damaged, compressed by an extension, or beyond the limits of `files.limits`.
    """
    allowance = Allowance(str(path))
    document = Document(path, read_bounded(path, allowance), allowance)
    scene = _Scene(document)
    parts = scene.parts()
    if not parts:
        raise InputError(
            f"{path}: no triangles in its scene.\n"
            "  Export it with its meshes; points, lines and hidden scenes are not read."
        )
    return Asset(tuple(parts), path.stem, tuple(document.remarks))


class _Scene:
    """The walk over the nodes of a document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._materials = Materials(document)
        self._places: dict[int, Doubles] = {}

    def parts(self) -> list[Part]:
        """The primitives of the scene in the order of its nodes."""
        self._place(self._roots())
        if self._document.count("animations"):
            self._document.remark(f"{self._document.name}: its animations are left out.")
        found: list[Part] = []
        for number in self._places:
            node = self._document.object("nodes", number)
            where = f"node {number}"
            if self._document.extension(node, "EXT_mesh_gpu_instancing", where) is not None:
                self._document.remark(
                    f"{self._document.name}: {where}: its instances are left out; it stands once."
                )
            if "mesh" in node:
                found += self._of_node(number, node)
            if len(found) > _MAX_PARTS:
                self._document.fail(where, f"more than {_MAX_PARTS:,} primitives", "Split the file")
        return found

    # -- nodes -------------------------------------------------------------------------------------

    def _roots(self) -> list[int]:
        document = self._document
        num = document.count("nodes")
        if document.count("scenes"):
            chosen = document.whole(document.root, "scene", "the file", default=0)
            scene = document.object("scenes", chosen)
            return document.wholes(scene, "nodes", f"scene {chosen}")
        children = {
            child
            for number in range(num)
            for child in document.wholes(
                document.object("nodes", number), "children", f"node {number}"
            )
        }
        return [number for number in range(num) if number not in children]

    def _place(self, roots: list[int]) -> None:
        """Note the matrix to the world of every node of the scene, parents before children."""
        document = self._document
        stack = [(number, np.eye(4), 1) for number in reversed(roots)]
        while stack:
            number, parent, depth = stack.pop()
            where = f"node {number}"
            if number in self._places:
                document.fail(where, "it has two parents or is its own: the nodes must be a tree")
            if depth > _MAX_DEPTH:
                document.fail(
                    where, f"nested deeper than {_MAX_DEPTH} nodes", "Flatten it in a modeller"
                )
            node = document.object("nodes", number)
            with np.errstate(all="ignore"):
                place = parent @ self._matrix(node, where)
            if not np.isfinite(place).all():
                document.fail(where, "its place in the world is not finite")
            self._places[number] = place
            children = document.wholes(node, "children", where)
            stack += [(child, place, depth + 1) for child in reversed(children)]

    def _matrix(self, node: Json, where: str) -> Doubles:
        document = self._document
        if "matrix" in node:
            values = document.numbers(node, "matrix", where, tuple(np.eye(4).ravel()))
            found = np.array(values).reshape(4, 4).T
            if not np.allclose(found[3], [0, 0, 0, 1], atol=1e-6):
                document.fail(where, "its matrix is not affine")
            return found
        found = np.eye(4)
        rotation = np.array(document.numbers(node, "rotation", where, (0.0, 0.0, 0.0, 1.0)))
        scale = document.numbers(node, "scale", where, (1.0, 1.0, 1.0))
        found[:3, :3] = _rotation(rotation) * scale
        found[:3, 3] = document.numbers(node, "translation", where, (0.0, 0.0, 0.0))
        return found

    # -- primitives --------------------------------------------------------------------------------

    def _of_node(self, number: int, node: Json) -> list[Part]:
        document = self._document
        chosen = document.whole(node, "mesh", f"node {number}")
        mesh = document.object("meshes", chosen)
        name = document.text(mesh, "name") or document.text(node, "name") or f"mesh {chosen}"
        found = []
        for place, primitive in enumerate(
            document.items(mesh, "primitives", f"mesh {chosen}")[: _MAX_PARTS + 1]
        ):
            where = f'mesh {chosen} "{name}", primitive {place}'
            if not isinstance(primitive, dict):
                document.fail(where, "not an object")
            part = self._part(primitive, name, where)
            if part is None:
                continue
            if "skin" in node:
                posed = self._posed(node, number, primitive, part.mesh, where)
                part = replace(part, mesh=posed)
            else:
                part = replace(part, mesh=_moved(part.mesh, self._places[number]))
            found.append(replace(part, mesh=self._finished(part.mesh, where)))
        return found

    def _part(self, primitive: Json, name: str, where: str) -> Part | None:
        """The primitive in its own coordinates; None when it has no triangles."""
        document = self._document
        mode = document.whole(primitive, "mode", where, default=_TRIANGLES, most=6)
        attributes = document.part(primitive, "attributes", where)
        if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in attributes:
            what = "points or lines" if mode < _TRIANGLES else "no positions"
            document.remark(f"{document.name}: {where}: {what}; left out.")
            return None
        self._refuse_draco(primitive, attributes, where)
        self._tell_rest(primitive, attributes, where)
        material, coordinates = Material(metallic_factor=1.0, wrap="repeat"), Coordinates()
        if "material" in primitive:
            material, coordinates = self._materials.find(
                document.whole(primitive, "material", where)
            )
        vertices = self._attribute(attributes, "POSITION", (3,), where)
        faces = self._faces(primitive, mode, len(vertices), where)
        if not len(faces):
            document.remark(f"{document.name}: {where}: no faces; left out.")
            return None
        mesh = Mesh(vertices, faces.astype(np.int32), name=name)
        mesh = self._with_attributes(mesh, attributes, coordinates, where)
        return Part(mesh, material, "material" in primitive)

    def _with_attributes(
        self, mesh: Mesh, attributes: Json, coordinates: Coordinates, where: str
    ) -> Mesh:
        num = len(mesh.vertices)
        found = {}
        for key, name, sizes in (
            ("uvs", f"TEXCOORD_{coordinates.set}", (2,)),
            ("normals", "NORMAL", (3,)),
            ("tangents", "TANGENT", (4,)),
            ("colours", "COLOR_0", (3, 4)),
        ):
            if name in attributes:
                values = self._attribute(attributes, name, sizes, where)
                if len(values) != num:
                    self._document.fail(where, f"{num:,} positions and {len(values):,} of {name}")
                found[key] = values
        if "uvs" in found:
            uvs = coordinates.applied(found["uvs"])
            found["uvs"] = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1)
        if "normals" not in found:
            found.pop("tangents", None)
        if "colours" in found:
            if found["colours"].shape[1] == 4 and (found["colours"][:, 3] < 1).any():
                self._document.remark(
                    f"{self._document.name}: {where}: the opacity of its vertices is left out."
                )
            found["colours"] = np.clip(found["colours"][:, :3], 0, 1)
        return replace(mesh, **found)

    def _attribute(
        self, attributes: Json, name: str, sizes: tuple[int, ...], where: str
    ) -> NDArray[np.float32]:
        number = self._document.whole(attributes, name, where)
        return read_floats(self._document, number, sizes, f"{where}, {name}")

    def _faces(self, primitive: Json, mode: int, num_vertices: int, where: str) -> Longs:
        """[F, 3]; strips and fans taken apart so that fronts stay fronts."""
        document = self._document
        if "indices" in primitive:
            number = document.whole(primitive, "indices", where)
            index = read_wholes(document, number, (1,), f"{where}, indices")[:, 0]
            if len(index) and int(index.max()) >= num_vertices:
                document.fail(
                    where, f"a face names vertex {int(index.max()):,} of {num_vertices:,}"
                )
        else:
            index = np.arange(num_vertices)
        num = len(index)
        if mode == _TRIANGLES:
            if num % 3:
                document.fail(where, f"{num:,} indices, which are no whole triangles")
            return index.reshape(-1, 3)
        if num < 3:
            return np.zeros((0, 3), np.int64)
        if mode == _FAN:
            return np.stack([index[1:-1], index[2:], np.full(num - 2, index[0])], axis=1)
        faces = np.stack([index[:-2], index[1:-1], index[2:]], axis=1)
        faces[1::2] = faces[1::2][:, [0, 2, 1]]
        return faces

    def _refuse_draco(self, primitive: Json, attributes: Json, where: str) -> None:
        document = self._document
        if document.extension(primitive, _DRACO, where) is None:
            return
        accessor = document.object("accessors", document.whole(attributes, "POSITION", where))
        if "bufferView" not in accessor:
            document.fail(where, "compressed by Draco, which is not read", REMEDIES[_DRACO])

    def _tell_rest(self, primitive: Json, attributes: Json, where: str) -> None:
        document = self._document
        if "targets" in primitive:
            document.remark(f"{document.name}: {where}: its morph targets are left out.")
        if "COLOR_0" in attributes:
            document.remark(
                f"{document.name}: {where}: has colours of vertices (linear); they are kept and "
                "multiply the base colour."
            )

    # -- places ------------------------------------------------------------------------------------

    def _posed(self, node: Json, number: int, primitive: Json, mesh: Mesh, where: str) -> Mesh:
        """A skinned mesh where its joints put it; the node's own place counts for nothing."""
        document = self._document
        chosen = document.whole(node, "skin", f"node {number}")
        skin = document.object("skins", chosen)
        attributes = document.part(primitive, "attributes", where)
        joints = document.wholes(skin, "joints", f"skin {chosen}")
        if not joints or "JOINTS_0" not in attributes or "WEIGHTS_0" not in attributes:
            document.remark(f"{document.name}: {where}: a skin without joints; taken as rigid.")
            return _moved(mesh, self._places[number])
        for joint in joints:
            if joint not in self._places:
                document.fail(f"skin {chosen}", f"its joint, node {joint}, is not in the scene")
        bind = np.tile(np.eye(4), (len(joints), 1, 1))
        if "inverseBindMatrices" in skin:
            accessor = document.whole(skin, "inverseBindMatrices", f"skin {chosen}")
            if num_elements(document, accessor) < len(joints):
                document.fail(f"skin {chosen}", "fewer inverseBindMatrices than joints")
            read = read_floats(document, accessor, (16,), f"skin {chosen}")
            bind = read[: len(joints)].reshape(-1, 4, 4).swapaxes(1, 2).astype(np.float64)
        index = read_wholes(
            document, document.whole(attributes, "JOINTS_0", where), (4,), f"{where}, JOINTS_0"
        )
        weights = self._attribute(attributes, "WEIGHTS_0", (4,), where).astype(np.float64)
        if len(index) != len(mesh.vertices) or len(weights) != len(index):
            document.fail(where, "as many joints and weights as positions are needed")
        if int(index.max(initial=0)) >= len(joints):
            document.fail(where, f"joint {int(index.max()):,} of {len(joints):,}")
        total = weights.sum(axis=1, keepdims=True)
        if not np.isfinite(total).all() or (total <= 0).any():
            document.fail(where, "the weights of a vertex have no sum")
        document.remark(f"{document.name}: {where}: skinned; it stands in its rest pose.")
        with np.errstate(all="ignore"):
            places = np.stack([self._places[joint] for joint in joints]) @ bind
        return _blended(mesh, places, index, weights / total)

    def _finished(self, mesh: Mesh, where: str) -> Mesh:
        """The mesh with finite values only: mended and told where that is harmless."""
        document = self._document
        for name, values in (("positions", mesh.vertices), ("UVs", mesh.uvs)):
            if values is not None and not np.isfinite(values).all():
                number = int(np.argmin(np.isfinite(values).all(axis=1)))
                document.fail(
                    where,
                    f"the {name} of vertex {number:,} are not finite",
                    "Delete the vertex in a modeller and export again",
                )
        if mesh.colours is not None and not np.isfinite(mesh.colours).all():
            document.remark(f"{document.name}: {where}: its colours are not finite; left out.")
            mesh = replace(mesh, colours=None)
        if mesh.normals is None:
            return mesh
        length = np.linalg.norm(mesh.normals, axis=1, keepdims=True)
        is_good = np.isfinite(length[:, 0]) & (length[:, 0] > 1e-6)
        normals = mesh.normals / np.where(is_good[:, None], length, 1)
        if not is_good.all():
            document.remark(
                f"{document.name}: {where}: {int((~is_good).sum()):,} normals have no direction; "
                "computed from the faces."
            )
            normals = np.where(is_good[:, None], normals, vertex_normals(mesh))
        mesh = replace(mesh, normals=normals.astype(np.float32))
        return replace(mesh, tangents=_sound_tangents(mesh.tangents))


def _sound_tangents(tangents: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Unit tangents with w = 1 or -1; None when one has no direction, to be computed anew."""
    if tangents is None:
        return None
    length = np.linalg.norm(tangents[:, :3], axis=1, keepdims=True)
    if not (np.isfinite(tangents).all() and (length > 1e-6).all()):
        return None
    hand = np.where(tangents[:, 3:] < 0, -1, 1)
    return np.concatenate([tangents[:, :3] / length, hand], axis=1).astype(np.float32)


def _rotation(quaternion: Doubles) -> Doubles:
    """[3, 3] of a quaternion in glTF's order x, y, z, w; the identity for zeros."""
    length = np.linalg.norm(quaternion)
    if length == 0:
        return np.eye(3)
    x, y, z, w = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _cofactors(linear: Doubles) -> Doubles:
    """What turns normals: the inverse transpose [..., 3, 3] times |det|; there for zero scales."""
    rows = [np.cross(linear[..., (k + 1) % 3, :], linear[..., (k + 2) % 3, :]) for k in range(3)]
    found = np.stack(rows, axis=-2)
    return found * np.where(np.linalg.det(linear) < 0, -1.0, 1.0)[..., None, None]


def _moved(mesh: Mesh, place: Doubles) -> Mesh:
    """The mesh under an affine matrix [4, 4]; a mirror keeps fronts in front."""
    if np.array_equal(place, np.eye(4)):
        return mesh
    num = len(mesh.vertices)
    return _blended(mesh, place[None], np.zeros((num, 1), np.int64), np.ones((num, 1)))


def _blended(mesh: Mesh, places: Doubles, index: Longs, weights: Doubles) -> Mesh:
    """The mesh under weighted sums of matrices [J, 4, 4], those of `index` [V, K] at a vertex.

    Faces are turned over where the matrices mirror, and the tangents' w with them.
    """
    with np.errstate(all="ignore"):
        if len(places) == 1:
            blend = places
        else:
            blend = np.zeros((len(index), 4, 4))
            for k in range(index.shape[1]):
                blend += weights[:, k, None, None] * places[index[:, k]]
        linear = blend[:, :3, :3]
        vertices = _turned(linear, mesh.vertices) + blend[:, :3, 3]
        is_mirror = bool(np.linalg.det(linear).sum() < 0)
        found = replace(mesh, vertices=vertices.astype(np.float32))
        if is_mirror:
            found = replace(found, faces=np.ascontiguousarray(mesh.faces[:, ::-1]))
        if mesh.normals is not None:
            normals = _directed(_cofactors(linear), mesh.normals)
            found = replace(found, normals=normals)
        if mesh.tangents is not None:
            along = _directed(linear, mesh.tangents[:, :3])
            hand = mesh.tangents[:, 3:] * (-1 if is_mirror else 1)
            found = replace(found, tangents=np.concatenate([along, hand], 1).astype(np.float32))
    return found


def _turned(linear: Doubles, vectors: NDArray[np.float32]) -> Doubles:
    """Vectors [V, 3] times matrices [1 or V, 3, 3]."""
    stretched = np.broadcast_to(linear, (len(vectors), 3, 3))
    return np.einsum("nij,nj->ni", stretched, vectors.astype(np.float64))


def _directed(linear: Doubles, directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit directions [V, 3] turned by matrices [1 or V, 3, 3]; those without length stay zero."""
    found = _turned(linear, directions)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / np.where(length > 0, length, 1)).astype(np.float32)
