"""Assets as OBJ with an MTL file and PNG pictures beside it.

Maps: `map_Kd` albedo in sRGB; `map_Pr` roughness and `map_Pm` metallic as grey, `norm` normals,
all linear. A map of roughness or metallic is multiplied with its factor, since a reader takes the
map alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.files import write_atomic
from modelgraft.spatial.files.colours import bytes_of, srgb_of
from modelgraft.spatial.files.gltf.writing import distinct_materials, ready
from modelgraft.spatial.files.textures import png_bytes
from modelgraft.spatial.meshes import Asset, Bytes, Material, Mesh


def write_obj(path: Path, asset: Asset) -> None:
    """Write the asset as .obj with a .mtl and PNG files named after it beside it.

    Positions, UVs and normals keep every bit of float32. The .obj is written last. `InputError`
    for maps without UVs and values that are not finite.
    """
    materials = distinct_materials(asset)
    numbers = {id(one): place for place, one in enumerate(materials)}
    names = _material_names(materials)
    lines = [f"mtllib {path.stem}.mtl\n"]
    starts = np.ones(3, np.int64)
    for place, part in enumerate(asset.parts):
        where = f'{asset.name}, mesh "{part.mesh.name}" (part {place})'
        mesh = ready(part, where).mesh
        lines.append(f"o {_word(mesh.name)}\n")
        lines += _mesh_lines(mesh, names[numbers[id(part.material)]], starts)
        has_uvs = mesh.uvs is not None
        starts += len(mesh.vertices) * np.array([1, has_uvs, 1])
    library = []
    for number, material in enumerate(materials):
        stem = path.stem if len(materials) == 1 else f"{path.stem}_{number}"
        library.append(_material_text(material, names[number], path, stem))
    write_atomic(path.with_suffix(".mtl"), "\n".join(library))
    write_atomic(path, "".join(lines))


def _mesh_lines(mesh: Mesh, material: str, starts: NDArray[np.int64]) -> list[str]:
    """`starts` are the numbers that the first position, UV and normal will have."""
    assert mesh.normals is not None
    lines = [_table("v", mesh.vertices)]
    columns = [mesh.faces + starts[0]]
    corner = "%d//%d"
    if mesh.uvs is not None:
        lines.append(_table("vt", mesh.uvs))
        columns.append(mesh.faces + starts[1])
        corner = "%d/%d/%d"
    lines += [_table("vn", mesh.normals), f"usemtl {material}\n"]
    columns.append(mesh.faces + starts[2])
    index = np.stack(columns, axis=-1)
    form = f"f {corner} {corner} {corner}\n"
    lines.append(form * len(index) % tuple(index.ravel().tolist()))
    return lines


def _table(key: str, values: NDArray[Any]) -> str:
    """A line for each row, with digits enough for float32."""
    form = key + " %.9g" * values.shape[1] + "\n"
    return form * len(values) % tuple(values.ravel().tolist())


def _material_text(material: Material, name: str, path: Path, stem: str) -> str:
    """The lines of a material; its pictures are written."""
    colour = srgb_of(material.albedo_factor[:3])
    lines = [f"newmtl {name}", "Kd " + " ".join(f"{one:.6g}" for one in colour)]
    lines += [f"Pr {material.roughness_factor:.6g}", f"Pm {material.metallic:.6g}"]
    if material.albedo_factor[3] < 1:
        lines.append(f"d {material.albedo_factor[3]:.6g}")
    maps: dict[str, tuple[str, Bytes]] = {}
    if material.albedo is not None:
        maps["map_Kd"] = ("albedo", material.albedo)
    if material.rough_metal is not None:
        rough, metal = material.rough_metal[..., 1:2] / 255, material.rough_metal[..., 2:] / 255
        maps["map_Pr"] = ("roughness", bytes_of(rough * material.roughness_factor))
        maps["map_Pm"] = ("metallic", bytes_of(metal * material.metallic))
    if material.normal is not None:
        maps["norm"] = ("normal", material.normal)
    clamp = "-clamp on " if material.wrap == "clamp" else ""
    for key, (kind, values) in maps.items():
        write_atomic(path.with_name(f"{stem}_{kind}.png"), png_bytes(values))
        lines.append(f"{key} {clamp}{stem}_{kind}.png")
    return "\n".join(lines) + "\n"


def _material_names(materials: list[Material]) -> list[str]:
    """Names without spaces, no two alike."""
    words = [_word(one.name) for one in materials]
    return [
        word if words.count(word) == 1 else f"{word}_{number}" for number, word in enumerate(words)
    ]


def _word(name: str) -> str:
    return "_".join(name.split()) or "unnamed"
