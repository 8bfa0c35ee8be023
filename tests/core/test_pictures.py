"""Picture files are opened with bounds, and whatever goes wrong is named."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.core.pictures import (
    FORMATS,
    MAX_PIXELS,
    damage_named,
    open_picture,
    source_name,
    too_large,
)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def header(width: int, height: int) -> bytes:
    """The beginning of a PNG that promises so many pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("kind", FORMATS)
def test_files_and_their_content_are_opened_alike(tmp_path, kind):
    path = tmp_path / "a.picture"
    path.write_bytes(encoded(kind))
    for source in (path, str(path), encoded(kind)):
        with open_picture(source, "wood") as image:
            assert image.size == (256, 256) and image.format == kind


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a picture that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture that can be read"),
        (header(100_000, 100_000), f"more than {MAX_PIXELS:,} pixels"),
    ],
)
def test_what_is_no_picture_or_promises_too_much_is_named(content, told):
    with pytest.raises(InputError, match=rf"wood: .*{told}"):
        open_picture(content, "wood")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"wood: no such file; expected a picture"):
        open_picture(tmp_path / "none.png", "wood")
    with pytest.raises(InputError, match="wood: the picture cannot be read"):
        open_picture(tmp_path, "wood")


def test_damage_found_while_decoding_is_named():
    content = encoded("PNG")
    with open_picture(content[: len(content) // 2], "wood") as image:
        with pytest.raises(InputError, match=r"wood: the picture is damaged.*\n.*save it as PNG"):
            with damage_named("wood"):
                image.load()


def test_sources_without_a_name_get_one(tmp_path):
    assert source_name(b"") == "the picture"
    assert source_name(tmp_path / "a.png") == str(tmp_path / "a.png")
    assert "more than 7 pixels" in str(too_large("wood", 7))


def test_pillow_waits_for_the_first_picture():
    code = "import sys, modelgraft.core.pictures; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
