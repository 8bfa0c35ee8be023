"""Baking: textures made of pictures hold the truth where it was seen, and nothing elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from scatter_baking import scatter_bake
from surfaces import ball, bowl, box, cameras, crowd, joined, moved, sheet, solid_colours, torus
from torch.nn.functional import normalize
from trimesh.ray.ray_pyembree import RayMeshIntersector

from modelgraft.spatial.baking import Baked, bake
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.sampling import texture
from modelgraft.spatial.texels import find_texels

SIZE = (96, 96)
MESHES = {
    "torus": torus(),
    "ball": ball(),
    "box": moved(box(), 0.6, (0.0, 0.0, 0.0)),
    "bowl": bowl(),
    "crowd": crowd(),
}
ONES = (1.0, 1.0, 1.0)


def pictures(surface):
    """The true pictures [b, 3, H, W] of a mesh with solid colours on white."""
    colours = torch.where(surface.mask[..., None], solid_colours(surface.position), 1.0)
    return colours.permute(0, 3, 1, 2)


def baked(mesh, size=192, texture_size=SIZE, views=None, **options):
    eyes = cameras(size) if views is None else cameras(size, views)
    surface, texels = gbuffer(mesh, eyes), find_texels(mesh, texture_size)
    options = {"exponents": ONES} | options
    return texels, bake(texels, surface, eyes, pictures(surface), **options), eyes


def cosines(texels, camera):
    to_eye = torch.from_numpy(camera.position).float() - texels.position
    return (normalize(to_eye, dim=-1) * texels.normal).sum(-1)


# -- truth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESHES)
def test_texels_seen_head_on_hold_the_true_map(name):
    texels, found, eyes = baked(MESHES[name])
    truth = texels.image(solid_colours(texels.position))
    best = torch.stack([cosines(texels, one) for one in eyes]).amax(0)
    head_on = found.seen & (texels.image(best[:, None])[0] > 0.7)
    assert head_on.sum() > 0.4 * len(texels.index)
    assert (found.values - truth)[:, head_on].square().mean().sqrt() < 0.02
    assert (found.values - truth)[:, found.seen].abs().max() < 0.1


@pytest.mark.parametrize("name", MESHES)
def test_hardly_any_texel_takes_a_colour_from_a_camera_that_it_is_hidden_from(name):
    """Checked by casting rays from the cameras to all texels that were written."""
    mesh = MESHES[name]
    texels, found, eyes = baked(mesh)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    rays = RayMeshIntersector(solid)
    hidden = written = 0
    for camera, weights in zip(eyes, found.weights, strict=True):
        used = texels.values(weights[None])[:, 0] > 0
        points = texels.position[used].double().numpy()
        way = points - camera.position
        reach = np.linalg.norm(way, axis=1)
        way /= reach[:, None]
        first = rays.intersects_first(np.broadcast_to(camera.position, way.shape), way)
        normal, corner = solid.face_normals[first], solid.triangles[first, 0]
        hit = ((corner - camera.position) * normal).sum(1) / (way * normal).sum(1)
        hidden += ((first >= 0) & (hit < reach - 1e-3)).sum()
        written += len(points)
    assert written > 1.5 * len(texels.index)
    assert hidden < 0.005 * written


@pytest.mark.parametrize("name", ["ball", "box"])
def test_convex_shapes_are_covered_by_the_ten_cameras(name):
    texels, found, _ = baked(MESHES[name])
    assert found.seen.sum() > 0.95 * len(texels.index)


def test_pixels_of_the_baked_texture_are_those_of_the_pictures():
    mesh = MESHES["ball"]
    _, found, eyes = baked(mesh, texture_size=(256, 256))
    surface = gbuffer(mesh, eyes[:2])
    weight = texture(found.seen[None, None].float(), surface.uv)[..., 0]
    off = (texture(found.values[None], surface.uv) - solid_colours(surface.position)).abs()
    assert off[surface.mask & (weight > 0.999)].mean() < 0.01


# -- what counts -----------------------------------------------------------------------------------


def test_unseen_texels_are_zero_and_have_no_view():
    texels, found, _ = baked(MESHES["torus"], views=((0, 0),))
    unseen = ~found.seen
    assert (found.values[:, unseen] == 0).all() and (found.view[unseen] == -1).all()
    assert (found.view[found.seen] == 0).all()
    assert 0.05 < found.seen.sum() / len(texels.index) < 0.5
    assert not (found.seen & ~texels.mask).any()


def test_backs_of_faces_are_never_painted():
    mesh = MESHES["ball"]
    turned = replace(mesh, faces=mesh.faces[:, ::-1].copy(), normals=-mesh.normals)
    _, found, _ = baked(turned)
    assert not found.seen.any()


def test_flat_angles_do_not_count():
    texels, found, eyes = baked(MESHES["torus"], threshold=0.5)
    for camera, weights in zip(eyes, found.weights, strict=True):
        cosine = texels.image(cosines(texels, camera)[:, None])[0]
        assert torch.allclose(weights[weights > 0], cosine[weights > 0], atol=1e-5)
        assert weights[weights > 0].min() >= 0.5


def test_the_dominant_view_is_the_one_of_the_largest_cosine():
    _, found, _ = baked(MESHES["crowd"])
    best, view = found.weights.max(0)
    assert torch.equal(found.seen, best > 0)
    assert (found.view == view)[found.seen].all()
    assert len(found.view.unique()) == 11


def test_values_are_means_weighted_by_powers_of_the_cosine():
    """Against pictures that are constants, where the mean can be written down."""
    eyes, mesh = cameras(96)[:4], MESHES["ball"]
    surface, texels = gbuffer(mesh, eyes), find_texels(mesh, SIZE)
    maps = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 96, 96)
    found = bake(texels, surface, eyes, maps, exponents=(1, 6, 1))
    for channel, exponent in enumerate((1, 6, 1)):
        weights = torch.where(found.weights > 0, found.weights**exponent, 0)
        expected = (weights * torch.arange(4.0).view(4, 1, 1)).sum(0) / weights.sum(0)
        expected = torch.where(found.seen, expected, 0)
        assert torch.allclose(found.values[channel], expected, atol=1e-5)


def test_views_one_by_one_have_the_weights_of_all_together():
    mesh = MESHES["crowd"]
    _, found, eyes = baked(mesh)
    surface, texels = gbuffer(mesh, eyes), find_texels(mesh, SIZE)
    for number in (0, 4, 9):
        one = [eyes[number]]
        maps = pictures(surface)[number : number + 1]
        alone = bake(texels, surface.view(number), one, maps, exponents=ONES)
        assert torch.equal(alone.weights[0], found.weights[number])


def test_every_channel_is_baked_as_if_it_were_alone():
    mesh = MESHES["torus"]
    eyes = cameras(64)
    surface, texels = gbuffer(mesh, eyes), find_texels(mesh, SIZE)
    maps = torch.rand(10, 9, 64, 64, generator=torch.Generator().manual_seed(0))
    exponents = [1.0] * 6 + [6.0] * 3
    together = bake(texels, surface, eyes, maps, exponents=exponents)
    for channel in (0, 5, 8):
        one = slice(channel, channel + 1)
        alone = bake(texels, surface, eyes, maps[:, one], exponents=exponents[one])
        assert torch.allclose(alone.values[0], together.values[channel], atol=1e-6)


# -- outlines --------------------------------------------------------------------------------------


def before_a_wall():
    """A ball that hangs before a wall with other colours."""
    wall = sheet(lambda s, t: np.stack([2 * s - 1, 2 * t - 1, 0 * s - 0.3], -1), 4)
    wall = replace(wall, uvs=wall.uvs * [0.45, 0.9] + [0.02, 0.02])
    front = moved(ball(), 0.4, (0.0, 0.0, 0.3))
    front = replace(front, uvs=front.uvs * [0.45, 0.9] + [0.52, 0.02])
    return joined(wall, front)


def test_no_colour_crosses_an_outline():
    """The wall is black and the ball is white, seen from many sides."""
    mesh, eyes = before_a_wall(), cameras(96)
    surface, texels = gbuffer(mesh, eyes), find_texels(mesh, (128, 128))
    is_ball = surface.triangle >= 32
    maps = (is_ball & surface.mask).float()[:, None]
    found = bake(texels, surface, eyes, maps, exponents=(1.0,))
    truth = texels.image((texels.face >= 32).float()[:, None])
    assert found.seen.float().sum() > 0.8 * len(texels.index)
    assert (found.values - truth)[:, found.seen].abs().max() < 1e-5


def test_pictures_are_used_no_nearer_to_an_outline_than_asked():
    mesh, eyes = MESHES["ball"], cameras(96)[:1]
    surface, texels = gbuffer(mesh, eyes), find_texels(mesh, SIZE)
    maps = pictures(surface)
    centre, edge = 48.0, surface.mask[0, 48].sum() / 2
    before = torch.inf
    for shrink in (0, 1, 2, 4):
        options = {"exponents": ONES, "threshold": 0.0, "shrink_px": shrink}
        found = bake(texels, surface, eyes, maps, **options)
        used = texels.position[texels.values(found.weights)[:, 0] > 0].double().numpy()
        pixels, _ = eyes[0].project(used)
        reach = np.linalg.norm(pixels - centre, axis=1).max()
        assert reach < edge + 0.5 - shrink
        assert len(used) < before
        before = len(used)


def test_a_mesh_outside_of_every_picture_gives_nothing():
    mesh = moved(MESHES["ball"], 0.1, (5.0, 0.0, 0.0))
    _, found, _ = baked(mesh, size=48, views=((0, 0), (180, 0)))
    assert isinstance(found, Baked) and not found.seen.any()
    assert torch.isfinite(found.values).all()


# -- a peer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torus", "crowd"])
def test_scattering_pixels_paints_no_better(name):
    """The official algorithm, restated: more of its texels are wrong, and by more."""
    mesh = MESHES[name]
    texels, found, eyes = baked(mesh, size=96)
    values, weights = scatter_bake(mesh, eyes, pictures(gbuffer(mesh, eyes)), SIZE)
    truth = texels.image(solid_colours(texels.position))
    both = found.seen & (weights > 0)
    assert both.sum() > 0.7 * len(texels.index)
    ours = (found.values - truth)[:, both].square().mean().sqrt()
    theirs = (values - truth)[:, both].square().mean().sqrt()
    assert ours < 0.5 * theirs
