"""Assets as GLB, or as glTF with its buffer and PNG pictures beside it.

Every part is a mesh of one primitive under a node of its own: POSITION, NORMAL, TEXCOORD_0 with v
turned down, TANGENT where there is a normal map, indices. All maps go through one sampler,
trilinear, that clamps or repeats as the material says. The same asset gives the same bytes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.core.files import dump_json, write_atomic
from modelgraft.spatial.files.gltf.container import join_glb
from modelgraft.spatial.files.textures import png_bytes
from modelgraft.spatial.meshes import Asset, Bytes, Material, Mesh, Part, with_normals
from modelgraft.spatial.tangents import with_tangents

Json = dict[str, Any]

_GENERATOR: Final = "modelgraft"
_ARRAY, _ELEMENTS = 34962, 34963
_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_LINEAR, _TRILINEAR = 9729, 9987
_WRAPS: Final = {"clamp": 33071, "repeat": 10497}
_UNLIT: Final = "KHR_materials_unlit"


def write_glb(path: Path, asset: Asset) -> None:
    """Write the asset with its pictures in one file, whole or not at all.

    Normals are made where there are none (`with_normals`), tangents where a normal map needs them
    (`with_tangents`). Without a `rough_metal` map and a stated `metallic_factor` the file says
    metallic 0, since readers take 1 where nothing is said. `InputError` for maps without UVs and
    for values that are not finite.
    """
    writer = _Writer(asset)
    pictures = [writer.packed(content) for content in writer.pictures.values()]
    root = writer.root([{"bufferView": view, "mimeType": "image/png"} for view in pictures])
    root["buffers"] = [{"byteLength": len(writer.binary)}]
    write_atomic(path, join_glb(dump_json(root).encode(), bytes(writer.binary)))


def write_gltf(path: Path, asset: Asset) -> None:
    """Write the asset as .gltf with a .bin and PNG files named after it beside it.

    As `write_glb` otherwise; the .gltf is written last, so that what it names is there. It names
    them by URIs, in which spaces, #, % and letters beyond ASCII are percent codes.
    """
    writer = _Writer(asset)
    names = [f"{path.stem}_{name}.png" for name in writer.pictures]
    root = writer.root([{"uri": quote(name)} for name in names])
    root["buffers"] = [{"byteLength": len(writer.binary), "uri": quote(f"{path.stem}.bin")}]
    for name, content in zip(names, writer.pictures.values(), strict=True):
        write_atomic(path.with_name(name), content)
    write_atomic(path.with_name(f"{path.stem}.bin"), bytes(writer.binary))
    write_atomic(path, dump_json(root, indent=1) + "\n")


def ready(part: Part, where: str) -> Part:
    """The part with what its maps need: UVs, which must be there, normals and tangents."""
    mesh, material = part.mesh, part.material
    maps = (material.albedo, material.rough_metal, material.normal)
    if mesh.uvs is None and any(one is not None for one in maps):
        raise InputError(
            f"{where}: it has maps and no texture coordinates to look them up by.\n"
            "  Unwrap it (`modelgraft.spatial.uv.unwrap`) and bake its maps for those."
        )
    if mesh.normals is None:
        mesh = with_normals(mesh)
    if material.normal is None:
        mesh = replace(mesh, tangents=None)
    elif mesh.tangents is None:
        mesh = with_tangents(mesh)
    for name in ("vertices", "normals", "uvs", "colours"):
        values = getattr(mesh, name)
        if values is not None and not np.isfinite(values).all():
            raise InputError(
                f"{where}: its {name} are not all finite, and no file may hold them.\n"
                "  Look for the step that made them so."
            )
    return replace(part, mesh=mesh)


def _picture_names(materials: list[Material]) -> list[dict[str, str]]:
    """A name without suffix for each map of each material, as `albedo` or `2_albedo`."""
    names = {"albedo": "albedo", "rough_metal": "rm", "normal": "normal"}
    return [
        {key: name if len(materials) == 1 else f"{number}_{name}" for key, name in names.items()}
        for number in range(len(materials))
    ]


def distinct_materials(asset: Asset) -> list[Material]:
    """The materials of an asset, those that parts share once."""
    return list({id(part.material): part.material for part in asset.parts}.values())


class _Writer:
    """The JSON and the buffer of an asset while they grow; pictures by name, as PNG."""

    def __init__(self, asset: Asset) -> None:
        self.binary = bytearray()
        self.pictures: dict[str, bytes] = {}
        self._asset = asset
        self._views: list[Json] = []
        self._accessors: list[Json] = []
        self._textures: list[Json] = []
        self._samplers: list[Json] = []
        self._image_numbers: dict[int, int] = {}
        distinct = distinct_materials(asset)
        names = _picture_names(distinct)
        numbers = {id(one): place for place, one in enumerate(distinct)}
        self._materials = [
            self._material(one, each) for one, each in zip(distinct, names, strict=True)
        ]
        self._meshes = []
        for place, part in enumerate(asset.parts):
            where = f'{asset.name}, mesh "{part.mesh.name}" (part {place})'
            primitive = self._primitive(ready(part, where).mesh)
            primitive["material"] = numbers[id(part.material)]
            self._meshes.append({"name": part.mesh.name, "primitives": [primitive]})

    def root(self, images: list[Json]) -> Json:
        """The JSON without its buffers."""
        num = len(self._meshes)
        found: Json = {
            "asset": {"version": "2.0", "generator": _GENERATOR},
            "scene": 0,
            "scenes": [{"name": self._asset.name, "nodes": list(range(num))}],
            "nodes": [
                {"name": one["name"], "mesh": number} for number, one in enumerate(self._meshes)
            ],
            "meshes": self._meshes,
            "materials": self._materials,
            "textures": self._textures,
            "images": images,
            "samplers": self._samplers,
            "accessors": self._accessors,
            "bufferViews": self._views,
        }
        if any("extensions" in one for one in self._materials):
            found["extensionsUsed"] = [_UNLIT]
        return {key: value for key, value in found.items() if value != []}

    def packed(self, content: bytes, target: int | None = None) -> int:
        """The number of a new bufferView that holds these bytes."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        view: Json = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.binary += content
        self._views.append(view)
        return len(self._views) - 1

    # -- meshes ------------------------------------------------------------------------------------

    def _primitive(self, mesh: Mesh) -> Json:
        position = self._floats(mesh.vertices)
        self._accessors[position] |= {
            "min": [float(one) for one in mesh.vertices.min(axis=0)],
            "max": [float(one) for one in mesh.vertices.max(axis=0)],
        }
        assert mesh.normals is not None
        attributes = {"POSITION": position, "NORMAL": self._floats(_unit(mesh.normals))}
        if mesh.tangents is not None:
            hand = np.where(mesh.tangents[:, 3:] < 0, -1, 1)
            tangents = np.concatenate([_unit(mesh.tangents[:, :3]), hand], axis=1)
            attributes["TANGENT"] = self._floats(tangents)
        if mesh.uvs is not None:
            u, v = mesh.uvs.T
            attributes["TEXCOORD_0"] = self._floats(np.stack([u, 1 - v], axis=1))
        if mesh.colours is not None:
            attributes["COLOR_0"] = self._floats(np.clip(mesh.colours, 0, 1))
        is_short = len(mesh.vertices) <= 65535
        index = np.ascontiguousarray(mesh.faces.ravel(), "<u2" if is_short else "<u4")
        indices = self._accessor(
            {
                "bufferView": self.packed(index.tobytes(), _ELEMENTS),
                "componentType": _USHORT if is_short else _UINT,
                "count": len(index),
                "type": "SCALAR",
            }
        )
        return {"attributes": attributes, "indices": indices}

    def _floats(self, values: NDArray[Any]) -> int:
        """The number of a new accessor of vectors [V, C]."""
        content = np.ascontiguousarray(values, "<f4").tobytes()
        return self._accessor(
            {
                "bufferView": self.packed(content, _ARRAY),
                "componentType": _FLOAT,
                "count": len(values),
                "type": f"VEC{values.shape[1]}",
            }
        )

    def _accessor(self, accessor: Json) -> int:
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    # -- materials ---------------------------------------------------------------------------------

    def _material(self, material: Material, names: dict[str, str]) -> Json:
        surface: Json = {}
        if material.albedo is not None:
            surface["baseColorTexture"] = self._texture(material.albedo, names["albedo"], material)
        if material.albedo_factor != (1.0, 1.0, 1.0, 1.0):
            surface["baseColorFactor"] = list(material.albedo_factor)
        if material.rough_metal is not None:
            surface["metallicRoughnessTexture"] = self._texture(
                material.rough_metal, names["rough_metal"], material
            )
        surface["metallicFactor"] = material.metallic
        surface["roughnessFactor"] = material.roughness_factor
        found: Json = {"name": material.name, "pbrMetallicRoughness": surface}
        if material.normal is not None:
            normal = self._texture(material.normal, names["normal"], material)
            if material.normal_scale != 1.0:
                normal["scale"] = material.normal_scale
            found["normalTexture"] = normal
        if material.alpha_mode != "opaque":
            found["alphaMode"] = material.alpha_mode.upper()
        if material.alpha_mode == "mask":
            found["alphaCutoff"] = material.alpha_cutoff
        if material.double_sided:
            found["doubleSided"] = True
        if material.is_unlit:
            found["extensions"] = {_UNLIT: {}}
        return found

    def _texture(self, values: Bytes, name: str, material: Material) -> Json:
        if id(values) not in self._image_numbers:
            self._image_numbers[id(values)] = len(self.pictures)
            self.pictures[name] = png_bytes(values)
        wrap = _WRAPS[material.wrap]
        sampler = {"magFilter": _LINEAR, "minFilter": _TRILINEAR, "wrapS": wrap, "wrapT": wrap}
        if sampler not in self._samplers:
            self._samplers.append(sampler)
        texture = {
            "source": self._image_numbers[id(values)],
            "sampler": self._samplers.index(sampler),
        }
        if texture not in self._textures:
            self._textures.append(texture)
        return {"index": self._textures.index(texture)}


def _unit(directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Directions of length 1 as closely as float32 holds them."""
    values = directions.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)
