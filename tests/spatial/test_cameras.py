"""Cameras: projecting, rays and clip space tell the same story, and poses stand upright."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.spatial.cameras import Camera, look_at, orbit, perspective

RNG = np.random.default_rng(0)
CAMERAS = [
    perspective(orbit(30, 20, 1.2), 53.13, (48, 64)),
    Camera(orbit(-100, -70, 3.0), (70.0, 90.0), (20.5, 31.0), (48, 64)),
]


@pytest.mark.parametrize("camera", CAMERAS)
def test_points_along_a_pixels_ray_project_to_its_centre(camera):
    origin, directions = camera.rays()
    reach = RNG.uniform(0.5, 5, (48, 64, 1))
    pixels, depth = camera.project(origin + reach * directions)
    rows, columns = np.mgrid[:48, :64] + 0.5
    assert np.abs(pixels - np.stack([columns, rows], -1)).max() < 1e-9
    along = directions @ camera.c2w[:3, 2]
    assert np.allclose(depth, reach[..., 0] * along)
    assert np.allclose(np.linalg.norm(directions, axis=-1), 1)


@pytest.mark.parametrize("camera", CAMERAS)
def test_clip_space_and_projection_agree(camera):
    points = RNG.uniform(-0.5, 0.5, (100, 3))
    pixels, depth = camera.project(points)
    clip = np.c_[points, np.ones(100)] @ camera.clip(near=0.1, far=9.0).T
    ratio = clip[:, :3] / clip[:, 3:]
    assert np.allclose(clip[:, 3], depth)
    assert np.allclose((ratio[:, 0] + 1) / 2 * 64, pixels[:, 0])
    assert np.allclose((1 - ratio[:, 1]) / 2 * 48, pixels[:, 1])


def test_near_and_far_are_minus_one_and_one_in_clip_space():
    camera = CAMERAS[0]
    for depth, expected in ((0.1, -1), (9.0, 1)):
        point = camera.position + depth * camera.c2w[:3, 2]
        clip = camera.clip(near=0.1, far=9.0) @ [*point, 1]
        assert np.isclose(clip[2] / clip[3], expected)


@pytest.mark.parametrize("camera", CAMERAS)
def test_world_to_camera_undoes_camera_to_world(camera):
    assert np.allclose(camera.w2c @ camera.c2w, np.eye(4))


def test_another_size_keeps_where_things_are_in_the_picture():
    camera = CAMERAS[1]
    points = RNG.uniform(-0.5, 0.5, (20, 3))
    small, _ = camera.project(points)
    large, _ = camera.resized((96, 192)).project(points)
    assert np.allclose(large, small * [3, 2])


def test_a_field_of_view_reaches_from_top_to_bottom():
    camera = perspective(np.eye(4), 60.0, (30, 50))
    pixels, _ = camera.project(np.array([[0, -np.tan(np.radians(30)), 1.0], [0, 0, 1.0]]))
    assert np.allclose(pixels, [[25, 0], [25, 15]])


@pytest.mark.parametrize("view", [(0, 0), (45, 35), (200, -80), (10, 90), (10, -90)])
def test_orbit_looks_at_the_origin_with_y_up(view):
    pose = orbit(*view, 2.5)
    assert np.allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3))
    assert np.isclose(np.linalg.det(pose[:3, :3]), 1)
    assert np.allclose(pose[:3, 3], -2.5 * pose[:3, 2])
    assert pose[1, 1] <= 1e-12  # down in the picture is down in the world
    assert np.isclose(pose[1, 0], 0)  # and its rows are level


def test_orbit_stands_where_it_says():
    assert np.allclose(orbit(0, 0, 2)[:3, 3], [0, 0, 2])
    assert np.allclose(orbit(90, 0, 2)[:3, 3], [2, 0, 0])
    assert np.allclose(orbit(123, 90, 2)[:3, 3], [0, 2, 0])


@pytest.mark.parametrize("azimuth", [0, 77])
@pytest.mark.parametrize("pole", [90, -90])
def test_orbit_turns_smoothly_over_the_poles(azimuth, pole):
    before = orbit(azimuth, pole * (1 - 1e-9), 1.2)
    assert np.allclose(orbit(azimuth, pole, 1.2), before, atol=1e-6)


def test_looking_straight_up_or_down_has_minus_z_at_the_top():
    for height in (1.0, -1.0):
        pose = look_at(np.array([0, height, 0]), np.zeros(3))
        assert np.allclose(pose[:3, 1], [0, 0, 1])
        assert np.isclose(np.linalg.det(pose[:3, :3]), 1)


def test_up_sets_the_roll():
    pose = look_at(np.array([0, 0, 3.0]), np.zeros(3), np.array([2.0, 0, 0]))
    assert np.allclose(pose[:3, 1], [-1, 0, 0])
