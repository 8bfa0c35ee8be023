"""GLB and glTF written: what tools ask of such files, and all of an asset back from them."""

from __future__ import annotations

import json
import struct
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import trimesh
from mesh_files import SQUARE, painted, picture, square_mesh, squares

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.spatial.files.gltf.container import split_glb
from modelgraft.spatial.files.gltf.scene import read_gltf
from modelgraft.spatial.files.gltf.writing import write_glb, write_gltf
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part, with_normals
from modelgraft.spatial.tangents import with_tangents


def written(path: Path, asset: Asset) -> tuple[dict[str, Any], bytes]:
    """The JSON and the buffer of the asset's GLB."""
    write_glb(path, asset)
    text, binary = split_glb(path.read_bytes(), str(path))
    assert binary is not None
    return json.loads(text), bytes(binary)


def values(root: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    accessor = root["accessors"][number]
    view = root["bufferViews"][accessor["bufferView"]]
    kind = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
    size = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    found = np.frombuffer(binary, kind, accessor["count"] * size, view["byteOffset"])
    return found.reshape(-1, size)


def single(mesh: Mesh, material: Material) -> Asset:
    return Asset((Part(mesh, material, is_textured=True),), "one")


def test_the_container_is_padded_and_says_its_own_length(tmp_path):
    root, binary = written(tmp_path / "a.glb", squares())
    content = (tmp_path / "a.glb").read_bytes()
    assert struct.unpack_from("<4sII", content) == (b"glTF", 2, len(content))
    assert len(content) % 4 == 0 and root["buffers"] == [{"byteLength": len(binary)}]
    assert root["asset"] == {"version": "2.0", "generator": "modelgraft"}
    assert all(view["byteOffset"] % 4 == 0 for view in root["bufferViews"])
    ends = [view["byteOffset"] + view["byteLength"] for view in root["bufferViews"]]
    starts = [view["byteOffset"] for view in root["bufferViews"]]
    assert all(end <= start < end + 4 for end, start in zip(ends, starts[1:], strict=False))
    assert max(ends) <= len(binary)


def test_attributes_have_targets_and_positions_their_bounds(tmp_path):
    root, binary = written(tmp_path / "a.glb", squares())
    for mesh in root["meshes"]:
        (primitive,) = mesh["primitives"]
        index = root["accessors"][primitive["indices"]]
        assert root["bufferViews"][index["bufferView"]]["target"] == 34963
        for number in primitive["attributes"].values():
            view = root["bufferViews"][root["accessors"][number]["bufferView"]]
            assert view["target"] == 34962
        position = root["accessors"][primitive["attributes"]["POSITION"]]
        found = values(root, binary, primitive["attributes"]["POSITION"])
        assert np.float32(position["min"]).tolist() == found.min(axis=0).tolist()
        assert np.float32(position["max"]).tolist() == found.max(axis=0).tolist()
    assert all("target" not in root["bufferViews"][one["bufferView"]] for one in root["images"])


def test_normals_and_tangents_are_unit_and_tangents_have_a_hand(tmp_path):
    asset = squares()
    mesh = replace(asset.parts[0].mesh, normals=asset.parts[0].mesh.normals * 1.5)
    root, binary = written(tmp_path / "a.glb", single(mesh, painted()))
    attributes = root["meshes"][0]["primitives"][0]["attributes"]
    normals, tangents = (values(root, binary, attributes[one]) for one in ("NORMAL", "TANGENT"))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert np.allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-6)
    assert set(np.abs(tangents[:, 3])) == {1}


def test_tangents_are_there_for_a_normal_map_and_only_then(tmp_path):
    root, _ = written(tmp_path / "a.glb", squares())
    has_tangents = ["TANGENT" in one["primitives"][0]["attributes"] for one in root["meshes"]]
    assert has_tangents == [True, True, False]


def test_one_sampler_filters_trilinear_and_clamps(tmp_path):
    root, _ = written(tmp_path / "a.glb", squares())
    assert root["samplers"] == [
        {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
    ]
    assert all(one["sampler"] == 0 for one in root["textures"])
    root, _ = written(tmp_path / "b.glb", single(square_mesh(), painted(wrap="repeat")))
    assert root["samplers"][0]["wrapS"] == 10497


@pytest.mark.parametrize(
    ("material", "expected"),
    [
        (Material(), 0),
        (Material(albedo=picture(0, 3)), 0),
        (Material(metallic_factor=0.7), 0.7),
        (painted(), 1),
        (painted(metallic_factor=0.5), 0.5),
    ],
)
def test_metallic_is_zero_unless_a_map_or_somebody_says_otherwise(tmp_path, material, expected):
    root, _ = written(tmp_path / "a.glb", single(square_mesh(), material))
    assert root["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == expected


@pytest.mark.parametrize(("num", "kind"), [(65535, 5123), (65536, 5125)])
def test_indices_are_short_where_they_fit_without_the_restart_value(tmp_path, num, kind):
    vertices = np.zeros((num, 3), np.float32)
    vertices[:, 0] = np.arange(num)
    vertices[-1] = [0, 1, 0]
    mesh = Mesh(vertices, np.array([[0, 1, num - 1]], np.int32))
    mesh = replace(mesh, normals=np.tile(np.float32([0, 0, 1]), (num, 1)))
    root, binary = written(tmp_path / "a.glb", single(mesh, Material()))
    number = root["meshes"][0]["primitives"][0]["indices"]
    assert root["accessors"][number]["componentType"] == kind
    assert values(root, binary, number)[:, 0].tolist() == [0, 1, num - 1]


def test_shared_pictures_and_materials_are_written_once(tmp_path):
    root, _ = written(tmp_path / "a.glb", squares())
    assert len(root["images"]) == 3 and len(root["materials"]) == 2 and len(root["meshes"]) == 3


def test_trimesh_finds_the_very_maps_and_uvs(tmp_path):
    mesh, material = with_normals(square_mesh(uvs=SQUARE[:, :2] * 0.7 + 0.1)), painted()
    write_glb(tmp_path / "a.glb", single(mesh, material))
    scene = trimesh.load(tmp_path / "a.glb", process=False)
    (found,) = scene.geometry.values()
    theirs = found.visual.material
    assert (np.asarray(theirs.baseColorTexture) == material.albedo).all()
    surface = np.asarray(theirs.metallicRoughnessTexture)
    assert (surface == material.rough_metal).all() and (surface[..., 0] == 255).all()
    assert (np.asarray(theirs.normalTexture) == material.normal).all()
    assert np.abs(found.visual.uv - mesh.uvs).max() < 1e-6
    assert (found.vertices == mesh.vertices).all() and (found.faces == mesh.faces).all()


@pytest.mark.parametrize(("write", "suffix"), [(write_glb, ".glb"), (write_gltf, ".gltf")])
def test_all_of_an_asset_comes_back(tmp_path, write, suffix):
    first = painted(
        "first",
        albedo=picture(5, 4),
        albedo_factor=(0.5, 0.25, 0.125, 0.5),
        roughness_factor=0.5,
        metallic_factor=0.25,
        normal_scale=2.0,
        alpha_mode="mask",
        alpha_cutoff=0.25,
        wrap="repeat",
        double_sided=True,
        is_unlit=True,
    )
    mesh = with_tangents(with_normals(square_mesh(uvs=SQUARE[:, :2] / 2)))
    coloured = replace(mesh, colours=np.abs(SQUARE) / 2, name="coloured")
    second = painted("second", albedo=picture(6, 3), alpha_mode="blend")
    asset = Asset((Part(mesh, first, True), Part(coloured, second, True)), "thing")
    write(tmp_path / f"thing{suffix}", asset)
    found = read_gltf(tmp_path / f"thing{suffix}")
    assert found.name == "thing"
    for one, other in zip(asset.parts, found.parts, strict=True):
        for kind in (one.mesh, one.material):
            there = other.mesh if kind is one.mesh else other.material
            for field in fields(kind):
                mine, theirs = getattr(kind, field.name), getattr(there, field.name)
                if isinstance(mine, np.ndarray):
                    assert (mine == theirs).all(), field.name
                elif field.name == "metallic_factor":
                    assert kind.metallic == theirs
                elif field.name == "alpha_cutoff":
                    assert mine == theirs or kind.alpha_mode != "mask"
                else:
                    assert mine == theirs, field.name


def test_gltf_has_its_buffer_and_pictures_beside_it(tmp_path):
    write_gltf(tmp_path / "chair.gltf", single(square_mesh(), painted()))
    names = {one.name for one in tmp_path.iterdir()}
    maps = {"chair_albedo.png", "chair_rm.png", "chair_normal.png"}
    assert names == {"chair.gltf", "chair.bin", *maps}
    write_gltf(tmp_path / "b.gltf", squares())
    assert (tmp_path / "b_0_albedo.png").exists()


def test_the_same_asset_gives_the_same_bytes(tmp_path):
    write_glb(tmp_path / "a.glb", squares())
    write_glb(tmp_path / "b.glb", squares())
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_maps_without_uvs_are_refused_and_the_old_file_stays(tmp_path):
    write_glb(tmp_path / "a.glb", squares())
    before = (tmp_path / "a.glb").read_bytes()
    bare = replace(square_mesh(), uvs=None, name="seat")
    with pytest.raises(
        InputError, match=r'one, mesh "seat" \(part 0\): it has maps and no tex.*\n'
    ):
        write_glb(tmp_path / "a.glb", single(bare, painted()))
    assert (tmp_path / "a.glb").read_bytes() == before


@pytest.mark.parametrize("name", ["vertices", "uvs", "normals"])
def test_values_that_are_not_finite_are_not_written(tmp_path, name):
    mesh = with_normals(square_mesh())
    spoilt = getattr(mesh, name).copy()
    spoilt[1, 0] = np.inf
    with pytest.raises(InputError, match=f"its {name} are not all finite"):
        write_glb(tmp_path / "a.glb", single(replace(mesh, **{name: spoilt}), Material()))
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file.a\.glb: the file cannot be made"):
        write_glb(tmp_path / "file" / "a.glb", squares())


def test_files_with_any_name_are_named_by_uris_and_found_again(tmp_path):
    path = tmp_path / "a chair #1, 100% t\u00fchl.gltf"
    asset = squares()
    write_gltf(path, asset)
    root = json.loads(path.read_text())
    uris = [one["uri"] for one in (*root["images"], *root["buffers"])]
    assert len(uris) > 1 and all(one.startswith("a%20chair%20%231%2C%20100%25%20t%C3%BChl")
                                 for one in uris)  # fmt: skip
    assert {unquote(one) for one in uris} | {path.name} == {one.name for one in tmp_path.iterdir()}
    for found, given in zip(read_gltf(path).parts, asset.parts, strict=True):
        assert np.array_equal(found.mesh.vertices, given.mesh.vertices)
        assert np.array_equal(found.material.albedo, given.material.albedo)
