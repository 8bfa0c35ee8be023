"""The ten views a mesh is painted from, and what each of them may paint (section 3.4).

Sizes in pixels are those of the published code at 768 pixels and scale with the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from modelgraft.spatial.cameras import Camera, orbit, perspective

Mask = NDArray[np.bool_]
DISTANCE = 1.2
"""From the middle of a mesh whose largest side is 1."""
FOV_DEG = 53.13
MIN_SIMILARITY = 0.1
"""A surface that is seen more slanted than this is left to other views."""
_PUBLISHED_PX = 768


class View(NamedTuple):
    """A direction to look from, and its word in the prompt."""

    azimuth_deg: float
    elevation_deg: float
    sector: str


VIEWS = (
    View(0, 0, "front"), View(45, 35, "front right"), View(315, 35, "front left"),
    View(90, 0, "right"), View(270, 0, "left"), View(135, 35, "back right"),
    View(225, 35, "back left"), View(180, 0, "back"), View(0, 90, "top"), View(0, -90, "bottom"),
)  # fmt: skip


class Regions(NamedTuple):
    """What a view sees of a partly painted mesh, as masks [H, W].

    What is too slanted and not painted yet is in none of them.
    """

    new: Mask
    """Not painted yet."""
    update: Mask
    """Painted, but seen best from here or at the border of what is new."""
    keep: Mask
    """Painted, and to stay as it is."""


def camera_of(view: View, size: int) -> Camera:
    """The camera of a view in square pictures of `size` pixels."""
    return perspective(orbit(view.azimuth_deg, view.elevation_deg, DISTANCE), FOV_DEG, (size, size))


def prompt_of(view: View, prompt: str) -> str:
    """The prompt of a view."""
    return f"the {view.sector} view of {prompt}"


def similarity(cosine: NDArray[np.float32], is_front: Mask) -> NDArray[np.float32]:
    """How squarely a surface is seen [H, W]: the cosine of its slant, less near outlines.

    Backs of one-sided surfaces count as not seen; the published code takes the cosine's size.
    """
    seen = np.where(is_front, np.maximum(cosine, 0), 0).astype(np.float32)
    return ndimage.grey_erosion(seen, footprint=_disc(2, len(seen)))


def regions(seen: NDArray[np.float32], is_painted: Mask, is_best: Mask) -> Regions:
    """What to paint in a view whose `similarity` is `seen`.

    `is_painted` and `is_best` [H, W] say of each pixel's surface whether an earlier view has
    painted it and whether no other view sees it more squarely.
    """
    size = len(seen)
    new = (seen >= MIN_SIMILARITY) & ~is_painted
    painted = (seen > 0) & is_painted
    update = painted & is_best & (seen >= MIN_SIMILARITY)
    if painted.sum() >= 0.1 * (seen >= MIN_SIMILARITY).sum():
        update |= painted & _band(painted, new, size)
    return Regions(new, update, painted & ~update)


def held(new: Mask) -> Mask:
    """Where latents are held while `new` is drawn: everything else, some pixels away from it."""
    return ~ndimage.binary_dilation(new, structure=_disc(8, len(new)))


def _band(painted: Mask, new: Mask, size: int) -> Mask:
    """Pixels near where painted and new surfaces meet, specks aside."""
    reach = _disc(5, size)
    sides = [ndimage.binary_dilation(_without_specks(one, size), reach) for one in (painted, new)]
    return ndimage.binary_dilation(sides[0] & sides[1], structure=_disc(2, size))


def _without_specks(mask: Mask, size: int) -> Mask:
    whole = ndimage.binary_closing(mask, structure=_disc(1.5, size))
    labels, number = ndimage.label(whole)
    areas = ndimage.sum_labels(whole, labels, np.arange(number + 1))
    return (areas >= 50 * (size / _PUBLISHED_PX) ** 2)[labels] & whole


def _disc(radius_px: float, size: int) -> Mask:
    """A disc of so many pixels at the published size, of at least one pixel around its middle."""
    radius = max(1, round(radius_px * size / _PUBLISHED_PX))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius
