"""Drawn surroundings: exposure, determinism, and the sphere they are drawn on."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.worlds.skies import SKIES, equirectangular, sky


def test_there_are_eight() -> None:
    assert len(SKIES) == 8


@pytest.mark.parametrize("name", SKIES)
def test_a_sky_is_the_same_again_and_another_with_another_seed(name: str) -> None:
    first, again, other = sky(name), sky(name), sky(name, seed=1)
    assert first.shape == (64, 128, 3) and first.dtype == np.float32
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.05


@pytest.mark.parametrize("name", SKIES)
@pytest.mark.parametrize("seed", range(3))
def test_radiance_is_positive_and_one_on_average(name: str, seed: int) -> None:
    radiance = sky(name, seed=seed)
    assert radiance.min() > 0 and np.isfinite(radiance).all()
    _, solid_angles = equirectangular(64, 128)
    mean = (radiance * solid_angles[:, None, None]).sum() / (4 * np.pi * 3)
    assert mean == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", SKIES)
def test_a_larger_picture_shows_the_same(name: str) -> None:
    fine = sky(name, size=(128, 256), seed=2)
    coarse = fine.reshape(64, 2, 128, 2, 3).mean(axis=(1, 3))
    small = sky(name, seed=2)
    assert np.abs(coarse - small).mean() < 0.15


@pytest.mark.parametrize("name", SKIES)
def test_a_sky_tells_its_directions_apart(name: str) -> None:
    radiance = sky(name).mean(axis=-1)
    assert radiance.max() > 2 * np.median(radiance) or radiance.max() > 3 * radiance.min()


def test_the_pixels_cover_the_sphere_once() -> None:
    directions, solid_angles = equirectangular(33, 50)
    assert np.allclose(np.linalg.norm(directions, axis=-1), 1)
    assert solid_angles.sum() * 50 == pytest.approx(4 * np.pi)
    mean = (directions * solid_angles[:, None, None]).sum(axis=(0, 1))
    assert np.abs(mean).max() < 1e-9
