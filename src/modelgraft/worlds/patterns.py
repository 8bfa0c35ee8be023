"""Patterns of materials in space: functions of the point with exact gradients, drawn from a seed.

Points are [n, 3]; one unit is the pattern's period, or its coarsest one. Values lie near -1 to 1
and, where the pattern is used as relief, slopes are about 1 at a root mean square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from modelgraft.worlds.noise import Field, Values, cell_noise, fractal_noise, smooth_noise

Pattern = Callable[[Values, int], Field]

# Bricks: length, height and depth in courses, and half the joint between them.
_BRICK: Final = np.array([2.2, 1.0, 2.2], dtype=np.float32)
_JOINT: Final = np.float32(0.07)
# A vein fades out where the clouds are as far from their change of sign.
_VEIN: Final = np.float32(0.3)
_GRAIN: Final = np.array([1.0, 0.12, 1.0], dtype=np.float32)


def mottles(points: Values, seed: int) -> Field:
    """Clouds of three sizes."""
    return _scaled(fractal_noise(points, seed), 0.8)


def waves(points: Values, seed: int) -> Field:
    """Clouds of one size, smooth enough for a polished surface."""
    return _scaled(smooth_noise(points, seed), 0.8)


def streaks(points: Values, seed: int) -> Field:
    """Clouds drawn out along y, as of a brush or of fibres."""
    found = fractal_noise(points * _GRAIN, seed, octaves=2)
    return _scaled(Field(found.value, found.gradient * _GRAIN), 0.9)


def dents(points: Values, seed: int) -> Field:
    """Shallow round hollows side by side, as of a hammer."""
    nearest, _, _ = cell_noise(points, seed)
    square = np.square(nearest.value)
    slope = (2.0 * nearest.value)[:, None]
    return Field(square - np.float32(0.4), nearest.gradient * slope)


def creases(points: Values, seed: int) -> Field:
    """Rounded grains between narrow creases, as of leather."""
    nearest, second, _ = cell_noise(points, seed)
    gap = (second.value - nearest.value) / np.float32(0.35)
    # A parabola up to the top of the grain.
    rise = np.clip(1 - gap, 0, 1)
    slope = (2 / 0.35 * rise)[:, None] * (second.gradient - nearest.gradient)
    return _scaled(Field(0.5 - np.square(rise), slope), 0.19)


def rings(points: Values, seed: int) -> Field:
    """Years of wood around the y axis, slowly rising and quickly falling, and their wobble."""
    wobble = fractal_noise(points * _GRAIN * np.float32(0.5), seed, octaves=2)
    level = np.hypot(points[:, 0], points[:, 2]).clip(1e-4)
    zero = np.zeros_like(level)
    outwards = np.stack([points[:, 0] / level, zero, points[:, 2] / level], axis=-1)
    phase = 2 * np.pi * (level + np.float32(1.2) * wobble.value)
    slope = outwards + np.float32(0.6) * wobble.gradient * _GRAIN
    # A sine and its octave lean to one side.
    value = np.sin(phase) + 0.4 * np.sin(2 * phase)
    steep = 2 * np.pi * (np.cos(phase) + 0.8 * np.cos(2 * phase))
    return _scaled(_single(value, steep[:, None] * slope), 0.16)


def bricks(points: Values, seed: int) -> Field:
    """Blocks with flat faces and joints around them, so of two values where they are flat.

    Courses are as high as one unit, and every second one is shifted by half a brick.
    """
    course = np.floor(points[:, 1])
    shifted = points.copy()
    for axis in (0, 2):
        shifted[:, axis] += (0.5 * _BRICK[axis]) * (course % 2)
    inside = shifted / _BRICK
    away = np.float32(0.5) - np.abs(inside - np.floor(inside) - np.float32(0.5))
    return _joints(points, away * _BRICK, inside - np.floor(inside) < 0.5)


def tiles(points: Values, seed: int) -> Field:
    """Cubes of one unit with joints around them, as high and deep as bricks."""
    share = points - np.floor(points)
    away = np.float32(0.5) - np.abs(share - np.float32(0.5))
    return _joints(points, away, share < 0.5)


def _joints(points: Values, away: Values, is_first_half: np.ndarray) -> Field:
    """Blocks by the distances [n, 3] to their sides, which grow in the first half of each axis."""
    axis = away.argmin(axis=1)
    places = np.arange(len(points))
    rise = np.clip((away[places, axis] - _JOINT) / _JOINT, 0, 1)
    value = rise * rise * (3 - 2 * rise) - np.float32(0.5)
    slope = 6 * rise * (1 - rise) / _JOINT
    gradient = np.zeros_like(points)
    gradient[places, axis] = np.where(is_first_half[places, axis], slope, -slope)
    return _scaled(_single(value, gradient), 0.14)


def weave(points: Values, seed: int) -> Field:
    """Threads over and under each other, seen from any side: a gyroid's cousin."""
    phase = 2 * np.pi * points
    sine, cosine = np.sin(phase), np.cos(phase)
    ahead, behind = np.roll(sine, -1, axis=1), np.roll(sine, 1, axis=1)
    value = (sine * ahead).sum(axis=1)
    return _scaled(_single(value, 2 * np.pi * cosine * (ahead + behind)), 0.13)


def veins(points: Values, seed: int) -> Field:
    """Lines where clouds change sign: 1 in the vein, -1 beside it."""
    found = fractal_noise(points, seed)
    away = np.abs(found.value) / _VEIN
    slope = np.where(away < 1, -2 * np.sign(found.value) / _VEIN, 0)
    return _single(1 - 2 * np.minimum(away, 1), slope[:, None] * found.gradient)


def checks(points: Values, seed: int) -> Field:
    """Cubes of one unit, -1 and 1 by turns, without slope."""
    odd = np.floor(points).sum(axis=1) % 2
    return Field((2 * odd - 1).astype(np.float32), np.zeros_like(points))


def _single(value: np.ndarray, gradient: np.ndarray) -> Field:
    return Field(value.astype(np.float32), gradient.astype(np.float32))


def _scaled(field: Field, factor: float) -> Field:
    return Field(field.value * np.float32(factor), field.gradient * np.float32(factor))
