"""What was painted as an asset where the given one stood, and as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import make_folder, write_atomic
from modelgraft.methods.material_anything.assets.opacity import opacity_texture
from modelgraft.methods.material_anything.assets.preparing import Prepared
from modelgraft.methods.material_anything.infer import Painted
from modelgraft.spatial.files.colours import bytes_of
from modelgraft.spatial.files.gltf.writing import write_glb, write_gltf
from modelgraft.spatial.files.obj_writing import write_obj
from modelgraft.spatial.files.textures import png_bytes
from modelgraft.spatial.meshes import Asset, Bytes, Material, Mesh, Part

_WRITERS: Final[dict[str, Callable[[Path, Asset], None]]] = {
    ".glb": write_glb,
    ".gltf": write_gltf,
    ".obj": write_obj,
}


def finished(prepared: Prepared, painted: Painted) -> Asset:
    """The painted mesh in the place and size of the given asset, in the same parts.

    All parts share the maps, in 8 bits. Each keeps its name, its opacity (moved to the new
    texture), and whether both its sides are seen.
    """
    maps = _maps(prepared, painted)
    whole = prepared.placement.undone(prepared.mesh)
    materials: dict[tuple[object, ...], Material] = {}
    parts = []
    for number, given in enumerate(prepared.source.parts):
        chosen = np.flatnonzero(prepared.part == number)
        if not len(chosen):
            continue
        old = given.material
        # A cutoff says something of `mask` alone; elsewhere it must not tell materials apart.
        cutoff = old.alpha_cutoff if old.alpha_mode == "mask" else 0.5
        finish = (old.alpha_mode, cutoff, old.double_sided)
        materials.setdefault(
            finish,
            replace(
                maps, alpha_mode=old.alpha_mode, alpha_cutoff=cutoff, double_sided=old.double_sided
            ),
        )
        parts.append(Part(_own(whole, chosen, given.mesh.name), materials[finish], True))
    return Asset(tuple(parts), prepared.source.name)


def export(prepared: Prepared, painted: Painted, out: Path) -> tuple[Path, ...]:
    """Write what `finished` gives as .glb, .gltf or .obj, and say which files there are now.

    The one that names the others comes first. `ConfigError` for another suffix, the errors of
    `core.files` for a place that cannot be written.
    """
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        raise ConfigError(
            "format",
            f"{out}: files of this kind are not written as format of a mesh; "
            f"{', '.join(_WRITERS)} are.\n  Give the file one of these suffixes.",
        )
    make_folder(out.parent)
    writer(out, finished(prepared, painted))
    return (out, *_beside(out))


def write_maps(prepared: Prepared, painted: Painted, folder: Path, name: str) -> dict[str, Path]:
    """Write the maps as PNG, and say which is where.

    `albedo` (sRGB, with opacity if the asset has any), `rm` (linear; red 255, green roughness, blue
    metallic), `roughness` and `metallic` (linear, one channel) and `normal` (linear, green up), as
    NAME_albedo.png and so on.
    """
    maps = _maps(prepared, painted)
    assert maps.albedo is not None and maps.rough_metal is not None and maps.normal is not None
    pictures: dict[str, Bytes] = {
        "albedo": maps.albedo,
        "rm": maps.rough_metal,
        "roughness": maps.rough_metal[..., 1:2],
        "metallic": maps.rough_metal[..., 2:],
        "normal": maps.normal,
    }
    make_folder(folder)
    found = {}
    for kind, values in pictures.items():
        found[kind] = folder / f"{name}_{kind}.png"
        write_atomic(found[kind], png_bytes(values))
    return found


def _maps(prepared: Prepared, painted: Painted) -> Material:
    """The maps as the bytes of a material."""
    albedo, rm, bump = (_picture(one[0]) for one in painted.maps)
    rm[..., 0] = 255
    opacity = opacity_texture(prepared, (albedo.shape[0], albedo.shape[1]))
    if opacity is not None:
        albedo = np.concatenate([albedo, _picture(opacity[None])], axis=2)
    return Material(
        prepared.source.name,
        albedo=albedo,
        rough_metal=rm,
        normal=bump,
        metallic_factor=1.0,
        wrap="clamp",
    )


def _picture(values: Tensor) -> Bytes:
    """[C, H, W] from 0 to 1 as bytes [H, W, C]."""
    return np.ascontiguousarray(bytes_of(values.detach().cpu().numpy()).transpose(1, 2, 0))


def _own(whole: Mesh, chosen: NDArray[np.int64], name: str) -> Mesh:
    """The mesh of some faces of a whole one."""
    ids, faces = np.unique(whole.faces[chosen], return_inverse=True)
    return replace(whole.taken(ids, faces.reshape(-1, 3)), name=name)


def _beside(out: Path) -> list[Path]:
    """The files that a written one names."""
    if out.suffix.lower() == ".gltf":
        root = json.loads(out.read_bytes())
        uris = [one["uri"] for one in root["buffers"] + root.get("images", [])]
        return [out.with_name(unquote(one)) for one in uris]
    if out.suffix.lower() == ".obj":
        library = out.with_suffix(".mtl")
        keys = ("map_", "norm ")
        lines = [one for one in library.read_text().splitlines() if one.startswith(keys)]
        # Our writer puts the name last, behind options without spaces.
        return [library, *(out.with_name(_named(line)) for line in lines)]
    return []


def _named(line: str) -> str:
    _, _, rest = line.partition(" ")
    return rest.removeprefix("-clamp on ")
