"""glTF read: geometry where the scene puts it, materials as the file says, and what is told."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from mesh_files import SQUARE, SQUARE_FACES, SQUARE_UVS, Sketch, picture
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.gltf.glossiness import metallic_of
from modelgraft.spatial.files.gltf.scene import read_gltf
from modelgraft.spatial.meshes import Mesh, face_normals

DOWN = np.stack([SQUARE_UVS[:, 0], 1 - SQUARE_UVS[:, 1]], axis=1)  # as glTF stores UVs


def encoded(pixels: np.ndarray, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **how)
    return buffer.getvalue()


def one_mesh(sketch: Sketch, tmp_path: Path, suffix: str = ".glb") -> Mesh:
    (part,) = read_gltf(sketch.save(tmp_path / f"a{suffix}")).parts
    return part.mesh


# -- geometry --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_positions_faces_and_uvs_come_out_as_written(tmp_path, suffix):
    sketch = Sketch()
    sketch.mesh(sketch.primitive(SQUARE, SQUARE_FACES, TEXCOORD_0=sketch.accessor(DOWN)))
    mesh = one_mesh(sketch, tmp_path, suffix)
    assert (mesh.vertices == SQUARE).all() and (mesh.faces == SQUARE_FACES).all()
    assert (mesh.uvs == SQUARE_UVS).all()
    assert mesh.name == "thing" and mesh.normals is None
    assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.int32


def test_nested_nodes_put_meshes_where_trimesh_puts_them(tmp_path):
    rng = np.random.default_rng(0)
    sketch = Sketch()
    primitive = sketch.primitive(rng.normal(size=(30, 3)), rng.integers(0, 30, (20, 3)))
    leaf = sketch.mesh(primitive, translation=[1, 2, 3], rotation=[0.5, 0.5, 0.5, 0.5])
    other = sketch.mesh(primitive, scale=[2, 3, 0.5])
    turn = np.eye(4)
    turn[:3] = rng.normal(size=(3, 4))
    if np.linalg.det(turn[:3, :3]) < 0:
        turn[:3, 0] *= -1
    middle = sketch.add("nodes", children=[leaf, other], matrix=turn.T.ravel().tolist())
    root = sketch.add("nodes", children=[middle], rotation=[0, 0.6, 0, 0.8])
    sketch.root |= {"scenes": [{"nodes": [root]}], "scene": 0}
    path = sketch.save(tmp_path / "a.glb")
    scene = trimesh.load(path, process=False)
    theirs = np.concatenate([one.triangles for one in scene.dump()])
    ours = read_gltf(path)
    assert len(ours.parts) == 2
    found = np.concatenate([part.mesh.vertices[part.mesh.faces] for part in ours.parts])
    assert np.allclose(np.sort(found, axis=None), np.sort(theirs, axis=None), atol=1e-5)


def test_a_mirroring_node_keeps_fronts_in_front_and_turns_the_tangents_hand(tmp_path):
    sketch = Sketch()
    primitive = sketch.primitive(
        SQUARE,
        SQUARE_FACES,
        NORMAL=sketch.accessor([[0, 0, 1]] * 4),
        TANGENT=sketch.accessor([[1, 0, 0, 1]] * 4),
        TEXCOORD_0=sketch.accessor(DOWN),
    )
    sketch.mesh(primitive, scale=[-2, 1, 1])
    mesh = one_mesh(sketch, tmp_path)
    assert (face_normals(mesh) == [0, 0, 1]).all() and (mesh.normals == [0, 0, 1]).all()
    assert (mesh.tangents == [-1, 0, 0, -1]).all()
    across = np.cross(mesh.normals[0], mesh.tangents[0, :3]) * mesh.tangents[0, 3]
    assert (across == [0, 1, 0]).all()  # v still grows upwards


def test_normals_stay_across_the_surface_under_an_uneven_scale(tmp_path):
    slope = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0]], np.float32)
    normal = np.array([-1, 0, 1]) / math.sqrt(2)
    sketch = Sketch()
    sketch.mesh(
        sketch.primitive(slope, [[0, 1, 2]], NORMAL=sketch.accessor([normal] * 3)),
        scale=[3, 1, -0.5],
        rotation=[0.1, 0.7, 0.1, 0.7],
    )
    mesh = one_mesh(sketch, tmp_path)
    assert np.allclose(mesh.normals, face_normals(mesh), atol=1e-6)


@pytest.mark.parametrize(("mode", "index"), [(5, [0, 1, 3, 2]), (6, [0, 1, 2, 3])])
def test_strips_and_fans_are_taken_apart_with_their_fronts(tmp_path, mode, index):
    sketch = Sketch()
    sketch.mesh({**sketch.primitive(SQUARE, index), "mode": mode})
    mesh = one_mesh(sketch, tmp_path)
    assert mesh.faces.shape == (2, 3)
    assert (face_normals(mesh) == [0, 0, 1]).all()
    assert set(mesh.faces.ravel()) == {0, 1, 2, 3}


def test_without_indices_vertices_make_faces_in_their_order(tmp_path):
    sketch = Sketch()
    sketch.mesh(sketch.primitive(SQUARE[[0, 1, 2, 0, 2, 3]]))
    assert (one_mesh(sketch, tmp_path).faces == [[0, 1, 2], [3, 4, 5]]).all()


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2"])
def test_normalised_integers_are_scaled_and_others_are_not(tmp_path, kind):
    top = np.iinfo(kind).max
    values = np.array([[0, 0, 0], [top, 0, 0], [top, top // 2, 0]])
    sketch = Sketch()
    sketch.root |= {"extensionsRequired": ["KHR_mesh_quantization"]}
    for is_scaled in (True, False):
        number = sketch.accessor(values, kind, normalized=is_scaled)
        sketch.mesh({"attributes": {"POSITION": number}})
    scaled, plain = (
        part.mesh.vertices for part in read_gltf(sketch.save(tmp_path / "a.glb")).parts
    )
    assert (plain == values).all()
    assert np.allclose(scaled, values / top, atol=1e-7)


def test_the_lowest_integer_is_minus_one_and_no_less(tmp_path):
    sketch = Sketch()
    number = sketch.accessor([[-128, -127, 127], [0, 0, 0], [1, 2, 3]], "i1", normalized=True)
    sketch.mesh({"attributes": {"POSITION": number}})
    assert (one_mesh(sketch, tmp_path).vertices[0] == [-1, -1, 1]).all()


def test_interleaved_attributes_are_taken_apart(tmp_path):
    rows = np.concatenate([SQUARE, DOWN], axis=1).astype("<f4")
    sketch = Sketch()
    view = sketch.view(rows.tobytes(), byteStride=20)
    common = {"bufferView": view, "componentType": 5126, "count": 4}
    position = sketch.add("accessors", **common, type="VEC3")
    uv = sketch.add("accessors", **common, type="VEC2", byteOffset=12)
    index = sketch.accessor(SQUARE_FACES.ravel(), "u1")
    attributes = {"POSITION": position, "TEXCOORD_0": uv}
    sketch.mesh({"attributes": attributes, "indices": index})
    mesh = one_mesh(sketch, tmp_path)
    assert (mesh.vertices == SQUARE).all() and (mesh.uvs == SQUARE_UVS).all()


@pytest.mark.parametrize("has_start", [True, False])
def test_sparse_accessors_replace_single_elements(tmp_path, has_start):
    sketch = Sketch()
    start = sketch.accessor(SQUARE)
    sparse = {
        "count": 2,
        "indices": {
            "bufferView": sketch.view(np.array([1, 3], "<u2").tobytes()),
            "componentType": 5123,
        },
        "values": {"bufferView": sketch.view(np.full((2, 3), 7, "<f4").tobytes())},
    }
    accessor = sketch.root["accessors"][start]
    accessor["sparse"] = sparse
    if not has_start:
        del accessor["bufferView"]
    sketch.mesh({"attributes": {"POSITION": start}, "indices": sketch.accessor([0, 1, 2], "u1")})
    expected = SQUARE.copy() if has_start else np.zeros_like(SQUARE)
    expected[[1, 3]] = 7
    assert (one_mesh(sketch, tmp_path).vertices == expected).all()


def test_a_skinned_mesh_stands_where_its_joints_put_it_and_not_its_node(tmp_path):
    sketch = Sketch()
    bind = np.tile(np.eye(4), (2, 1, 1))
    bind[1, :3, 3] = [0, -1, 0]
    weights = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0]]
    primitive = sketch.primitive(
        SQUARE,
        SQUARE_FACES,
        JOINTS_0=sketch.accessor([[0, 1, 0, 0]] * 4, "u1"),
        WEIGHTS_0=sketch.accessor(weights),
    )
    first = sketch.add("nodes", translation=[5, 0, 0])
    second = sketch.add("nodes", translation=[0, 2, 0], scale=[1, 2, 1])
    sketch.add(
        "skins",
        joints=[first, second],
        inverseBindMatrices=sketch.accessor(bind.swapaxes(1, 2).reshape(2, 16)),
    )
    body = sketch.mesh(primitive, skin=0, translation=[100, 0, 0])
    sketch.root |= {"scenes": [{"nodes": [first, second, body]}]}
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    one = np.array([5, 0, 0]) + SQUARE
    other = np.array([0, 2, 0]) + (SQUARE - [0, 1, 0]) * [1, 2, 1]
    share = np.array([0, 0.5, 1, 1])[:, None]
    expected = one * (1 - share) + other * share
    assert np.allclose(asset.parts[0].mesh.vertices, expected)
    assert any("rest pose" in one for one in asset.remarks)


def test_the_scene_that_is_named_is_read_and_no_other(tmp_path):
    sketch = Sketch()
    nodes = [sketch.mesh(sketch.primitive(SQUARE + k, SQUARE_FACES)) for k in range(3)]
    sketch.root |= {"scenes": [{"nodes": [nodes[0]]}, {"nodes": [nodes[2]]}], "scene": 1}
    assert (one_mesh(sketch, tmp_path).vertices == SQUARE + 2).all()


# -- what is told ----------------------------------------------------------------------------------


def remarks(sketch: Sketch, tmp_path: Path) -> str:
    return "\n".join(read_gltf(sketch.save(tmp_path / "a.glb")).remarks)


def test_lines_points_and_morph_targets_are_told_by_name(tmp_path):
    sketch = Sketch()
    plain = sketch.primitive(SQUARE, SQUARE_FACES)
    lines = {**sketch.primitive(SQUARE), "mode": 1}
    sketch.mesh({**plain, "targets": [{"POSITION": 0}]}, lines, name="chair")
    told = remarks(sketch, tmp_path)
    assert 'mesh 0 "chair", primitive 0: its morph targets are left out' in told
    assert 'mesh 0 "chair", primitive 1: points or lines; left out' in told


def test_animations_and_further_layers_of_materials_are_told(tmp_path):
    sketch = Sketch()
    extensions = {"KHR_materials_clearcoat": {"clearcoatFactor": 1}, "VENDOR_glow": {}}
    with_material(sketch, name="paint", extensions=extensions)
    sketch.add("animations", channels=[], samplers=[])
    sketch.root["extensionsRequired"] = ["KHR_materials_clearcoat"]
    told = remarks(sketch, tmp_path)
    assert "its animations are left out" in told
    assert "needs KHR_materials_clearcoat, which is left out" in told
    assert 'material 0 "paint": VENDOR_glow is left out' in told


def test_a_scene_of_points_alone_is_refused_with_a_remedy(tmp_path):
    sketch = Sketch()
    sketch.mesh({**sketch.primitive(SQUARE), "mode": 0})
    with pytest.raises(InputError, match=r"a\.glb: no triangles.*\n.*Export"):
        read_gltf(sketch.save(tmp_path / "a.glb"))


def test_colours_of_vertices_are_kept_linear_and_told(tmp_path):
    colours = np.array([[0, 128, 255, 255]] * 4)
    sketch = Sketch()
    number = sketch.accessor(colours, "u1", normalized=True)
    sketch.mesh(sketch.primitive(SQUARE, SQUARE_FACES, COLOR_0=number))
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    assert np.allclose(asset.parts[0].mesh.colours, colours[:, :3] / 255)
    assert "colours of vertices (linear)" in asset.remarks[0]


def test_normals_without_direction_are_computed_and_told(tmp_path):
    normals = np.array([[0, 0, 2], [0, 0, 0], [0, 0, 1], [np.nan, 0, 1]])
    sketch = Sketch()
    sketch.mesh(sketch.primitive(SQUARE, SQUARE_FACES, NORMAL=sketch.accessor(normals)))
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    assert np.allclose(asset.parts[0].mesh.normals, [[0, 0, 1]] * 4)
    assert "2 normals have no direction" in asset.remarks[0]


# -- materials -------------------------------------------------------------------------------------


def with_material(
    sketch: Sketch, attributes: dict[str, int] | None = None, **material: Any
) -> None:
    number = sketch.add("materials", **material)
    attributes = attributes or {"TEXCOORD_0": sketch.accessor(DOWN)}
    primitive = sketch.primitive(SQUARE, SQUARE_FACES, **attributes)
    sketch.mesh({**primitive, "material": number})


def test_a_material_is_read_with_all_that_it_says(tmp_path):
    sketch = Sketch()
    colour, surface, bump = picture(0, 4), picture(1, 3), picture(2, 3)
    textures = [sketch.picture(encoded(one)) for one in (colour, surface, bump)]
    with_material(
        sketch,
        name="wood",
        pbrMetallicRoughness={
            "baseColorTexture": {"index": textures[0]},
            "baseColorFactor": [0.5, 0.25, 1, 0.5],
            "metallicRoughnessTexture": {"index": textures[1]},
            "roughnessFactor": 0.5,
            "metallicFactor": 0.25,
        },
        normalTexture={"index": textures[2], "scale": 2},
        occlusionTexture={"index": textures[1]},
        alphaMode="MASK",
        alphaCutoff=0.3,
        doubleSided=True,
        extensions={"KHR_materials_unlit": {}},
    )
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    (part,) = asset.parts
    found = part.material
    assert part.is_textured and found.name == "wood"
    assert (found.albedo == colour).all() and (found.normal == bump).all()
    assert (found.rough_metal[..., 1:] == surface[..., 1:]).all()
    assert (found.rough_metal[..., 0] == 255).all()  # there others keep occlusion
    assert found.albedo_factor == (0.5, 0.25, 1, 0.5)
    assert (found.roughness_factor, found.metallic_factor, found.normal_scale) == (0.5, 0.25, 2)
    assert (found.alpha_mode, found.alpha_cutoff) == ("mask", 0.3)
    assert found.double_sided and found.is_unlit and found.wrap == "repeat"
    assert any("occlusion map is left out" in one for one in asset.remarks)


def test_what_a_material_does_not_say_is_as_the_specification_has_it(tmp_path):
    sketch = Sketch()
    with_material(sketch, name="bare")
    (part,) = read_gltf(sketch.save(tmp_path / "a.glb")).parts
    assert (part.material.metallic, part.material.roughness_factor) == (1, 1)
    assert part.material.albedo_factor == (1, 1, 1, 1) and part.material.alpha_mode == "opaque"


@pytest.mark.parametrize(
    ("sampler", "expected", "told"),
    [
        ({"wrapS": 33071, "wrapT": 33071}, "clamp", ""),
        ({"wrapS": 33071}, "repeat", ""),
        ({"wrapS": 33648, "wrapT": 33648}, "repeat", "mirrored"),
    ],
)
def test_the_sampler_says_how_maps_go_on(tmp_path, sampler, expected, told):
    sketch = Sketch()
    texture = sketch.picture(encoded(picture(0, 3)))
    sketch.root["textures"][texture]["sampler"] = sketch.add("samplers", **sampler)
    with_material(sketch, pbrMetallicRoughness={"baseColorTexture": {"index": texture}})
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    assert asset.parts[0].material.wrap == expected
    assert told in "\n".join(asset.remarks)


def test_a_moved_texture_moves_the_uvs(tmp_path):
    # The example of the extension: the lower left quadrant, turned clockwise by 90 degrees.
    moved = {"offset": [0, 1], "rotation": math.pi / 2, "scale": [0.5, 0.5]}
    sketch = Sketch()
    texture = sketch.picture(encoded(picture(0, 3)))
    info = {"index": texture, "extensions": {"KHR_texture_transform": moved}}
    with_material(sketch, pbrMetallicRoughness={"baseColorTexture": info})
    mesh = one_mesh(sketch, tmp_path)
    assert np.allclose(mesh.uvs.min(axis=0), [0, 0], atol=1e-6)
    assert np.allclose(mesh.uvs.max(axis=0), [0.5, 0.5], atol=1e-6)
    upper_left = np.flatnonzero((DOWN == [0, 0]).all(axis=1))
    assert np.allclose(mesh.uvs[upper_left], [0, 0], atol=1e-6)


def test_maps_of_another_uv_set_are_told(tmp_path):
    sketch = Sketch()
    texture = sketch.picture(encoded(picture(0, 3)))
    sets = {"TEXCOORD_0": sketch.accessor(DOWN), "TEXCOORD_1": sketch.accessor(DOWN / 2)}
    with_material(
        sketch,
        sets,
        name="two",
        pbrMetallicRoughness={
            "baseColorTexture": {"index": texture, "texCoord": 1},
            "metallicRoughnessTexture": {"index": texture},
        },
    )
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    (part,) = asset.parts
    assert np.allclose(part.mesh.uvs, np.stack([DOWN[:, 0] / 2, 1 - DOWN[:, 1] / 2], axis=1))
    assert part.material.albedo is not None and part.material.rough_metal is None
    told = "\n".join(asset.remarks)
    assert 'material 0 "two": its maps use the UVs TEXCOORD_1' in told
    assert "rough-metal map uses other UVs (TEXCOORD_0, or moved)" in told


def test_a_webp_picture_is_read_in_place_of_its_fallback(tmp_path):
    pixels = picture(3, 3)
    sketch = Sketch()
    texture = sketch.picture(encoded(picture(0, 3)))
    webp = sketch.add("images", bufferView=sketch.view(encoded(pixels, "WEBP", lossless=True)))
    sketch.root["textures"][texture]["extensions"] = {"EXT_texture_webp": {"source": webp}}
    sketch.root["extensionsRequired"] = ["EXT_texture_webp"]
    with_material(sketch, pbrMetallicRoughness={"baseColorTexture": {"index": texture}})
    (part,) = read_gltf(sketch.save(tmp_path / "a.glb")).parts
    assert (part.material.albedo == pixels).all()


def test_files_beside_the_scene_are_read(tmp_path):
    pixels = picture(0, 3)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "my wood.png").write_bytes(encoded(pixels))
    sketch = Sketch()
    image = sketch.add("images", uri="maps/my%20wood.png")
    texture = sketch.add("textures", source=image)
    with_material(sketch, pbrMetallicRoughness={"baseColorTexture": {"index": texture}})
    (part,) = read_gltf(sketch.save(tmp_path / "a.gltf")).parts
    assert (part.material.albedo == pixels).all()


def test_one_picture_of_two_materials_is_one_array(tmp_path):
    sketch = Sketch()
    texture = sketch.picture(encoded(picture(0, 3)))
    for name in ("one", "two"):
        with_material(
            sketch, name=name, pbrMetallicRoughness={"baseColorTexture": {"index": texture}}
        )
    one, two = (part.material for part in read_gltf(sketch.save(tmp_path / "a.glb")).parts)
    assert one.albedo is two.albedo


# -- specular-glossiness ---------------------------------------------------------------------------


def test_a_dielectric_keeps_its_diffuse_colour_and_a_metal_takes_its_specular_one():
    diffuse = np.array([[0.5, 0.2, 0.1], [0.0, 0.0, 0.0]])
    specular = np.array([[0.04, 0.04, 0.04], [1.0, 0.77, 0.34]])
    base, metallic = metallic_of(diffuse, specular)
    assert np.allclose(metallic, [0, 1], atol=1e-6)
    assert np.allclose(base, [diffuse[0], specular[1]], atol=1e-6)


def test_metals_of_the_core_material_survive_the_way_there_and_back():
    rng = np.random.default_rng(0)
    base, metallic = rng.uniform(0.1, 0.9, (50, 1)).repeat(3, axis=1), rng.uniform(0, 1, 50)
    share = metallic[:, None]
    specular = 0.04 * (1 - share) + base * share
    diffuse = base * (1 - 0.04) * (1 - share) / (1 - specular)
    found, solved = metallic_of(diffuse, specular)
    assert np.allclose(solved, metallic, atol=0.02)
    assert np.abs(found - base).max() < 0.1


def test_glossiness_becomes_roughness_and_is_told(tmp_path):
    shine = np.full((8, 8, 4), 56, np.uint8)  # 0.04 in linear values
    shine[..., 3] = np.arange(8) * 30
    colour = picture(0, 3, (16, 16))
    sketch = Sketch()
    textures = [sketch.picture(encoded(one)) for one in (colour, shine)]
    with_material(
        sketch,
        name="old",
        extensions={
            "KHR_materials_pbrSpecularGlossiness": {
                "diffuseTexture": {"index": textures[0]},
                "specularGlossinessTexture": {"index": textures[1]},
            }
        },
    )
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    found = asset.parts[0].material
    assert (found.rough_metal[:, ::2, 1] == 255 - shine[:1, :, 3]).all()
    assert (found.rough_metal[..., 2] == 0).all()
    assert np.abs(found.albedo.astype(int) - colour).max() <= 2
    assert 'material 0 "old": specular-glossiness converted' in asset.remarks[0]


def test_metallic_roughness_values_go_before_specular_glossiness_ones(tmp_path):
    sketch = Sketch()
    with_material(
        sketch,
        pbrMetallicRoughness={"metallicFactor": 0.5},
        extensions={"KHR_materials_pbrSpecularGlossiness": {"glossinessFactor": 0.1}},
    )
    asset = read_gltf(sketch.save(tmp_path / "a.glb"))
    assert asset.parts[0].material.metallic_factor == 0.5
    assert "the former are used" in asset.remarks[0]
