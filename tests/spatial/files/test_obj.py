"""OBJ and MTL: polygons, lists and materials as files have them, and a way there and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from mesh_files import SQUARE, damaged, is_quick_and_named, painted, picture, square_mesh, squares
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.colours import linear_of
from modelgraft.spatial.files.obj import read_obj
from modelgraft.spatial.files.obj_writing import write_obj
from modelgraft.spatial.meshes import Asset, Material, Part, with_normals

SQUARE_LINES = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def saved(tmp_path: Path, text: str, library: str = "") -> Path:
    (tmp_path / "a.obj").write_text(text)
    if library:
        (tmp_path / "a.mtl").write_text(library)
    return tmp_path / "a.obj"


def corners(path: Path) -> np.ndarray:
    """The triangles [F, 3, 3] of the one part of a file."""
    (part,) = read_obj(path).parts
    return part.mesh.vertices[part.mesh.faces]


# -- there and back --------------------------------------------------------------------------------


def test_geometry_and_maps_come_back_with_every_bit(tmp_path):
    rng = np.random.default_rng(0)
    odd = replace(square_mesh(), vertices=rng.normal(size=(4, 3)).astype(np.float32))
    odd = replace(odd, uvs=rng.random((4, 2), dtype=np.float32), name="odd")
    asset = Asset((*squares().parts, Part(with_normals(odd), painted("other"), True)), "thing")
    write_obj(tmp_path / "thing.obj", asset)
    found = read_obj(tmp_path / "thing.obj")
    for one, other in zip(asset.parts, found.parts, strict=True):
        mine, theirs = one.mesh, other.mesh
        assert theirs.name == mine.name
        assert (mine.vertices[mine.faces] == theirs.vertices[theirs.faces]).all()
        assert np.allclose(mine.normals[mine.faces], theirs.normals[theirs.faces], atol=1e-7)
        assert (mine.uvs is None) == (theirs.uvs is None)
        if mine.uvs is not None:
            assert (mine.uvs[mine.faces] == theirs.uvs[theirs.faces]).all()
            for name in ("albedo", "rough_metal", "normal"):
                assert (getattr(one.material, name) == getattr(other.material, name)).all()
            assert other.material.wrap == "clamp"
    assert not found.remarks


def test_factors_of_rough_and_metallic_maps_are_multiplied_in(tmp_path):
    material = painted(roughness_factor=0.5, metallic_factor=0.25)
    write_obj(tmp_path / "a.obj", Asset((Part(square_mesh(), material, True),)))
    (part,) = read_obj(tmp_path / "a.obj").parts
    expected = material.rough_metal[..., 1:] * [0.5, 0.25]
    assert np.abs(part.material.rough_metal[..., 1:] - expected).max() <= 0.5
    assert (part.material.roughness_factor, part.material.metallic_factor) == (1, 1)


def test_colours_and_opacity_of_a_material_come_back(tmp_path):
    material = Material("m", albedo_factor=(0.5, 0.25, 0.75, 0.5), roughness_factor=0.3)
    write_obj(tmp_path / "a.obj", Asset((Part(square_mesh(), material, True),)))
    (part,) = read_obj(tmp_path / "a.obj").parts
    assert np.allclose(part.material.albedo_factor, material.albedo_factor, atol=1e-5)
    assert part.material.alpha_mode == "blend" and part.material.metallic_factor == 0
    assert part.material.roughness_factor == pytest.approx(0.3)


def test_trimesh_reads_what_is_written(tmp_path):
    write_obj(tmp_path / "a.obj", squares())
    found = trimesh.load(tmp_path / "a.obj", process=False, force="mesh")
    ours = np.concatenate([part.mesh.vertices[part.mesh.faces] for part in squares().parts])
    assert np.allclose(np.sort(found.triangles, axis=None), np.sort(ours, axis=None))


def test_the_same_asset_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_obj(tmp_path / name / "thing.obj", squares())
    for one in (tmp_path / "a").iterdir():
        assert one.read_bytes() == (tmp_path / "b" / one.name).read_bytes()


# -- faces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3 4", "f 1 2 3\nf 1 3 4", "f -4 -3 -2 -1", "f 1// 2// 3// 4//",
        "f 1/1 2/1 3/1 4/1", "f 1/1/1 2/1/1 3/1/1 4/1/1", "f 1//1 2//1 3//1 4//1",
        "f 1 2 3\nf 1/1/1 3/1/1 4/1/1", "f 1 2 \\\n 3 4", "f\t1\t2\t3\t4", "f 1 2 3 4\r\n",
        "f 1 2 3 # a corner\nf 1 3 4",
    ],
)  # fmt: skip
def test_faces_are_read_in_every_form(tmp_path, faces):
    text = SQUARE_LINES + "vt 0 0\nvn 0 0 1\n" + faces + "\n"
    assert (corners(saved(tmp_path, text)) == SQUARE[[[0, 1, 2], [0, 2, 3]]]).all()


def test_polygons_agree_with_trimesh(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"v {x} {y} {z}" for x, y, z in rng.normal(size=(40, 3)).round(4)]
    lines += [
        "f " + " ".join(str(one) for one in rng.choice(40, rng.integers(3, 5), replace=False) + 1)
        for _ in range(30)
    ]
    path = saved(tmp_path, "\n".join(lines))
    theirs = trimesh.load(path, process=False).triangles
    ours = corners(path)
    assert len(ours) == len(theirs)
    assert np.allclose(np.sort(ours, axis=None), np.sort(theirs, axis=None), atol=1e-6)


def test_a_vertex_is_there_once_for_each_uv_and_normal_it_has(tmp_path):
    text = SQUARE_LINES + "vt 0 0\nvt 1 1\nf 1/1 2/1 3/1\nf 1/2 3/1 4/1\n"
    (part,) = read_obj(saved(tmp_path, text)).parts
    assert len(part.mesh.vertices) == 5
    assert (part.mesh.uvs[part.mesh.faces[:, 0]] == [[0, 0], [1, 1]]).all()


def test_indices_from_behind_count_from_the_line_they_stand_in(tmp_path):
    text = "v 9 9 9\n" + SQUARE_LINES + "f -4 -3 -2\nv 5 5 5\nf -5 -3 -2\n"
    assert (corners(saved(tmp_path, text)) == SQUARE[[[0, 1, 2], [0, 2, 3]]]).all()


def test_uvs_and_normals_that_are_named_and_nowhere_are_told(tmp_path):
    asset = read_obj(saved(tmp_path, SQUARE_LINES + "o seat\nf 1/1/1 2/2/2 3/3/3\n"))
    (part,) = asset.parts
    assert part.mesh.uvs is None and part.mesh.normals is None and len(part.mesh.faces) == 1
    assert 'mesh "seat": its faces name UVs, and there are none' in asset.remarks[0]


def test_objects_and_materials_become_parts(tmp_path):
    text = SQUARE_LINES + (
        "mtllib a.mtl\no seat\nusemtl wood\nf 1 2 3\nusemtl iron\nf 1 3 4\no leg\nf 1 2 4\n"
    )
    library = "newmtl wood\nKd 1 0 0\nnewmtl iron\nPm 1\nnewmtl unused\nmap_Kd none.png\n"
    asset = read_obj(saved(tmp_path, text, library))
    names = [(part.mesh.name, part.material.name) for part in asset.parts]
    assert names == [("seat", "wood"), ("seat", "iron"), ("leg", "iron")]
    assert asset.parts[0].material.albedo_factor == (1, 0, 0, 1)
    assert asset.parts[1].material.metallic == 1 and asset.parts[0].material.metallic == 0
    assert all(part.is_textured for part in asset.parts) and not asset.remarks


def test_colours_behind_positions_are_taken_as_srgb(tmp_path):
    text = "v 0 0 0 1 0.5 0\nv 1 0 0 1 0.5 0\nv 1 1 0 1 0.5 0\nf 1 2 3\n"
    asset = read_obj(saved(tmp_path, text))
    assert np.allclose(asset.parts[0].mesh.colours, linear_of([1, 0.5, 0]))
    assert "taken as sRGB" in asset.remarks[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no faces"),
        (SQUARE_LINES + "l 1 2\n", "no faces"),
        (SQUARE_LINES + "o seat\nf 1 2 9\n", r'mesh "seat": a face names vertex 9, and there'),
        (SQUARE_LINES + "vt 0 0\nf 1/3 2/3 3/3\n", "a face names UV 3, and there are 1"),
        (SQUARE_LINES + "f 1 2 0\n", "names no vertex"),
        (SQUARE_LINES + "f 1 2 -9\n", "an index from behind points before the first"),
        (SQUARE_LINES + "f 1 2 x\n", "no number"),
        (SQUARE_LINES + "f 1/1/1/1 2/1/1/1 3/1/1/1\n", "a corner of a face is '1/1/1/1'"),
        ("v 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n", "2 numbers where 3 are needed, in '0 0'"),
        ("v 0 0 z\nv 1 0 0\nv 1 1 0\nf 1 2 3\n", "no number"),
        ("v 0 0 nan\nv 1 0 0\nv 1 1 0\nf 1 2 3\n", "a position is not finite"),
        ("v 0 0 1e99\nv 1 0 0\nv 1 1 0\nf 1 2 3\n", "a position is not finite"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"a\.obj.*{message}"):
        read_obj(saved(tmp_path, text))


# -- materials -------------------------------------------------------------------------------------


def with_library(tmp_path: Path, library: str) -> Asset:
    lines = SQUARE_LINES + "vt 0 0\nmtllib a.mtl\nusemtl m\nf 1/1 2/1 3/1\n"
    return read_obj(saved(tmp_path, lines, f"newmtl m\n{library}\n"))


def test_maps_are_found_behind_their_options(tmp_path):
    pixels = picture(0, 3)
    (tmp_path / "maps").mkdir()
    Image.fromarray(pixels).save(tmp_path / "maps" / "my wood.png")
    for line in (
        "map_Kd maps/my wood.png",
        "map_Kd maps\\my wood.png",
        "map_Kd -s 1 1 1 -o 0.5 0 -clamp on -bm 1.0 maps/my wood.png",
    ):
        (part,) = with_library(tmp_path, line).parts
        assert (part.material.albedo == pixels).all()
        assert part.material.wrap == ("clamp" if "clamp" in line else "repeat")


def test_roughness_and_metallic_maps_of_two_sizes_become_one(tmp_path):
    rough, metal = picture(0, 1, (8, 8)), picture(1, 1, (4, 4))
    Image.fromarray(rough[..., 0]).save(tmp_path / "r.png")
    Image.fromarray(metal[..., 0]).save(tmp_path / "m.png")
    (part,) = with_library(tmp_path, "map_Pr r.png\nmap_Pm m.png").parts
    found = part.material.rough_metal
    assert (found[..., 0] == 255).all() and (found[..., 1] == rough[..., 0]).all()
    assert (found[::2, ::2, 2] == metal[..., 0]).all()
    (part,) = with_library(tmp_path, "map_Pr r.png\nPm 0.5").parts
    assert part.material.metallic == 0.5 and (part.material.rough_metal[..., 2] == 255).all()


def test_bump_maps_are_taken_when_they_hold_normals_and_told_when_heights(tmp_path):
    normals = np.full((8, 8, 3), [128, 128, 255], np.uint8)
    Image.fromarray(normals).save(tmp_path / "n.png")
    Image.fromarray(picture(0, 1)[..., 0]).save(tmp_path / "h.png")
    taken = with_library(tmp_path, "map_Bump -bm 1.0 n.png")
    assert (taken.parts[0].material.normal == normals).all()
    assert "looks like normals" in taken.remarks[0]
    left = with_library(tmp_path, "map_Bump h.png")
    assert left.parts[0].material.normal is None and "holds heights" in left.remarks[0]


def test_missing_libraries_pictures_and_materials_are_told(tmp_path):
    asset = with_library(tmp_path, "map_Kd gone.png\nmap_Ke glow.png")
    told = "\n".join(asset.remarks)
    assert 'a.mtl: material "m": the picture of map_kd' in told and "gone.png, is not there" in told
    assert "emission map (map_ke) is left out" in told
    text = SQUARE_LINES + "mtllib none.mtl\nusemtl wood\nf 1 2 3\n"
    asset = read_obj(saved(tmp_path, text))
    told = "\n".join(asset.remarks)
    assert "none.mtl, are not there" in told and 'material "wood" is nowhere' in told
    assert not asset.parts[0].is_textured


@pytest.mark.parametrize("name", ["../w.png", "/etc/passwd", "C:\\w.png", "http://a.org/w.png"])
def test_pictures_outside_of_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r'a\.mtl: material "m": map_kd: refers to .*\n.*beside'):
        with_library(tmp_path, f"map_Kd {name}")


def test_a_line_without_its_numbers_is_named(tmp_path):
    with pytest.raises(InputError, match=r'material "m": kd is .1 2.; needed are 3 numbers'):
        with_library(tmp_path, "Kd 1 2")
    with pytest.raises(InputError, match=r'material "m": pr: something that is no number'):
        with_library(tmp_path, "Pr rough")


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path):
    write_obj(tmp_path / "sound.obj", squares())
    for suffix in (".obj", ".mtl"):
        sound = (tmp_path / f"sound{suffix}").read_bytes()
        for content in damaged(sound, 150):
            (tmp_path / f"sound{suffix}").write_bytes(content)
            assert is_quick_and_named(lambda: read_obj(tmp_path / "sound.obj"), str(tmp_path))
        (tmp_path / f"sound{suffix}").write_bytes(sound)
