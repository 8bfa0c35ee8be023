"""Strips, turntables and sheets show what is there, where it is."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from ball_and_box import ball, box
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, View
from modelgraft.methods.material_anything.showing import (
    gif_bytes,
    maps_sheet,
    named_lights,
    strip,
    turntable,
)
from modelgraft.spatial.meshes import Material
from modelgraft.spatial.shading.lamps import DirectionalLamp

BACKDROP = 231
"""Linear 0.8 in sRGB."""


def cells(sheet: np.ndarray, size: int) -> list[list[np.ndarray]]:
    """The rows of cells of a sheet: they end at its right and lower border, 2 pixels apart."""
    height, width = sheet.shape[:2]
    tops = list(range(height - 2 - size, 0, -size - 2))[::-1]
    lefts = list(range(width - 2 - size, 0, -size - 2))[::-1]
    return [[sheet[y : y + size, x : x + size] for x in lefts] for y in tops]


def test_a_strip_has_a_column_a_light_and_a_row_a_view() -> None:
    size = 64
    lights = [
        ("right", [DirectionalLamp((1.0, 0.0, 0.4), (2.0, 2.0, 2.0))]),
        ("above", [DirectionalLamp((0.0, 1.0, 0.4), (2.0, 2.0, 2.0))]),
    ]
    sheet = strip(ball(), lights, size=size, views=(VIEWS[0], VIEWS[7]))
    assert sheet.dtype == np.uint8 and (sheet == strip(ball(), lights, size=size,
        views=(VIEWS[0], VIEWS[7]))).all()  # fmt: skip
    (right, above), (behind_right, behind_above) = (row[:2] for row in cells(sheet, size))
    half = size // 2
    assert right[:, half:].mean() > right[:, :half].mean() + 20
    assert above[:half].mean() > above[half:].mean() + 20
    # From behind the lamp stands at the left, and behind the ball.
    assert behind_right[:, :half].mean() > behind_right[:, half:].mean() + 10
    assert behind_above.mean() < above.mean() - 20


def test_all_of_a_box_is_in_the_picture_however_it_is_turned() -> None:
    views = [
        View(azimuth, elevation, "view") for azimuth, elevation in ((0, 0), (45, 35), (30, 90))
    ]
    sheet = strip(box(Material(albedo_factor=(0.1, 0.1, 0.1, 1))), named_lights(["neutral"]),
                  size=64, views=views)  # fmt: skip
    for (cell,) in cells(sheet, 64)[-3:]:
        rim = np.concatenate([cell[0], cell[-1], cell[:, 0], cell[:, -1]])
        assert (rim == BACKDROP).all()
        assert (cell != BACKDROP).any(2).mean() > 0.25


def test_the_backdrop_shines_through_what_lets_it_through() -> None:
    glass = Material(albedo_factor=(0.0, 0.0, 0.0, 0.5), alpha_mode="blend", is_unlit=True)
    sheet = strip(ball(glass), named_lights(["neutral"]), size=32, views=VIEWS[:1])
    middle = cells(sheet, 32)[-1][-1][16, 16]
    assert middle.tolist() == [170, 170, 170]  # linear 0.4


def test_a_turntable_goes_once_around_from_the_front() -> None:
    """A box looks the same after a quarter turn, and its sides are lit one after the other."""
    lights = [DirectionalLamp((0.0, 0.0, 1.0), (3.0, 3.0, 3.0))]
    frames = turntable(box(), lights, frames=8, size=48)
    light = [frame[frame.shape[0] // 2 :].astype(float) for frame in frames]
    assert np.mean(light[0]) > np.mean(light[4]) + 20  # front, back
    assert np.abs(light[1] - light[7][:, ::-1]).mean() < 1.5  # seen from both sides
    outline = [(frame != BACKDROP).any(2) for frame in frames]
    assert (outline[0] == outline[2]).mean() > 0.98 > (outline[0] == outline[1]).mean()
    with pytest.raises(InputError, match="frames: 0"):
        turntable(box(), lights, frames=0, size=48)
    with pytest.raises(InputError, match="size: 5000"):
        turntable(box(), lights, frames=1, size=5000)


def test_a_gif_lasts_as_long_as_was_said_and_stands_still_where_nothing_moves() -> None:
    still = np.full((24, 24, 3), 200, np.uint8)
    frames = [still.copy() for _ in range(7)]
    for number, frame in enumerate(frames):
        frame[8:16, 2 * number : 2 * number + 8] = (30 * number, 255 - 30 * number, 90)
    content = gif_bytes(frames, 2.0)
    assert content == gif_bytes(frames, 2.0)
    with Image.open(io.BytesIO(content)) as moving:
        assert moving.n_frames == 7 and moving.info["loop"] == 0
        seen, times = [], []
        for number in range(7):
            moving.seek(number)
            times.append(moving.info["duration"])
            seen.append(np.asarray(moving.convert("RGB")).astype(int))
    assert sum(times) == 2000 and max(times) - min(times) <= 10
    for before, after in itertools.pairwise(seen):
        assert (before[:6] == after[:6]).all()
    assert all(np.abs(one - frame).max() <= 16 for one, frame in zip(seen, frames, strict=True))
    with pytest.raises(InputError, match=r"7 frames in 0\.1 s"):
        gif_bytes(frames, 0.1)


def test_a_sheet_shows_the_values_of_maps_as_they_are() -> None:
    def filled(*values: float) -> torch.Tensor:
        return torch.tensor(values).view(1, 3, 1, 1).expand(1, 3, 64, 64)

    truth = Maps(filled(0.2, 0.4, 0.6), filled(1, 0.25, 0.75), filled(0.5, 0.5, 1))
    found = truth._replace(rm=filled(1, 0.5, 1))
    rows = cells(maps_sheet(found, truth), 64)[-2:]
    middles = [[cell[32, 32].tolist() for cell in row[-4:]] for row in rows]
    assert middles[0] == [[51, 102, 153], [128] * 3, [255] * 3, [128, 128, 255]]
    assert middles[1] == [[51, 102, 153], [64] * 3, [191] * 3, [128, 128, 255]]
    with pytest.raises(InputError, match="different kinds"):
        maps_sheet(found, ball())


def test_a_sheet_of_an_asset_shows_what_its_views_see() -> None:
    matter = Material(albedo_factor=(0.2, 0.4, 0.6, 1), roughness_factor=0.25, metallic_factor=0.75)
    for row in cells(maps_sheet(ball(matter), size=64), 64)[-2:]:
        albedo, roughness, metallic, normal = (cell[32, 32].astype(int) for cell in row[-4:])
        assert albedo.tolist() == [124, 170, 203]
        assert roughness.tolist() == [64] * 3 and metallic.tolist() == [191] * 3
        assert np.abs(normal - [128, 128, 255]).max() <= 4
        # What faces up is green, what faces right red.
        assert row[-1][8, 32, 1] > 200 and row[-1][32, 56, 0] > 200
