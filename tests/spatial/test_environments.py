"""Surroundings: even ones, and pictures by harmonics and blurred copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from modelgraft.spatial.shading.environments import Environment, UniformLight, environment
from modelgraft.worlds.skies import SKIES, equirectangular, sky

AXES = torch.tensor(
    [[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [0.6, 0.48, 0.64]]
).double()


def directions(number: int = 50) -> Tensor:
    drawn = torch.randn(number, 3, generator=torch.Generator().manual_seed(0)).double()
    return torch.cat([AXES, drawn / drawn.norm(dim=-1, keepdim=True)])


def rough(value: float, like: Tensor) -> Tensor:
    return torch.full((*like.shape[:-1], 1), value, dtype=like.dtype)


def spot(towards: Tensor, size: tuple[int, int] = (64, 128)) -> np.ndarray:
    """A bright patch of some 10 degrees in the dark."""
    pixels, _ = equirectangular(*size)
    return np.where((pixels @ towards.numpy() > 0.985)[..., None], [3.0, 2.0, 1.0], 0.0)


def test_an_even_picture_is_even_light() -> None:
    colour = (0.5, 1.0, 2.0)
    picture = np.broadcast_to(np.array(colour), (40, 80, 3))
    found, even = environment(picture), UniformLight(colour)
    at = directions()
    assert torch.allclose(found.diffuse(at), even.diffuse(at), rtol=1e-3)
    for value in (0.0, 0.1, 0.6, 1.0):
        seen = found.specular(at, rough(value, at))
        assert torch.allclose(seen, even.specular(at, rough(value, at)), atol=1e-4)


@pytest.mark.parametrize("axis", range(len(AXES)))
def test_a_patch_is_seen_where_it_lies(axis: int) -> None:
    towards = AXES[axis]
    found = environment(spot(towards))
    sharp = found.specular(AXES, rough(0.0, AXES))
    assert torch.allclose(sharp[axis], torch.tensor([3.0, 2.0, 1.0]).double(), atol=0.01)
    others = [one for one in range(len(AXES)) if one != axis]
    assert sharp[others].abs().max() < 1e-6
    cosines = AXES @ towards
    assert int(found.diffuse(AXES)[:, 0].argmax()) == int(cosines.argmax()) == axis


def test_pictures_lie_as_in_three_js() -> None:
    pixels, _ = equirectangular(90, 180)
    assert pixels[44, 90] @ [1, 0, 0] > 0.99  # the middle
    assert pixels[44, 135] @ [0, 0, 1] > 0.99  # right of it
    assert pixels[0, 0] @ [0, 1, 0] > 0.99  # the top


def test_turning_the_picture_turns_its_light() -> None:
    picture = sky("window", seed=1)
    turned = environment(np.roll(picture, 32, axis=1))
    found, at = environment(picture), directions()
    before = torch.stack([at[:, 2], at[:, 1], -at[:, 0]], dim=-1)  # 90 degrees back, +z to +x
    assert torch.allclose(turned.diffuse(at), found.diffuse(before), atol=1e-4)
    for value in (0.0, 0.2, 0.8):
        there, here = (
            turned.specular(at, rough(value, at)),
            found.specular(before, rough(value, at)),
        )
        assert torch.allclose(there, here, atol=5e-3)


@pytest.mark.parametrize("name", ["overcast", "two tone", "window"])
def test_diffuse_light_is_the_cosine_integral(name: str) -> None:
    picture = sky(name)
    pixels, solid_angles = equirectangular(*picture.shape[:2])
    at = directions(20)
    cosines = np.einsum("hwc,nc->nhw", pixels, at.numpy()).clip(0)
    known = np.einsum("nhw,h,hwc->nc", cosines, solid_angles, picture) / math.pi
    found = environment(picture).diffuse(at).numpy()
    assert np.abs(found - known).mean() < 0.05 * known.mean()


@pytest.mark.parametrize("roughness", [0.3, 0.5, 1.0])
def test_specular_light_is_the_mean_under_the_lobe(roughness: float) -> None:
    picture = sky("two softboxes", size=(32, 64))
    pixels, solid_angles = equirectangular(32, 64)
    at = directions(20)
    nl = np.einsum("hwc,nc->nhw", pixels, at.numpy())
    square = roughness**4
    density = square / ((1 + nl) / 2 * (square - 1) + 1) ** 2
    weights = density * nl.clip(0) * solid_angles[:, None]
    known = np.einsum("nhw,hwc->nc", weights, picture) / weights.sum(axis=(1, 2))[:, None]
    found = environment(picture).specular(at, rough(roughness, at)).numpy()
    assert np.abs(found - known).mean() < 0.05 * known.mean()


def test_rougher_lobes_see_a_wider_and_fainter_patch() -> None:
    towards = AXES[6]
    found = environment(spot(towards))
    values = (0.0, 0.1, 0.25, 0.4, 0.6, 0.9)
    peaks = [float(found.specular(towards, rough(one, towards))[0]) for one in values]
    assert peaks == sorted(peaks, reverse=True)


def test_large_pictures_keep_their_light() -> None:
    small, large = sky("sunny", size=(64, 128)), sky("sunny", size=(600, 1200))
    at = directions()
    ours, theirs = environment(small), environment(large)
    assert theirs.levels[0].shape[2] == 512 + 2
    assert torch.allclose(ours.diffuse(at), theirs.diffuse(at), rtol=0.05, atol=0.02)
    mean = [one.specular(at, rough(1.0, at)).mean() for one in (ours, theirs)]
    assert float(mean[0]) == pytest.approx(float(mean[1]), rel=0.03)


@pytest.mark.parametrize("light", [UniformLight(), "sunset"])
def test_gradients_are_finite_and_reach_direction_and_roughness(
    light: UniformLight | str,
) -> None:
    found: UniformLight | Environment = environment(sky(light)) if isinstance(light, str) else light
    at, roughness = directions().requires_grad_(), rough(0.4, AXES[:1]).requires_grad_()
    seen = found.diffuse(at) + found.specular(at, roughness.expand(len(at), 1))
    if isinstance(found, UniformLight):
        assert torch.equal(seen, torch.full_like(seen, 2.0))
        return
    seen.square().sum().backward()
    for one in (at, roughness):
        assert one.grad is not None and one.grad.isfinite().all() and one.grad.any()


def test_harmonics_are_orthonormal() -> None:
    pixels, solid_angles = equirectangular(64, 128)
    found = environment(np.ones((64, 128, 3)))
    assert found.harmonics[1:].abs().max() < 1e-3
    # A light that is one harmonic is returned as that, times its band's share.
    tilted = environment(1.0 + pixels[..., 1:2] * np.ones(3))
    at = directions()
    assert torch.allclose(tilted.diffuse(at)[:, 0], 1 + 2 / 3 * at[:, 1], atol=2e-3)
    assert solid_angles.sum() * 128 == pytest.approx(4 * math.pi)


@pytest.mark.parametrize("name", SKIES)
def test_every_sky_is_a_light(name: str) -> None:
    found, at = environment(sky(name)), directions()
    for value in (0.0, 0.5, 1.0):
        seen = found.specular(at, rough(value, at))
        assert seen.isfinite().all() and seen.min() >= -1e-6
    assert found.diffuse(at).mean() == pytest.approx(1.0, abs=0.35)
