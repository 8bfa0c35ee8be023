"""Sampling: attributes of vertices and texels of maps, against loops that do one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from surfaces import ball, cameras, sheet, torus

from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.raster import rasterize
from modelgraft.spatial.sampling import interpolate, texture

GENERATOR = torch.Generator().manual_seed(0)


def drawn(mesh, size=24):
    vertices = np.c_[mesh.vertices.astype(np.float64), np.ones(len(mesh.vertices))]
    clip = np.stack([vertices @ camera.clip().T for camera in cameras(size)[:3]])
    faces = torch.from_numpy(mesh.faces)
    return rasterize(torch.from_numpy(clip), faces, (size, size)), faces


# -- attributes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_batched", [False, True])
def test_attributes_are_mixed_by_the_weights_of_each_pixel(is_batched):
    rast, faces = drawn(ball(4))
    values = torch.rand(3, len(ball(4).vertices), 5, generator=GENERATOR)
    given = values if is_batched else values[0]
    found = interpolate(given, rast, faces)
    for place in np.ndindex(*rast.shape[:3]):
        u, v, _, number = rast[place]
        expected = torch.zeros(5)
        if number > 0:
            a, b, c = (values if is_batched else values[:1].expand(3, -1, -1))[place[0]][
                faces[int(number) - 1].long()
            ]
            expected = u * a + v * b + (1 - u - v) * c
        assert torch.allclose(found[place], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(25, 2), (3, 25, 2)])
def test_interpolation_can_be_differentiated_in_the_attributes(shape):
    mesh = sheet(lambda s, t: np.stack([s - 0.5, t - 0.5, 0 * s], -1), 4)
    rast, faces = drawn(mesh, 6)
    values = torch.rand(*shape, dtype=torch.float64, generator=GENERATOR, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: interpolate(one, rast, faces), values)


# -- maps ------------------------------------------------------------------------------------------


def looked_up(image, u, v, wrap):
    """One lookup in a map [C, H, W] by the definition."""
    _, height, width = image.shape
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    left, top = int(np.floor(x)), int(np.floor(y))
    total = torch.zeros(len(image), dtype=image.dtype)
    for row in (top, top + 1):
        for column in (left, left + 1):
            share = (1 - abs(x - column)) * (1 - abs(y - row))
            if wrap == "repeat":
                texel = image[:, row % height, column % width]
            else:
                texel = image[:, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
            total += share * texel
    return total


@pytest.mark.parametrize("wrap", ["clamp", "repeat"])
@pytest.mark.parametrize("size", [(5, 8), (1, 3)])
def test_lookups_are_bilinear_between_the_centres_of_texels(wrap, size):
    maps = torch.rand(2, 3, *size, dtype=torch.float64, generator=GENERATOR)
    uv = torch.rand(2, 40, 2, dtype=torch.float64, generator=GENERATOR) * 3 - 1
    uv[:, :3] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 1.0]])
    found = texture(maps, uv, wrap=wrap)
    for number in range(2):
        for place in range(40):
            u, v = uv[number, place].tolist()
            expected = looked_up(maps[number], u, v, wrap)
            assert torch.allclose(found[number, place], expected, atol=1e-9)


def test_one_map_serves_places_of_any_shape():
    maps = torch.rand(1, 4, 6, 7, generator=GENERATOR)
    uv = torch.rand(2, 3, 5, 2, generator=GENERATOR)
    found = texture(maps, uv)
    assert found.shape == (2, 3, 5, 4)
    assert torch.equal(found[1, 2], texture(maps, uv[1, 2]))
    assert texture(maps, uv[0, 0, 0]).shape == (4,)
    assert texture(maps, uv[:0]).shape == (0, 3, 5, 4)


def test_the_first_row_of_a_map_is_its_top():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    corners = torch.tensor([[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]])
    assert torch.equal(texture(maps, corners)[:, 0], torch.tensor([1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize("wrap", ["clamp", "repeat"])
def test_lookups_can_be_differentiated_in_the_map_and_the_place(wrap):
    maps = torch.rand(1, 2, 3, 4, dtype=torch.float64, generator=GENERATOR, requires_grad=True)
    uv = torch.tensor([[0.31, 0.42], [0.77, 0.66], [0.55, 0.21]], dtype=torch.float64)
    uv.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: texture(a, b, wrap=wrap), (maps, uv))


def test_a_map_that_holds_its_own_places_gives_them_back():
    """To half a texel at the border, where a map cannot go on, and exactly inside."""
    height, width = 64, 96
    v, u = torch.meshgrid(
        1 - (torch.arange(height) + 0.5) / height,
        (torch.arange(width) + 0.5) / width,
        indexing="ij",
    )
    maps = torch.stack([u, v])[None]
    surface = gbuffer(torus(), cameras(80)[:2])
    found = texture(maps, surface.uv)
    off = (found - surface.uv).abs()[surface.mask]
    assert len(off) > 1000
    assert (off <= torch.tensor([0.5 / width, 0.5 / height]) + 1e-6).all()
    assert off.max() < 1e-5  # the torus's chart stays off the border
    edge = texture(maps, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert torch.allclose(edge, torch.tensor([[0.5 / 96, 0.5 / 64], [1 - 0.5 / 96, 1 - 0.5 / 64]]))
