"""A person's assets become records: what is in them, what is refused and why, and going on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modelgraft.core.errors import InputError, Interrupted
from modelgraft.core.runs import open_run
from modelgraft.methods.material_anything.data import folders
from modelgraft.methods.material_anything.data.assets import asset_fault
from modelgraft.methods.material_anything.data.folders import Built, Drawing, build
from modelgraft.methods.material_anything.data.records import read_origin
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.train import shown
from modelgraft.methods.material_anything.world import object_mesh, views_of
from modelgraft.methods.material_anything.world_textures import (
    Shape,
    look_substance,
    textured_mesh,
)
from modelgraft.spatial.files.gltf.writing import write_glb, write_gltf
from modelgraft.spatial.filling import gutter
from modelgraft.spatial.meshes import Asset, Material, Part

DRAWING = Drawing(size=32, texture_px=64)


@pytest.fixture(scope="module")
def textured() -> Part:
    """A torus with maps of 64 texels, which reach beyond its charts."""
    mesh = textured_mesh("train", 3, size=64)
    shape = Shape.of(mesh, size=64, view_px=32)
    maps = shape.textures(look_substance("train", 3, 0)).maps.joined()[0]
    values = gutter(maps, shape.texels.mask, 4).movedim(0, -1).numpy()
    albedo, rough, bump = np.split((values * 255).round().astype(np.uint8), 3, -1)
    return Part(mesh, Material(albedo=albedo, rough_metal=rough, normal=bump))


def _built(data: Path, out: Path, drawing: Drawing = DRAWING) -> Built:
    with open_run(out / "run", seed=0) as run:
        return build(data, out / "records", drawing, run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, textured) -> Path:
    """One good asset, as GLB and in a folder as glTF, and one for each reason to refuse."""
    data = tmp_path_factory.mktemp("assets")
    (data / "more").mkdir()
    write_glb(data / "torus.glb", Asset((textured,)))
    write_gltf(data / "more" / "torus.gltf", Asset((textured, replace(textured, mesh=replace(
        textured.mesh, vertices=textured.mesh.vertices + np.float32([2, 0, 0]))))))  # fmt: skip
    plain, mesh = textured.material, textured.mesh
    white = replace(plain, albedo=np.full_like(plain.albedo, 255))
    dull = replace(plain, rough_metal=None, roughness_factor=0.5)
    small = replace(mesh, uvs=mesh.uvs * np.float32(0.1))
    for name, part in {
        "white": Part(mesh, white), "constant": Part(mesh, dull), "small": Part(small, plain),
    }.items():  # fmt: skip
        write_glb(data / f"{name}.glb", Asset((part,)))
    (data / "broken.glb").write_bytes(b"glTF nothing")
    (data / "outside.glb").symlink_to(Path(__file__))
    return data


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory) -> Built:
    return _built(folder, tmp_path_factory.mktemp("out"))


def test_every_refusal_names_the_object_and_the_reason(folder, built):
    reasons = {one.source: one.reason for one in built.judged}
    assert {one for one, reason in reasons.items() if not reason} == {
        "torus.glb", "more/torus.gltf",
    }  # fmt: skip
    assert reasons["white.glb"] == "its albedo is white everywhere"
    assert "constant" in reasons["constant.glb"]
    assert "--allow-constant" in reasons["constant.glb"]
    assert "% of the unit square; at least 5% are needed" in reasons["small.glb"]
    assert str(folder / "broken.glb") in reasons["broken.glb"]
    assert "outside of the folder" in reasons["outside.glb"]
    table = built.table().splitlines()
    assert table[0] == "2 of 7 objects kept"
    assert "refused  white.glb: its albedo is white everywhere" in table


def test_too_many_faces_are_refused_before_anything_is_drawn(textured):
    many = replace(textured.mesh, faces=np.tile(textured.mesh.faces, (300, 1)))
    assert asset_fault(Asset((replace(textured, mesh=many),))) == (
        "312,000 faces; at most 300,000 are taken"
    )
    assert not asset_fault(Asset((textured,)))


def test_views_hold_what_the_materials_say(built, textured):
    views = built.views()
    assert views.total == 2 * len(VIEWS)
    assert views.frame == "view"
    sources = [read_origin(built.folder / f"{name}.json").source for name in built.kept]
    first = 10 * sources.index("torus.glb")
    found = views.take(range(first, first + 10))
    inside = found.mask[:, 0] > 0
    for picture in (*found.maps, found.normal):
        assert (picture.movedim(1, -1)[~inside] == 1).all()
    # The same mesh and substance drawn without maps: these cost a texel's width of sharpness.
    true = views_of(textured.mesh, look_substance("train", 3, 0), size=32)
    assert torch.equal(found.mask, true.mask)
    assert torch.equal(found.eye, true.eye)
    assert torch.allclose(found.position, true.position, atol=1e-3)
    assert torch.allclose(found.normal, true.normal, atol=2e-3)
    assert torch.allclose(found.axes[inside], true.axes[inside], atol=1e-2)
    for own, other in zip(found.maps[:2], true.maps[:2], strict=True):
        assert (own - other).abs().movedim(1, -1)[inside].mean() < 0.02
    own, other = (one.maps.bump.movedim(1, -1)[inside].numpy() for one in (found, true))
    for axis in (0, 1):
        assert np.corrcoef(own[:, axis], other[:, axis])[0, 1] > 0.75


def test_records_light_like_the_world(built):
    batch = shown(built.views().take([0, 11]), [3, 4])
    assert batch.picture.isfinite().all()
    assert batch.picture.min() >= 0
    assert batch.picture.std() > 0.01


def test_textures_are_the_files_own_maps(built, textured):
    textures = built.textures()
    assert textures.total == 1  # the other has two parts
    found = textures.take([0])
    inside = found.mask[0, 0].numpy() > 0
    maps = (textured.material.albedo, textured.material.rough_metal)
    for own, true in zip(found.maps, maps, strict=False):
        assert np.abs(own[0].movedim(0, -1).numpy() - true / 255)[inside].max() < 2e-3
    bump = found.maps.bump[0].movedim(0, -1).numpy()
    assert np.abs(bump - textured.material.normal / 255)[inside].max() < 0.02
    shape = Shape.of(textured.mesh, size=64, view_px=32)
    assert torch.allclose(found.weights[0], shape.weights, atol=1e-3)


def test_a_stopped_build_goes_on_and_unchanged_objects_are_not_drawn_again(
    folder, built, tmp_path, monkeypatch
):
    real, calls = folders.drawn_asset, []

    def counted(*given, **named):
        calls.append(named["where"])
        if len(calls) == 2 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise Interrupted("stopped")
        return real(*given, **named)

    monkeypatch.setattr(folders, "drawn_asset", counted)
    with pytest.raises(Interrupted):
        _built(folder, tmp_path)
    first = len(calls)
    found = _built(folder, tmp_path)
    assert found.judged == built.judged
    assert len(calls) - first == len({*calls}) - 1
    for name in found.kept:
        ours, theirs = (one / f"{name}.safetensors" for one in (found.folder, built.folder))
        assert ours.read_bytes() == theirs.read_bytes()
    done = len(calls)
    assert _built(folder, tmp_path).judged == built.judged
    assert len(calls) == done
    _built(folder, tmp_path, replace(DRAWING, allow_constant=True))
    assert len(calls) > done


def test_what_cannot_be_learnt_from_says_so(folder, tmp_path, built):
    with pytest.raises(InputError, match="there is no such folder"):
        _built(tmp_path / "none", tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no \.glb or \.gltf"):
        _built(empty, tmp_path)
    shutil.copy(folder / "white.glb", empty)
    with pytest.raises(InputError, match=r"nothing to learn from[^$]*white\.glb: its albedo"):
        _built(empty, tmp_path)


def test_a_damaged_record_is_named_with_its_remedy(built, tmp_path):
    copied = shutil.copytree(built.folder, tmp_path / "records")
    record = copied / f"{built.kept[0]}.safetensors"
    record.write_bytes(record.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot be read[^$]*the object is drawn anew"):
        replace(built, folder=copied).views().take([0])
    path = copied / f"{built.kept[0]}.json"
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(InputError, match="not a record of format 1"):
        replace(built, folder=copied).views()


def test_constant_materials_without_maps_are_taken_when_asked_for(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    mesh = object_mesh("train", 0)
    plain = Material(albedo_factor=(0.5, 0.2, 0.1, 1), roughness_factor=0.4, metallic_factor=1.0)
    write_glb(data / "box.glb", Asset((Part(mesh, plain),)))
    found = _built(data, tmp_path, replace(DRAWING, allow_constant=True))
    views = found.views().take([0])
    rough = views.maps.rm.movedim(1, -1)[views.mask[:, 0] > 0]
    assert (rough - torch.tensor([1, 0.4, 1])).abs().max() < 1e-3
    with pytest.raises(InputError, match="one part with sound texture coordinates"):
        found.textures()
