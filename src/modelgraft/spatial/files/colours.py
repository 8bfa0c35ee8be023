"""sRGB and linear values of arrays, by the curve of IEC 61966-2-1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def linear_of(srgb: ArrayLike) -> Floats:
    """Linear values of sRGB ones, both from 0 to 1."""
    values = np.asarray(srgb, np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_of(linear: ArrayLike) -> Floats:
    """sRGB values of linear ones, both from 0 to 1; what lies outside is moved to the ends."""
    values = np.clip(np.asarray(linear, np.float64), 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def linear_of_bytes(srgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Linear values from 0 to 1 of sRGB ones in 8 bits."""
    return linear_of(np.arange(256) / 255).astype(np.float32)[srgb]


def bytes_of(values: ArrayLike) -> NDArray[np.uint8]:
    """Values from 0 to 1 rounded to 8 bits; what lies outside is moved to the ends."""
    return np.round(np.clip(np.asarray(values), 0, 1) * 255).astype(np.uint8)
