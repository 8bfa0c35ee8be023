"""Named colours as boxes of hue, saturation and value."""

from __future__ import annotations

from typing import Final

import numpy as np

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
