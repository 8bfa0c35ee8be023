"""Pictures of materials as bytes, with the very values of the file.

No colour conversion, no profile, no gamma and no EXIF turn is applied: UVs refer to pixels as they
are stored, and what the values mean (albedo: sRGB, all other maps: linear) is the material's
business. Row 0 is the top.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.core.pictures import Source, damage_named, open_picture, source_name
from modelgraft.spatial.files.limits import MAX_TEXELS, Allowance

Bytes = NDArray[np.uint8]
Channels = Literal[1, 3, 4, "3 or 4"]

_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I")


def read_texture(
    source: Source,
    channels: Channels,
    *,
    name: str = "",
    allowance: Allowance | None = None,
) -> Bytes:
    """The values of a picture as uint8 [H, W, channels].

    `3 or 4` gives the fourth channel to pictures with transparency only, 3 drops it without
    blending, 4 adds an opaque one. Grey is repeated, and 1 takes the first channel of colours.
    Palettes are looked up; 16 bits are cut or rounded to 8, which is exact for values that came
    from 8. `InputError` calls what is none, damaged or above `MAX_TEXELS` by its `name`.
    """
    name = name or source_name(source)
    with open_picture(source, name) as image:
        num = image.width * image.height
        if num > MAX_TEXELS:
            raise InputError(
                f"{name}: {image.width} x {image.height} pixels; a texture may have "
                f"{MAX_TEXELS:,}, as 8192 x 8192 has.\n  Make it smaller in an image program."
            )
        if not num:
            raise InputError(f"{name}: {image.width} x {image.height} pixels: an empty picture.")
        if allowance is not None:
            allowance.take_texels(num, name)
        with damage_named(name):
            values = _values(image, name)
    if channels == 1:
        return np.ascontiguousarray(values[..., :1])
    if channels == 3 or (channels == "3 or 4" and values.shape[2] < 4):
        return np.ascontiguousarray(values[..., :3])
    if values.shape[2] == 4:
        return values
    return np.concatenate([values, np.full_like(values[..., :1], 255)], axis=2)


def _values(image: Image.Image, name: str) -> Bytes:
    """[H, W, 3 or 4]."""
    if image.mode in _DEEP_GREY:
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise InputError(
                f"{name}: its values reach from {deep.min()} to {deep.max()}; at most 16 bits are "
                "read.\n  Save it as PNG of 8 or 16 bits."
            )
        return np.repeat(((deep + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise InputError(
            f"{name}: a picture of floating-point numbers, of which nobody says what is white.\n"
            "  Save it as PNG of 8 or 16 bits."
        )
    return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def png_bytes(texture: Bytes) -> bytes:
    """The PNG of a texture [H, W, 1, 3 or 4], the same bytes for the same values."""
    buffer = io.BytesIO()
    pixels = texture[..., 0] if texture.shape[2] == 1 else texture
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
