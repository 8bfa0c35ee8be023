"""Closed objects drawn from integers: shapes with two factors each, and unions of some of them.

An object is addressed by its split and its number; families take turns. The two factors are the
proportions that matter most, and splits differ in pairs of their steps (`worlds.splits`), in the
parts of a union too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from modelgraft.worlds.draws import between, uniforms
from modelgraft.worlds.noise import fractal_noise
from modelgraft.worlds.splits import Split, placed
from modelgraft.worlds.surfaces import (
    Floats,
    Shell,
    icosphere,
    joined,
    shaded,
    skin,
    swept,
    turned,
)

NUMBERS: Final[dict[Split, int]] = {"train": 400, "validation": 40, "test": 40}
"""How many objects of each split the experiments use."""
_NUMBERS: Final = 32
_MOST_PARTS: Final = 4
Family = Callable[[float, float, Floats], Shell]


@dataclass(frozen=True)
class Solid:
    """A closed object of which the largest side of its box is 1, its middle at the origin; y up."""

    vertices: NDArray[np.float32]
    """[V, 3]; there once for every normal where the object is sharp."""
    faces: NDArray[np.int32]
    """[F, 3]; seen from outside a triangle runs counter-clockwise."""
    normals: NDArray[np.float32]
    """[V, 3], unit, outwards."""
    name: str


def solid(
    split: Split, number: int, *, seed: int = 0, families: tuple[str, ...] | None = None
) -> Solid:
    """The object with this number, of one of `families`, all of `FAMILIES` unless given."""
    families = families or FAMILIES
    family = families[number % len(families)]
    surface = (
        _union(split, number, seed) if family == "union" else _part(split, number, seed, family)
    )
    return _finished(surface, f"{family} {number} of {split}")


def teapot() -> Solid:
    """A teapot-like object of four parts: body with lid, knob, spout and handle."""
    height = np.array([0, 0, 0.04, 0.12, 0.3, 0.5, 0.66, 0.76, 0.8, 0.8, 0.84, 0.9, 0.93, 0.93])
    radius = np.array([0, 0.3, 0.34, 0.42, 0.55, 0.57, 0.48, 0.37, 0.33, 0.37, 0.35, 0.22, 0.06, 0])
    body = turned(_rounded(np.stack([radius, height], axis=-1), sharp=(1, 8, 9)), 48)
    turn = np.linspace(-np.pi / 2, np.pi / 2, 9)
    knob = turned(np.stack([0.1 * np.cos(turn), 1.0 + 0.09 * np.sin(turn)], axis=-1), 24)
    along = np.linspace(0, 1, 20)[:, None]
    corners = np.array([[0.42, 0.3, 0], [0.8, 0.3, 0], [0.68, 0.62, 0], [0.95, 0.78, 0]])
    spout = swept(_bezier(corners, along), np.linspace(0.17, 0.07, 20), 24)
    corners = np.array([[-0.45, 0.64, 0], [-1.05, 0.85, 0], [-1.05, 0.1, 0], [-0.46, 0.26, 0]])
    handle = swept(_bezier(corners, np.linspace(0, 1, 24)[:, None]), np.full(24, 0.055), 16)
    return _finished(joined([body, knob, spout, handle]), "teapot")


# -- families: two factors and free numbers, all from 0 to 1 ---------------------------------------


def _box(first: float, second: float, free: Floats) -> Shell:
    """Height and depth over the width."""
    size = np.array([1.0, _ratio(first, 0.3, 2.2), _ratio(second, 0.3, 1.0)])
    corners = np.array([[-1, -1, 1], [1, -1, 1], [1, -1, -1], [-1, -1, -1]], dtype=np.float64)
    bottom, top = size * corners, size * (corners * [1, -1, 1])
    return skin(
        np.stack([bottom, top]), ends=(np.array([0, -size[1], 0]), np.array([0, size[1], 0]))
    )


def _cylinder(first: float, second: float, free: Floats) -> Shell:
    """Height over width, and the width of the top over that of the bottom."""
    height, top = _ratio(first, 0.3, 3.0), between(second, 0.35, 1.0)
    profile = np.array([[0, 0], [1, 0], [top, 2 * height], [0, 2 * height]])
    return turned(profile, _segments(free[0], 16))


def _capsule(first: float, second: float, free: Floats) -> Shell:
    """Length over width of the straight part, and how far its caps stand out."""
    half, cap = between(first, 0.1, 2.0), between(second, 0.4, 1.2)
    turn = np.linspace(0, np.pi / 2, 9)
    top = np.stack([np.cos(turn), half + cap * np.sin(turn)], axis=-1)
    top[-1, 0] = 0
    return turned(np.concatenate([top[::-1] * [1, -1], top]), _segments(free[0], 16))


def _torus(first: float, second: float, free: Floats) -> Shell:
    """Thickness over the ring's radius, and the height of its section over the width."""
    thick, high = between(first, 0.15, 0.6), _ratio(second, 0.5, 1.8)
    turn = 2 * np.pi * np.arange(20) / 20
    ring = np.stack([1 + thick * np.cos(turn), thick * high * np.sin(turn)], axis=-1)
    return turned(ring, _segments(free[0], 24), is_ring=True)


def _annulus(first: float, second: float, free: Floats) -> Shell:
    """Radius of the hole, and height, over the radius."""
    hole, half = between(first, 0.3, 0.8), _ratio(second, 0.1, 0.7)
    ring = np.array([[1, -half], [1, half], [hole, half], [hole, -half]])
    return turned(ring, _segments(free[0], 24), is_ring=True)


def _pebble(first: float, second: float, free: Floats) -> Shell:
    """A ball with noise: its strength, and its frequency."""
    ball = icosphere(4)
    frequency = np.float32(_ratio(second, 0.7, 2.5))
    points = (ball.vertices * frequency).astype(np.float32)
    noise = fractal_noise(points, int(free[0] * 2**31), octaves=2).value.astype(np.float64)
    squashed = np.array([1.0, between(free[1], 0.6, 1.0), between(free[2], 0.7, 1.0)])
    radius = 1 + between(first, 0.15, 0.6) * noise
    return Shell(ball.vertices * radius[:, None] * squashed, ball.faces)


def _superquadric(first: float, second: float, free: Floats) -> Shell:
    """Barr 1981: both exponents from 0.2, nearly a box, over 1, a ball, to 2, an octahedron."""
    north, east = between(first, 0.2, 2.0), between(second, 0.2, 2.0)
    rise = np.linspace(-np.pi / 2, np.pi / 2, 25)[1:-1, None]
    turn = 2 * np.pi * np.arange(48) / 48
    level = _power(np.cos(rise), north)
    rings = [
        level * _power(np.sin(turn), east),
        _power(np.sin(rise), north) * np.ones_like(turn),
        level * _power(np.cos(turn), east),
    ]
    size = np.array([1.0, between(free[0], 0.6, 1.6), between(free[1], 0.6, 1.0)])
    end = np.array([0, size[1], 0])
    return skin(np.stack(rings, axis=-1) * size, ends=(-end, end))


def _lathe(first: float, second: float, free: Floats) -> Shell:
    """Height over width, and the height of the waist; a spline through six free radii."""
    knots = np.array([0.0, 0.15, 0.35, 0.55, 0.75, 0.9, 1.0])
    radii = 0.35 + 0.65 * free[:7]
    waist = between(second, 0.1, 0.9)
    radii *= 1 - 0.6 * np.exp(-(((knots - waist) / 0.16) ** 2))
    height = np.linspace(0, 1, 36)
    side = np.stack([PchipInterpolator(knots, radii)(height), height], axis=-1)
    side[:, 1] *= 2 * radii.max() * _ratio(first, 0.6, 2.4)
    profile = np.concatenate([[[0, 0]], side, [[0, side[-1, 1]]]])
    return turned(profile, 8 + int(free[7] * 57))


def _bowl(first: float, second: float, free: Floats) -> Shell:
    """Depth over radius, and the thickness of the wall."""
    deep, wall = between(first, 0.5, 1.4), between(second, 0.06, 0.2)
    turn = np.linspace(-np.pi / 2, 0, 14)
    outer = np.stack([np.cos(turn), deep * np.sin(turn)], axis=-1)
    inner = outer[::-1] * [1 - wall, 1 - wall / deep]
    profile = np.concatenate([outer, inner])
    profile[[0, -1], 0] = 0
    return turned(profile, _segments(free[0], 24))


_PARTS: Final[dict[str, Family]] = {
    "box": _box,
    "cylinder": _cylinder,
    "capsule": _capsule,
    "torus": _torus,
    "annulus": _annulus,
    "pebble": _pebble,
    "superquadric": _superquadric,
    "lathe": _lathe,
    "bowl": _bowl,
}
FAMILIES: Final = (*_PARTS, "union")
CONCAVE: Final = ("torus", "bowl", "annulus")
"""Families of which no ten views see everything well."""
_UPRIGHT: Final = ("lathe", "bowl")


def _part(split: Split, number: int, seed: int, family: str, place: int = 0) -> Shell:
    """One shape; half of those that stand any way lie about, the others stand upright."""
    drawn = uniforms(f"solid {split} {family} {place}", seed, [number], _NUMBERS)[0]
    first, second = placed(split, list(_PARTS).index(family), drawn[:3])
    surface = _PARTS[family](first, second, drawn[8:])
    is_upright = place == 0 and (family in _UPRIGHT or drawn[3] < 0.5)
    yaw = Rotation.from_rotvec([0, 2 * np.pi * drawn[4], 0])
    pose = yaw if is_upright else _any_turn(drawn[4:7])
    return Shell(surface.vertices @ pose.as_matrix().T, surface.faces)


def _union(split: Split, number: int, seed: int) -> Shell:
    """Two to four shapes of like size that reach into the first one; nothing is cut away."""
    drawn = uniforms(f"union {split}", seed, [number], 1 + 6 * _MOST_PARTS)[0]
    parts: list[Shell] = []
    names = list(_PARTS)
    for place in range(2 + int(drawn[0] * (_MOST_PARTS - 1))):
        family, *rest = drawn[1 + 6 * place : 7 + 6 * place]
        part = _part(split, number, seed, names[int(family * len(names))], place)
        vertices = part.vertices - (part.vertices.min(axis=0) + part.vertices.max(axis=0)) / 2
        vertices *= between(rest[0], 0.55, 1.0) / np.abs(vertices).max() if place else 1
        vertices /= np.abs(vertices).max() if not place else 1
        away = _any_turn(np.array(rest[1:4])).apply([0.0, 0.0, 1.0])
        vertices += between(rest[4], 0.5, 0.9) * away * bool(place)
        parts.append(Shell(vertices, part.faces))
    return joined(parts)


def _finished(surface: Shell, name: str) -> Solid:
    """With its normals, in the unit box."""
    vertices, faces, normals = shaded(surface)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = (vertices - (low + high) / 2) / (high - low).max()
    return Solid(
        vertices.astype(np.float32), faces.astype(np.int32), normals.astype(np.float32), name
    )


def _rounded(profile: Floats, *, sharp: tuple[int, ...]) -> Floats:
    """A smooth curve through the points [p, 2], with corners at the ones that are `sharp`."""
    pieces: list[Floats] = []
    for start, stop in zip((0, *sharp), (*sharp, len(profile) - 1), strict=True):
        knots = np.arange(start, stop + 1)
        fine = np.linspace(start, stop, 1 if stop == start else 4 * (stop - start) + 1)
        pieces.append(PchipInterpolator(knots, profile[start : stop + 1])(fine)[:-1])
    return np.concatenate([*pieces, profile[-1:]])


def _bezier(corners: Floats, along: Floats) -> Floats:
    """Points [p, 3] of a cubic curve at `along` [p, 1] from 0 to 1."""
    rest = 1 - along
    weights = (rest**3, 3 * along * rest**2, 3 * along**2 * rest, along**3)
    return sum(weight * corner for weight, corner in zip(weights, corners, strict=True))


def _any_turn(numbers: Floats) -> Rotation:
    """One of all rotations, alike likely (Shoemake 1992), by three numbers from 0 to 1."""
    first, second, third = numbers
    turns = 2 * np.pi * np.array([second, second, third, third])
    radii = np.sqrt([1 - first, 1 - first, first, first])
    waves = np.array([np.sin(turns[0]), np.cos(turns[0]), np.sin(turns[2]), np.cos(turns[2])])
    return Rotation.from_quat(radii * waves)


def _ratio(number: float, low: float, high: float) -> float:
    """Evenly in the logarithm."""
    return low * (high / low) ** number


def _segments(number: float, least: int) -> int:
    return least + int(number * 33)


def _power(values: Floats, exponent: float) -> Floats:
    return np.sign(values) * np.abs(values) ** exponent
