"""The reflectance of a surface: published numbers, symmetry, energy and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modelgraft.spatial.shading.brdf import TRAINING_FLOOR, Surface, Visibility, brdf, reflected
from modelgraft.spatial.shading.lobes import _table, lobe

BASE = (0.8, 0.4, 0.2)
UP = (0.0, 0.0, 1.0)
SLANTED = ((0.6, 0.0, 0.8), (-0.3, 0.5, 0.7))
VECTORS = [
    (UP, UP, 0.0, 0.5, (0.295392, 0.173161, 0.112045), None),
    (UP, UP, 1.0, 0.5, (1.018592, 0.509296, 0.254648), None),
    (*SLANTED, 0.0, 0.4, (0.249971, 0.127752, 0.066643), None),
    (*SLANTED, 1.0, 0.4, (0.110411, 0.055212, 0.027613), None),
    (*SLANTED, 0.5, 0.8, (0.157395, 0.093427, 0.051895), (0.157125, 0.093286, 0.051818)),
]
COSINES = (1.0, 0.8, 0.5, 0.2, 0.1)
ALBEDOS: dict[tuple[Visibility, float], tuple[float, ...]] = {
    ("correlated", 0.5): (0.9158, 0.8973, 0.8573, 0.8481, 0.8918),
    ("separable", 0.5): (0.9158, 0.8970, 0.8551, 0.8314, 0.8543),
    ("correlated", 1.0): (0.3069, 0.3513, 0.4507, 0.6416, 0.7602),
    ("separable", 1.0): (0.3069, 0.3409, 0.4091, 0.5114, 0.5579),
}


def unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=-1, keepdim=True)


def of(metallic: float, roughness: float, dtype: torch.dtype, base: tuple = BASE) -> Surface:
    numbers = [torch.tensor(one, dtype=dtype) for one in (UP, base, (roughness,), (metallic,))]
    return Surface(*numbers)


def drawn(number: int, seed: int = 0) -> tuple[Surface, Tensor, Tensor]:
    """Surfaces in float64, with views and lights above their horizons."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(channels: int) -> Tensor:
        return torch.rand(number, channels, generator=generator, dtype=torch.float64)

    def vectors() -> Tensor:
        return unit(torch.randn(number, 3, generator=generator, dtype=torch.float64))

    normal = vectors()
    view, light = vectors(), vectors()
    view, light = (one * torch.linalg.vecdot(one, normal).sign()[:, None] for one in (view, light))
    return Surface(normal, numbers(3), 0.05 + 0.95 * numbers(1), numbers(1)), view, light


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("view", "light", "metallic", "roughness", "known", "separable"), VECTORS)
def test_published_vectors_are_met(
    view: tuple, light: tuple, metallic: float, roughness: float,
    known: tuple, separable: tuple | None, dtype: torch.dtype,
) -> None:  # fmt: skip
    surface = of(metallic, roughness, dtype)
    v, l = (unit(torch.tensor(one, dtype=dtype)) for one in (view, light))  # noqa: E741
    found = brdf(surface, v, l)
    assert found.dtype == dtype
    assert torch.allclose(found, torch.tensor(known, dtype=dtype), atol=1e-5)
    if separable is not None:
        found = brdf(surface, v, l, visibility="separable")
        assert torch.allclose(found, torch.tensor(separable, dtype=dtype), atol=1e-5)


@pytest.mark.parametrize("visibility", ["correlated", "separable"])
def test_the_formula_is_that_of_the_specification(visibility: Visibility) -> None:
    surface, view, light = drawn(500)
    half = unit(view + light)
    nl, nv, nh, vh = (
        torch.linalg.vecdot(a, b)[:, None]
        for a, b in (
            (surface.normal, light), (surface.normal, view), (surface.normal, half), (view, half),
        )
    )  # fmt: skip
    square = surface.roughness**4
    f0 = 0.04 * (1 - surface.metallic) + surface.albedo * surface.metallic
    fresnel = f0 + (1 - f0) * (1 - vh) ** 5
    peak = square / (math.pi * (nh**2 * (square - 1) + 1) ** 2)
    if visibility == "correlated":
        lit = nl * torch.sqrt(square + (1 - square) * nv**2)
        seen = nv * torch.sqrt(square + (1 - square) * nl**2)
        masked = 0.5 / (lit + seen)
    else:
        g1 = [2 * c / (c + torch.sqrt(square + (1 - square) * c**2)) for c in (nl, nv)]
        masked = g1[0] * g1[1] / (4 * nl * nv)
    diffuse = (1 - fresnel) * (1 - surface.metallic) * surface.albedo / math.pi
    known = diffuse + fresnel * peak * masked
    found = brdf(surface, view, light, visibility=visibility)
    assert torch.allclose(found, known, rtol=1e-9)
    assert torch.allclose(
        reflected(surface, view, light, visibility=visibility), known * nl, rtol=1e-9
    )


@pytest.mark.parametrize("visibility", ["correlated", "separable"])
def test_view_and_light_may_change_places(visibility: Visibility) -> None:
    surface, view, light = drawn(2000, seed=1)
    there = brdf(surface, view, light, visibility=visibility)
    back = brdf(surface, light, view, visibility=visibility)
    assert torch.allclose(there, back, rtol=1e-6)


def test_turning_everything_changes_nothing() -> None:
    surface, view, light = drawn(2000, seed=2)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    turned = surface._replace(normal=surface.normal @ turn)
    there = brdf(turned, view @ turn, light @ turn)
    assert torch.allclose(brdf(surface, view, light), there, rtol=1e-6)


def test_nothing_comes_from_or_goes_below_the_horizon() -> None:
    surface, view, light = drawn(100, seed=3)
    assert not brdf(surface, -view, light).any()
    assert not brdf(surface, view, -light).any()
    assert not reflected(surface, view, -light).any()


def test_leading_shapes_broadcast() -> None:
    surface, view, light = drawn(12, seed=4)
    views = view.reshape(1, 3, 4, 3)
    lights = light[:5].reshape(5, 1, 1, 3)
    shaped = Surface(*(one.reshape(3, 4, -1) for one in surface))
    found = brdf(shaped, views, lights)
    assert found.shape == (5, 3, 4, 3)
    alone = Surface(*(one[7] for one in surface))
    assert torch.allclose(found[2, 1, 3], brdf(alone, view[7], light[2]))


@pytest.mark.parametrize("roughness", [0.01, 0.05, 0.2])
def test_single_precision_keeps_sharp_peaks(roughness: float) -> None:
    angles = torch.linspace(-4, 4, 101, dtype=torch.float64) * roughness**2
    light = torch.stack([torch.sin(0.5 + angles), 0 * angles, torch.cos(0.5 + angles)], -1)
    view = torch.tensor([-math.sin(0.5), 0.0, math.cos(0.5)], dtype=torch.float64)
    known = brdf(of(1.0, roughness, torch.float64), view, light)
    found = brdf(of(1.0, roughness, torch.float32), view.float(), light.float())
    # Rounding of the directions themselves moves the peak by 1e-7 in a width of roughness^2.
    assert torch.allclose(found.double(), known, rtol=1e-6 + 1e-6 / roughness**2)


# -- energy ----------------------------------------------------------------------------------------


POLAR, AROUND = 320, 100


def half_sphere() -> tuple[Tensor, Tensor]:
    """Directions on one side of the view, with the solid angles of both sides."""
    polar = math.pi / 2 * (torch.arange(POLAR, dtype=torch.float64) + 0.5)[:, None] / POLAR
    turn = math.pi * (torch.arange(AROUND, dtype=torch.float64) + 0.5) / AROUND
    parts = [polar.sin() * turn.cos(), polar.sin() * turn.sin(), polar.cos().expand(-1, AROUND)]
    return torch.stack(parts, -1), polar.sin() * math.pi**2 / (POLAR * AROUND)


def returned(surface: Surface, cosine: float, visibility: Visibility = "correlated") -> float:
    """The share of even light that leaves at this cosine, of the brightest channel."""
    directions, solid_angles = half_sphere()
    view = torch.tensor([math.sqrt(1 - cosine**2), 0.0, cosine], dtype=torch.float64)
    share = reflected(surface, view, directions, visibility=visibility)
    return float((share * solid_angles[..., None]).sum(dim=(0, 1)).max())


def test_the_roughest_mirror_returns_one_less_ln_2() -> None:
    surface = of(1.0, 1.0, torch.float64, (1.0, 1.0, 1.0))
    assert returned(surface, 1.0) == pytest.approx(1 - math.log(2), abs=1e-3)


@pytest.mark.parametrize("key", list(ALBEDOS))
def test_directional_albedos_are_met_by_light_integral_and_by_table(
    key: tuple[Visibility, float],
) -> None:
    visibility, roughness = key
    surface = of(1.0, roughness, torch.float64, (1.0, 1.0, 1.0))
    cosines = torch.tensor(COSINES, dtype=torch.float64)[:, None]
    table = lobe(torch.full_like(cosines, roughness), cosines, visibility=visibility)
    for cosine, known, scale, offset in zip(COSINES, ALBEDOS[key], *table, strict=True):
        assert returned(surface, cosine, visibility) == pytest.approx(known, abs=1e-3)
        assert float(scale + offset) == pytest.approx(known, abs=2e-3)


def returned_by_facets(roughness: float, cosine: float) -> float:
    """`returned` of a white mirror, by 20,000 facets drawn from their density."""
    places = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    turn = 2 * math.pi * (torch.arange(20_000, dtype=torch.float64) * (math.sqrt(5) - 1) / 2)
    square = roughness**4
    cos_sq = (1 - places) / (1 + (square - 1) * places)
    nh, level = cos_sq.sqrt(), (1 - cos_sq).sqrt()
    half = torch.stack([level * turn.cos(), level * turn.sin(), nh], -1)
    view = torch.tensor([math.sqrt(1 - cosine**2), 0.0, cosine], dtype=torch.float64)
    vh = half @ view
    light = 2 * vh[:, None] * half - view
    share = reflected(of(1.0, roughness, torch.float64, (1.0, 1.0, 1.0)), view, light)[:, 0]
    density = square / (math.pi * (cos_sq * (square - 1) + 1) ** 2)
    return float((share * 4 * vh.clamp_min(0) / (density * nh)).mean())


@pytest.mark.parametrize("roughness", [0.03, 0.1, 0.25, 0.5, 0.75, 1.0])
def test_a_white_mirror_returns_no_more_than_it_gets(roughness: float) -> None:
    for cosine in (1.0, 0.6, 0.25, 0.1):
        assert returned_by_facets(roughness, cosine) <= 1 + 1e-3


@pytest.mark.parametrize("roughness", [0.5, 0.75, 1.0])
def test_other_bright_surfaces_gain_only_at_grazing_angles(roughness: float) -> None:
    for metallic in (0.0, 0.5):
        surface = of(metallic, roughness, torch.float64, (1.0, 1.0, 1.0))
        assert all(returned(surface, cosine) <= 1 + 3e-3 for cosine in (1.0, 0.8, 0.6))
    # The formula is glTF's, with 1 - F of the half vector over the diffuse lobe.
    assert returned(of(0.0, 0.35, torch.float64, (1.0, 1.0, 1.0)), 0.1) > 1.1


@pytest.mark.parametrize("visibility", ["correlated", "separable"])
def test_the_table_is_split_at_f0_as_the_integral_is(visibility: Visibility) -> None:
    cosines = torch.tensor([0.9, 0.4], dtype=torch.float64)[:, None]
    scale, offset = lobe(torch.full_like(cosines, 0.6), cosines, visibility=visibility)
    black = of(0.0, 0.6, torch.float64, (0.0, 0.0, 0.0))
    for cosine, a, b in zip((0.9, 0.4), scale, offset, strict=True):
        known = returned(black, cosine, visibility)
        assert float(0.04 * a + b) == pytest.approx(known, abs=1e-3)


def test_the_table_stays_in_its_range_and_is_a_mirror_at_roughness_zero() -> None:
    grid = torch.cartesian_prod(torch.linspace(0, 1, 33), torch.linspace(-0.2, 1, 37))
    scale, offset = lobe(grid[:, :1], grid[:, 1:])
    assert scale.shape == (33 * 37, 1)
    assert float((scale + offset).max()) <= 1 + 1e-6 and float(torch.min(scale, offset).min()) >= 0
    mirror = lobe(torch.zeros(1, 1), torch.tensor([[0.49]]))
    assert float(mirror.scale + mirror.offset) == pytest.approx(1, abs=1e-5)
    assert float(mirror.offset) == pytest.approx(0.51**5, abs=1e-3)


def test_a_table_made_without_gradients_serves_where_they_are_needed() -> None:
    _table.cache_clear()
    cosine = torch.tensor([[0.5]], dtype=torch.float64)
    with torch.inference_mode():
        lobe(cosine, cosine)
    roughness = torch.tensor([[0.4]], dtype=torch.float64, requires_grad=True)
    lobe(roughness, cosine).scale.sum().backward()
    assert roughness.grad is not None and roughness.grad.item() < 0


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("visibility", ["correlated", "separable"])
def test_gradients_are_those_of_finite_differences(visibility: Visibility) -> None:
    surface, view, light = drawn(3, seed=5)
    inputs = [one.requires_grad_() for one in (*surface, view, light)]

    def function(*given: Tensor) -> Tensor:
        return brdf(Surface(*given[:4]), *given[4:], visibility=visibility)

    assert torch.autograd.gradcheck(function, inputs)


def test_the_gradient_of_the_published_vectors_is_right() -> None:
    for view, light, metallic, roughness, _, _ in VECTORS:
        normal, *rest = of(metallic, roughness, torch.float64)
        v, l = (unit(torch.tensor(one, dtype=torch.float64)) for one in (view, light))  # noqa: E741

        def function(*given: Tensor, vectors: tuple = (normal, v, l)) -> Tensor:
            return brdf(Surface(vectors[0], *given), vectors[1], vectors[2])

        assert torch.autograd.gradcheck(function, [one.requires_grad_() for one in rest])


@pytest.mark.parametrize("visibility", ["correlated", "separable"])
@pytest.mark.parametrize("floor", [0.0, TRAINING_FLOOR])
def test_gradients_are_finite_everywhere(visibility: Visibility, floor: float) -> None:
    grazing = [(1.0, 0.0, 0.0), (1.0, 0.0, 1e-9), (-1.0, 0.0, 1e-9), (0.0, 1.0, 1e-4), UP]
    vectors = torch.tensor(grazing)
    view, light = vectors[:, None], vectors[None]
    shape = (len(grazing), len(grazing), 3)
    for roughness in (0.0, 1e-4, 0.045, 1.0):
        for metallic in (0.0, 1.0):
            numbers = [
                torch.tensor(one).expand(*shape[:2], -1).clone().requires_grad_()
                for one in (UP, (0.0, 0.5, 1.0), (roughness,), (metallic,))
            ]
            found = reflected(Surface(*numbers), view, light, visibility=visibility, floor=floor)
            found.sum().backward()
            assert found.isfinite().all()
            assert all(one.grad is not None and one.grad.isfinite().all() for one in numbers)


def test_the_floor_holds_below_itself_only() -> None:
    surface, view, light = drawn(50, seed=6)
    sharp = surface._replace(roughness=torch.full_like(surface.roughness, 0.01))
    held = surface._replace(roughness=torch.full_like(surface.roughness, 0.3))
    assert torch.equal(brdf(sharp, view, light, floor=0.3), brdf(held, view, light))
    rough = surface._replace(roughness=torch.full_like(surface.roughness, 0.5))
    assert torch.equal(brdf(rough, view, light, floor=0.3), brdf(rough, view, light))
    assert not torch.equal(brdf(sharp, view, light), brdf(held, view, light))


def test_a_mirror_shows_no_lamp_without_size() -> None:
    surface = of(1.0, 0.0, torch.float32)
    assert not brdf(surface, torch.tensor(UP), torch.tensor(UP)).any()
