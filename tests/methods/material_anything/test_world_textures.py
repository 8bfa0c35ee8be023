"""Textures of the world hold its exact truth, and tell which view shows what."""

import numpy as np
import pytest
import torch

from modelgraft.methods.material_anything.data.coarse import coarse
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world_textures import (
    Shape,
    TextureBank,
    look_substance,
    textured_mesh,
)
from modelgraft.spatial import frames
from modelgraft.spatial.meshes import Mesh
from modelgraft.worlds.substances import bumped

SIZE = 48


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return textured_mesh("train", 8, size=SIZE)  # a bowl, whose inside few views see


@pytest.fixture(scope="module")
def shape(mesh) -> Shape:
    return Shape.of(mesh, size=SIZE, view_px=64)


def test_a_texel_is_made_of_what_lies_at_its_place(shape):
    matter = look_substance("train", 8, 0)
    found = shape.textures(matter)
    texels = shape.texels
    true = matter.at(texels.position.numpy())
    albedo, rm, bump = (texels.values(one[0]) for one in found.maps)
    assert np.array_equal(albedo.numpy(), true.albedo)
    assert np.array_equal(rm[:, 1].numpy(), true.roughness)
    assert np.array_equal(rm[:, 2].numpy(), true.metallic)
    assert (rm[:, 0] == 1).all()
    assert torch.equal(texels.values(found.position[0]), texels.position + 0.5)
    axes = frames.uv_axes(texels.normal, texels.tangent)
    world = frames.to_world(frames.decode(bump), axes).numpy()
    apart = np.abs(world - bumped(texels.normal.numpy(), true.gradient)).max(1)
    assert np.quantile(apart, 0.99) < 1e-5  # but for the few that would point below the surface
    beside = found.mask[0, 0] == 0
    assert torch.equal(beside, ~texels.mask)
    assert all((one[0, :, beside] == 1).all() for one in (*found.maps, found.position))


def test_shown_texels_are_those_that_rays_reach(mesh, shape):
    """Against every triangle, a few hundred texels of four views."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(shape.texels.index), 150, replace=False)
    points = shape.texels.position.numpy().astype(np.float64)[chosen]
    normal = shape.texels.normal.numpy()[chosen]
    weights = shape.weights.flatten(1)[:, shape.texels.index[chosen]].numpy()
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    wrong, missed, open_views, hidden = 0, 0, 0, 0
    for view in (0, 1, 8, 9):
        eye = camera_of(VIEWS[view], 64).position
        is_free = np.array([not _blocked(eye, point, corners) for point in points])
        away = eye - points
        cosine = (away * normal).sum(1) / np.linalg.norm(away, axis=1)
        shown = weights[view] > 0
        wrong += (shown & ~is_free).sum()
        hidden += (~is_free).sum()
        open_views += (is_free & (cosine > 0.3)).sum()
        missed += (is_free & (cosine > 0.3) & ~shown).sum()
        assert np.allclose(weights[view][shown], cosine[shown], atol=1e-5)
    assert hidden > 100
    assert wrong <= 0.005 * hidden
    assert missed < 0.3 * open_views  # pixels of an outline are left out


def _blocked(eye: np.ndarray, point: np.ndarray, corners: np.ndarray) -> bool:
    """Whether a triangle lies between (Moeller and Trumbore 1997)."""
    way = point - eye
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(way, second)
    det = (first * across).sum(1)
    det = np.where(np.abs(det) < 1e-14, np.inf, det)
    start = eye - corners[:, 0]
    u = (start * across).sum(1) / det
    over = np.cross(start, first)
    v = (over @ way) / det
    t = (second * over).sum(1) / det
    return bool(((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < 1 - 0.01)).any())


def test_a_bank_gives_back_its_textures(shape):
    bank = TextureBank.of("train", [8], size=SIZE, looks=2)
    assert bank.total == 2
    found = bank.take([1, 0, 1])
    true = shape.textures(look_substance("train", 8, 1))
    for own, other in zip((*found.maps, found.position), (*true.maps, true.position), strict=True):
        assert own.dtype == torch.float32
        assert torch.allclose(own[0], other[0], atol=1e-3)
        assert torch.equal(own[0], own[2])
    assert torch.equal(found.mask[0], true.mask[0])
    assert not torch.equal(found.maps.albedo[0], found.maps.albedo[1])


def test_what_no_chosen_view_shows_is_white_and_the_rest_sound(shape):
    found = shape.textures(look_substance("train", 8, 0))
    every = (found.weights > 0).any(1, keepdim=True)
    shares, degraded, views = [], 0, set()
    for seed in range(60):
        left = coarse(found.maps, found.weights, seed=seed)
        seen = left.seen > 0
        assert not (seen & ~every).any()
        for one in left.maps:
            assert (one.movedim(1, -1)[~seen[:, 0]] == 1).all()
        inside = Maps(*(one.movedim(1, -1)[seen[:, 0]] for one in left.maps))
        assert 0 <= inside.albedo.min() <= inside.albedo.max() <= 1
        assert (inside.rm[:, 0] == 1).all()
        normal = 2 * inside.bump - 1
        assert (normal.norm(dim=1) - 1).abs().max() < 1e-5
        assert normal[:, 2].min() > 0
        true = found.maps.albedo.movedim(1, -1)[seen[:, 0]]
        degraded += not torch.allclose(inside.albedo, true, atol=1e-6)
        assert (inside.albedo - true).abs().mean() < 0.25
        shares.append(float(seen.sum() / found.mask.sum()))
        views.add(round(shares[-1], 4))
    assert 15 <= degraded <= 45
    assert min(shares) < 0.5 * max(shares)
    assert max(shares) == pytest.approx(float(every.sum() / found.mask.sum()))
    assert len(views) > 10
    first, again = (coarse(found.maps, found.weights, seed=5) for _ in range(2))
    assert torch.equal(first.maps.joined(), again.maps.joined())
