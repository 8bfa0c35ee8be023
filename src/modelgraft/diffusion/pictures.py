"""Pictures as people have them: reading files, fitting sides to tokens, writing PNG.

A picture is float [3, H, W] from 0 to 1 in sRGB and a mask [1, H, W] with 1 = keep. The values in
a file are taken as sRGB; an embedded colour profile is not applied. Sizes are (height, width).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from torch.nn import functional

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import write_atomic
from modelgraft.core.pictures import (
    MAX_PIXELS,
    Source,
    damage_named,
    open_picture,
    source_name,
    too_large,
)

Size = tuple[int, int]
Fit = Literal["exact", "resize", "cover", "pad"]

_DEEP_MODES: Final = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I": 65535, "F": 1}
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # of EXIF
_GAP_PX: Final = 2


class Cutout(NamedTuple):
    """A picture on white, and its transparency as a mask where it has one."""

    picture: Tensor
    """[3, H, W]."""
    mask: Tensor | None
    """[1, H, W]: 1 where the file is opaque, soft at its outlines; None when all of it is."""


# -- reading ---------------------------------------------------------------------------------------


def read_picture(source: Source, *, name: str = "") -> Tensor:
    """The picture [3, H, W] in a file, upright, in RGB, on white where it is transparent.

    The first frame of an animation. `InputError` calls what is missing, none, damaged or larger
    than `MAX_PIXELS` by its `name`, that of the file unless given.
    """
    return read_cutout(source, name=name).picture


def read_cutout(source: Source, *, name: str = "") -> Cutout:
    """The picture in a file as `read_picture` reads it, with its transparency."""
    name = name or source_name(source)
    with open_picture(source, name) as image:
        return from_pillow(image, name=name)


def picture_size(source: Source, *, name: str = "") -> Size:
    """Height and width of the upright picture in a file, by its header alone.

    Raises what `read_picture` raises, as far as the header shows it.
    """
    name = name or source_name(source)
    with open_picture(source, name) as image:
        if image.width * image.height > MAX_PIXELS:
            raise too_large(name, MAX_PIXELS)
        with damage_named(name):
            # Pillow decodes a PNG to look for an entry behind its pixels, and turns a TIFF itself.
            is_told = image.format != "TIFF" and ("exif" in image.info or image.format != "PNG")
            is_turned = is_told and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
        return (image.width, image.height) if is_turned else (image.height, image.width)


def read_mask(path: Path | str) -> Tensor:
    """The mask [1, H, W] painted in a file: white is 1 = keep, black 0; grey goes to the nearer."""
    return (read_picture(path).mean(dim=0, keepdim=True) >= 0.5).float()


def from_pillow(image: Image.Image, *, name: str = "the picture") -> Cutout:
    """A Pillow image of any mode, turned as its EXIF entry says; `name` stands in errors."""
    if image.width * image.height > MAX_PIXELS:
        raise too_large(name, MAX_PIXELS)
    with damage_named(name):
        image = ImageOps.exif_transpose(image)
    _check_sides(image.height, image.width, name)
    if image.mode in _DEEP_MODES:
        return Cutout(_deep_grey(image, name).repeat(3, 1, 1), None)
    with damage_named(name):
        mode = "RGBA" if image.has_transparency_data else "RGB"
        values = from_bytes(np.asarray(image.convert(mode)))
    colours, alpha = values[:3], values[3:]
    if mode == "RGB" or bool((alpha == 1).all()):
        return Cutout(colours, None)
    return Cutout(colours * alpha + (1 - alpha), alpha)


def check_mask(mask: Tensor, *, name: str, least: float = 0.0, most: float = 1.0) -> None:
    """`InputError` unless the kept share of a mask lies between `least` and `most`, both not met.

    `name` is the file or option that the mask came by.
    """
    share = float(mask.float().mean()) if mask.numel() else 0.0
    if not least < share < most:
        raise InputError(
            f"{name}: the mask keeps {share:.2%} of the picture; it must keep more than "
            f"{least:.2%} and less than {most:.2%}.\n"
            "  White is kept and black is made anew; paint both, or invert the mask."
        )


def _deep_grey(image: Image.Image, name: str) -> Tensor:
    """Grey of 16 bits or more from 0 to 1 [H, W]."""
    with damage_named(name):
        values = np.asarray(image)
    top = _DEEP_MODES[image.mode]
    if not ((values >= 0) & (values <= top)).all():
        raise InputError(
            f"{name}: its values reach from {values.min()} to {values.max()}; grey pictures of "
            f"Pillow's mode {image.mode} are read from 0 to {top}.\n"
            "  Scale it, and save it as PNG of 8 or 16 bits."
        )
    return torch.from_numpy(values.astype(np.float32) / top)


def _check_sides(height: int, width: int, name: str) -> None:
    if not height or not width:
        raise InputError(f"{name}: {width} x {height} pixels: there is nothing in this picture.")


# -- sizes -----------------------------------------------------------------------------------------


def nearest_size(size: Size, *, multiple: int, longest_px: int | None = None) -> Size:
    """The size with sides that are multiples, nearest to `size`, at least one multiple each.

    With `longest_px` the longer side becomes that, before rounding, and the aspect stays.
    """
    scale = longest_px / max(size) if longest_px else 1.0
    height, width = (max(1, round(side * scale / multiple)) * multiple for side in size)
    return height, width


def resize(pictures: Tensor, size: Size) -> Tensor:
    """Pictures [..., c, H, W] at another size, bicubic and antialiased, aspect kept or not."""
    if pictures.shape[-2:] == size:
        return pictures
    flat = pictures.reshape(-1, *pictures.shape[-3:]).float()
    found = functional.interpolate(flat, size, mode="bicubic", antialias=True)
    return found.clamp(0, 1).reshape(*pictures.shape[:-2], *size)


def fit_to(
    pictures: Tensor,
    size: Size | None = None,
    *,
    multiple: int,
    how: Fit = "exact",
    fill: float = 1.0,
    name: str = "the picture",
) -> Tensor:
    """Pictures [..., c, H, W] at `size`, or else at sides that are multiples of a token's pixels.

    Without a `size` the goal is the nearest one. `how` says what may be done to get there:
    `exact` nothing, so another size is an `InputError` that calls the picture by its `name`;
    `resize` scaling, and stretching where the aspects differ; `cover` scaling until it is covered,
    then cutting off what sticks out on both sides alike; `pad` scaling until all is inside, then a
    margin of `fill` (white; 0 for masks).
    """
    if how not in get_args(Fit):
        raise ConfigError("how", f"how: {how!r}; use {', '.join(get_args(Fit))}")
    height, width = pictures.shape[-2:]
    _check_sides(height, width, name)
    goal = size or nearest_size((height, width), multiple=multiple)
    if min(goal) < 1 or any(side % multiple for side in goal):
        near = nearest_size(goal, multiple=multiple)
        raise ConfigError(
            "size",
            f"size {_shown(goal)}: both sides must be multiples of {multiple}, the pixels of a "
            f"token.\n  The nearest such size is {_shown(near)}.",
        )
    if (height, width) == goal:
        return pictures
    if how == "exact":
        raise InputError(
            f"{name}: {_shown((height, width))} pixels (width x height), but {_shown(goal)} are "
            f"needed{'' if size else f': multiples of {multiple}, the pixels of a token'}.\n"
            "  Give a picture of that size, or allow it to be changed: resize (may stretch it), "
            "cover (cuts off what sticks out) or pad (adds a margin)."
        )
    if how == "resize":
        return resize(pictures, goal)
    ratios = (goal[0] / height, goal[1] / width)
    scale = max(ratios) if how == "cover" else min(ratios)
    scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    return _centred(resize(pictures, scaled), goal, fill)


def _centred(pictures: Tensor, size: Size, fill: float) -> Tensor:
    """Cut or padded on both sides alike, to a pixel."""
    rows, columns = (goal - now for goal, now in zip(size, pictures.shape[-2:], strict=True))
    margins = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
    return functional.pad(pictures, margins, value=fill)


def _shown(size: Size) -> str:
    return f"{size[1]} x {size[0]}"


# -- bytes -----------------------------------------------------------------------------------------


def to_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """Pictures [..., c, H, W] rounded to 8 bits, channels last [..., H, W, c]."""
    values = pictures.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise InputError(
            "the picture holds values that are not numbers.\n"
            "  A codec in float16 may overflow; decode it in float32 or bfloat16."
        )
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.movedim(-3, -1).numpy())


def from_bytes(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels of 8 bits [..., H, W, c] as pictures [..., c, H, W]."""
    return torch.tensor(pixels).movedim(-1, -3).float() / 255


def to_pillow(picture: Tensor) -> Image.Image:
    """One picture [3, H, W] in RGB, or a mask [1, H, W] in grey, as a Pillow image."""
    pixels = to_bytes(picture)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture [3, H, W] or a mask [1, H, W] as PNG of 8 bits, whole or not at all."""
    if path.suffix.lower() != ".png":
        raise ConfigError("", f"{path}: pictures are written as PNG; call it {path.stem}.png.")
    buffer = io.BytesIO()
    to_pillow(picture).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())


# -- grids -----------------------------------------------------------------------------------------


def grid(
    pictures: Sequence[Tensor] | Tensor,
    columns: int,
    *,
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
) -> Tensor:
    """One picture [3, H, W] of many [3 or 1, h, w], row by row on white, 2 pixels apart.

    Cells are as large as the largest picture and as wide as the longest label of a column.
    """
    images = [to_pillow(one).convert("RGB") for one in pictures]
    rows = -(-len(images) // columns)
    font = ImageFont.load_default()
    line = sum(font.getmetrics()) if isinstance(font, ImageFont.FreeTypeFont) else 11
    left, above = _label_px(row_labels, font), line + _GAP_PX if column_labels else 0
    tall = max([one.height for one in images] + [line] * bool(row_labels)) + _GAP_PX
    wide = max([one.width + _GAP_PX for one in images] + [_label_px(column_labels, font)])
    size = (left + columns * wide + _GAP_PX, above + rows * tall + _GAP_PX)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        sheet.paste(image, (left + column * wide + _GAP_PX, above + row * tall + _GAP_PX))
    for column, label in enumerate(column_labels):
        pen.text((left + column * wide + _GAP_PX, 1), label, fill="black", font=font)
    for row, label in enumerate(row_labels):
        pen.text((1, above + row * tall + _GAP_PX), label, fill="black", font=font)
    return from_bytes(np.asarray(sheet))


def _label_px(labels: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    """Pixels that the longest label takes, with a gap on both sides; 0 without labels."""
    longest = max((font.getlength(label) for label in labels), default=-2.0 * _GAP_PX)
    return int(np.ceil(longest)) + 2 * _GAP_PX
