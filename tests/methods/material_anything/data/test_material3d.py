"""Renders in the published layout become the views that they were made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modelgraft.core.errors import InputError
from modelgraft.core.runs import open_run
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.data.folders import Drawing, build
from modelgraft.methods.material_anything.data.material3d import RENDERS, read_object
from modelgraft.methods.material_anything.estimators import flat_bumps
from modelgraft.methods.material_anything.lighting import training_lights
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.train import shown
from modelgraft.methods.material_anything.world import object_mesh, object_substance, views_of
from modelgraft.spatial.cameras import orbit, perspective
from modelgraft.spatial.files.textures import png_bytes

SIZE = 64
_UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope="module")
def views():
    return views_of(object_mesh("train", 7), object_substance("train", 7), size=SIZE)


@pytest.fixture(scope="module")
def cameras():
    from modelgraft.methods.material_anything.method.views import camera_of

    return [camera_of(view, SIZE) for view in VIEWS]


def _write(folder: Path, views, cameras, *, is_blender: bool = True) -> Path:
    """The views as the published script leaves them: Blender's axes, a box of side 2."""
    mask = views.mask.movedim(1, -1).numpy()
    pictures = {
        "normal": views.normal,
        "position": (views.position.movedim(-1, 1) + 0.5) * views.mask + 1 - views.mask,
        "albedo": views.maps.albedo,
        "roughness_metallic": views.maps.rm,
        "bump": views.maps.bump,
    }
    (folder / "pose").mkdir(parents=True)
    for kind, picture in pictures.items():
        (folder / kind).mkdir()
        values = np.concatenate([picture.movedim(1, -1).numpy(), mask], -1)
        for number, one in enumerate((values * 255).round().astype(np.uint8)):
            (folder / kind / f"{number:03d}_0001.png").write_bytes(png_bytes(one))
    for number, camera in enumerate(cameras):
        pose = camera.c2w[:3].copy()
        pose[:, 3] *= 2
        if is_blender:
            pose = _UPRIGHT.T @ pose
            pose[:, 1:3] *= -1
        np.save(folder / "pose" / f"{number:03d}.npy", pose)
    focal, centre = cameras[0].focal_px[0], SIZE / 2
    np.save(
        folder / "intrinsics.npy", np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]])
    )
    return folder


@pytest.mark.parametrize("is_blender", [True, False])
def test_views_come_back_whatever_the_axes_of_their_poses(tmp_path, views, cameras, is_blender):
    folder = _write(tmp_path / "uid", views, cameras, is_blender=is_blender)
    recorded = read_object(folder, size=SIZE)
    found = recorded.views()
    assert torch.equal(found.mask, views.mask)
    assert torch.allclose(found.eye, views.eye, atol=1e-5)
    inside = found.mask[:, 0] > 0
    assert (found.position - views.position)[inside].abs().max() < 3e-3
    for own, other in zip((*found.maps, found.normal), (*views.maps, views.normal), strict=True):
        assert (own - other).abs().max() < 3e-3
    assert (found.axes - views.axes)[inside].abs().max() < 0.2


def test_the_nearest_pixels_serve_for_another_size(tmp_path, views, cameras):
    found = read_object(_write(tmp_path / "uid", views, cameras), size=16)
    assert torch.equal(found.mask, views.mask[:, :, 2::4, 2::4])
    assert torch.allclose(found.maps.albedo, views.maps.albedo[:, :, 2::4, 2::4], atol=3e-3)
    assert found.intrinsics[0, 0, 0] == pytest.approx(perspective(orbit(0, 0, 1), 53.13, (16, 16))
                                                      .focal_px[0], rel=1e-6)  # fmt: skip


def test_records_tell_the_frame_of_their_bumps(tmp_path, views, cameras):
    _write(tmp_path / "data" / "uid", views, cameras)
    with open_run(tmp_path / "run", seed=0) as run:
        built = build(tmp_path / "data", tmp_path / "records", Drawing(32, 32), run)
    assert built.views().frame == "uv"
    assert built.views().total == len(VIEWS)
    with pytest.raises(InputError, match="texture coordinates"):
        built.textures()


def test_renders_are_what_is_learnt_from_and_bumps_of_no_known_frame_are_not_lit(
    tmp_path, views, cameras
):
    folder = _write(tmp_path / "data" / "uid", views, cameras)
    with open_run(tmp_path / "one", seed=0) as run:
        bare = build(tmp_path / "data", tmp_path / "records", Drawing(SIZE, SIZE), run).views()
    lit = shown(bare.take([3]), [5])
    even = replace(views.taken([3]), maps=views.taken([3]).maps._replace(
        bump=flat_bumps(views.maps.bump[:1])))  # fmt: skip
    lights = [training_lights(even.eye[0].numpy(), seed=rng_seed("light", 5))]
    true = even.pictures([lights[0]])
    alike = lit.picture[lit.confidence.expand_as(lit.picture) > 0]
    assert (alike - true[lit.confidence.expand_as(true) > 0]).abs().mean() < 0.01

    (folder / RENDERS).mkdir()
    for view in range(len(VIEWS)):
        for light in range(7):
            values = np.full((SIZE, SIZE, 3), 10 * view + light, np.uint8)
            (folder / RENDERS / f"{view:03d}_{light:04d}.png").write_bytes(png_bytes(values))
    with open_run(tmp_path / "two", seed=0) as run:
        built = build(tmp_path / "data", tmp_path / "records", Drawing(SIZE, SIZE), run).views()
    found = built.take([3, 8])
    for place, view in enumerate((3, 8)):
        inside = found.mask[place, 0] > 0
        values = torch.stack([found.shown(place, light) for light in range(7)])
        assert (values[:, :, ~inside] == 1).all()
        numbers = (values[:, :, inside] * 255).round()
        assert (numbers == 10 * view + torch.arange(7).view(7, 1, 1)).all()
    (folder / RENDERS / "004_0006.png").unlink()
    with pytest.raises(InputError, match="its views have 6, 7 pictures under light"):
        read_object(folder, size=16)


def test_damage_names_the_file_and_what_is_needed(tmp_path, views, cameras):
    folder = _write(tmp_path / "uid", views, cameras)
    pose = folder / "pose" / "003.npy"
    good = np.load(pose)

    np.save(pose, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"003\.npy: not an array of NumPy"):
        read_object(folder, size=16)
    np.save(pose, good[:, :3])
    with pytest.raises(InputError, match=r"003\.npy: [^$]*needed is a matrix \[3, 4\]"):
        read_object(folder, size=16)
    np.save(pose, np.full((3, 4), np.nan))
    with pytest.raises(InputError, match=r"003\.npy: its numbers are not all finite"):
        read_object(folder, size=16)
    for number in range(len(VIEWS)):
        np.save(folder / "pose" / f"{number:03d}.npy", good * [1, 1, 1, 3])
    with pytest.raises(InputError, match="poses and positions do not agree"):
        read_object(folder, size=16)
    gone = folder / "bump" / "003_0001.png"
    gone.unlink()
    with pytest.raises(InputError, match=r"003_0001\.png: there is no such file"):
        read_object(folder, size=16)
