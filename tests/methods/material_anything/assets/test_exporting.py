"""What was painted comes back from files: the very maps, in the place of the given asset."""

from __future__ import annotations

import runpy
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from crates import asset, crate, painted, sides, two_crates
from PIL import Image

from modelgraft.core.errors import ConfigError
from modelgraft.methods.material_anything.assets.blender import write_blender_script
from modelgraft.methods.material_anything.assets.exporting import export, finished, write_maps
from modelgraft.methods.material_anything.assets.preparing import Prepared, prepare
from modelgraft.spatial.files.reading import read_asset
from modelgraft.spatial.meshes import Material

SIZE = 96
pytestmark = pytest.mark.usefixtures("quick_charts")
MAPS = painted(SIZE)


def away() -> Prepared:
    mesh = replace(crate((3, 4, 5)), vertices=2 * crate((3, 4, 5)).vertices)
    return prepare(asset((mesh, Material(albedo=sides(), double_sided=True))), texture_px=SIZE)


def as_bytes(values) -> np.ndarray:
    return (values[0] * 255).round().byte().movedim(0, -1).numpy()


def test_trimesh_finds_the_very_maps_and_the_mesh_where_it_was(tmp_path):
    ready = away()
    (path,) = export(ready, MAPS, tmp_path / "new" / "crate.glb")
    (mesh,) = trimesh.load_scene(path, process=False).geometry.values()
    material = mesh.visual.material
    assert np.array_equal(np.array(material.baseColorTexture), as_bytes(MAPS.maps.albedo))
    packed = np.array(material.metallicRoughnessTexture)
    assert np.array_equal(packed, as_bytes(MAPS.maps.rm)) and (packed[..., 0] == 255).all()
    assert np.array_equal(np.array(material.normalTexture), as_bytes(MAPS.maps.bump))
    assert np.abs(mesh.visual.uv - ready.mesh.uvs).max() < 1e-6
    assert np.abs(mesh.vertices - (2 * crate((3, 4, 5)).vertices)).max() < 1e-5
    assert material.doubleSided


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj"])
def test_parts_come_back_by_name_and_all_files_are_told(tmp_path, suffix):
    ready = prepare(two_crates(), texture_px=SIZE)
    files = export(ready, MAPS, tmp_path / f"my crates{suffix}")
    assert files[0] == tmp_path / f"my crates{suffix}"
    assert sorted(files) == sorted(tmp_path.iterdir())
    found = read_asset(files[0])
    assert [part.mesh.name for part in found.parts] == ["left", "right"]
    for part, given in zip(found.parts, two_crates().parts, strict=True):
        assert np.array_equal(part.material.albedo, as_bytes(MAPS.maps.albedo))
        assert np.array_equal(part.material.rough_metal, as_bytes(MAPS.maps.rm))
        for side in (0, -1):
            assert np.allclose(
                np.sort(part.mesh.vertices, axis=0)[side],
                np.sort(given.mesh.vertices, axis=0)[side],
                atol=1e-5,
            )


def clear_sides(mode: str, cutoff: float = 0.3) -> Material:
    """Three sides are half clear; the other three are not."""
    alpha = np.full((SIZE, SIZE, 1), 255, np.uint8)
    alpha[SIZE // 2 :] = 100
    colours = np.concatenate([sides(), alpha], 2)
    return Material(
        "glass", albedo=colours, alpha_mode=mode, alpha_cutoff=cutoff,
        albedo_factor=(1.0, 1.0, 1.0, 0.8),
    )  # fmt: skip


@pytest.mark.parametrize(("unwrap", "faces"), [("keep", None), ("always", None), ("auto", 60)])
def test_opacity_moves_to_the_new_texture(unwrap, faces):
    given = asset((crate(count=4), clear_sides("mask")))
    ready = prepare(given, texture_px=SIZE, unwrap=unwrap, faces=faces)
    assert ready.is_reduced is bool(faces)
    (part,) = finished(ready, MAPS).parts
    material, mesh = part.material, part.mesh
    assert material.alpha_mode == "mask" and material.alpha_cutoff == 0.3
    assert material.albedo.shape == (SIZE, SIZE, 4) and material.albedo_factor[3] == 1
    assert np.array_equal(material.albedo[..., :3], as_bytes(MAPS.maps.albedo))
    middle = mesh.uvs[mesh.faces].mean(1)
    row, column = (((1 - middle[:, 1]) * SIZE).astype(int), (middle[:, 0] * SIZE).astype(int))
    found = material.albedo[row, column, 3]
    # Charts of the sides towards plus lie in the lower row of the map, which is clear.
    towards = mesh.vertices[mesh.faces].mean(1)
    is_clear = towards[np.arange(len(towards)), np.abs(towards).argmax(1)] > 0
    assert np.array_equal(found, np.where(is_clear, 80, 204))


def test_opacity_is_that_of_the_same_point_of_the_surface():
    """A map of which opacity grows with u, in charts that are turned and moved."""
    ramp = np.zeros((SIZE, SIZE, 4), np.uint8)
    ramp[..., 3] = np.round(np.linspace(0.5, SIZE - 0.5, SIZE) / SIZE * 255)
    mesh = crate(count=2)
    given = asset((mesh, Material(albedo=ramp, alpha_mode="blend")))
    ready = prepare(given, texture_px=SIZE, unwrap="always")
    alpha = finished(ready, MAPS).parts[0].material.albedo[..., 3]
    assert not np.allclose(ready.mesh.uvs[ready.mesh.faces], mesh.uvs[mesh.faces], atol=0.1)
    there, here = (
        (one.uvs[one.faces] * [[0.6], [0.3], [0.1]]).sum(1) for one in (ready.mesh, mesh)
    )
    found = alpha[((1 - there[:, 1]) * SIZE).astype(int), (there[:, 0] * SIZE).astype(int)]
    expected = 255 * here[:, 0]
    assert np.abs(found - expected).max() < 5  # a texel's worth


def test_each_part_keeps_its_own_kind_of_opacity():
    given = asset(
        (crate(name="wood"), Material(albedo=sides())),
        (crate((2, 0, 0), "leaf"), clear_sides("mask")),
        (crate((4, 0, 0), "glass"), clear_sides("blend")),
        (crate((6, 0, 0), "pane"), clear_sides("blend", cutoff=0.7)),
    )
    found = finished(prepare(given, texture_px=192), painted(192)).parts
    assert [part.material.alpha_mode for part in found] == ["opaque", "mask", "blend", "blend"]
    assert found[2].material is found[3].material is not found[1].material
    assert all(part.material.albedo is found[0].material.albedo for part in found)


def test_maps_are_written_as_pictures_of_the_same_values(tmp_path):
    rm = MAPS.maps.rm.clone()
    rm[:, 0] = 0  # which no file may hold
    files = write_maps(
        away(), MAPS._replace(maps=MAPS.maps._replace(rm=rm)), tmp_path / "maps", "crate"
    )
    assert [path.name for path in files.values()] == [
        f"crate_{kind}.png" for kind in ("albedo", "rm", "roughness", "metallic", "normal")
    ]
    found = {kind: np.array(Image.open(path)) for kind, path in files.items()}
    assert np.array_equal(found["albedo"], as_bytes(MAPS.maps.albedo))
    assert np.array_equal(found["rm"], as_bytes(MAPS.maps.rm))
    assert np.array_equal(found["roughness"], found["rm"][..., 1])
    assert np.array_equal(found["metallic"], found["rm"][..., 2])
    assert np.array_equal(found["normal"], as_bytes(MAPS.maps.bump))


def test_other_suffixes_and_places_that_cannot_be_are_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"crate\.fbx.*\n.*suffixes"):
        export(away(), MAPS, tmp_path / "crate.fbx")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file.*cannot be made"):
        export(away(), MAPS, tmp_path / "file" / "crate.glb")


# -- Blender ---------------------------------------------------------------------------------------


class _Socket:
    def __init__(self, node: _Node, name: str) -> None:
        self.node, self.name = node, name


class _Sockets:
    def __init__(self, node: _Node) -> None:
        self.node = node

    def __getitem__(self, name: str) -> _Socket:
        return _Socket(self.node, name)


class _Node:
    """A shader node that remembers; its names of sockets are Blender's own."""

    def __init__(self, kind: str) -> None:
        self.kind, self.image, self.extension = kind, None, ""
        self.inputs = self.outputs = _Sockets(self)


def stand_in(links: list[tuple[_Socket, _Socket]], calls: list[str]) -> types.ModuleType:
    class Nodes(list):
        def new(self, kind: str) -> _Node:
            self.append(_Node(kind))
            return self[-1]

    tree = types.SimpleNamespace(
        nodes=Nodes(),
        links=types.SimpleNamespace(new=lambda one, other: links.append((one, other))),
    )
    made = types.SimpleNamespace(node_tree=tree, use_nodes=False)
    slots: list[object] = []
    objects: set[object] = set()

    def load(path: str) -> types.SimpleNamespace:
        assert Path(path).is_file()
        space = types.SimpleNamespace(name="")
        return types.SimpleNamespace(path=path, colorspace_settings=space)

    def brought(kind: str):
        def bring(filepath: str) -> None:
            assert Path(filepath).is_file()
            calls.append(kind)
            one = types.SimpleNamespace(type="MESH", data=types.SimpleNamespace(materials=slots))
            objects.add(_Hashed(one))

        return bring

    module = types.ModuleType("bpy")
    module.data = types.SimpleNamespace(
        images=types.SimpleNamespace(load=load),
        materials=types.SimpleNamespace(new=lambda name: made),
        objects=objects,
    )
    module.ops = types.SimpleNamespace(
        wm=types.SimpleNamespace(obj_import=brought("obj")),
        import_scene=types.SimpleNamespace(gltf=brought("gltf")),
    )
    return module


class _Hashed:
    def __init__(self, inner: types.SimpleNamespace) -> None:
        self.type, self.data = inner.type, inner.data


@pytest.mark.parametrize(("suffix", "has_opacity"), [(".glb", True), (".obj", False)])
def test_the_blender_script_wires_every_map_in_its_colour_space(
    tmp_path, monkeypatch, suffix, has_opacity
):
    """Run against a stand-in for `bpy`; a name of quotes and braces stays a name."""
    name = 'a \'{name}\' """ crate'
    ready = away()
    files = export(ready, MAPS, tmp_path / f"{name}{suffix}")
    write_maps(ready, MAPS, tmp_path / "maps", name)
    script = tmp_path / "maps" / "wire.py"
    write_blender_script(script, files[0], name, has_opacity=has_opacity)
    links: list[tuple[_Socket, _Socket]] = []
    calls: list[str] = []
    monkeypatch.setitem(sys.modules, "bpy", stand_in(links, calls))
    runpy.run_path(str(script))
    assert calls == ["obj" if suffix == ".obj" else "gltf"]
    wired = {
        (one.node.kind, Path(one.node.image.path).stem[len(name) :] if one.node.image else "",
         one.node.image.colorspace_settings.name if one.node.image else "", one.name,
         other.node.kind, other.name)
        for one, other in links
    }  # fmt: skip
    surface, picture = "ShaderNodeBsdfPrincipled", "ShaderNodeTexImage"
    expected = {
        (picture, "_albedo", "sRGB", "Color", surface, "Base Color"),
        (picture, "_roughness", "Non-Color", "Color", surface, "Roughness"),
        (picture, "_metallic", "Non-Color", "Color", surface, "Metallic"),
        (picture, "_normal", "Non-Color", "Color", "ShaderNodeNormalMap", "Color"),
        ("ShaderNodeNormalMap", "", "", "Normal", surface, "Normal"),
        (surface, "", "", "BSDF", "ShaderNodeOutputMaterial", "Surface"),
    }
    if has_opacity:
        expected.add((picture, "_albedo", "sRGB", "Alpha", surface, "Alpha"))
    assert wired == expected
