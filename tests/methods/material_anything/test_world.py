"""Views of the world show what their maps say, and lights keep to their recipe."""

import numpy as np
import pytest
import torch

from modelgraft.methods.material_anything.lighting import (
    NUM_UNSEEN,
    training_lights,
    unseen_lights,
)
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world import (
    Bank,
    object_mesh,
    object_substance,
    views_of,
)
from modelgraft.methods.material_anything.world_textures import Shape, look_substance
from modelgraft.spatial import frames
from modelgraft.spatial.drawing import look
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part, with_normals
from modelgraft.spatial.shading.lamps import PointLamp, QuadLamp
from modelgraft.spatial.tangents import with_tangents


@pytest.fixture(scope="module")
def views():
    return views_of(object_mesh("train", 3), object_substance("train", 3), size=32)


def test_maps_are_white_beside_the_object_and_sound_on_it(views):
    for picture in (*views.maps, views.normal):
        assert (picture.movedim(1, -1)[views.mask[:, 0] == 0] == 1).all()
        assert picture.min() >= 0
        assert picture.max() <= 1
    assert (views.maps.rm[:, 0] == 1).all()
    found = views.maps.sound().joined()
    inside = views.mask.expand_as(found) > 0
    assert (found - views.maps.joined())[inside].abs().max() < 2e-3


def test_a_pixel_is_made_of_what_lies_at_its_point(views):
    matter = object_substance("train", 3)
    seen = views.mask[:, 0] > 0
    found = matter.at(views.position[seen].numpy())
    assert np.array_equal(views.maps.albedo.movedim(1, -1)[seen].numpy(), found.albedo)
    assert np.array_equal(views.maps.rm.movedim(1, -1)[seen][:, 1].numpy(), found.roughness)


def test_more_light_gives_brighter_pictures(views):
    lights = [unseen_lights(0)] * len(views)
    dim = views.radiance(views.maps, lights)
    black = views.radiance(views.maps._replace(albedo=0 * views.maps.albedo), lights)
    assert (dim >= 0).all()
    assert dim.mean() > 2 * black.mean()
    assert (dim.movedim(1, -1)[views.mask[:, 0] == 0] == 0).all()


def test_gradients_reach_every_map(views):
    own = views.taken([1])
    maps = Maps(*(one.clone().requires_grad_(True) for one in own.maps))
    own.radiance(maps, [training_lights(own.eye[0].numpy(), seed=0)]).mean().backward()
    for one in maps:
        assert one.grad is not None
        assert one.grad.isfinite().all()
        assert one.grad.abs().max() > 0


def test_a_bank_gives_back_its_views(views):
    bank = Bank.of("train", [3, 4], size=32)
    assert bank.total == 2 * len(VIEWS)
    found = bank.take([0, 5, 13])
    assert torch.allclose(found.maps.albedo[1], views.maps.albedo[5], atol=1e-3)
    assert torch.allclose(found.axes[0], views.axes[0], atol=2e-3)
    assert found.mask.dtype == torch.float32


@pytest.mark.parametrize("seed", range(8))
def test_lamps_stand_within_sixty_degrees_of_the_eye(seed):
    eye = np.array([0.3, 0.8, -0.9])
    for lamp in training_lights(eye, seed=seed):
        if isinstance(lamp, PointLamp | QuadLamp):
            place = np.array(lamp.position if isinstance(lamp, PointLamp) else lamp.centre)
            assert place @ eye / np.linalg.norm(place) / np.linalg.norm(eye) > 0.499
            assert 1.9 < np.linalg.norm(place) < 2.6


def test_white_that_faces_the_light_is_near_one():
    found = []
    for seed in range(200):
        lamps = training_lights(np.array([0, 0, 1.2]), seed=seed)
        total = torch.zeros(3)
        for lamp in lamps:
            if isinstance(lamp, PointLamp | QuadLamp):
                arriving = lamp.arriving(torch.tensor([0.0, 0.0, 0.35]))
                facing = arriving.direction[..., 2:].clamp_min(0)
                total = total + (arriving.irradiance * facing).sum(0) / np.pi
        if total[0] > 0:
            found.append(float(total[0]))
    assert 0.3 < np.mean(found) < 1.2
    assert np.max(found) < 2


def test_unseen_lights_are_numbered():
    assert NUM_UNSEEN == 9
    assert len(unseen_lights(NUM_UNSEEN - 1)) == 2


def test_the_back_of_a_sheet_is_its_front_turned_over_in_the_world_and_in_files():
    """What is raised in front is sunk behind, whoever draws it."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) / 2
    uvs, faces = corners[:, :2] + 0.5, np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    sheet = with_tangents(with_normals(Mesh(corners, faces, uvs=uvs)))
    matter = look_substance("train", 4, 0)
    views = views_of(sheet, matter, size=64, chosen=(0, 7))
    maps = Shape.of(sheet, size=128, view_px=16).textures(matter).maps
    albedo, rm, bump = ((one[0] * 255).round().byte().movedim(0, -1).numpy() for one in maps)
    made = Material(albedo=albedo, rough_metal=rm, normal=bump, double_sided=True)
    seen = look(Asset((Part(sheet, made),)), [camera_of(VIEWS[one], 64) for one in (0, 7)])
    world = frames.to_world(frames.decode(views.maps.bump.movedim(1, -1)), views.axes)
    for place in range(2):
        inside = views.mask[place, 0] > 0
        assert torch.equal(seen.mask[place], inside)
        flat = seen.normal[place][inside]
        assert torch.equal(flat, views.axes[place][inside][:, 2])
        ours, theirs = (one[place][inside] for one in (world, seen.shading_normal))
        slant = (theirs - flat).norm(dim=-1).mean()
        assert slant > 0.05 and (ours - theirs).norm(dim=-1).mean() < 0.3 * slant
