"""Pictures of materials: the very values of the file, in as many channels as are asked for."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from mesh_files import damaged, is_quick_and_named, picture
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.spatial.files import textures
from modelgraft.spatial.files.limits import Allowance
from modelgraft.spatial.files.textures import png_bytes, read_texture

GREY, COLOUR, CLEAR = picture(0, 1)[..., 0], picture(1, 3), picture(2, 4)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def png_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG of colours [H, W, 3] in 16 bits, which Pillow reads but does not write."""
    height, width = values.shape[:2]

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_colours_come_out_as_they_are_stored(kind):
    how = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(COLOUR), kind, **how)
    assert (read_texture(content, 3) == COLOUR).all()


def test_a_jpeg_is_read_as_pillow_decodes_it():
    content = encoded(Image.fromarray(COLOUR), "JPEG", quality=95)
    assert (read_texture(content, 3) == np.asarray(Image.open(io.BytesIO(content)))).all()


def test_transparency_is_kept_or_dropped_and_never_blended():
    content = encoded(Image.fromarray(CLEAR))
    assert (read_texture(content, 4) == CLEAR).all()
    assert (read_texture(content, "3 or 4") == CLEAR).all()
    assert (read_texture(content, 3) == CLEAR[..., :3]).all()


def test_an_opaque_picture_gets_a_fourth_channel_only_when_asked():
    content = encoded(Image.fromarray(COLOUR))
    assert read_texture(content, "3 or 4").shape == (16, 24, 3)
    found = read_texture(content, 4)
    assert (found[..., :3] == COLOUR).all() and (found[..., 3] == 255).all()


def test_grey_is_repeated_and_one_channel_is_the_first():
    content = encoded(Image.fromarray(GREY))
    assert (read_texture(content, 3) == GREY[..., None]).all()
    assert (read_texture(content, 1)[..., 0] == GREY).all()
    assert (read_texture(encoded(Image.fromarray(COLOUR)), 1)[..., 0] == COLOUR[..., 0]).all()


def test_palettes_are_looked_up_with_their_transparent_entry():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 10, 255])
    image.paste(0, (0, 0, 4, 8))
    found = read_texture(encoded(image, transparency=0), "3 or 4")
    assert (found[:, 4:] == [0, 10, 255, 255]).all()
    assert (found[:, :4] == [255, 0, 0, 0]).all()
    assert (read_texture(encoded(image), "3 or 4") == found[..., :3]).all()


@pytest.mark.parametrize("mode", ["1", "LA", "CMYK"])
def test_other_modes_are_read_as_pillow_converts_them(mode):
    image = Image.fromarray(COLOUR).convert(mode)
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    assert (read_texture(content, 3) == np.asarray(image.convert("RGB"))).all()


def test_16_bits_that_came_from_8_give_those_8_back():
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    grey = encoded(Image.fromarray(levels * 257))
    assert (read_texture(grey, 1)[..., 0] == levels).all()
    colour = np.stack([levels, levels.T, 255 - levels], axis=2)
    assert (read_texture(png_of_16_bits(colour * 257), 3) == colour).all()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_no_exif_entry_turns_a_texture(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (read_texture(encoded(Image.fromarray(COLOUR), exif=exif), 3) == COLOUR).all()


@pytest.mark.parametrize("texture", [GREY[..., None], COLOUR, CLEAR])
def test_what_is_written_comes_back_with_every_bit(texture):
    content = png_bytes(texture)
    assert (read_texture(content, texture.shape[2]) == texture).all()
    assert png_bytes(texture) == content


def test_floating_point_is_refused_since_nobody_says_what_is_white():
    content = encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(InputError, match=r"wood: a picture of floating-point.*\n.*PNG"):
        read_texture(content, 3, name="wood")


def test_pictures_above_the_limit_or_without_pixels_are_refused(monkeypatch):
    content = encoded(Image.fromarray(COLOUR))
    monkeypatch.setattr(textures, "MAX_TEXELS", 16 * 24 - 1)
    with pytest.raises(InputError, match=r"wood: 24 x 16 pixels; .* may have 383.*\n.*smaller"):
        read_texture(content, 3, name="wood")
    allowance = Allowance("chair.glb")
    monkeypatch.setattr(textures, "MAX_TEXELS", 16 * 24)
    read_texture(content, 3, allowance=allowance)


def test_a_missing_file_and_one_that_is_no_picture_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        read_texture(tmp_path / "none.png", 3)
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(InputError, match=r"a\.png: not a picture.*\n.*save it as PNG"):
        read_texture(tmp_path / "a.png", 3)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_pictures_are_read_or_refused_and_nothing_else(kind):
    for content in damaged(encoded(Image.fromarray(COLOUR), kind), 60):
        assert is_quick_and_named(lambda content=content: read_texture(content, 3, name="w"), "w")
