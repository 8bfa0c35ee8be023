"""Lamps: how much light arrives, and from where."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modelgraft.spatial.shading.lamps import (
    Arriving,
    DirectionalLamp,
    Lamp,
    PointLamp,
    QuadLamp,
    SphereLamp,
)

RED = (3.0, 2.0, 1.0)


def points(number: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(number, 3, generator=generator, dtype=torch.float64) - 0.5


def irradiance(arriving: Arriving, normal: Tensor) -> Tensor:
    """Of surfaces with these normals [..., 3], all samples together [..., 3]."""
    cosines = (arriving.direction * normal).sum(dim=-1, keepdim=True).clamp_min(0)
    return (arriving.irradiance * cosines).sum(dim=0)


def test_a_far_lamp_lights_all_points_alike() -> None:
    found = DirectionalLamp((0.0, 3.0, 4.0), RED).arriving(points().reshape(5, 8, 3))
    assert found.direction.shape == (1, 1, 1, 3)
    assert found.direction.flatten().tolist() == pytest.approx([0, 0.6, 0.8])
    assert found.irradiance.flatten().tolist() == list(RED)
    assert found.distance.item() == math.inf


def test_a_point_lamp_fades_with_the_square_of_the_distance() -> None:
    lamp, at = PointLamp((0.0, 2.0, 0.0), RED), points()
    found = lamp.arriving(at)
    for place in range(len(at)):
        towards = torch.tensor(lamp.position, dtype=at.dtype) - at[place]
        square = float(towards @ towards)
        assert torch.allclose(found.direction[0, place] * math.sqrt(square), towards)
        assert torch.allclose(found.irradiance[0, place] * square, torch.tensor(RED).double())
        assert float(found.distance[0, place]) == pytest.approx(math.sqrt(square))


def test_a_ball_lights_a_facing_surface_by_its_share_of_the_sky() -> None:
    lamp, at = SphereLamp((1.0, 2.0, -0.5), 0.7, RED), points()
    found = lamp.arriving(at)
    assert found.direction.shape == (16, 40, 3)
    towards = torch.tensor(lamp.centre, dtype=at.dtype) - at
    square = towards.square().sum(dim=-1, keepdim=True)
    whole = irradiance(found, towards / square.sqrt())
    known = math.pi * lamp.radius**2 / square * torch.tensor(RED, dtype=at.dtype)
    assert torch.allclose(whole, known, rtol=1e-3)
    solid_angle = 2 * math.pi * (1 - (1 - lamp.radius**2 / square).sqrt())
    assert torch.allclose(16 * found.irradiance[0, :, :1], 3 * solid_angle)


def test_samples_lie_on_the_near_side_of_a_ball() -> None:
    lamp, at = SphereLamp((1.0, 2.0, -0.5), 0.7), points()
    found = lamp.arriving(at)
    centre = torch.tensor(lamp.centre, dtype=at.dtype)
    hit = at + found.distance * found.direction
    assert torch.allclose(found.direction.norm(dim=-1), torch.ones((), dtype=at.dtype))
    assert torch.allclose((hit - centre).norm(dim=-1), torch.tensor(lamp.radius, dtype=at.dtype))
    assert (found.distance[..., 0] < (centre - at).norm(dim=-1)).all()
    apart = torch.cdist(found.direction[:, 0], found.direction[:, 0]) + torch.eye(16)
    assert apart.min() > 0.05
    middle = found.direction.mean(dim=0)
    axis = (centre - at) / (centre - at).norm(dim=-1, keepdim=True)
    assert torch.allclose(middle / middle.norm(dim=-1, keepdim=True), axis, atol=1e-6)


def test_a_quad_lights_to_its_front_as_its_solid_angle_says() -> None:
    lamp = QuadLamp((0.0, 1.0, 0.0), ((2.0, 0.0, 0.0), (0.0, 0.0, 2.0)), RED)
    front = torch.tensor([[0.0, 2.0, 0.0]], dtype=torch.float64)  # x cross z points down
    below = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
    assert not lamp.arriving(front).irradiance.any()
    found = lamp.arriving(below)
    # Of a square with half side a at distance h: 4 asin(a^2 / (a^2 + h^2)).
    solid_angle = 4 * math.asin(1 / 2)
    assert found.irradiance[..., 0].sum().item() == pytest.approx(3 * solid_angle, rel=0.02)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    form = 4 / math.sqrt(2) * math.atan(1 / math.sqrt(2))
    assert irradiance(found, up)[0, 0].item() == pytest.approx(3 * form, rel=0.02)
    hit = below + found.distance * found.direction
    assert torch.allclose(hit[..., 1], torch.ones((), dtype=torch.float64))
    assert hit[..., 0].abs().max() < 1 and hit[..., 0].abs().max() > 0.5


@pytest.mark.parametrize(
    ("lamp", "intensity"),
    [
        (SphereLamp((0.0, 60.0, 0.0), 0.5, RED), math.pi * 0.25),
        (QuadLamp((0.0, 60.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)), RED), 1.0),
    ],
)
def test_a_lamp_of_some_size_is_a_point_from_afar(lamp: Lamp, intensity: float) -> None:
    at, up = points(), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    point = PointLamp((0.0, 60.0, 0.0), tuple(intensity * one for one in RED))  # ty: ignore[invalid-argument-type]
    known = irradiance(point.arriving(at), up)
    assert torch.allclose(irradiance(lamp.arriving(at), up), known, rtol=1e-3)
    assert lamp.arriving(at).widening.max() < 1e-5


@pytest.mark.parametrize("centre", [(0.0, 2.0, 0.0), (2.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_balls_anywhere_have_finite_samples_inside_too(centre: tuple) -> None:
    at = torch.cat([points(), torch.tensor([centre], dtype=torch.float64)])
    found = SphereLamp(centre, 0.3).arriving(at)
    assert all(one.isfinite().all() for one in found if one is not None)
    assert (found.distance >= 0).all()
