"""What cameras see of assets: the nearest part, with its own material, and light on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from surfaces import ball, cameras, charted, crowd, moved, sheet

from modelgraft.core.errors import InputError
from modelgraft.spatial import cutouts
from modelgraft.spatial.cameras import Camera, look_at, orbit, perspective
from modelgraft.spatial.drawing import drawn, look
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part
from modelgraft.spatial.sampling import texture
from modelgraft.spatial.shading.brdf import Surface
from modelgraft.spatial.shading.colour import to_linear
from modelgraft.spatial.shading.lamps import DirectionalLamp
from modelgraft.spatial.shading.render import shade

SIZE = 48


def front(size: int = SIZE) -> Camera:
    """At plus z, two away from the origin."""
    return perspective(orbit(0, 0, 2.0), 40.0, (size, size))


def square(z: float = 0.0, name: str = "square") -> Mesh:
    """From -0.5 to 0.5, towards the camera; u runs right and v up."""
    made = sheet(lambda s, t: np.stack([s - 0.5, t - 0.5, np.full_like(s, z)], -1), 1)
    return replace(made, name=name)


def asset(*parts: tuple[Mesh, Material]) -> Asset:
    return Asset(tuple(Part(mesh, material) for mesh, material in parts))


def on_plane(z: float) -> np.ndarray:
    """Where the rays of `front` meet a plane [H, W, 2]."""
    origin, rays = front().rays()
    points = origin + rays * ((z - origin[2]) / rays[..., 2:])
    return points[..., :2]


def is_in(points: np.ndarray) -> np.ndarray:
    return (np.abs(points) < 0.5).all(-1)


def strips(*solid: int) -> np.ndarray:
    """A map of four columns, opaque in some of them, each of 8 texels and of its own red."""
    found = np.zeros((8, 32, 4), np.uint8)
    for one in range(4):
        found[:, 8 * one : 8 * one + 8, 0] = 60 * one + 60
        found[:, 8 * one : 8 * one + 8, 3] = 255 * (one in solid)
    return found


def test_an_opaque_asset_is_what_its_g_buffer_and_its_map_say():
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    # Charts so large in their map that no pixel covers more than a texel.
    views = cameras(SIZE)[:3]
    seen = look(asset((ball(), Material(albedo=colours))), views)
    surface = gbuffer(ball(), views)
    linear = to_linear(torch.from_numpy(colours).movedim(-1, 0)[None] / 255)
    assert surface.uv is not None
    expected = texture(linear, surface.uv)
    assert torch.equal(seen.mask, surface.mask)
    assert torch.allclose(seen.position, surface.position, atol=1e-6)
    assert torch.allclose(seen.normal, surface.normal, atol=1e-5)
    assert (seen.albedo - expected)[seen.mask].abs().max() < 1e-5
    assert (seen.part == torch.where(seen.mask, 0, -1)).all()
    for one in (seen.albedo, seen.normal, seen.opacity, seen.roughness):
        assert (one[~seen.mask] == 0).all()


def test_of_all_parts_the_nearest_is_seen_whatever_their_order():
    parts = [
        (moved(square(), 0.4, (0.0, 0.0, 0.3)), Material()),
        (moved(ball(), 0.5, (0.2, 0.1, 0.2)), Material()),
        (square(-0.3), Material()),
    ]
    one, other = look(asset(*parts), [front()]), look(asset(*parts[::-1]), [front()])
    depths = [gbuffer(mesh, [front()]) for mesh, _ in parts]
    nearest = torch.stack([torch.where(each.mask, each.depth, 9.0) for each in depths]).min(0)
    expected = torch.where(nearest.values < 9, nearest.indices, -1)
    assert {0, 1, 2} <= set(expected.unique().tolist())
    assert torch.equal(one.part, expected)
    assert torch.equal(other.part, torch.where(expected >= 0, 2 - expected, -1))
    assert torch.equal(one.position, other.position)


@pytest.mark.parametrize("mode", ["mask", "blend"])
def test_through_holes_is_seen_what_lies_behind_them_in_the_same_part_too(mode, monkeypatch):
    """Two layers of one part: the front one is there in columns 0 and 1, the other in 1 and 2."""
    near, far = square(0.2), square(0.0)
    both = Mesh(
        np.concatenate([near.vertices, far.vertices]),
        np.concatenate([near.faces, far.faces + 4]),
        uvs=np.concatenate([near.uvs / [2, 1], far.uvs / [2, 1] + [0.5, 0]]).astype(np.float32),
    )
    holes = np.concatenate([strips(0, 1), strips(1, 2)], 1)
    holes[:, 32:, 1] = 255
    material = Material(albedo=holes, alpha_mode=mode, alpha_cutoff=0.5)
    seen = look(asset((both, material), (square(-0.2), Material())), [front()])

    columns = [np.floor(4 * (on_plane(z)[..., 0] + 0.5)) for z in (0.2, 0.0)]
    inside = [is_in(on_plane(z)) for z in (0.2, 0.0, -0.2)]
    is_near = inside[0] & np.isin(columns[0], (0, 1))
    is_far = inside[1] & np.isin(columns[1], (1, 2)) & ~is_near
    expected = np.select([is_near, is_far, inside[2]], [0.2, 0.0, -0.2], np.nan)
    found = np.where(seen.mask[0], seen.position[0, ..., 2], np.nan)
    # Opacity is interpolated between texels, so borders of holes are half a texel wide.
    sure = np.ones((SIZE, SIZE), bool)
    for z in (0.2, 0.0):
        place = 32 * (on_plane(z)[..., 0] + 0.5)
        sure &= np.abs(place / 8 - np.round(place / 8)) * 8 > 0.6
    assert sure.mean() > 0.5
    assert np.isclose(found, expected, equal_nan=True)[sure].all()
    assert all((np.isclose(expected, z) & sure).sum() > 50 for z in (0.2, 0.0, -0.2))

    monkeypatch.setattr(cutouts, "_PAIRS", 100)  # many blocks give what one gives
    again = look(asset((both, material), (square(-0.2), Material())), [front()])
    assert torch.equal(again.part, seen.part) and torch.equal(again.position, seen.position)


def test_backs_are_seen_of_two_sided_materials_only_and_with_their_normals_turned():
    behind = perspective(orbit(180, 0, 2.0), 40.0, (SIZE, SIZE))
    bumps = np.full((4, 4, 3), (200, 128, 220), np.uint8)
    for is_seen in (False, True):
        material = Material(double_sided=is_seen, normal=bumps)
        seen = look(asset((square(), material)), [front(), behind])
        assert seen.mask[0].sum() > 100
        assert bool(seen.mask[1].any()) is is_seen
    ahead, turned = (seen.normal[number][seen.mask[number]] for number in (0, 1))
    assert torch.allclose(ahead, torch.tensor([0.0, 0.0, 1.0]).expand_as(ahead))
    assert torch.allclose(turned, torch.tensor([0.0, 0.0, -1.0]).expand_as(turned))
    bumped = [seen.shading_normal[number][seen.mask[number]][0] for number in (0, 1)]
    assert torch.allclose(bumped[1], -bumped[0], atol=1e-6)


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_normal_map_tilts_normals_along_u_and_v(is_mirrored):
    mesh = charted(square(), (1, 0, 0, 1)) if is_mirrored else square()
    bumps = np.full((4, 4, 3), (204, 153, 229), np.uint8)
    seen = look(asset((mesh, Material(normal=bumps, normal_scale=0.5))), [front()])
    x, y, z = 2 * np.array([204, 153, 229]) / 255 - 1
    expected = np.array([-x / 2 if is_mirrored else x / 2, y / 2, z])
    expected = torch.from_numpy(expected / np.linalg.norm(expected)).float()
    found = seen.shading_normal[seen.mask]
    assert torch.allclose(found, expected.expand_as(found), atol=1e-5)


def test_maps_are_multiplied_with_factors_and_colours_of_vertices():
    mesh = replace(square(), colours=np.full((4, 3), (1, 0.5, 0.25), np.float32))
    material = Material(
        albedo=np.full((2, 2, 4), (255, 188, 255, 51), np.uint8),
        rough_metal=np.full((2, 2, 3), (255, 102, 204), np.uint8),
        albedo_factor=(0.5, 1.0, 1.0, 0.5), roughness_factor=0.5, metallic_factor=0.25,
        alpha_mode="blend",
    )  # fmt: skip
    seen = look(asset((mesh, material)), [front()])
    values = [one[0, SIZE // 2, SIZE // 2] for one in seen]
    found = dict(zip(seen._fields, values, strict=True))
    green = float(to_linear(torch.tensor(188 / 255)))
    assert torch.allclose(found["albedo"], torch.tensor([0.5, green / 2, 0.25]), atol=1e-5)
    assert float(found["roughness"]) == pytest.approx(0.2, abs=1e-5)
    assert float(found["metallic"]) == pytest.approx(0.2, abs=1e-5)
    assert float(found["opacity"]) == pytest.approx(0.1, abs=1e-5)
    solid = look(asset((mesh, replace(material, alpha_mode="opaque"))), [front()])
    assert (solid.opacity[solid.mask] == 1).all()


def test_a_map_finer_than_pixels_is_averaged_in_linear_light_and_a_coarser_one_is_not():
    """A pixel covers some 35 x 35 texels: more than cells of 8, less than those of 128."""
    for cell in (8, 128):
        row, column = np.indices((512, 512)) // cell
        board = 255 * ((row + column) % 2)[..., None].astype(np.uint8).repeat(3, 2)
        seen = look(asset((square(), Material(albedo=board))), [front(24)])
        inside = seen.albedo[0, 8:16, 8:16]
        share = ((inside < 0.01) | (inside > 0.99)).float().mean()
        assert share > 0.4 if cell == 128 else torch.allclose(inside, torch.tensor(0.5), atol=1e-3)


def test_maps_go_on_outside_of_their_square_as_they_say():
    columns = np.zeros((8, 8, 4), np.uint8)
    columns[:, :4] = 255
    tiled = charted(square(), (0, 0, 2, 1))
    material = Material(albedo=columns)
    repeated, clamped = (
        look(asset((tiled, replace(material, wrap=wrap))), [front()]).albedo[0, 24, 9:39, 0]
        for wrap in ("repeat", "clamp")
    )
    assert repeated[2] == repeated[17] == 1 and repeated[12] == repeated[27] == 0
    assert clamped[2] == 1 and (clamped[12:] == 0).all()
    material = replace(material, alpha_mode="mask")
    for wrap, values in (("repeat", repeated), ("clamp", clamped)):
        mask = look(asset((tiled, replace(material, wrap=wrap))), [front()]).mask[0, 24, 9:39]
        is_sure = (values == 0) | (values == 1)
        assert torch.equal(mask[is_sure], values[is_sure] == 1)


def test_a_drawing_is_what_light_makes_of_the_look():
    lit = moved(crowd(), 0.7, (-0.15, 0.0, 0.0))
    sign = moved(square(), 0.3, (0.4, 0.4, 0.4))
    parts = [
        (lit, Material(albedo_factor=(0.8, 0.4, 0.2, 1.0), roughness_factor=0.4)),
        (sign, Material(albedo_factor=(0.1, 0.9, 0.3, 1.0), is_unlit=True)),
    ]
    views = [front(), perspective(orbit(30, 20, 2.0), 40.0, (SIZE, SIZE))]
    lamp = DirectionalLamp((0.3, 0.5, 0.8), irradiance=(2.0, 2.0, 2.0))
    seen = look(asset(*parts), views)
    found = drawn(seen, views, [lamp]).movedim(1, -1)
    eye = torch.from_numpy(np.stack([one.position for one in views])).float()[:, None, None]
    whole = shade(
        Surface(seen.shading_normal, seen.albedo, seen.roughness, seen.metallic),
        [lamp], position=seen.position, eye=eye, mask=seen.part == 0,
    )  # fmt: skip
    is_sign = seen.part == 1
    assert is_sign.sum() > 50 and found[seen.part == 0].max() > 0.3
    assert torch.allclose(found[~is_sign], whole[~is_sign], atol=1e-6)
    assert torch.allclose(found[is_sign], torch.tensor([0.1, 0.9, 0.3]).expand(1, 3))
    assert (found[~seen.mask] == 0).all()


def test_a_camera_may_see_nothing():
    eye = np.array([0.0, 0.0, 2.0])
    away = perspective(look_at(eye, 2 * eye), 40.0, (8, 8))
    nothing = Material(albedo=strips(), alpha_mode="mask")
    for parts, camera in (([(square(), Material())], away), ([(square(), nothing)], front())):
        seen = look(asset(*parts), [camera])
        assert not seen.mask.any() and (seen.part == -1).all()
        lit = drawn(seen, [camera], [DirectionalLamp((0.0, 0.0, 1.0))])
        assert (lit == 0).all() and lit.shape[1] == 3


def test_cameras_of_two_sizes_and_maps_without_uvs_are_refused():
    with pytest.raises(InputError, match=r"sizes.*\n.*resized"):
        look(asset((square(), Material())), [front(), front(32)])
    bare = replace(square(name="seat"), uvs=None)
    with pytest.raises(InputError, match=r'mesh "seat".*no texture coord'):
        look(asset((bare, Material(albedo=strips(0)))), [front()])
