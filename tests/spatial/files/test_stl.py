"""STL in both forms, and the door that all mesh files go through."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from mesh_files import damaged, is_quick_and_named, square_mesh, squares

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.gltf.writing import write_glb, write_gltf
from modelgraft.spatial.files.obj_writing import write_obj
from modelgraft.spatial.files.ply_meshes import write_mesh_ply
from modelgraft.spatial.files.reading import read_asset
from modelgraft.spatial.files.stl import read_stl

TORUS = trimesh.creation.torus(1, 0.3, 12, 8)


def saved(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "a.stl"
    content = TORUS.export(file_type=kind)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("kind", ["stl", "stl_ascii"])
def test_corners_at_one_place_become_one_vertex(tmp_path, kind):
    (part,) = read_stl(saved(tmp_path, kind)).parts
    assert len(part.mesh.vertices) == len(TORUS.vertices)
    assert np.allclose(part.mesh.vertices[part.mesh.faces], TORUS.triangles, atol=1e-6)
    assert part.mesh.uvs is None and part.mesh.normals is None


def test_a_binary_file_that_begins_like_text_is_read_as_binary(tmp_path):
    path = saved(tmp_path, "stl")
    path.write_bytes(b"solid" + path.read_bytes()[5:])
    assert len(read_stl(path).parts[0].mesh.faces) == len(TORUS.faces)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 lines with a vertex"),
        (b"\0" * 80 + struct.pack("<I", 1 << 31), "promises 2,147,483,648 faces"),
        (b"\0" * 84, "no faces"),
        (b"solid a\nvertex 0 0 0\nvertex 1 0 0\n", "2 lines with a vertex"),
        (b"solid a\n" + b"vertex 0 0\n" * 3, "a vertex without three numbers"),
        (b"solid a\n" + b"vertex 0 0 x\n" * 3, "no number"),
        (b"solid a\n" + b"vertex 0 0 nan\n" * 3, "corner of face 0 is not finite"),
        (b"solid a\n" + b"vertex 0 0 1e99\n" * 3, "corner of face 0 is not finite"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.stl: .*{message}"):
        read_stl(tmp_path / "a.stl")


@pytest.mark.parametrize("kind", ["stl", "stl_ascii"])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, kind):
    path = saved(tmp_path, kind)
    for content in damaged(path.read_bytes(), 100):
        path.write_bytes(content)
        assert is_quick_and_named(lambda: read_stl(path), "a.stl")


# -- the door --------------------------------------------------------------------------------------


def test_every_kind_of_file_goes_through_one_door(tmp_path):
    write_glb(tmp_path / "a.glb", squares())
    write_gltf(tmp_path / "a.gltf", squares())
    write_obj(tmp_path / "a.OBJ", squares())
    write_mesh_ply(tmp_path / "a.ply", square_mesh())
    saved(tmp_path, "stl")
    numbers = [
        len(read_asset(tmp_path / f"a.{one}").parts) for one in ("glb", "gltf", "OBJ", "ply", "stl")
    ]
    assert numbers == [3, 3, 3, 1, 1]


@pytest.mark.parametrize("name", ["a.fbx", "a.blend", "a", "a.glb.zip"])
def test_other_kinds_are_refused_with_the_way_to_one_that_is_read(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name}: files of this kind are not read; .*\n.*as GLB"):
        read_asset(tmp_path / name)
