"""Two assets of one shape differ by as much as was changed; of two shapes nothing is said."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ball_and_box import ball, box

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.comparing import compare, coverage
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part
from modelgraft.spatial.texels import find_texels

PLAIN = Material(albedo_factor=(0.3, 0.2, 0.1, 1), roughness_factor=0.4, metallic_factor=0.0)


def values(found: Asset, truth: Asset, size: int = 32) -> dict[str, float]:
    numbers = compare(found, truth, size=size)
    assert all(one.is_sound for one in numbers)
    return {one.name: one.value for one in numbers}


def checks(num: int, size: int = 64) -> Material:
    """A material of `num` x `num` squares in all of its maps, that goes on across the seam."""
    y, x = np.mgrid[:size, :size] * num // size
    light = (x + y) % 2 * 100 + 80
    picture = np.stack([light] * 3, -1).astype(np.uint8)
    return Material(albedo=picture, rough_metal=picture.copy())


def test_nothing_differs_from_itself_and_seams_have_their_own_as_the_baseline() -> None:
    found = compare(ball(checks(8)), ball(checks(8)), size=32)
    by_name = {one.name: one for one in found}
    for name, number in by_name.items():
        if name.endswith(("RMSE", "angle")) or "pattern" in name:
            assert number.value == pytest.approx(0, abs=1e-4) and number.better == "lower", name
    assert by_name["relight SSIM"].value == pytest.approx(1) and by_name["relight SSIM"].n == 90
    assert by_name["relight PSNR"].value > 120 < by_name["scaled albedo PSNR"].value
    for name in ("albedo seam jump", "roughness seam jump", "metallic seam jump", "c-PSNR",
                 "view-border jump", "cross-view deviation"):  # fmt: skip
        assert by_name[name].value == by_name[name].baseline != 0
    assert 0.9 < by_name["coverage"].value < 1


def test_each_error_is_that_of_its_map() -> None:
    other = replace(PLAIN, roughness_factor=0.65, metallic_factor=0.5)
    found = values(ball(other), ball(PLAIN))
    assert found["roughness RMSE"] == pytest.approx(0.25, abs=1e-5)
    assert found["metallic RMSE"] == pytest.approx(0.5, abs=1e-5)
    assert found["albedo RMSE"] == found["bump RMSE"] == 0
    assert 5 < found["relight PSNR"] < 40 and found["relight SSIM"] < 0.999
    assert not any("seam" in name for name in found)  # no textures


def test_a_gain_of_the_albedo_is_no_fault_of_its_pattern() -> None:
    found = values(ball(replace(PLAIN, albedo_factor=(0.6, 0.1, 0.1, 1))), ball(PLAIN))
    assert found["albedo RMSE"] > 0.1
    assert found["scaled albedo PSNR"] > 100


def test_bumps_are_compared_by_angle_whatever_the_texture_coordinates() -> None:
    def leaning(x: float, y: float, turned: bool) -> Asset:
        z = math.sqrt(1 - x * x - y * y)
        colour = np.round((np.array([x, y, z]) + 1) * 127.5).astype(np.uint8)
        return ball(replace(PLAIN, normal=np.tile(colour, (8, 8, 1))), turned=turned)

    lean = math.sin(math.radians(20))
    tilted = values(leaning(lean, 0, False), ball(PLAIN))
    assert tilted["bump angle"] == pytest.approx(20, abs=0.8)
    assert tilted["albedo RMSE"] == 0 < tilted["bump RMSE"]
    # The same bump, told in UVs that lie on their side.
    turned = values(leaning(0, -lean, True), leaning(lean, 0, False))
    assert turned["bump angle"] < 2


def test_a_pattern_that_leaks_into_the_roughness_is_told() -> None:
    truth = checks(8)
    leaky = replace(truth, rough_metal=truth.rough_metal // 2)  # its error is the pattern
    assert truth.rough_metal is not None
    clean = replace(truth, rough_metal=truth.rough_metal - 20)
    name = "albedo pattern in roughness and metallic"
    assert values(ball(leaky), ball(truth))[name] > 0.8
    assert values(ball(clean), ball(truth))[name] < 0.1


def test_seams_that_show_are_told_for_textures_that_have_them() -> None:
    smooth = np.tile(np.linspace(60, 200, 64).astype(np.uint8)[:, None, None], (1, 64, 3))
    broken = smooth.copy()
    broken[:, :32] //= 2  # so the first and the last column, which meet, differ
    truth = Material(albedo=smooth)
    found = values(ball(Material(albedo=broken)), ball(truth))
    assert found["albedo seam jump"] > 3
    assert values(ball(truth), ball(truth))["albedo seam jump"] < 1.3


@pytest.mark.parametrize("rings", [24, 30])
def test_what_no_view_sees_is_compared_at_the_same_point_of_the_surface(rings) -> None:
    """An inner ball that is hidden in another one; of 30 rings, its faces are others."""

    def nested(level: int, rings: int = 24) -> Asset:
        even = Material(albedo=np.full((32, 32, 3), level, np.uint8), metallic_factor=0.0)
        outer, inner = ball(even, rings=rings).parts[0], ball(even, rings=rings).parts[0]
        small = replace(inner.mesh, vertices=inner.mesh.vertices / 2)
        plain = replace(even, albedo=np.full((32, 32, 3), 60, np.uint8))
        return Asset((replace(outer, material=plain), replace(inner, mesh=small)), "nested")

    found = {one.name: one for one in compare(nested(111), nested(162, rings), size=32)}
    assert found["albedo RMSE"].value == pytest.approx(0, abs=1e-6)
    inner = len(find_texels(ball().parts[0].mesh, (32, 32)).index)
    holes = found["hole albedo RMSE"].n
    assert found["coverage"].n == 2 * inner <= 1.1 * holes + inner
    assert found["coverage"].value == pytest.approx(1 - holes / (2 * inner))
    expected = 0.2 * math.sqrt(inner / holes)
    assert found["hole albedo RMSE"].value == pytest.approx(expected, rel=1e-4)
    assert found["hole roughness RMSE"].value == 0
    assert found["hole bump angle"].value < 4


def test_views_that_see_nothing_do_not_count() -> None:
    """A sheet with one side is seen from the front, and from its side not at all."""
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    sheet = Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    found, truth = (
        Asset((Part(sheet, Material(roughness_factor=one)),), "sheet") for one in (0.5, 0.8)
    )
    (number,) = [one for one in compare(found, truth, size=32) if one.name == "roughness RMSE"]
    assert number.value == pytest.approx(0.3, abs=1e-5) and number.n == 3
    turned = replace(sheet, faces=sheet.faces[:, ::-1].copy())
    with pytest.raises(InputError, match="none of the ten views sees both"):
        compare(Asset((Part(turned),), "sheet"), truth, size=32)


def test_other_shapes_are_refused_with_where_they_differ() -> None:
    with pytest.raises(InputError, match=r"ball: its box reaches from .* to \(2, 2, 2\)"):
        part = ball().parts[0]
        big = replace(part, mesh=replace(part.mesh, vertices=2 * part.mesh.vertices))
        compare(Asset((big,), "ball"), ball())
    with pytest.raises(InputError, match=r"box: seen from the .*, its outline and that of ball"):
        compare(box(), ball(), size=32)
    with pytest.raises(InputError, match="size: 8"):
        compare(ball(), ball(), size=8)


def test_coverage_counts_texels_of_charts_alone() -> None:
    charted = torch.zeros(4, 4, dtype=torch.bool)
    charted[:2] = True
    seen = torch.ones(4, 4, dtype=torch.bool)
    seen[0, :2] = False
    assert (coverage(seen, charted).value, coverage(seen, charted).n) == (0.75, 8)
