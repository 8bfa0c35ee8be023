"""The toy world: subjects and the settings they are put in, drawn from integers.

A subject is what has to be recognised again: shape, proportions, colours, texture and one small
mark. A setting is everything else: background, place, size, tilt and a distractor. A scene is one
of each. All arrays have the scenes along the first axis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from modelgraft.worlds.draws import Floats, Ints, between, choose, pick, uniforms
from modelgraft.worlds.palettes import COLOURS, colours
from modelgraft.worlds.shapes import SHAPES

SIZE_PX: Final = 32
TEXTURES: Final = ("plain", "stripes", "checker", "dots", "rings", "halves", "gradient", "grid")
MARKS: Final = ("none", "dot", "bar", "cross")
BACKGROUNDS: Final = (
    "red", "blue", "green", "studio", "grass", "night", "brick", "sand", "checkers", "sunset",
)  # fmt: skip
POSITIONS: Final = (
    "top left", "top", "top right", "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
SIZES: Final = ("small", "big")
TILTS: Final = ("upright", "left", "right")
DISTRACTORS: Final = ("none", "cloud", "sun", "flag")

RADII_PX: Final = np.array([6.0, 8.6])
TILT_DEG: Final = 27.0
# Main colours that would vanish on a background.
HIDDEN: Final = {
    "red": ("red",), "blue": ("blue",), "green": ("green",), "studio": ("white",),
    "grass": ("green",), "night": ("black", "blue"), "brick": ("red", "orange"),
    "sand": ("yellow", "white"), "checkers": ("white",), "sunset": ("orange", "pink"),
}  # fmt: skip

Split = Literal["train", "held-out"]
Stage = Literal["easy", "full"]

# Kept from all training: 16 of the 80 pairs of shape and texture, two pairs of named colours.
HELD_OUT_CELLS: Final = np.zeros((len(SHAPES), len(TEXTURES)), dtype=bool)
for _shape in range(len(SHAPES)):
    HELD_OUT_CELLS[_shape, (3 * _shape + 1) % len(TEXTURES)] = True
    if _shape < 6:
        HELD_OUT_CELLS[_shape, (3 * _shape + 5) % len(TEXTURES)] = True
HELD_OUT_COLOURS: Final = (("red", "cyan"), ("yellow", "purple"))
_PAIRS: Final = np.array(
    [
        (a, b)
        for a in range(len(COLOURS))
        for b in range(len(COLOURS))
        if a != b and {COLOURS[a], COLOURS[b]} not in [set(one) for one in HELD_OUT_COLOURS]
    ]
)
_HELD_OUT_PAIRS: Final = np.array(
    [(COLOURS.index(a), COLOURS.index(b)) for one in HELD_OUT_COLOURS for a, b in (one, one[::-1])]
)
# Shares of the textures; a cell's share is its texture's.
_TEXTURE_SHARES: Final = {
    "easy": np.array([0.4, 0.2, 0.0, 0.2, 0.0, 0.2, 0.0, 0.0]),
    "full": np.array([0.16, *[0.12] * 7]),
}


class Rows:
    """Arrays of one length, one row for each item, which can be taken and joined."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # ty: ignore[invalid-argument-type]

    def take(self, places: ArrayLike | slice) -> Self:
        """The rows at `places`, in that order."""
        found = places if isinstance(places, slice) else np.asarray(places)
        named = {one.name: getattr(self, one.name)[found] for one in fields(self)}  # ty: ignore[invalid-argument-type]
        return type(self)(**named)


@dataclass(frozen=True)
class Subjects(Rows):
    """Toys: all that stays the same when one is seen again."""

    shape: Ints
    """Index into `SHAPES` [n]."""
    form: Floats
    """The shape's free proportion [n], from 0 to 1."""
    aspect: Floats
    """Width over height [n]."""
    colour: Ints
    """Indices into `COLOURS` of the main and the second colour [n, 2]."""
    rgb: Floats
    """sRGB of the main, the second and the mark's colour [n, 3, 3]."""
    texture: Ints
    """Index into `TEXTURES` [n]."""
    period_px: Floats
    """Period of the texture [n] at the big size; it grows with the toy."""
    angle: Floats
    """Angle of the texture [n], in radians."""
    phase: Floats
    """Shift of the texture [n], in periods."""
    mark: Ints
    """Index into `MARKS` [n]."""
    mark_colour: Ints
    """Index into `COLOURS` [n]."""
    mark_at: Floats
    """Centre of the mark (u, v) [n, 2], in radii."""

    @property
    def has_second(self) -> np.ndarray:
        """Whether the second colour is seen [n]."""
        return self.texture != TEXTURES.index("plain")


@dataclass(frozen=True)
class Placings(Rows):
    """Settings: where a toy stands, how, and in front of what."""

    background: Ints
    """Index into `BACKGROUNDS` [n]."""
    position: Ints
    """Index into `POSITIONS` [n], row by row."""
    centre_px: Floats
    """x and y of the toy's centre [n, 2]."""
    size: Ints
    """Index into `SIZES` [n]."""
    tilt: Ints
    """Index into `TILTS` [n]."""
    distractor: Ints
    """Index into `DISTRACTORS` [n]."""
    grain: Ints
    """What the background's grain is drawn from [n]."""


def draw_subjects(
    items: ArrayLike, *, seed: int, split: Split = "train", stage: Stage = "full"
) -> Subjects:
    """The subjects with the numbers `items` [n].

    In the held-out split the shape has a texture, or the toy a pair of colours, that no subject of
    the training split has, half of them each. The easy stage has plain, striped, dotted and halved
    toys without marks.
    """
    places = np.asarray(items)
    drawn = uniforms(f"subjects {split}", seed, places, 24).T
    shape, texture = _cells(drawn[0], drawn[1], split, stage)
    pairs = _PAIRS[pick(drawn[2], len(_PAIRS))]
    if split == "held-out":
        by_colour = drawn[3] < 0.5
        other = _cells(drawn[0], drawn[1], "train", stage)
        # A plain toy does not show its second colour, so it cannot be held out by its pair.
        is_plain = other[1] == TEXTURES.index("plain")
        by_colour &= ~is_plain
        shape, texture = (
            np.where(by_colour, ours, theirs)
            for ours, theirs in zip(other, (shape, texture), strict=True)
        )
        kept = _HELD_OUT_PAIRS[pick(drawn[2], len(_HELD_OUT_PAIRS))]
        pairs = np.where(by_colour[:, None], kept, pairs)
    mark = pick(drawn[4], len(MARKS)) if stage == "full" else np.zeros(len(places), dtype=np.int64)
    mark_colour = _other_than(drawn[5], pairs)
    rgb = np.stack(
        [
            colours(name, drawn[6 + 3 * place : 9 + 3 * place].T)
            for place, name in enumerate((pairs[:, 0], pairs[:, 1], mark_colour))
        ],
        axis=1,
    )
    around = 2 * np.pi * pick(drawn[20], 4) / 4 + np.pi / 4
    return Subjects(
        shape=shape,
        form=drawn[15],
        aspect=between(drawn[16], 0.88, 1.12),
        colour=pairs,
        rgb=rgb.astype(np.float64),
        texture=texture,
        period_px=between(drawn[17], 4.4, 6.4),
        angle=(pick(drawn[18], 4) / 4 * np.pi).astype(np.float64),
        phase=drawn[19],
        mark=mark,
        mark_colour=mark_colour,
        mark_at=0.36 * np.stack([np.cos(around), np.sin(around)], axis=1),
    )


def draw_placings(
    items: ArrayLike,
    subjects: Subjects,
    *,
    seed: int,
    name: str = "train",
    stage: Stage = "full",
) -> Placings:
    """Settings with the numbers `items` [n] for `subjects` [n], whose main colour shows on them.

    Streams of another `name` are independent. Seven in ten centres stand on the middle of a cell of
    the three by three grid, a multiple of 4 pixels; the others are up to 2 pixels away.
    """
    drawn = uniforms(f"placings {name}", seed, items, 12).T
    allowed = _SHOWS[subjects.colour[:, 0]]
    background = _pick_allowed(drawn[0], allowed)
    position = pick(drawn[1], len(POSITIONS))
    cell = np.stack([position % 3, position // 3], axis=1)
    free = drawn[2] < (0.3 if stage == "full" else 0.0)
    jitter = between(drawn[3:5].T, -2.0, 2.0) * free[:, None]
    shares = [0.55, 0.15, 0.15, 0.15] if stage == "full" else [1.0, 0, 0, 0]
    return Placings(
        background=background,
        position=position,
        centre_px=8.0 + 8.0 * cell + jitter,
        size=pick(drawn[5], len(SIZES)),
        tilt=choose(drawn[6], [0.5, 0.25, 0.25]),
        distractor=choose(drawn[7], shares),
        grain=(drawn[8] * 2**31).astype(np.int64),
    )


def _cells(first: Floats, second: Floats, split: Split, stage: Stage) -> tuple[Ints, Ints]:
    """Shapes, all as likely, and a texture of each that the split allows."""
    shape = pick(first, len(SHAPES))
    allowed = HELD_OUT_CELLS if split == "held-out" else ~HELD_OUT_CELLS
    shares = allowed * (_TEXTURE_SHARES[stage] if split == "train" else 1.0)
    edges = np.cumsum(shares, axis=1)[shape]
    return shape, (second[:, None] * edges[:, -1:] >= edges).sum(axis=1)


def _pick_allowed(numbers: Floats, allowed: np.ndarray) -> Ints:
    """For every row of `allowed` [n, options] one of the allowed places, all as likely."""
    edges = np.cumsum(allowed, axis=1)
    return (numbers[:, None] * edges[:, -1:] >= edges).sum(axis=1)


def _other_than(numbers: Floats, pairs: Ints) -> Ints:
    """Colours that are neither of the two in `pairs` [n, 2]."""
    allowed = np.ones((len(pairs), len(COLOURS)), dtype=bool)
    np.put_along_axis(allowed, pairs, False, axis=1)
    return _pick_allowed(numbers, allowed)


_SHOWS: Final = np.array([[colour not in HIDDEN[one] for one in BACKGROUNDS] for colour in COLOURS])
