"""Pictures of the colours an asset has, and their way through a new atlas back onto it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from crates import asset, crate, sides, two_crates

from modelgraft.methods.material_anything.assets import given
from modelgraft.methods.material_anything.assets.exporting import finished
from modelgraft.methods.material_anything.assets.given import given_pictures, has_texture
from modelgraft.methods.material_anything.assets.noticing import is_blank
from modelgraft.methods.material_anything.assets.preparing import Prepared, prepare
from modelgraft.methods.material_anything.infer import Canvas, Plan, Sight, assemble, canvas
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.spatial.drawing import look
from modelgraft.spatial.meshes import Asset, Material
from modelgraft.spatial.shading.colour import to_srgb


def board(ready: Prepared, view_px: int = 48, texture_px: int = 96) -> Canvas:
    return canvas(ready.mesh, Plan(view_px=view_px, texture_px=texture_px))


def taken(ready: Prepared, painted: Canvas) -> torch.Tensor:
    pictures = given_pictures(ready)
    size = painted.plan.view_px
    nothing = torch.zeros(1, 9, size, size)
    return torch.cat([
        pictures(Sight(view, painted.surface.view(view), nothing, nothing[:, :1]))
        for view in range(len(VIEWS))
    ])  # fmt: skip


def test_pictures_show_the_texture_of_a_mesh_that_kept_its_uvs(monkeypatch):
    """Compared with a plain lookup of the map by the canvas's own UVs."""
    calls = []
    monkeypatch.setattr(given, "look", lambda *args: calls.append(1) or look(*args))
    colours = sides()
    ready = prepare(asset((crate((4, 0, 0)), Material(albedo=colours))), texture_px=96)
    painted = board(ready)
    expected = torch.cat([
        painted.seen(torch.from_numpy(colours).movedim(-1, 0) / 255, view)
        for view in range(len(VIEWS))
    ])  # fmt: skip
    found = taken(ready, painted)
    mask = painted.surface.mask[:, None].expand_as(found)
    assert (found - expected)[mask].abs().max() < 1e-4
    assert (found[~mask] == 1).all()
    assert len(calls) == 1


def test_where_the_asset_shows_nothing_the_nearest_colour_goes_on():
    holes = np.concatenate([sides(), np.full((96, 96, 1), 255, np.uint8)], 2)
    holes[48:, :16, 3] = 0  # half of the side towards x: one sees through the crate there
    material = Material(albedo=holes, alpha_mode="mask")
    ready = prepare(asset((crate(), material)), texture_px=96)
    painted = board(ready)
    found = taken(ready, painted)
    mask = painted.surface.mask[:, None].expand_as(found)
    assert 0.1 < found[mask].min() and found[mask].max() < 0.9  # as the colours of `sides`
    assert (found[~mask] == 1).all()


def albedo_error(found: Asset, truth: Asset, painted: Canvas) -> torch.Tensor:
    """Mean difference in sRGB inside of each part of the truth."""
    one, other = (look(each, painted.cameras) for each in (found, truth))
    error = (to_srgb(one.albedo) - to_srgb(other.albedo)).abs().mean(-1)
    return torch.stack([error[other.part == part].mean() for part in range(len(truth.parts))])


@pytest.mark.parametrize("faces", [None, 120])
def test_colours_of_two_parts_arrive_in_one_atlas_where_they_were(faces):
    """Also on a mesh that is reduced, from 384 faces."""
    ready = prepare(two_crates(4), texture_px=128, faces=faces)
    painted = board(ready, 96, 128)
    picture = taken(ready, painted)
    rest = torch.full((10, 6, 96, 96), 0.5)
    made = assemble(painted, torch.cat([picture, rest], 1), None, seed=0)
    there = finished(replace(ready, placement=type(ready.placement)(np.zeros(3), 1.0)), made)
    assert [part.mesh.name for part in there.parts] == ["left", "right"]
    error = albedo_error(there, ready.source, painted)
    assert error.max() < 0.02
    # The test could tell: with the parts' colours exchanged it is far more.
    swapped = replace(
        ready.source,
        parts=tuple(
            replace(mine, material=theirs.material)
            for mine, theirs in zip(ready.source.parts, ready.source.parts[::-1], strict=True)
        ),
    )
    assert albedo_error(there, swapped, painted).min() > 0.1


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ((crate(), Material()), False),
        ((crate(), Material(albedo_factor=(0.8, 0.8, 0.8, 1.0))), False),
        ((crate(), Material(albedo_factor=(0.8, 0.2, 0.8, 1.0))), True),
        ((crate(), Material(albedo=sides())), True),
        ((replace(crate(), colours=np.ones((24, 3), np.float32)), Material()), False),
        ((replace(crate(), colours=crate().vertices + np.float32(0.5)), Material()), True),
    ],
)
def test_an_asset_has_texture_when_its_colours_say_something(part, expected):
    assert has_texture(asset((crate(), Material()), part)) is expected


def test_a_white_picture_is_blank_whatever_lies_beside_it():
    mask = torch.zeros(2, 8, 8)
    mask[:, 2:6] = 1
    white = torch.where(mask[:, None].bool(), 0.97, 0.0).expand(2, 3, 8, 8)
    assert is_blank(white, mask)
    assert not is_blank(white * 0.9, mask)
