"""Deferred shading: sums of lights, masks, shadows, tone curves and the pyramid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.spatial.shading import render
from modelgraft.spatial.shading.brdf import Surface, reflected
from modelgraft.spatial.shading.colour import to_linear, to_srgb, tone_mapped
from modelgraft.spatial.shading.differences import pyramid
from modelgraft.spatial.shading.environments import UniformLight, environment
from modelgraft.spatial.shading.lamps import DirectionalLamp, PointLamp, QuadLamp, SphereLamp
from modelgraft.spatial.shading.render import Light, shade
from modelgraft.spatial.shading.shadows import lit_share
from modelgraft.worlds.skies import sky

LIGHTS: tuple[Light, ...] = (
    DirectionalLamp((0.3, 1.0, 0.5), (2.0, 1.5, 1.0)),
    PointLamp((1.0, 2.0, 2.0), (8.0, 8.0, 9.0)),
    SphereLamp((-2.0, 1.0, 2.0), 0.6, (5.0, 4.0, 3.0)),
    QuadLamp((0.0, 2.5, 1.0), ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)), (6.0, 6.0, 6.0)),
    UniformLight((0.3, 0.4, 0.5)),
    environment(sky("window")),
)


def unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=-1, keepdim=True)


def scene(shape: tuple[int, ...], seed: int = 0) -> tuple[Surface, Tensor]:
    """Random materials on the points of a ball of radius 0.5 that `EYE` sees, and the points."""
    generator = torch.Generator().manual_seed(seed)
    normal = unit(torch.randn(*shape, 3, generator=generator, dtype=torch.float64))
    normal *= torch.linalg.vecdot(normal, unit(EYE)).sign().unsqueeze(-1)
    normal = unit(normal + 0.3 * unit(EYE))
    numbers = [
        torch.rand(*shape, channels, generator=generator, dtype=torch.float64)
        for channels in (3, 1, 1)
    ]
    return Surface(normal, *numbers), 0.5 * normal


EYE = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


def test_one_far_lamp_is_the_reflectance_times_its_irradiance() -> None:
    surface, position = scene((7, 5))
    found = shade(surface, LIGHTS[:1], position=position, eye=EYE)
    light = unit(torch.tensor([0.3, 1.0, 0.5], dtype=torch.float64))
    share = reflected(surface, unit(EYE - position), light)
    assert torch.allclose(found, share * torch.tensor([2.0, 1.5, 1.0], dtype=torch.float64))
    assert found.any()


def test_lights_add_up() -> None:
    surface, position = scene((6, 4))
    apart = [shade(surface, [one], position=position, eye=EYE) for one in LIGHTS]
    together = shade(surface, LIGHTS, position=position, eye=EYE)
    assert torch.allclose(together, torch.stack(apart).sum(dim=0))
    assert all(one.any() for one in apart)
    assert not shade(surface, (), position=position, eye=EYE).any()


def test_a_mask_only_leaves_out() -> None:
    surface, position = scene((2, 6, 4))
    eyes = torch.stack([EYE, 2 * EYE]).reshape(2, 1, 1, 3)
    mask = torch.arange(48).reshape(2, 6, 4) % 3 > 0
    whole = shade(surface, LIGHTS, position=position, eye=eyes)
    part = shade(surface, LIGHTS, position=position, eye=eyes, mask=mask)
    assert torch.allclose(part[mask], whole[mask]) and not part[~mask].any()
    flat = surface._replace(albedo=torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64))
    constant = shade(flat, LIGHTS[:1], position=position, eye=eyes, mask=mask)
    assert torch.allclose(
        constant[mask], shade(flat, LIGHTS[:1], position=position, eye=eyes)[mask]
    )


def test_a_view_that_sees_nothing_is_black() -> None:
    surface, position = scene((3, 4))
    nothing = torch.zeros(3, 4)
    found = shade(surface, LIGHTS, position=position, eye=EYE, mask=nothing)
    assert found.shape == (3, 4, 3) and not found.any()


def test_views_of_a_batch_have_their_own_eyes() -> None:
    surface, position = scene((6, 4))
    twice = Surface(*(torch.stack([one, one]) for one in surface))
    eyes = torch.stack([EYE, EYE + 0.2]).reshape(2, 1, 1, 3)
    both = shade(twice, LIGHTS, position=torch.stack([position] * 2), eye=eyes)
    for place in range(2):
        alone = shade(surface, LIGHTS, position=position, eye=eyes[place])
        assert torch.allclose(both[place], alone)


def test_pieces_of_a_lamp_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    surface, position = scene((9,))
    whole = shade(surface, LIGHTS, position=position, eye=EYE)
    for at_once in (1, 9 * 5):
        monkeypatch.setattr(render, "_AT_ONCE", at_once)
        assert torch.allclose(shade(surface, LIGHTS, position=position, eye=EYE), whole)


def test_even_light_returns_what_its_lobe_says_and_never_more() -> None:
    grid = torch.cartesian_prod(
        torch.linspace(0, 1, 9), torch.linspace(0, 1, 4), torch.linspace(0.05, 1, 9)
    ).double()
    roughness, metallic, cosine = (one[:, None] for one in grid.unbind(-1))
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(len(grid), 3)
    white = Surface(normal, torch.ones_like(normal), roughness, metallic)
    level = (1 - cosine.square()).sqrt()
    eye = torch.cat([level, torch.zeros_like(level), cosine], dim=-1)
    found = shade(white, [UniformLight()], position=torch.zeros_like(normal), eye=eye)
    assert found.max() <= 1 + 1e-3
    dielectric = metallic[:, 0] == 0
    assert torch.allclose(found[dielectric], torch.ones((), dtype=torch.float64))


def test_a_normal_turned_away_is_bent_until_it_is_seen_and_others_stay() -> None:
    surface, position = scene((8,))
    view = unit(EYE - position)
    away = unit(surface.normal - 1.2 * torch.linalg.vecdot(surface.normal, view)[:, None] * view)
    assert (torch.linalg.vecdot(away, view) < 0).all()
    bent = unit(away + (0.02 - torch.linalg.vecdot(away, view)[:, None]) * view)
    assert torch.linalg.vecdot(bent, view) == pytest.approx(0.02, abs=5e-3)
    found, known = (
        shade(surface._replace(normal=one), LIGHTS, position=position, eye=EYE)
        for one in (away, bent)
    )
    assert torch.allclose(found, known)
    assert (found > 0).all()


def test_gradients_reach_all_of_the_material_and_the_normal() -> None:
    surface, position = scene((3, 4), seed=1)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[0, 0] = False
    inputs = [one.requires_grad_() for one in surface]

    def function(*given: Tensor) -> Tensor:
        return shade(
            Surface(*given), (*LIGHTS[:2], LIGHTS[4]), position=position, eye=EYE, mask=mask
        )

    # The table is linear between its nodes, so differences across one are not its slope.
    assert torch.autograd.gradcheck(function, inputs, eps=1e-7, atol=1e-4)


# -- shadows ---------------------------------------------------------------------------------------

SQUARE = np.array([[-1.0, 1, -1], [1, 1, -1], [1, 1, 1], [-1, 1, 1]])
FACES = np.array([[0, 2, 1], [0, 3, 2]])


def floor_points(number: int = 41) -> tuple[Tensor, Tensor]:
    """A grid on the plane y = 0 and its upward normals."""
    line = torch.linspace(-3, 3, number)
    x, z = torch.meshgrid(line, line, indexing="ij")
    position = torch.stack([x, torch.zeros_like(x), z], dim=-1)
    return position, torch.tensor([0.0, 1.0, 0.0]).expand_as(position)


def test_a_square_shades_what_lies_behind_it() -> None:
    pytest.importorskip("embreex")
    position, up = floor_points()
    lamp = PointLamp((0.0, 3.0, 0.0))
    share = lit_share(SQUARE, FACES, lamp, position=position, face_normal=up)
    assert share.shape == (1, 41, 41, 1)
    # From 3 above, a square at 1 with half side 1 throws a shadow with half side 1.5.
    shaded = (position[..., 0].abs() < 1.5) & (position[..., 2].abs() < 1.5)
    near_rim = ((position[..., (0, 2)].abs() - 1.5).abs() < 0.02).any(dim=-1)
    assert ((share[0, ..., 0] == 0) == shaded)[~near_rim].all()


def test_what_lies_beyond_a_lamp_shades_nothing() -> None:
    pytest.importorskip("embreex")
    position, up = floor_points(11)
    for lamp in (PointLamp((0.0, 0.5, 0.0)), SphereLamp((0.0, 0.5, 0.0), 0.2)):
        assert lit_share(SQUARE, FACES, lamp, position=position, face_normal=up).all()
    far = DirectionalLamp((0.0, 1.0, 0.0))
    share = lit_share(SQUARE, FACES, far, position=position, face_normal=up)
    assert 0 < share.mean() < 1


def test_a_face_turned_away_is_dark_and_masked_points_cast_no_rays() -> None:
    pytest.importorskip("embreex")
    position, up = floor_points(11)
    lamp = PointLamp((0.0, 3.0, 0.0))
    assert not lit_share(SQUARE, FACES, lamp, position=position, face_normal=-up).any()
    mask = torch.zeros(11, 11)
    mask[5] = 1
    share = lit_share(SQUARE, FACES, lamp, position=position, face_normal=-up, mask=mask)
    assert share[:, 5].eq(0).all() and share[:, :5].all() and share[:, 6:].all()


def test_large_lamps_throw_soft_shadows_and_shading_uses_them() -> None:
    pytest.importorskip("embreex")
    position, up = floor_points()
    lamp = SphereLamp((0.0, 3.0, 0.0), 0.8, (9.0, 9.0, 9.0))
    share = lit_share(SQUARE, FACES, lamp, position=position, face_normal=up)
    assert share.shape == (16, 41, 41, 1)
    mean = share.mean(dim=0)
    assert ((mean > 0.1) & (mean < 0.9)).any()
    surface = Surface(up, torch.ones(3), torch.ones(1), torch.zeros(1))
    eye = torch.tensor([0.0, 4.0, 4.0])
    free = shade(surface, [lamp], position=position, eye=eye)
    hidden = shade(surface, [lamp], position=position, eye=eye, shadows=[share])
    assert torch.allclose(hidden[mean[..., 0] == 1], free[mean[..., 0] == 1])
    assert not hidden[mean[..., 0] == 0].any()
    masked = shade(
        surface, [lamp], position=position, eye=eye, shadows=[share], mask=position[..., 0] > 0
    )
    assert torch.allclose(masked[25], hidden[25])


# -- colour and differences ------------------------------------------------------------------------


def test_transfer_functions_are_the_standards_and_undo_each_other() -> None:
    assert to_linear(torch.tensor([0.0, 0.5, 1.0, 0.04])).tolist() == pytest.approx(
        [0.0, 0.21404114, 1.0, 0.04 / 12.92], abs=1e-6
    )
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(to_srgb(to_linear(values)), values, atol=1e-6)
    assert torch.allclose(to_linear(to_srgb(values)), values, atol=1e-6)
    assert (to_linear(values).diff() > 0).all() and (to_srgb(values).diff() > 0).all()


@pytest.mark.parametrize("function", [to_linear, to_srgb])
def test_transfer_functions_have_finite_gradients(function: object) -> None:
    values = torch.tensor([-0.1, 0.0, 1e-8, 0.003, 0.04, 0.5, 1.5], dtype=torch.float64)
    values.requires_grad_()
    assert torch.autograd.gradcheck(function, [values])


def test_tone_curves_flatten_highlights() -> None:
    radiance = torch.tensor([0.0, 0.5, 1.0, 1e4])
    assert tone_mapped(radiance, "ratio").tolist() == pytest.approx([0, 1 / 3, 0.5, 1], abs=2e-4)
    assert tone_mapped(radiance, "log1p")[2] == pytest.approx(math.log(2))
    with pytest.raises(ConfigError, match="log1p, ratio"):
        tone_mapped(radiance, "filmic")  # ty: ignore[invalid-argument-type]


def test_the_neutral_curve_takes_off_what_is_mirrored_and_fades_highlights_to_white() -> None:
    """By hand, from the published formula."""
    greys = torch.tensor([0.04, 0.5, 1.04])[:, None].expand(3, 3)
    expected = torch.tensor([0.01, 0.46, 0.88])[:, None].expand(3, 3)
    torch.testing.assert_close(tone_mapped(greys, "neutral"), expected)
    torch.testing.assert_close(tone_mapped(greys.T, "neutral", channels=0), expected.T)
    red = tone_mapped(torch.tensor([10.0, 0.0, 0.0]), "neutral")
    assert red.tolist() == pytest.approx([0.99392, 0.57114, 0.57114], abs=1e-4)
    rising = tone_mapped(torch.linspace(0, 50, 2000).double()[:, None] * torch.ones(3), "neutral")
    assert (rising.diff(dim=0) > 0).all() and (rising < 1).all()


def test_the_pyramid_of_an_even_difference_is_that_difference() -> None:
    truth = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0)).double()
    assert not pyramid(truth, truth).any()
    shifts = torch.tensor([0.1, -0.2, 0.0], dtype=torch.float64)[:, None, None, None]
    assert torch.allclose(pyramid(truth + shifts, truth), shifts.abs().flatten())


def test_the_pyramid_tells_shapes_apart_where_a_mean_does_not() -> None:
    flat = torch.zeros(2, 1, 32, 32)
    flat[0] = 0.25
    flat[1, :, 8:24, 8:24] = 1.0
    truth = torch.zeros(2, 1, 32, 32)
    assert torch.allclose(flat.abs().mean(dim=(1, 2, 3)), torch.tensor(0.25))
    even, square = pyramid(flat, truth)
    assert square > 1.2 * even


def test_the_pyramid_is_even_and_homogeneous_and_takes_odd_sides() -> None:
    generator = torch.Generator().manual_seed(1)
    for size in ((9, 9), (33, 50), (64, 64)):
        first, second = torch.rand(2, 2, 3, *size, generator=generator)
        found = pyramid(first, second)
        assert torch.allclose(pyramid(second, first), found)
        assert torch.allclose(pyramid(3 * first, 3 * second), 3 * found)
        assert (found > 0).all()


def test_the_pyramid_has_gradients() -> None:
    first = torch.rand(1, 3, 32, 32, requires_grad=True)
    pyramid(first, torch.rand(1, 3, 32, 32)).sum().backward()
    assert first.grad is not None and first.grad.isfinite().all() and first.grad.any()
