"""Named colours as boxes of hue, saturation and value, and colour space conversions."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.worlds.draws import Floats, Ints

# Degrees of hue, then saturation and value from 0 to 1. The boxes do not touch.
HUE_BOXES: Final = {
    "red": ((-8, 8), (0.78, 1.0), (0.75, 0.95)),
    "orange": ((24, 33), (0.85, 1.0), (0.92, 1.0)),
    "yellow": ((50, 58), (0.75, 0.95), (0.92, 1.0)),
    "green": ((110, 140), (0.65, 0.9), (0.45, 0.65)),
    "cyan": ((178, 190), (0.65, 0.95), (0.8, 0.95)),
    "blue": ((222, 238), (0.75, 1.0), (0.7, 0.95)),
    "purple": ((270, 285), (0.6, 0.85), (0.5, 0.72)),
    "pink": ((325, 340), (0.35, 0.55), (0.95, 1.0)),
    "white": ((0, 360), (0.0, 0.04), (0.93, 1.0)),
    "black": ((0, 360), (0.0, 0.3), (0.04, 0.14)),
}
COLOURS: Final = tuple(HUE_BOXES)
_BOXES: Final = np.array(list(HUE_BOXES.values()), dtype=np.float64)  # [colours, hsv, low and high]


def colours(names: Ints, numbers: Floats) -> Floats:
    """sRGB [n, 3] inside the boxes of `names` [n], placed by `numbers` [n, 3] from 0 to 1."""
    low, high = _BOXES[names, :, 0], _BOXES[names, :, 1]
    hue, saturation, value = (low + (high - low) * numbers).T
    return hsv_to_rgb(hue, saturation, value)


def hsv_to_rgb(hue_deg: Floats, saturation: Floats, value: Floats) -> Floats:
    """sRGB [n, 3] of hue in degrees, saturation and value from 0 to 1."""
    turns = (np.array([5.0, 3.0, 1.0]) + hue_deg[:, None] / 60) % 6
    dip = np.clip(np.minimum(turns, 4 - turns), 0, 1)
    return value[:, None] * (1 - saturation[:, None] * dip)


def lab(srgb: NDArray[np.floating]) -> Floats:
    """CIE L*a*b* [..., 3] of sRGB from 0 to 1, for the white point D65 (CIE 15:2004)."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
