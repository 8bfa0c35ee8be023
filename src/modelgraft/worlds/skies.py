"""Surroundings as equirectangular pictures of linear radiance, drawn from a name and a seed.

Row 0 lies at the top (+y); the centre column shows +x and three quarters of the width +z, as in
three.js. The mean radiance over the sphere is 1, so that one exposure serves all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.worlds.draws import between, uniforms

Floats = NDArray[np.float64]
Drawing = Callable[[Floats, Floats], Floats]

_NUMBERS: Final = 12


def sky(name: str, *, size: tuple[int, int] = (64, 128), seed: int = 0) -> NDArray[np.float32]:
    """The surroundings called `name`, one of `SKIES`, as linear radiance [height, width, 3]."""
    directions, solid_angles = equirectangular(*size)
    numbers = uniforms(f"sky {name}", seed, [0], _NUMBERS)[0]
    radiance = _DRAWINGS[name](directions, numbers)
    mean = (radiance * solid_angles[:, None, None]).sum() / (4 * np.pi * 3)
    return (radiance / mean).astype(np.float32)


def equirectangular(height: int, width: int) -> tuple[Floats, Floats]:
    """Directions [height, width, 3] of the pixels' centres, and solid angles [height] of pixels."""
    edges = np.cos(np.pi * np.arange(height + 1) / height)
    polar = np.pi * (np.arange(height) + 0.5) / height
    azimuth = 2 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    level = np.sin(polar)[:, None]
    up = np.broadcast_to(np.cos(polar)[:, None], (height, width))
    directions = np.stack([level * np.cos(azimuth), up, level * np.sin(azimuth)], axis=-1)
    return directions, 2 * np.pi / width * (edges[:-1] - edges[1:])


# -- drawings: directions [h, w, 3] and numbers from 0 to 1 give radiance [h, w, 3] ----------------


def _overcast(directions: Floats, numbers: Floats) -> Floats:
    """Bright above, dark below, a little coloured (CIE overcast sky over a floor)."""
    up = directions[..., 1:2]
    cloud = (1 + 2 * up.clip(0)) / 3 * _tint(numbers[0], 0.15)
    floor = between(numbers[2], 0.05, 0.2) * _tint(numbers[1], 0.4)
    return floor + _step(up, 0.0, 0.1) * (cloud - floor)


def _two_tone(directions: Floats, numbers: Floats) -> Floats:
    """A warm side that fades into a cold one."""
    towards = _direction(numbers[0], between(numbers[1], -0.2, 0.4))
    share = _step((directions @ towards)[..., None], -0.7, 0.7)
    warm, cold = np.array([1.0, 0.62, 0.36]), np.array([0.3, 0.5, 1.0])
    return 0.03 + share * warm + (1 - share) * between(numbers[2], 0.1, 0.3) * cold


def _softbox(directions: Floats, numbers: Floats) -> Floats:
    """One large rectangle, high on a side, in a dim room."""
    box = _rectangle(directions, _direction(numbers[0], between(numbers[1], 0.3, 0.8)), 0.6, 0.45)
    return 0.08 + between(numbers[2], 8, 14) * box * _tint(numbers[3], 0.1)


def _two_softboxes(directions: Floats, numbers: Floats) -> Floats:
    """A key and a weaker fill on opposite sides."""
    turn, up = numbers[0], between(numbers[1], 0.2, 0.7)
    opposite = turn + between(numbers[2], 0.35, 0.65)
    key = _rectangle(directions, _direction(turn, up), 0.5, 0.5)
    fill = _rectangle(directions, _direction(opposite, 0.5 * up), 0.35, 0.7)
    return 0.06 + 12 * key * _tint(numbers[3], 0.15) + 5 * fill * _tint(numbers[4], 0.3)


def _striplights(directions: Floats, numbers: Floats) -> Floats:
    """Long narrow lamps under a ceiling."""
    lamps = np.zeros((*directions.shape[:2], 1))
    for place in range(4):
        turn = numbers[0] + (place + 0.4 * numbers[1 + place]) / 4
        lamps = np.maximum(lamps, _rectangle(directions, _direction(turn, 0.75), 0.08, 0.9))
    return 0.12 + 18 * lamps * _tint(numbers[5], 0.1)


def _sunny(directions: Floats, numbers: Floats) -> Floats:
    """A high sun in a blue sky over ground."""
    return _day(directions, numbers, between(numbers[1], 0.5, 0.9), np.array([1.0, 0.95, 0.85]))


def _sunset(directions: Floats, numbers: Floats) -> Floats:
    """A low orange sun."""
    return _day(directions, numbers, between(numbers[1], 0.08, 0.2), np.array([1.0, 0.5, 0.18]))


def _window(directions: Floats, numbers: Floats) -> Floats:
    """A room with one window of four panes and a warm lamp at the other side."""
    towards = _direction(numbers[0], between(numbers[1], 0.05, 0.25))
    right, up = _axes(towards)
    ahead = (directions @ towards)[..., None].clip(1e-6)
    x, y = ((directions @ axis)[..., None] / ahead for axis in (right, up))
    is_pane = (np.abs(x) < 0.55) & (np.abs(y) < 0.75) & (np.abs(x) > 0.04) & (np.abs(y) > 0.04)
    pane = is_pane & (directions @ towards > 0)[..., None]
    lamp = _direction(numbers[0] + between(numbers[2], 0.35, 0.65), 0.6)
    glow = np.exp(60 * ((directions @ lamp)[..., None] - 1))
    wall = 0.1 + 0.06 * directions[..., 1:2]
    return wall + 9 * pane * np.array([0.75, 0.9, 1.0]) + 10 * glow * np.array([1.0, 0.66, 0.36])


_DRAWINGS: Final[dict[str, Drawing]] = {
    "overcast": _overcast,
    "two tone": _two_tone,
    "softbox": _softbox,
    "two softboxes": _two_softboxes,
    "striplights": _striplights,
    "sunny": _sunny,
    "sunset": _sunset,
    "window": _window,
}
SKIES: Final = tuple(_DRAWINGS)


def _day(directions: Floats, numbers: Floats, height: float, colour: Floats) -> Floats:
    """Sun of about six degrees, a halo, a sky that pales to the horizon, and ground."""
    up = directions[..., 1:2]
    along = (directions @ _direction(numbers[0], height))[..., None]
    sun, halo = _step(along, 0.9938, 0.9953), np.exp(12 * (along - 1))
    pale = np.exp(-3 * up.clip(0))
    above = (1 - pale) * np.array([0.18, 0.4, 1.0]) + pale * (0.3 + 0.7 * colour)
    ground = between(numbers[2], 0.1, 0.3) * _tint(numbers[3], 0.5)
    share = _step(up, -0.02, 0.02)
    return share * (above + 2 * halo * colour) + (1 - share) * ground + 150 * sun * colour


def _direction(turn: float, up: float) -> Floats:
    """The unit vector with azimuth `turn`, in whole turns, and height `up`, a sine."""
    level = np.sqrt(1 - up * up)
    return np.array([level * np.cos(2 * np.pi * turn), up, level * np.sin(2 * np.pi * turn)])


def _axes(towards: Floats) -> tuple[Floats, Floats]:
    """Right and up of someone who looks `towards`."""
    right = np.cross(towards, [0.0, 1.0, 0.0])
    right = right / np.linalg.norm(right)
    return right, np.cross(right, towards)


def _rectangle(directions: Floats, towards: Floats, wide: float, high: float) -> Floats:
    """1 in a rectangle whose half sides are these tangents, soft at its rim [h, w, 1]."""
    right, up = _axes(towards)
    ahead = (directions @ towards)[..., None]
    x, y = (np.abs(directions @ axis)[..., None] / ahead.clip(1e-6) for axis in (right, up))
    inside = 1 - _step(x, 0.9 * wide, 1.1 * wide)
    return inside * (1 - _step(y, 0.9 * high, 1.1 * high)) * (ahead > 0)


def _tint(number: float, saturation: float) -> Floats:
    """A bright colour of hue `number`, in whole turns."""
    waves = np.cos(2 * np.pi * (number - np.array([0.0, 1 / 3, 2 / 3])))
    return 1 - saturation * (1 - waves) / 2


def _step(values: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    share = ((values - low) / (high - low)).clip(0, 1)
    return share * share * (3 - 2 * share)
