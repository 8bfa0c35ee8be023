"""Where the two views lie in one picture, and cutting them out.

Boxes are half-open and count pixels: left, top, right, bottom.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from torch import Tensor

from modelgraft.core.errors import InputError

Crop = Literal["official", "centred"]
# Subjects200K: a picture of 1056 x 528 pixels holds two views of 512 with 8 pixels around each; the
# third collection has views of 1024 with as many pixels around them.
PUBLISHED_HEIGHT_PX: Final = 528
PUBLISHED_PADDING_PX: Final = 8
_LARGE_HEIGHT_PX: Final = 1040
MIN_VIEW_PX: Final = 16


class BoxPx(NamedTuple):
    """A rectangle of pixels."""

    left: int
    top: int
    right: int
    bottom: int


def padding_of(height: int) -> int:
    """The padding in pixels of a picture so high: as published, or in proportion to that.

    Pictures below 33 pixels have none: their views are the plain halves.
    """
    if height == _LARGE_HEIGHT_PX:
        return PUBLISHED_PADDING_PX
    return round(PUBLISHED_PADDING_PX * height / PUBLISHED_HEIGHT_PX)


def view_boxes_px(width: int, height: int, *, crop: Crop = "official") -> tuple[BoxPx, BoxPx]:
    """The boxes of the left and the right view of a picture of two square halves.

    The official crop takes the right view from the very border of its half (x 528 to 1040 of 1056),
    so it lies left of the middle by the padding; `centred` takes the middle (536 to 1048). Raises
    `InputError` for other shapes.
    """
    if width != 2 * height or height < MIN_VIEW_PX:
        raise InputError(
            f"{width} x {height} pixels: two square views side by side are twice as wide as high, "
            f"and at least {MIN_VIEW_PX} pixels high."
        )
    padding = padding_of(height)
    side = height - 2 * padding
    start = height + (padding if crop == "centred" else 0)
    bottom = padding + side
    return (
        BoxPx(padding, padding, padding + side, bottom),
        BoxPx(start, padding, start + side, bottom),
    )


def views_of(picture: Tensor, *, crop: Crop = "official") -> tuple[Tensor, Tensor]:
    """The left and the right view [3, s, s] of a picture [3, H, 2H]."""
    height, width = picture.shape[-2:]
    left, right = (
        picture[:, box.top : box.bottom, box.left : box.right]
        for box in view_boxes_px(width, height, crop=crop)
    )
    return left, right
