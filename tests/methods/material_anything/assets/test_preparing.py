"""Any asset becomes one mesh with one sound atlas, and what was changed is told.

What readers mend, tell or refuse (skins, mirrored nodes, compression, KTX2, 16-bit and palette
pictures, transparency) has its tests in tests/spatial/files, what `require_sound` does in
tests/spatial/test_soundness.py, and unwrapping under a time limit in tests/spatial/uv.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from crates import asset, crate, halved, sides, two_crates

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.assets import Prepared, preparing
from modelgraft.methods.material_anything.assets.preparing import prepare
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part, bounds, vertex_normals
from modelgraft.spatial.uv.coverage import uv_faults

FILE = "folder/crates.glb"
pytestmark = pytest.mark.usefixtures("quick_charts")


def told(asset: Asset, **options: object) -> tuple[Prepared, str]:
    found = prepare(asset, texture_px=96, file=FILE, **options)
    assert all(one.startswith(FILE) for one in found.remarks)
    return found, "\n".join(found.remarks)


def refused(asset: Asset, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        prepare(asset, texture_px=96, file=FILE, **options)
    assert str(caught.value).startswith(FILE) and "\n  " in str(caught.value)
    return str(caught.value)


def is_sound(found: Prepared) -> bool:
    mesh = found.mesh
    assert mesh.normals is not None and mesh.tangents is not None and mesh.colours is None
    return not uv_faults(mesh, "the mesh", 96)


def test_sound_uvs_of_one_part_are_kept_and_nothing_is_told():
    mesh = replace(crate((3, 4, 5)), vertices=2 * crate((3, 4, 5)).vertices)
    found, remarks = told(asset((mesh, Material(albedo=sides()))))
    assert remarks == ""
    assert np.array_equal(found.mesh.faces, mesh.faces)
    assert np.array_equal(found.mesh.uvs, mesh.uvs)
    assert np.allclose(bounds(found.mesh), [[-0.5] * 3, [0.5] * 3])
    assert np.allclose(found.placement.undone(found.mesh).vertices, mesh.vertices, atol=1e-6)
    assert is_sound(found) and not found.is_reduced and (found.part == 0).all()


def faulty() -> dict[str, Mesh]:
    mesh = crate(name="lid")
    uvs = mesh.uvs
    return {
        "no texture coordinates": replace(mesh, uvs=None),
        "covered more than once": replace(mesh, uvs=np.tile(uvs[:4], (6, 1))),
        "outside of the unit square": replace(mesh, uvs=2.5 * uvs),
        "UDIM tiles": replace(mesh, uvs=uvs + np.repeat([[0, 0], [1, 0]], 12, 0).astype("f4")),
        "no area in their UVs": replace(mesh, uvs=uvs * [1, 0]),
    }


@pytest.mark.parametrize("fault", faulty())
def test_faulty_uvs_are_made_anew_and_told_or_refused(fault):
    one = asset((faulty()[fault], Material()))
    found, remarks = told(one)
    assert is_sound(found)
    assert 'mesh "lid"' in remarks and fault in remarks and "unwrapped anew" in remarks
    message = refused(one, unwrap="keep")
    assert 'mesh "lid"' in message and fault in message and "--unwrap auto" in message


def test_parts_that_share_texels_get_one_atlas_in_which_each_face_knows_its_part():
    found, remarks = told(two_crates())
    assert is_sound(found) and "its 2 parts together" in remarks
    middle = found.mesh.vertices[found.mesh.faces].mean(1)[:, 0]
    assert np.array_equal(found.part, (middle > 0).astype(int))
    assert [part.mesh.name for part in found.source.parts] == ["left", "right"]
    lacking = replace(crate(name="lid"), uvs=None)
    message = refused(asset((crate((2, 0, 0)), Material()), (lacking, Material())), unwrap="keep")
    assert 'mesh "lid" (part 1)' in message


def test_parts_that_have_their_own_places_in_one_square_keep_them():
    one = asset(
        (halved(crate(), 0.0), Material()), (halved(crate((2, 0, 0)), 0.5), Material())
    )  # fmt: skip
    found, remarks = told(one, unwrap="keep")
    assert remarks == "" and is_sound(found)
    assert np.array_equal(found.mesh.uvs[:24], one.parts[0].mesh.uvs)
    assert not np.array_equal(told(one, unwrap="always")[0].mesh.uvs, found.mesh.uvs)


def test_mirrored_charts_are_kept_with_tangents_of_the_other_hand():
    mesh = crate()
    uvs = mesh.uvs.copy()
    uvs[:4, 0] = uvs[:4, 0].max() + uvs[:4, 0].min() - uvs[:4, 0]
    found, remarks = told(asset((replace(mesh, uvs=uvs), Material())))
    assert remarks == "" and is_sound(found)
    assert (found.mesh.tangents[:4, 3] == -1).all() and (found.mesh.tangents[4:, 3] == 1).all()


def round_parts() -> Asset:
    """Two balls of some 1,300 faces each."""
    import trimesh

    shape = trimesh.creation.icosphere(3)
    ball = Mesh(np.array(shape.vertices, np.float32), np.array(shape.faces, np.int32))
    ball = replace(ball, normals=vertex_normals(ball))
    away = replace(ball, vertices=ball.vertices + np.float32([3, 0, 0]), name="other")
    return asset((ball, Material()), (away, Material()))


def test_too_many_faces_are_refused_with_the_remedy_or_reduced(monkeypatch):
    monkeypatch.setattr(preparing, "MAX_FACES", 1000)
    message = refused(round_parts())
    assert "2,560 faces" in message and "--faces" in message
    assert "--unwrap auto" in refused(round_parts(), faces=400, unwrap="keep")
    found, remarks = told(round_parts(), faces=400)
    assert found.is_reduced and 200 < len(found.mesh.faces) <= 400 and is_sound(found)
    assert "2,560 faces reduced to" in remarks
    assert sum(len(part.mesh.faces) for part in found.source.parts) == 2560
    middle = found.mesh.vertices[found.mesh.faces].mean(1)[:, 0]
    assert np.array_equal(found.part, (middle > 0).astype(int))
    assert not told(round_parts(), faces=4000)[0].is_reduced
    crumbs = replace(crate(), faces=np.concatenate([crate().faces, np.zeros((9, 3), "i4")]))
    found, remarks = told(asset((crumbs, Material())), faces=12)
    assert not found.is_reduced and "9 of 21 faces have no area" in remarks
    assert np.array_equal(found.mesh.uvs, crate().uvs)


def test_what_parts_lack_is_made_or_left_out_and_told():
    bare = replace(crate(name="bare"), normals=None)
    flat = replace(crate(name="flat"), vertices=np.zeros((24, 3), np.float32))
    far = crate().taken(np.append(np.arange(24), 0), crate().faces)
    far.vertices[24] = 99  # of no face
    found, remarks = told(asset((bare, Material()), (flat, Material())))
    assert re.search(r'mesh "bare" \(part 0\): no normals', remarks)
    assert re.search(r'mesh "flat" \(part 1\).*left out', remarks)
    assert len(found.source.parts) == 1 and is_sound(found)
    assert np.array_equal(bounds(told(asset((far, Material())))[0].mesh)[1], [0.5] * 3)
    assert "no part has a face" in refused(asset((flat, Material()), (flat, Material())))
    broken = replace(crate(), vertices=np.full((24, 3), np.nan, np.float32))
    assert "not finite" in refused(asset((crate(), Material()), (broken, Material())))


def test_green_of_directx_is_turned_up_once_for_each_material():
    bumps = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    shared = Material(normal=bumps)
    one = asset((halved(crate(), 0.0), shared), (halved(crate((2, 0, 0)), 0.5), shared))
    kept, turned = (told(one, normal=green)[0].source.parts for green in ("gl", "dx"))
    assert kept[0].material is shared and turned[0].material is turned[1].material
    expected = bumps.copy()
    expected[..., 1] = 255 - expected[..., 1]
    assert np.array_equal(turned[0].material.normal, expected)
    assert np.array_equal(shared.normal, bumps)


def maps() -> dict[str, Material]:
    drawn = np.random.default_rng(0)
    grey = drawn.integers(0, 256, (32, 32, 1), dtype=np.uint8).repeat(3, 2)
    between, other = drawn.integers(60, 190, (2, 32, 32), dtype=np.uint8)
    metal = np.where(drawn.random((32, 32)) < 0.5, 0, 255).astype(np.uint8)
    red = np.full((32, 32), 255, np.uint8)
    return {
        "": Material(albedo=sides(), rough_metal=np.stack([red, between, other], 2)),
        "albedo mean": Material(albedo=np.full((8, 8, 3), 250, np.uint8)),
        "albedo map is greyscale": Material(albedo=grey),
        "looks like roughness": Material(rough_metal=np.stack([red, metal, between], 2)),
        "metallic equals roughness": Material(rough_metal=np.stack([red, between, between], 2)),
        "48 x 32 texels": Material(albedo=sides()[:32, :48]),
    }


@pytest.mark.parametrize("fault", maps())
def test_maps_that_look_wrong_are_told_with_their_material(fault):
    material = replace(maps()[fault], name="paint")
    _, remarks = told(Asset((Part(crate(), material),)))
    assert (fault in remarks and 'material "paint"' in remarks) if fault else remarks == ""
