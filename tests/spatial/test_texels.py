"""Texels: each shows the point of the surface that its place in the texture says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from surfaces import ball, box, charted, joined, moved, sheet, torus

from modelgraft.core.errors import InputError
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.sampling import texture
from modelgraft.spatial.texels import find_texels


def places(texels):
    """The uv [N, 2] of the texels' centres."""
    height, width = texels.size
    row, column = texels.index // width, texels.index % width
    return torch.stack([(column + 0.5) / width, 1 - (row + 0.5) / height], -1)


def flat(size=1.0):
    """A square sheet whose places are its uv."""
    return sheet(lambda s, t: np.stack([size * s, size * t, 0 * s], -1), 3)


def surface_points(mesh, count, rng):
    """Random points of a mesh [n, 3] with their uv [n, 2]."""
    face = rng.integers(0, len(mesh.faces), count)
    weights = rng.dirichlet([1, 1, 1], count)[..., None]
    points = (mesh.vertices[mesh.faces[face]] * weights).sum(1)
    uv = (mesh.uvs[mesh.faces[face]] * weights).sum(1)
    return torch.from_numpy(points), torch.from_numpy(uv)


def test_inside_a_chart_texels_show_the_point_of_their_centre():
    mesh = charted(flat(), (0.2, 0.3, 0.7, 0.9))
    texels = find_texels(mesh, (32, 48))
    uv = places(texels)
    expected = (uv - torch.tensor([0.2, 0.3])) / torch.tensor([0.5, 0.6])
    inside = ((expected > 0) & (expected < 1)).all(-1)
    assert inside.sum() > 400 and not inside.all()
    assert (texels.position[:, :2] - expected).abs()[inside].max() < 1e-5


def test_beside_a_chart_texels_show_the_nearest_point_of_its_border():
    mesh = charted(flat(), (0.2, 0.3, 0.7, 0.9))
    texels = find_texels(mesh, (32, 48))
    expected = (places(texels) - torch.tensor([0.2, 0.3])) / torch.tensor([0.5, 0.6])
    assert (texels.position[:, :2] - expected.clamp(0, 1)).abs().max() < 1e-5


@pytest.mark.parametrize("mesh", [torus(), ball(), box(2), box(1, margin=0.1)])
def test_lookups_on_the_mesh_read_no_other_texels(mesh):
    texels = find_texels(mesh, (40, 56))
    _, uv = surface_points(mesh, 20000, np.random.default_rng(0))
    ones = texels.mask[None, None].float()
    assert texture(ones, uv.float()).min() > 1 - 1e-4


def test_a_chart_thinner_than_a_texel_is_not_lost():
    corners = np.array([[0.1, 0.101], [0.9, 0.104], [0.9, 0.1045]], np.float32)
    strip = Mesh(np.c_[corners, np.zeros(3)].astype(np.float32), np.array([[0, 1, 2]], np.int32))
    texels = find_texels(replace(strip, uvs=corners), (16, 16))
    row = texels.mask[14]
    assert row[2:14].all()
    assert (texels.face == 0).all()


def test_a_smooth_truth_baked_into_texels_is_found_again_everywhere():
    """At borders too, where a lookup mixes texels on both sides of them."""
    mesh = ball(8)
    texels = find_texels(mesh, (128, 128))
    image = texels.image(texels.position)[None]
    points, uv = surface_points(mesh, 20000, np.random.default_rng(1))
    off = (texture(image, uv.float()) - points).abs()
    texel = 1 / 128 * (1 / (1 / 3 - 0.04))  # of the box's side
    assert off.max() < 0.45 * texel
    assert off.mean() < 0.02 * texel


def test_a_chart_takes_no_texel_from_the_inside_of_its_neighbour():
    left = charted(flat(), (0.0, 0.0, 0.5, 1.0))
    right = charted(moved(flat(), 1.0, (0, 0, 1)), (0.5, 0.0, 1.0, 1.0))
    texels = find_texels(joined(left, right), (16, 16))
    columns = texels.index % 16
    assert len(texels.index) == 256
    assert (texels.position[:, 2] == (columns >= 8)).all()


def test_where_charts_overlap_the_first_face_wins():
    mesh = joined(flat(), moved(flat(), 1.0, (0, 0, 1)))
    texels = find_texels(mesh, (16, 16))
    assert (texels.position[:, 2] == 0).all()


def test_texels_are_in_the_order_of_the_texture_each_once():
    texels = find_texels(torus(), (33, 47))
    assert (texels.index.diff() > 0).all()
    assert texels.mask.sum() == len(texels.index)
    assert texels.index.max() < 33 * 47


def test_images_and_values_undo_each_other():
    texels = find_texels(torus(), (33, 47))
    values = torch.randn(len(texels.index), 5)
    image = texels.image(values)
    assert image.shape == (5, 33, 47)
    assert torch.equal(texels.values(image), values)
    assert (image[:, ~texels.mask] == 0).all()


def test_directions_are_unit_and_those_of_the_faces():
    mesh = ball(6)
    tangents = torch.cat(
        [torch.randn(len(mesh.vertices), 3), -torch.ones(len(mesh.vertices), 1)], 1
    )
    texels = find_texels(mesh, (64, 64), tangents=tangents)
    for one in (texels.normal, texels.face_normal, texels.tangent[:, :3]):
        assert torch.allclose(one.norm(dim=-1), torch.ones(len(one)), atol=1e-5)
    assert (texels.tangent[:, 3] == -1).all()
    assert (texels.normal * texels.position).sum(-1).min() > 0.45
    bare = find_texels(replace(mesh, normals=None), (64, 64))
    assert torch.equal(bare.normal, bare.face_normal) and bare.tangent is None


def test_a_mesh_without_uv_is_refused_by_name_with_the_remedy():
    mesh = replace(ball(), uvs=None, name="Seat")
    with pytest.raises(InputError, match=r'"Seat": no texture coordinates[\s\S]*Unwrap'):
        find_texels(mesh, (16, 16))
