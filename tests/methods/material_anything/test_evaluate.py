"""Measures of maps equal what can be said by hand."""

import math

import numpy as np
import pytest
import torch

from modelgraft.methods.material_anything.evaluate import (
    border_jump,
    bump_angle,
    cross_talk,
    cross_view_psnr,
    cross_view_spread,
    map_errors,
    masked_ssim,
    rmse,
    scaled_psnr,
    seam_jump,
)
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.spatial import frames
from modelgraft.spatial.cameras import orbit, perspective
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Mesh


def _pictures(number=2, size=16, seed=0):
    return torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _mask(size=16):
    mask = torch.zeros(2, 1, size, size)
    mask[:, :, 2:-2, 4:-4] = 1
    return mask


def test_rmse_counts_covered_pixels_only():
    truth, mask = _pictures(), _mask()
    found = truth + torch.where(mask > 0, 0.25, 7.0)
    assert rmse(found, truth, mask).tolist() == pytest.approx([0.25, 0.25])


def test_angles_are_those_between_normals():
    flat = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 16, 16)
    tilted = torch.tensor([math.sin(0.3), 0.0, math.cos(0.3)]).view(1, 3, 1, 1).expand_as(flat)
    found = bump_angle(frames.encode(tilted), frames.encode(flat), _mask())
    assert found.tolist() == pytest.approx([math.degrees(0.3)] * 2, rel=1e-4)


def test_each_map_has_its_own_error():
    truth = Maps(*(_pictures(seed=seed) for seed in range(3)))
    rm = truth.rm.clone()
    rm[:, 2] += 0.1
    found = map_errors(truth._replace(rm=rm), truth, _mask())
    assert found["metallic"].tolist() == pytest.approx([0.1, 0.1], rel=1e-4)
    assert found["albedo"].tolist() == found["roughness"].tolist() == [0, 0]


def test_a_gain_of_a_channel_costs_no_scaled_psnr():
    truth, mask = _pictures(), _mask()
    gained = truth * torch.tensor([0.5, 2.0, 0.7]).view(1, 3, 1, 1)
    assert (scaled_psnr(gained, truth, mask) > 100).all()
    noise = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(4))
    assert scaled_psnr(noise, truth, mask)[0] == pytest.approx(20.2, abs=1)


def test_leaked_patterns_correlate_and_others_do_not():
    albedo, mask = _pictures(size=64), _mask(64)
    assert cross_talk(0.3 * albedo, albedo, mask).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert (cross_talk(_pictures(size=64, seed=9), albedo, mask) < 0.15).all()
    assert cross_talk(torch.zeros_like(albedo), albedo, mask).tolist() == [0, 0]


def _folded() -> Mesh:
    """Four triangles of a square in two charts that lie apart in the texture."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]], float)
    corners = [0, 1, 2, 3, 1, 4, 5, 2]
    left = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]
    right = [[0.6, 0.6], [0.9, 0.6], [0.9, 0.9], [0.6, 0.9]]
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    return Mesh(vertices[corners].astype(np.float32), faces, np.float32(left + right))


def test_seams_jump_where_charts_differ_and_only_there():
    values = torch.full((3, 64, 64), 0.2)
    assert seam_jump(values, _folded()).seams == pytest.approx(0, abs=1e-6)
    values[:, :32] = 0.7  # the upper half holds the second chart
    found = seam_jump(values, _folded())
    assert found.seams == pytest.approx(0.5, abs=1e-5)
    assert found.inside == pytest.approx(0, abs=1e-5)


def test_views_jump_at_the_border_between_them():
    values, view = torch.zeros(3, 8, 8), torch.zeros(8, 8, dtype=torch.long)
    view[:, 4:] = 1
    values[:, :, 4:] = 0.5
    assert border_jump(values, view) == pytest.approx(0.5)
    assert border_jump(values, torch.zeros_like(view)) == 0


def test_the_spread_counts_texels_that_several_views_show():
    views = torch.zeros(2, 3, 4, 4)
    views[1] = 1
    weights = torch.ones(2, 4, 4)
    weights[1, :, 2:] = 0
    assert cross_view_spread(views, weights) == pytest.approx(0.5)
    weights[1] = 0
    assert cross_view_spread(views, weights) == 0


def test_pixels_are_compared_with_what_other_views_show_of_their_point():
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    sheet = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    cameras = [perspective(orbit(angle, 0, 3.0), 60, (48, 48)) for angle in (0, 40, 180)]
    surface = gbuffer(sheet, cameras)
    mask = surface.mask[:, None].float()
    level = torch.tensor([0.4, 0.5, 0.9]).view(3, 1, 1, 1).expand(3, 2, 48, 48)

    def agreement(values, chosen):
        few = [cameras[one] for one in chosen]
        return cross_view_psnr(values[chosen], surface.position[chosen], mask[chosen], few)

    # A difference of 0.1 everywhere is 20 dB.
    assert agreement(level, [0, 1]) == pytest.approx(20, abs=1e-4)
    # 0.1, 0.4 and 0.5 of pairs, each as often in both ways but for the sizes of the views.
    assert 6 < agreement(level, [0, 1, 2]) < 11
    assert agreement(torch.ones_like(level), [0, 1]) == 160
    # What is painted on the surface is the same from everywhere.
    assert agreement(0.5 + surface.position.movedim(-1, 1)[:, :2] / 4, [0, 1, 2]) > 50
    apart = surface.position + torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1)
    assert math.isnan(cross_view_psnr(level, apart, mask, cameras))


def test_ssim_is_that_of_the_part_that_is_covered():
    peer = pytest.importorskip("skimage.metrics").structural_similarity
    truth, mask = _pictures(size=40), torch.zeros(2, 1, 40, 40)
    mask[:, :, 5:30, 10:31] = 1
    found = (truth + 0.2 * _pictures(size=40, seed=5)) * mask
    truth = truth * mask
    for own, one, other in zip(masked_ssim(found, truth, mask), found, truth, strict=True):
        cut = [each[:, 5:30, 10:31].double().numpy() for each in (one, other)]
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, whole = peer(*cut, data_range=1.0, channel_axis=0, full=True,
                                         **settings)  # fmt: skip
        # Where windows lie wholly inside.
        assert float(own) == pytest.approx(whole[:, 5:-5, 5:-5].mean(), abs=1e-6)
    assert masked_ssim(truth, truth, torch.zeros_like(mask)).tolist() == pytest.approx([1, 1])
