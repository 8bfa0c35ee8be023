"""What is measured of a picture follows what was done to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from modelgraft.methods.ominicontrol.pairs.panels import (
    clipped,
    gap,
    luma,
    noise,
    seam,
    sharpness,
    similarity,
    spread,
)
from modelgraft.tiny.scenes import diptychs, singles

NUM = 80


def pictures(make) -> Tensor:
    return torch.from_numpy(make(np.arange(NUM), seed=5).image).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def pairs() -> Tensor:
    """Diptychs of the toy world [n, 3, 32, 64]."""
    return pictures(diptychs)


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """Single scenes of their size [n, 3, 32, 64]."""
    return interpolate(pictures(singles), size=(32, 64), mode="bilinear")


def share(values: list[bool]) -> float:
    return sum(values) / len(values)


def test_a_border_from_top_to_bottom_tells_pairs_from_single_scenes(pairs, scenes):
    assert share([seam(one) >= 2.5 for one in pairs]) > 0.8
    assert share([seam(one) >= 2.5 for one in scenes]) < 0.2


def test_an_edge_over_half_the_height_is_no_border():
    picture = torch.rand(3, 32, 64, generator=torch.Generator().manual_seed(0)) * 0.02
    picture[:, :16, 32:] += 0.8
    assert seam(picture) < 1.5
    picture[:, 16:, 32:] += 0.8
    assert seam(picture) > 10


def test_a_border_a_little_off_the_middle_is_found_in_large_pictures():
    for off, is_found in ((0, True), (-8, True), (8, True), (-60, False)):
        picture = torch.zeros(3, 528, 1056)
        picture[:, :, 528 + off :] = 0.5
        assert (seam(picture) > 10) is is_found


def test_the_gap_is_flat_between_two_views_on_one_ground():
    picture = torch.full((3, 32, 64), 0.9)
    picture[:, 10:20, 10:20] = picture[:, 10:20, 44:54] = 0.1
    assert gap(picture) == 0
    picture[:, 10:20, 30:40] = 0.1
    assert gap(picture) > 0.3


def test_equal_halves_have_similarity_one_and_unlike_ones_about_none(pairs):
    for one in pairs[:10]:
        assert similarity(torch.cat([one[..., :32], one[..., :32]], dim=-1)) == pytest.approx(1)
    grain = torch.rand(3, 32, 64, generator=torch.Generator().manual_seed(1))
    assert abs(similarity(grain)) < 0.1


def test_the_spread_is_that_of_the_most_varied_colour():
    view = torch.full((3, 4, 4), 0.3)
    assert spread(view) == 0
    view[1, :2] = 0.7
    assert spread(view) == pytest.approx(0.2)


def test_luma_weighs_the_colours_as_they_are_seen():
    assert torch.allclose(luma(torch.ones(3, 2, 2)), torch.ones(2, 2))
    green, blue = torch.eye(3)[1:].view(2, 3, 1, 1)
    assert float(luma(green)) > 5 * float(luma(blue))


def test_sharpness_is_the_step_that_one_pixel_in_a_hundred_exceeds():
    view = torch.zeros(3, 101, 101)
    view[:, :, 50:] = 0.6
    assert sharpness(view) == 0  # one column of a hundred has the step, and none more
    view[:, :, 60:] = 0.2
    assert sharpness(view) == pytest.approx(0.4)


def test_blur_lowers_sharpness(pairs):
    for one in pairs:
        blurred = avg_pool2d(pad(one, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        assert sharpness(blurred) < 0.6 * sharpness(one)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
def test_noise_is_found_as_strong_as_it_was_added(sigma):
    row = torch.linspace(0.2, 0.8, 128)
    smooth = (row[:, None] + row) / 2  # a ramp, which has none
    assert noise(smooth.expand(3, -1, -1)) < 1e-6
    added = sigma * torch.randn(128, 128, generator=torch.Generator().manual_seed(2))
    assert noise((smooth + added).expand(3, -1, -1)) == pytest.approx(sigma, rel=0.05)


def test_texture_in_less_than_half_of_a_picture_is_no_noise():
    view = torch.full((3, 64, 64), 0.5)
    view[:, :24] = torch.rand(3, 24, 64, generator=torch.Generator().manual_seed(3))
    assert noise(view) == 0


def test_clipped_counts_pixels_that_are_all_black_or_all_white():
    view = torch.full((3, 10, 10), 0.5)
    view[:, 0] = 0
    view[:, 1, :5] = 1
    view[0, 2] = 1  # red at its limit is a colour
    assert clipped(view) == pytest.approx(0.15)
