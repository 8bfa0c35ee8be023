"""Frames of bumps: there and back, and flat stays flat."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from modelgraft.spatial.frames import decode, encode, from_world, to_world, uv_axes, view_axes

GENERATOR = torch.Generator().manual_seed(0)


def directions(count=2000):
    return normalize(torch.randn(count, 3, generator=GENERATOR), dim=-1)


def axes(frame):
    normals = directions()
    if frame == "view":
        return normals, view_axes(normals, directions(1)[0])
    sides = torch.randint(0, 2, (len(normals), 1), generator=GENERATOR) * 2.0 - 1
    return normals, uv_axes(normals, torch.cat([directions(), sides], -1))


@pytest.mark.parametrize("frame", ["view", "uv"])
def test_conversions_undo_each_other(frame):
    normals, own = axes(frame)
    bumps = directions()
    assert (from_world(to_world(bumps, own), own) - bumps).abs().max() < 1e-5
    assert (to_world(from_world(normals.flip(0), own), own) - normals.flip(0)).abs().max() < 1e-5


@pytest.mark.parametrize("frame", ["view", "uv"])
def test_flat_is_the_surfaces_own_normal(frame):
    normals, own = axes(frame)
    flat = torch.tensor([0.0, 0.0, 1.0]).expand_as(normals)
    assert torch.allclose(to_world(flat, own), normals, atol=1e-6)
    assert torch.allclose(from_world(normals, own), flat, atol=1e-5)


@pytest.mark.parametrize("frame", ["view", "uv"])
def test_axes_are_orthonormal(frame):
    _, own = axes(frame)
    assert (own @ own.transpose(-1, -2) - torch.eye(3)).abs().max() < 1e-5


def test_the_sign_of_a_tangent_is_the_hand_of_its_frame():
    normals, tangents = directions(), directions()
    for sign in (1.0, -1.0):
        own = uv_axes(normals, torch.cat([tangents, torch.full((2000, 1), sign)], -1))
        assert torch.allclose(torch.linalg.det(own), torch.tensor(sign), atol=1e-5)
        assert ((own[:, 0] * tangents).sum(-1) > 0).all()


def test_towards_the_camera_the_views_axes_are_the_pictures():
    """x right, y up, z towards the viewer, for a camera that looks along minus z."""
    own = view_axes(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(own, torch.eye(3))


def test_a_view_frame_does_not_depend_on_texture_coordinates_and_a_uv_frame_turns_with_them():
    normals, right = directions(10), directions(1)[0]
    bump = normalize(torch.tensor([0.3, -0.2, 1.0]), dim=0).expand(10, 3)
    turned = [uv_axes(normals, torch.cat([directions(10), torch.ones(10, 1)], -1)) for _ in "ab"]
    world = to_world(bump, view_axes(normals, right))
    assert torch.allclose(world, to_world(bump, view_axes(normals, right)))
    assert (to_world(bump, turned[0]) - to_world(bump, turned[1])).abs().max() > 0.1


@pytest.mark.parametrize("tilt", [0.0, 1e-9, 1e-5, 1e-3])
def test_a_direction_along_the_normal_still_gives_a_frame(tilt):
    right = torch.tensor([1.0, 0.0, 0.0])
    normal = normalize(torch.tensor([1.0, tilt, 0.0]), dim=0)
    own = view_axes(normal, right)
    assert (own @ own.T - torch.eye(3)).abs().max() < 1e-5


def test_pixels_that_see_nothing_give_no_nan():
    nothing = torch.zeros(2, 3)
    assert torch.isfinite(view_axes(nothing, torch.tensor([1.0, 0.0, 0.0]))).all()
    assert torch.isfinite(uv_axes(nothing, torch.zeros(2, 4))).all()


def test_colours_hold_normals_to_the_rounding_of_eight_bits():
    normals = directions()
    colours = encode(normals)
    assert colours.min() >= 0 and colours.max() <= 1
    assert (decode(colours) - normals).abs().max() < 1e-6
    stored = (colours * 255).round() / 255
    assert (encode(decode(stored)) - colours).abs().max() <= 1 / 255


def test_flat_is_the_colour_of_normal_maps():
    assert torch.equal(encode(torch.tensor([0.0, 0.0, 1.0])), torch.tensor([0.5, 0.5, 1.0]))


def test_x_and_y_alone_have_their_z():
    normals = directions()
    normals[:, 2] = normals[:, 2].abs()
    assert (decode(encode(normals)[:, :2]) - normals).abs().max() < 1e-3
    beyond = decode(encode(torch.tensor([0.9, 0.8])))
    assert torch.allclose(beyond, normalize(torch.tensor([0.9, 0.8, 0.0]), dim=0))
