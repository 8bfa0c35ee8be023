"""Noise in space as functions of the point, with exact gradients; a lattice hashed from a seed.

Points are [n, 3]; one unit is one cell of the lattice. All in float32.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.seeds import rng_seed
from modelgraft.worlds.draws import uniforms

Values = NDArray[np.float32]
_Hashes = NDArray[np.uint32]

# Odd numbers that spread the three coordinates over 32 bits.
_STRIDES: Final = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], dtype=np.uint32)
_CORNERS: Final = np.array([0, 1])
_AROUND: Final = np.array([-1, 0, 1])


class Field(NamedTuple):
    """A function of the point, where it was asked for."""

    value: Values
    """[n]"""
    gradient: Values
    """[n, 3], by the point."""


class Cells(NamedTuple):
    """The two nearest of scattered centres, one of them in every cell of the lattice."""

    nearest: Field
    """The distance to the nearest one."""
    second: Field
    """The distance to the second nearest."""
    identity: Values
    """A number from 0 to 1 that belongs to the nearest one [n]."""


def smooth_noise(points: Values, seed: int) -> Field:
    """Smooth noise from -1 to 1: random values on the lattice, joined by curves of degree 5.

    The fade is that of Perlin 2002, "Improving noise", so the gradient is smooth too.
    """
    planes = np.ascontiguousarray(points.T)
    floor = np.floor(planes)
    share = planes - floor
    fade = share * share * share * (share * (share * 6 - 15) + 10)
    slope = 30 * np.square(share * (share - 1))
    corners = 2 * _to_unit(_hashed(floor, _CORNERS, seed)) - 1
    value = corners
    parts = [corners[1] - corners[0]]
    for axis in range(3):
        step = fade[axis]
        value = value[0] + step * (value[1] - value[0])
        # Differences along the axes before run through the axes that are left.
        if axis < 2:
            parts = [one[0] + fade[axis + 1] * (one[1] - one[0]) for one in parts]
            parts.append(value[1] - value[0])
    return Field(value, (np.stack(parts) * slope).T)


def fractal_noise(points: Values, seed: int, *, octaves: int = 3) -> Field:
    """Smooth noise of frequencies 1, 2, 4 ..., each half as strong as the one before.

    From -1 to 1 at most. Every octave is turned and shifted, so that lattices do not line up.
    """
    total = np.zeros(len(points), dtype=np.float32)
    gradient = np.zeros((len(points), 3), dtype=np.float32)
    norm = 2 - 2.0 ** (1 - octaves)
    for octave in range(octaves):
        turn, shift = _frame(seed, octave)
        strength, frequency = np.float32(0.5**octave / norm), np.float32(2**octave)
        found = smooth_noise((points @ turn) * frequency + shift, seed + octave)
        total += strength * found.value
        gradient += (strength * frequency) * (found.gradient @ turn.T)
    return Field(total, gradient)


def cell_noise(points: Values, seed: int) -> Cells:
    """Distances to scattered centres (Worley 1996, "A cellular texture basis function")."""
    planes = np.ascontiguousarray(points.T)
    floor = np.floor(planes)
    hashes = _hashed(floor, _AROUND, seed)
    # A centre keeps off the sides of its cell; its coordinates have ten bits each.
    least = (floor - planes + np.float32(0.15))[:, None] + _AROUND[:, None].astype(np.float32)
    away = np.empty((3, *hashes.shape), dtype=np.float32)
    for axis in range(3):
        bits = (hashes >> np.uint32(10 * axis)) & np.uint32(1023)
        np.multiply(bits, np.float32(0.7 / 1023), out=away[axis], casting="same_kind")
        away[axis] += np.moveaxis(least[axis, :, None, None], 0, axis)
    hashes, away = hashes.reshape(27, -1), away.reshape(3, 27, -1)
    squares = np.square(away[0])
    for axis in (1, 2):
        squares += np.square(away[axis])
    places = np.arange(len(points))
    order = squares.argmin(axis=0)
    first = _distance(away, squares, order, places)
    identity = _to_unit(hashes[order, places])
    squares[order, places] = np.inf
    return Cells(first, _distance(away, squares, squares.argmin(axis=0), places), identity)


def _distance(away: Values, squares: Values, order: NDArray, places: NDArray) -> Field:
    """The distance to the centres that `order` names, and its gradient."""
    value = np.sqrt(squares[order, places])
    return Field(value, -(away[:, order, places] / value.clip(1e-6)).T)


def _hashed(floor: Values, offsets: NDArray, seed: int) -> _Hashes:
    """Hashes of the lattice points `floor` [3, n] + `offsets` [o] along each axis [o, o, o, n].

    Axis by axis, as fewer points are mixed for the first ones; the end is Wellons' lowbias32.
    """
    cells = floor.astype(np.int32)[:, None] + offsets[:, None].astype(np.int32)
    x, y, z = cells.view(np.uint32) * _STRIDES[:, None, None]
    mixed = _mixed(x ^ _start(seed), 16)
    mixed = _mixed(mixed[:, None] ^ y, 16)
    mixed = _mixed(mixed[:, :, None] ^ z, 15)
    mixed ^= mixed >> np.uint32(16)
    return mixed


@functools.lru_cache(4096)
def _start(seed: int) -> np.uint32:
    return np.uint32(rng_seed("noise", seed) & 0xFFFFFFFF)


def _mixed(hashes: _Hashes, shift: int) -> _Hashes:
    hashes *= np.uint32(0x7FEB352D)
    hashes ^= hashes >> np.uint32(shift)
    hashes *= np.uint32(0x846CA68B)
    return hashes


def _to_unit(hashes: _Hashes) -> Values:
    """Numbers in [0, 1)."""
    return (hashes >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


@functools.lru_cache(4096)
def _frame(seed: int, octave: int) -> tuple[Values, Values]:
    """A turn [3, 3] and a shift [3] of the lattice."""
    numbers = uniforms("lattice", seed, [octave], 7)[0]
    axes = np.linalg.qr(numbers[:6].reshape(2, 3).T - 0.5)[0]
    third = np.cross(axes[:, 0], axes[:, 1])
    turn = np.concatenate([axes, third[:, None]], axis=1)
    return turn.astype(np.float32), (64 * numbers[4:]).astype(np.float32)
