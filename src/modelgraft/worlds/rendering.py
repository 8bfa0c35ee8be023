"""Toy scenes as pixels, with the exact mask, regions and depth of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.worlds.draws import uniforms
from modelgraft.worlds.shapes import SHAPES, outline
from modelgraft.worlds.toys import (
    BACKGROUNDS,
    DISTRACTORS,
    MARKS,
    RADII_PX,
    SIZE_PX,
    TEXTURES,
    TILT_DEG,
    Placings,
    Subjects,
)

Pixels = NDArray[np.float32]

SUPERSAMPLING: Final = 4
_PATCH_PX: Final = 24
"""Side of the square that a toy is drawn in; the biggest has a radius of 8.6 * 1.12 pixels."""
# What the region map holds.
BACKGROUND, MAIN, SECOND, MARK, DISTRACTOR = range(5)
_CHUNK = 256


@dataclass(frozen=True)
class Rendered:
    """Scenes as seen, and what is known of every pixel."""

    image: Pixels
    """sRGB [n, 32, 32, 3] from 0 to 1."""
    mask: Pixels
    """Share of the pixel that the toy covers [n, 32, 32]."""
    region: NDArray[np.uint8]
    """What covers most of the pixel [n, 32, 32]: background, main, second, mark, distractor."""
    depth: Pixels
    """1 is near, 0 far [n, 32, 32]: a floor that comes closer downwards, the toy a bulge on it."""


def render(subjects: Subjects, placings: Placings) -> Rendered:
    """Draw every subject in its setting; colours and edges are averages over 4 x 4 samples."""
    parts = [
        _render(
            subjects.take(slice(start, start + _CHUNK)), placings.take(slice(start, start + _CHUNK))
        )
        for start in range(0, max(1, len(subjects)), _CHUNK)
    ]
    names = ("image", "mask", "region", "depth")
    return Rendered(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))


def _render(subjects: Subjects, placings: Placings) -> Rendered:
    scene, far = _backgrounds(placings)
    seen = _distractors(placings, scene)
    floor = far.copy()
    toy = _toys(subjects, placings)
    cover = toy.cover[..., None]
    image = scene * (1 - cover) + toy.colour
    nearest = np.array(_floor_at(placings.centre_px[:, 1]), dtype=np.float32)[:, None, None]
    depth = np.where(seen > 0.5, 0.1, floor)
    depth = depth * (1 - toy.cover) + toy.cover * nearest + toy.bulge
    region = np.where(seen > 0.5, DISTRACTOR, BACKGROUND).astype(np.uint8)
    region = np.where(toy.cover > 0.5, toy.region, region)
    return Rendered(image.astype(np.float32), toy.cover, region, np.clip(depth, 0, 1))


# -- toys ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Toys:
    cover: Pixels
    colour: Pixels
    """Premultiplied by the cover."""
    region: NDArray[np.uint8]
    bulge: Pixels


def _toys(subjects: Subjects, placings: Placings) -> _Toys:
    """Toys alone [n, 32, 32, ...], drawn in a square around each centre."""
    fine = _PATCH_PX * SUPERSAMPLING
    corner = np.round(placings.centre_px).astype(np.int64) - _PATCH_PX // 2
    steps = ((np.arange(fine) + 0.5) / SUPERSAMPLING).astype(np.float32)
    start = (corner - placings.centre_px).astype(np.float32)
    x = (start[:, 0, None] + steps)[:, None, :]
    y = (start[:, 1, None] + steps)[:, :, None]
    u, v, radius = _own_axes(subjects, placings, x, y)
    form = subjects.form.astype(np.float32)[:, None, None]
    outside = np.empty(u.shape, dtype=np.float32)
    for shape in range(len(SHAPES)):
        of = subjects.shape == shape
        if of.any():
            outside[of] = outline(shape, u[of], v[of], form[of])
    inside = outside < 0
    second = _second_share(subjects, u, v)
    marked = _marks(subjects, u, v, radius)
    rgb = subjects.rgb.astype(np.float32)[:, :, None, None, :]
    colour = rgb[:, 0] + second[..., None] * (rgb[:, 1] - rgb[:, 0])
    colour = np.where(marked[..., None], rgb[:, 2], colour) * inside[..., None]
    bulge = np.sqrt(np.clip(1 - u * u - v * v, 0, 1)) * 0.3 * inside
    kind = np.where(marked, 2, np.where(second > 0.5, 1, 0))
    votes = np.stack([_averaged((kind == one) & inside) for one in range(3)], axis=-1)
    place = _Placer(corner)
    return _Toys(
        cover=place(_averaged(inside)),
        colour=place(_averaged(colour)),
        region=place((votes.argmax(axis=-1) + MAIN).astype(np.uint8)),
        bulge=place(_averaged(bulge)),
    )


def _own_axes(
    subjects: Subjects, placings: Placings, x: Pixels, y: Pixels
) -> tuple[Pixels, Pixels, Pixels]:
    """Pixel offsets as the toy's own axes (u right, v up, in radii), and its radius [n, 1, 1]."""
    turn = np.deg2rad(TILT_DEG) * np.array([0.0, 1.0, -1.0])[placings.tilt]
    cos, sin = (one.astype(np.float32)[:, None, None] for one in (np.cos(turn), np.sin(turn)))
    radius = RADII_PX[placings.size].astype(np.float32)[:, None, None]
    aspect = np.sqrt(subjects.aspect).astype(np.float32)[:, None, None]
    u = (x * cos - y * sin) / (radius * aspect)
    v = -(x * sin + y * cos) / (radius / aspect)
    return u, v, radius


def _second_share(subjects: Subjects, u: Pixels, v: Pixels) -> Pixels:
    """How much of the second colour each place has; the main one has at least six tenths."""

    def column(values: NDArray[np.floating]) -> Pixels:
        return values.astype(np.float32)[:, None, None]

    big = np.float32(RADII_PX[1])
    period = column(subjects.period_px) / big
    cos, sin = column(np.cos(subjects.angle)), column(np.sin(subjects.angle))
    phase = column(subjects.phase)
    share = np.zeros(u.shape, dtype=np.float32)
    for texture, name in enumerate(TEXTURES):
        of = subjects.texture == texture
        if name == "plain" or not of.any():
            continue
        a = u[of] * cos[of] + v[of] * sin[of]
        b = v[of] * cos[of] - u[of] * sin[of]
        step, shift = period[of], phase[of]
        along, across = (a / step + shift) % 1, (b / step + shift) % 1
        if name == "stripes":
            found = along < 0.4
        elif name == "checker":
            found = (along < 0.45) == (across < 0.45)
        elif name == "dots":
            found = np.hypot(along - 0.5, across - 0.5) < 0.34
        elif name == "rings":
            found = (np.hypot(u[of], v[of]) / step + shift) % 1 < 0.4
        elif name == "halves":
            found = a > 0.1
        elif name == "gradient":
            found = np.clip((a + 1) / 2, 0, 1) ** 1.5
        else:
            found = (along < 0.22) | (across < 0.22)
        share[of] = found
    return share


def _marks(subjects: Subjects, u: Pixels, v: Pixels, radius: Pixels) -> NDArray[np.bool_]:
    """Where the mark covers the toy; about 3 pixels wide on a big one."""
    at = subjects.mark_at.astype(np.float32)[:, :, None, None]
    x, y = np.abs(u - at[:, 0]), np.abs(v - at[:, 1])
    kind = subjects.mark[:, None, None]
    thin, long = 0.11, 0.3
    bar = (y < thin) & (x < long)
    cross = bar | ((x < thin) & (y < long))
    dot = np.hypot(x, y) < 0.2
    named = {"dot": dot, "bar": bar, "cross": cross}
    found = np.zeros(u.shape, dtype=bool)
    for name, one in named.items():
        found |= one & (kind == MARKS.index(name))
    return found


def _averaged(fine: NDArray) -> Pixels:
    """Means over the samples of each pixel [n, h, w, ...]."""
    n, height, width, *rest = fine.shape
    size = SUPERSAMPLING
    cells = fine.reshape(n, height // size, size, width // size, size, *rest)
    return cells.mean(axis=(2, 4), dtype=np.float32)


class _Placer:
    """Puts squares at their corners into empty pictures; what sticks out is cut off."""

    def __init__(self, corner: NDArray[np.int64]) -> None:
        self.corner = corner

    def __call__(self, square: NDArray) -> NDArray:
        margin = _PATCH_PX
        side = SIZE_PX + 2 * margin
        whole = np.zeros((len(square), side, side, *square.shape[3:]), dtype=square.dtype)
        for place, (x, y) in enumerate(self.corner + margin):
            whole[place, y : y + _PATCH_PX, x : x + _PATCH_PX] = square[place]
        return whole[:, margin : margin + SIZE_PX, margin : margin + SIZE_PX]


# -- settings --------------------------------------------------------------------------------------


def _floor_at(y_px: NDArray[np.floating]) -> Pixels:
    """Depth of the floor in a row of pixels."""
    return (0.15 + 0.5 * y_px / SIZE_PX).astype(np.float32)


def _backgrounds(placings: Placings) -> tuple[Pixels, Pixels]:
    """Backgrounds [n, 32, 32, 3] and the depth of the floor [n, 32, 32]."""
    n = len(placings)
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX]
    scenes = np.empty((n, SIZE_PX, SIZE_PX, 3), dtype=np.float32)
    grain = uniforms("grain", 0, placings.grain, SIZE_PX * SIZE_PX)
    grain = grain.reshape(n, SIZE_PX, SIZE_PX).astype(np.float32)
    for kind, name in enumerate(BACKGROUNDS):
        of = placings.background == kind
        if of.any():
            scenes[of] = _background(name, y, x, grain[of])
    depth = np.broadcast_to(_floor_at(y + 0.5).astype(np.float32), (n, SIZE_PX, SIZE_PX))
    return scenes, depth


def _rgb(red: int, green: int, blue: int) -> Pixels:
    return np.array([red / 255, green / 255, blue / 255], dtype=np.float32)


_PLAIN: Final = {
    "red": _rgb(214, 92, 88),
    "blue": _rgb(96, 128, 214),
    "green": _rgb(112, 184, 120),
}


def _background(name: str, y: NDArray, x: NDArray, grain: Pixels) -> Pixels:
    """One kind of background [n, 32, 32, 3]; `grain` [n, 32, 32] is uniform from 0 to 1."""
    down = (y / (SIZE_PX - 1)).astype(np.float32)[..., None]
    shade = (grain - 0.5)[..., None]
    even = np.zeros_like(shade)
    if name in _PLAIN:
        return _PLAIN[name] + even
    if name == "studio":
        return _rgb(250, 250, 250) - 0.06 * np.clip(down * 3 - 2, 0, 1) + even
    if name == "grass":
        return _rgb(64, 140, 52) + 0.16 * shade * _rgb(200, 255, 120)
    if name == "night":
        stars = (grain > 0.985)[..., None]
        return np.where(stars, _rgb(235, 235, 200), _rgb(18, 20, 52) + down * _rgb(22, 18, 40))
    if name == "brick":
        row = y // 4
        joint = ((y % 4 == 0) | ((x + 4 * (row % 2)) % 8 == 0))[..., None]
        return np.where(joint, _rgb(205, 195, 185), _rgb(160, 72, 56)) + 0.04 * shade
    if name == "sand":
        return _rgb(226, 200, 150) + 0.09 * shade
    if name == "checkers":
        dark = ((x // 4 + y // 4) % 2 == 0)[..., None]
        return np.where(dark, _rgb(120, 120, 128), _rgb(208, 208, 214)) + even
    return _rgb(250, 150, 70) * down + _rgb(104, 64, 136) * (1 - down) + even


def _distractors(placings: Placings, scenes: Pixels) -> Pixels:
    """Draws the distractors into `scenes` opposite the toy, and returns their cover."""
    cell_x, cell_y = 2 - placings.position % 3, 2 - placings.position // 3
    is_middle = (cell_x == 1) & (cell_y == 1)
    at_x = np.where(is_middle, 27.0, 5.0 + 11.0 * cell_x)[:, None, None]
    at_y = np.where(is_middle, 5.0, 5.0 + 11.0 * cell_y)[:, None, None]
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] + 0.5
    dx, dy = (x - at_x).astype(np.float32), (y - at_y).astype(np.float32)
    cloud = np.maximum(
        _soft(2.6 - np.hypot(dx + 1.8, dy - 0.4)), _soft(3.0 - np.hypot(dx - 1.4, dy))
    )
    sun = _soft(3.2 - np.hypot(dx, dy))
    pole = (np.abs(dx + 3) < 0.6) & (np.abs(dy) < 4.5)
    cloth = (np.abs(dx - 0.2) < 2.8) & (np.abs(dy + 2.4) < 2.0)
    drawn = {
        "cloud": ((cloud, _rgb(236, 240, 246)),),
        "sun": ((sun, _rgb(255, 214, 40)),),
        "flag": ((pole.astype(np.float32), _rgb(70, 60, 50)),
                 (cloth.astype(np.float32), _rgb(214, 40, 120))),
    }  # fmt: skip
    cover = np.zeros(dx.shape, dtype=np.float32)
    for kind, name in enumerate(DISTRACTORS):
        of = (placings.distractor == kind)[:, None, None]
        for part, colour in drawn.get(name, ()):
            own = np.where(of, part, 0).astype(np.float32)
            scenes += own[..., None] * (colour - scenes)
            cover = np.maximum(cover, own)
    return cover


def _soft(inside_px: Pixels) -> Pixels:
    """Cover of a pixel whose centre lies so far inside an outline."""
    return np.clip(inside_px + 0.5, 0, 1)
