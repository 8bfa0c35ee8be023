"""Materials of glTF with their pictures (sections 3.8 and 3.9 of its specification).

Albedo pictures are sRGB with linear opacity, all others linear; the bytes are those of the files.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from modelgraft.spatial.files.colours import bytes_of, linear_of_bytes, srgb_of
from modelgraft.spatial.files.gltf.document import REMEDIES, UNDERSTOOD, Document, Json
from modelgraft.spatial.files.gltf.glossiness import metallic_of
from modelgraft.spatial.files.textures import Channels, read_texture
from modelgraft.spatial.meshes import Bytes, Material

_GLOSSINESS: Final = "KHR_materials_pbrSpecularGlossiness"
_MODES: Final = {"OPAQUE": "opaque", "MASK": "mask", "BLEND": "blend"}
_CLAMP, _REPEAT, _MIRROR = 33071, 10497, 33648
_WHITE: Final = (1.0, 1.0, 1.0, 1.0)
_BLOCK_TEXELS: Final = 1 << 20  # converted at a time, in floating point


class Coordinates(NamedTuple):
    """Which set of UVs a map uses, and what is done to them first (KHR_texture_transform)."""

    set: int = 0
    offset: tuple[float, ...] = (0.0, 0.0)
    rotation: float = 0.0
    scale: tuple[float, ...] = (1.0, 1.0)

    def applied(self, uvs: NDArray[np.float32]) -> NDArray[np.float32]:
        """UVs [V, 2] with v down as the map is looked up by."""
        if self[1:] == Coordinates()[1:]:
            return uvs
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        found = (uvs.astype(np.float64) * self.scale) @ turn.T + self.offset
        return found.astype(np.float32)


class Found(NamedTuple):
    """A material, and the coordinates that all its maps share."""

    material: Material
    coordinates: Coordinates


class _Map(NamedTuple):
    texture: int
    coordinates: Coordinates


class Materials:
    """The materials of a document, each read when it is first asked for."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._found: dict[int, Found] = {}
        self._pictures: dict[tuple[int, Channels], Bytes] = {}

    def find(self, number: int) -> Found:
        """The material by its number."""
        if number not in self._found:
            self._found[number] = self._read(number)
        return self._found[number]

    def _read(self, number: int) -> Found:
        document = self._document
        value = document.object("materials", number)
        name = document.text(value, "name") or f"material {number}"
        where = f'material {number} "{name}"'
        self._tell_rest(value, where)
        mode = value.get("alphaMode", "OPAQUE")
        if mode not in ("OPAQUE", "MASK", "BLEND"):
            document.fail(where, "its alphaMode is none of OPAQUE, MASK and BLEND")
        plain = Material(
            name=name,
            alpha_mode=cast(Any, _MODES[mode]),
            alpha_cutoff=document.number(value, "alphaCutoff", where, 0.5),
            double_sided=value.get("doubleSided") is True,
            is_unlit=document.extension(value, "KHR_materials_unlit", where) is not None,
        )
        glossy = document.extension(value, _GLOSSINESS, where)
        if glossy is not None and "pbrMetallicRoughness" in value:
            document.remark(
                f"{document.name}: {where}: has metallic-roughness values and specular-glossiness "
                "ones; the former are used."
            )
        elif glossy is not None:
            return self._glossy(plain, glossy, value, where)
        return self._metallic(plain, value, where)

    def _metallic(self, plain: Material, value: Json, where: str) -> Found:
        document = self._document
        core = document.part(value, "pbrMetallicRoughness", where)
        maps = {
            "albedo": self._map(core, "baseColorTexture", where),
            "normal": self._map(value, "normalTexture", where),
            "rough_metal": self._map(core, "metallicRoughnessTexture", where),
        }
        maps, coordinates = self._at_one_place(maps, where)
        material = replace(
            plain,
            albedo=self._picture(maps["albedo"], "3 or 4", f"{where}, base colour"),
            rough_metal=_without_red(
                self._picture(maps["rough_metal"], 3, f"{where}, metallic-roughness")
            ),
            normal=self._picture(maps["normal"], 3, f"{where}, normals"),
            albedo_factor=cast(Any, document.numbers(core, "baseColorFactor", where, _WHITE)),
            roughness_factor=document.number(core, "roughnessFactor", where, 1.0),
            metallic_factor=document.number(core, "metallicFactor", where, 1.0),
            normal_scale=document.number(
                document.part(value, "normalTexture", where), "scale", where, 1.0
            ),
            wrap=self._wrap(maps, where),
        )
        return Found(material, coordinates)

    def _glossy(self, plain: Material, glossy: Json, value: Json, where: str) -> Found:
        """A specular-glossiness material converted, of which a person is told."""
        document = self._document
        document.remark(
            f"{document.name}: {where}: specular-glossiness converted to metallic-roughness; "
            "coloured reflections of non-metals are lost."
        )
        maps = {
            "albedo": self._map(glossy, "diffuseTexture", where),
            "normal": self._map(value, "normalTexture", where),
            "specular": self._map(glossy, "specularGlossinessTexture", where),
        }
        maps, coordinates = self._at_one_place(maps, where)
        diffuse = self._picture(maps["albedo"], 4, f"{where}, diffuse")
        specular = self._picture(maps["specular"], 4, f"{where}, specular-glossiness")
        tint = np.array(document.numbers(glossy, "diffuseFactor", where, _WHITE))
        shine = (
            *document.numbers(glossy, "specularFactor", where, (1.0, 1.0, 1.0)),
            document.number(glossy, "glossinessFactor", where, 1.0),
        )
        material = replace(
            plain,
            normal=self._picture(maps["normal"], 3, f"{where}, normals"),
            wrap=self._wrap(maps, where),
        )
        return Found(_converted(material, diffuse, specular, tint, np.array(shine)), coordinates)

    # -- maps --------------------------------------------------------------------------------------

    def _map(self, parent: Json, key: str, where: str) -> _Map | None:
        document = self._document
        if key not in parent:
            return None
        where = f"{where}, {key}"
        value = document.part(parent, key, where)
        chosen = document.whole(value, "texCoord", where, default=0, most=99)
        moved = document.extension(value, "KHR_texture_transform", where) or {}
        return _Map(
            document.whole(value, "index", where),
            Coordinates(
                document.whole(moved, "texCoord", where, default=chosen, most=99),
                document.numbers(moved, "offset", where, (0.0, 0.0)),
                document.number(moved, "rotation", where, 0.0),
                document.numbers(moved, "scale", where, (1.0, 1.0)),
            ),
        )

    def _at_one_place(
        self, maps: dict[str, _Map | None], where: str
    ) -> tuple[dict[str, _Map | None], Coordinates]:
        """The maps that use the coordinates of the first one; the others are told and left out."""
        used = [one.coordinates for one in maps.values() if one is not None]
        coordinates = used[0] if used else Coordinates()
        name = self._document.name
        if coordinates.set:
            self._document.remark(
                f"{name}: {where}: its maps use the UVs TEXCOORD_{coordinates.set}, which become "
                "the only ones."
            )
        for key, one in maps.items():
            if one is not None and one.coordinates != coordinates:
                self._document.remark(
                    f"{name}: {where}: its {key.replace('_', '-')} map uses other UVs "
                    f"(TEXCOORD_{one.coordinates.set}, or moved) than its first map; left out."
                )
        kept = {
            key: one if one is not None and one.coordinates == coordinates else None
            for key, one in maps.items()
        }
        return kept, coordinates

    def _picture(self, chosen: _Map | None, channels: Channels, where: str) -> Bytes | None:
        if chosen is None:
            return None
        image = self._image_of(chosen.texture, where)
        key = (image, channels)
        if key not in self._pictures:
            self._pictures[key] = read_texture(
                self._image_bytes(image, where),
                channels,
                name=f"{self._document.name}: image {image} ({where})",
                allowance=self._document.allowance,
            )
        return self._pictures[key]

    def _image_of(self, number: int, where: str) -> int:
        """The number of the image of a texture."""
        document = self._document
        texture = document.object("textures", number)
        where = f"texture {number} ({where})"
        webp = document.extension(texture, "EXT_texture_webp", where)
        if webp is not None:
            return document.whole(webp, "source", where)
        if "source" not in texture:
            if document.extension(texture, "KHR_texture_basisu", where) is not None:
                document.fail(
                    where, "its picture is KTX2, which is not read", REMEDIES["KHR_texture_basisu"]
                )
            document.fail(where, "it names no picture")
        return document.whole(texture, "source", where)

    def _image_bytes(self, number: int, where: str) -> bytes:
        document = self._document
        image = document.object("images", number)
        where = f"image {number} ({where})"
        if "bufferView" in image:
            return bytes(document.view(document.whole(image, "bufferView", where))[0])
        return document.resource(image.get("uri"), where)

    def _wrap(self, maps: dict[str, _Map | None], where: str) -> Any:
        """How the maps go on outside; of several ways that of the first."""
        document = self._document
        for one in maps.values():
            if one is None:
                continue
            texture = document.object("textures", one.texture)
            if "sampler" not in texture:
                return "repeat"
            number = document.whole(texture, "sampler", where)
            sampler = document.object("samplers", number)
            ways = {
                document.whole(sampler, side, f"sampler {number}", default=_REPEAT)
                for side in ("wrapS", "wrapT")
            }
            if _MIRROR in ways:
                document.remark(
                    f"{document.name}: {where}: its maps are mirrored outside of "
                    "their square; taken as repeated."
                )
            return "clamp" if ways == {_CLAMP} else "repeat"
        return "repeat"

    def _tell_rest(self, value: Json, where: str) -> None:
        """What a material has beyond the maps that are read."""
        document = self._document
        for key, what in (("occlusionTexture", "occlusion"), ("emissiveTexture", "emission")):
            if key in value:
                document.remark(f"{document.name}: {where}: its {what} map is left out.")
        for name in document.part(value, "extensions", where):
            if name not in UNDERSTOOD:
                document.remark(f"{document.name}: {where}: {name[:60]} is left out.")


def _without_red(values: Bytes | None) -> Bytes | None:
    """The map with 255 in red, where others keep occlusion."""
    if values is None:
        return None
    found = values.copy()
    found[..., 0] = 255
    return found


def _converted(
    material: Material,
    diffuse: Bytes | None,
    specular: Bytes | None,
    tint: NDArray[np.float64],
    shine: NDArray[np.float64],
) -> Material:
    """The material with the maps, or factors, of specular-glossiness ones [H, W, 4]."""
    shapes = [one.shape[:2] for one in (diffuse, specular) if one is not None]
    if not shapes:
        base, metallic = metallic_of(np.clip(tint[:3], 0, 1), np.clip(shine[:3], 0, 1))
        return replace(
            material,
            albedo_factor=cast(Any, (*(float(one) for one in base), float(tint[3]))),
            roughness_factor=float(1 - shine[3]),
            metallic_factor=float(metallic),
        )
    shape = max(shapes, key=math.prod)
    albedo = np.empty((*shape, 4), np.uint8)
    rough_metal = np.full((*shape, 3), 255, np.uint8)
    step = max(1, _BLOCK_TEXELS // shape[1])
    for top in range(0, shape[0], step):
        rows = np.arange(top, min(top + step, shape[0]))
        colours, glosses = (
            _spread(diffuse, tint, rows, shape),
            _spread(specular, shine, rows, shape),
        )
        base, metallic = metallic_of(colours[..., :3], glosses[..., :3])
        albedo[rows, :, :3] = bytes_of(srgb_of(base))
        albedo[rows, :, 3] = bytes_of(colours[..., 3])
        rough_metal[rows, :, 1] = bytes_of(1 - glosses[..., 3])
        rough_metal[rows, :, 2] = bytes_of(metallic)
    if (albedo[..., 3] == 255).all():
        albedo = np.ascontiguousarray(albedo[..., :3])
    return replace(material, albedo=albedo, rough_metal=rough_metal, metallic_factor=1.0)


def _spread(
    texture: Bytes | None,
    factor: NDArray[np.float64],
    rows: NDArray[np.int64],
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Linear values [rows, W, 4] of a texture times its factor, at the nearest texel of `shape`."""
    if texture is None:
        return np.broadcast_to(np.clip(factor, 0, 1), (len(rows), shape[1], 4))
    height, width = texture.shape[:2]
    down = (2 * rows + 1) * height // (2 * shape[0])
    across = (2 * np.arange(shape[1]) + 1) * width // (2 * shape[1])
    texture = texture[down][:, across]
    linear = np.concatenate([linear_of_bytes(texture[..., :3]), texture[..., 3:] / 255], axis=2)
    return np.clip(linear * factor, 0, 1)
