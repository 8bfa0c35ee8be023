"""One door for mesh files, by their suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.gltf.scene import read_gltf
from modelgraft.spatial.files.obj import read_obj
from modelgraft.spatial.files.ply_meshes import read_mesh_ply
from modelgraft.spatial.files.stl import read_stl
from modelgraft.spatial.meshes import Asset

_READERS: Final = {
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".obj": read_obj,
    ".ply": read_mesh_ply,
    ".stl": read_stl,
}


def read_asset(path: Path) -> Asset:
    """What a mesh file holds, in world coordinates, y up as glTF has it.

    GLB and glTF 2.0, OBJ with MTL, PLY and STL. Albedo maps are sRGB, all other maps linear,
    colours of vertices are turned to linear, and no value of a picture is changed. OBJ, PLY and
    STL name no upward axis: theirs are kept as they are. What is left out or taken otherwise than
    the file says stands in `Asset.remarks`. Nothing outside of the file's folder is read.
    `InputError` for everything that cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: files of this kind are not read; {', '.join(_READERS)} are.\n"
            "  Open it in a modeller (Blender reads most kinds) and export it as GLB."
        )
    return reader(path)
