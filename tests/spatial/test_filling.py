"""Filling: what was seen stays, and the rest comes from where it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from surfaces import ball, box, charted, joined, moved, sheet, torus

from modelgraft.core.errors import InputError
from modelgraft.spatial.filling import gutter, laplace3d, nearest3d, voronoi2d
from modelgraft.spatial.texels import find_texels

TEXELS = find_texels(torus(), (48, 64))
GENERATOR = torch.Generator().manual_seed(0)
VALUES = torch.rand(3, 48, 64, generator=GENERATOR)


def holes(texels, share=0.4):
    """Texels that were seen [H, W]: all but random ones and one large patch."""
    kept = torch.rand(texels.size, generator=GENERATOR) > share
    kept[8:24, 10:30] = False
    return kept & texels.mask


SEEN = holes(TEXELS)
FILLS = {
    "voronoi2d": lambda values, seen, _: voronoi2d(values, seen),
    "nearest3d": nearest3d,
    "laplace3d": laplace3d,
}


@pytest.mark.parametrize("fill", FILLS)
def test_seen_texels_never_change(fill):
    filled = FILLS[fill](VALUES, SEEN, TEXELS)
    assert torch.equal(filled[:, SEEN], VALUES[:, SEEN])
    assert (filled != VALUES).any()


@pytest.mark.parametrize("fill", FILLS)
def test_what_was_in_holes_does_not_matter(fill):
    other = torch.where(SEEN, VALUES, torch.nan)
    filled = FILLS[fill](other, SEEN, TEXELS)[:, TEXELS.mask]
    assert torch.equal(filled, FILLS[fill](VALUES, SEEN, TEXELS)[:, TEXELS.mask])
    assert torch.isfinite(filled).all()


@pytest.mark.parametrize("fill", FILLS)
def test_a_constant_goes_on_in_every_hole(fill):
    values = torch.where(SEEN, 0.25, 9.0).expand(2, -1, -1)
    filled = FILLS[fill](values, SEEN, TEXELS)
    assert torch.allclose(filled[:, TEXELS.mask], torch.tensor(0.25), atol=1e-6)


@pytest.mark.parametrize("fill", ["nearest3d", "laplace3d"])
def test_what_lies_between_charts_stays(fill):
    outside = ~TEXELS.mask
    assert torch.equal(FILLS[fill](VALUES, SEEN, TEXELS)[:, outside], VALUES[:, outside])


@pytest.mark.parametrize("fill", FILLS)
def test_the_values_given_are_not_written_to(fill):
    before = VALUES.clone()
    FILLS[fill](VALUES, SEEN, TEXELS)
    gutter(VALUES, TEXELS.mask, 4)
    assert torch.equal(VALUES, before)


@pytest.mark.parametrize("fill", FILLS)
def test_when_nothing_was_seen_the_reason_is_told(fill):
    with pytest.raises(InputError, match=r"no texel has a value[\s\S]*winding"):
        FILLS[fill](VALUES, torch.zeros(48, 64, dtype=torch.bool), TEXELS)


@pytest.mark.parametrize("fill", FILLS)
def test_without_holes_nothing_changes(fill):
    filled = FILLS[fill](VALUES, TEXELS.mask, TEXELS)
    assert torch.equal(filled[:, TEXELS.mask], VALUES[:, TEXELS.mask])


def test_voronoi_takes_the_nearest_seen_texel_of_the_picture():
    seen = torch.rand(20, 30, generator=GENERATOR) > 0.9
    filled = voronoi2d(torch.arange(600.0).view(1, 20, 30), seen)[0].long()
    rows, columns = np.nonzero(seen.numpy())
    for row, column in np.ndindex(20, 30):
        away = (rows - row) ** 2 + (columns - column) ** 2
        source = divmod(int(filled[row, column]), 30)
        assert seen[source] and (source[0] - row) ** 2 + (source[1] - column) ** 2 == away.min()


def test_nearest3d_takes_the_nearest_seen_point_of_the_surface():
    filled = TEXELS.values(nearest3d(TEXELS.image(TEXELS.position), SEEN, TEXELS))
    is_seen = TEXELS.values(SEEN[None].float())[:, 0] > 0
    known, unseen = (TEXELS.position[one].double() for one in (is_seen, ~is_seen))
    expected = torch.cdist(unseen, known).amin(1)
    found = (filled[~is_seen] - unseen).norm(dim=-1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_nearest3d_does_not_bleed_between_charts_that_are_apart_on_the_mesh():
    """Beside each other in the texture, but 5 apart in space; `voronoi2d` does bleed."""
    flat = sheet(lambda s, t: np.stack([s, t, 0 * s], -1), 3)
    left = charted(flat, (0.0, 0.0, 0.5, 1.0))
    right = charted(moved(flat, 1.0, (0.0, 0.0, 5.0)), (0.5, 0.0, 1.0, 1.0))
    texels = find_texels(joined(left, right), (32, 32))
    colour = texels.image((texels.position[:, 2:] > 1).float())
    seen = texels.mask.clone()
    seen[:, 8:16] = False
    assert torch.equal(nearest3d(colour, seen, texels), colour)
    assert not torch.equal(voronoi2d(colour, seen), colour)


def test_laplace_is_the_straight_line_between_two_sides():
    """On a flat sheet a linear function is harmonic."""
    flat = sheet(lambda s, t: np.stack([s, t, 0 * s], -1), 3)
    texels = find_texels(flat, (32, 32))
    values = texels.image(texels.position[:, :1])
    seen = torch.zeros(32, 32, dtype=torch.bool)
    seen[:, :6] = seen[:, 26:] = True
    assert (laplace3d(values, seen, texels) - values).abs().max() < 0.01


def test_laplace_stays_between_the_values_of_the_rim_and_meets_it_smoothly():
    texels = find_texels(ball(), (64, 64))
    values = texels.image(texels.position)
    seen = texels.mask & (texels.image(texels.position)[1] < 0.2)
    filled = laplace3d(values, seen, texels)
    hole = texels.mask & ~seen
    assert hole.sum() > 100
    for one, rim in zip(filled, values, strict=True):
        assert (
            rim[seen].min() - 1e-6 <= one[hole].min() and one[hole].max() <= rim[seen].max() + 1e-6
        )
    step = nearest3d(values, seen, texels)
    assert (filled - values)[:, hole].square().mean() < (step - values)[:, hole].square().mean()


def test_parts_that_were_not_seen_at_all_take_the_nearest_part():
    far = charted(moved(ball(4), 0.1, (3.0, 0.0, 0.0)), (0.5, 0.0, 1.0, 1.0))
    texels = find_texels(joined(charted(ball(4), (0.0, 0.0, 0.5, 1.0)), far), (64, 64))
    values = torch.rand(2, 64, 64, generator=GENERATOR)
    seen = texels.mask.clone()
    seen[:, 32:] = False
    filled = laplace3d(values, seen, texels)
    assert torch.equal(filled, nearest3d(values, seen, texels))


def test_coincident_texels_do_no_harm():
    flat = moved(sheet(lambda s, t: np.stack([s, t, 0 * s], -1), 3), 0.0, (0.5, 0.0, 0.0))
    texels = find_texels(flat, (16, 16))
    seen = texels.mask.clone()
    seen[4:9] = False
    filled = laplace3d(torch.rand(1, 16, 16, generator=GENERATOR), seen, texels)
    assert torch.isfinite(filled).all()


@pytest.mark.parametrize("pixels", [1, 4, 7])
def test_gutters_reach_as_far_as_asked_around_every_chart(pixels):
    mesh = box(2, margin=0.06)
    texels = find_texels(mesh, (96, 96))
    values = torch.where(texels.mask, 1.0, 0.0)[None].clone()
    filled = gutter(values, texels.mask, pixels)[0] > 0
    square = np.ones((2 * pixels + 1, 2 * pixels + 1), dtype=bool)
    expected = ndimage.binary_dilation(texels.mask.numpy(), square)
    assert (filled.numpy() == expected).all()


def test_gutters_have_the_nearest_value_of_a_chart_and_charts_stay():
    values = torch.rand(2, 48, 64, generator=GENERATOR)
    filled = gutter(values, TEXELS.mask, 4)
    assert torch.equal(filled[:, TEXELS.mask], values[:, TEXELS.mask])
    grown = (filled != values).any(0)
    assert torch.equal(filled[:, grown], voronoi2d(values, TEXELS.mask)[:, grown])
