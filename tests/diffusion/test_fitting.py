"""Sizes told by headers, aspects that rounding does not change, and conditions of another size."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.diffusion import pictures
from modelgraft.diffusion.conditions import SMALL_TASKS, TASKS, derived, has_same_aspect
from modelgraft.diffusion.pictures import picture_size, read_picture, resize

ORIENTATION = 0x0112


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif"])
@pytest.mark.parametrize("turned", [1, 3, 6, 8])
def test_the_size_in_a_header_is_that_of_the_upright_picture(
    tmp_path: Path, suffix: str, turned: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    path = tmp_path / f"a.{suffix}"
    image = Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    more: dict[str, Any] = {} if suffix in ("bmp", "gif") else {"exif": exif}
    image.save(path, **more)
    size = picture_size(path)
    assert size == tuple(read_picture(path).shape[-2:]) == picture_size(path.read_bytes())
    assert size == ((40, 24) if more and turned > 4 else (24, 40))


def test_no_pixel_is_decoded_for_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"a.{suffix}" for suffix in ("png", "jpg", "webp")]
    for path in paths:
        Image.new("RGB", (40, 24)).save(path)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert [picture_size(path) for path in paths] == [(24, 40)] * 3


def huge_png() -> bytes:
    """The header of a PNG of ten thousand million pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
        + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "not a picture"), (b"text", "not a picture"), (huge_png(), "more than 64,000,000")],
)
def test_a_header_that_is_none_or_promises_too_much_is_refused_by_name(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.png: .*{told}"):
        picture_size(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"row 7: .*{told}"):
        picture_size(content, name="row 7")
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        picture_size(tmp_path / "none.png")


def test_more_pixels_than_are_unpacked_are_refused_before_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (11, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 109)
    with pytest.raises(InputError, match="more than 109 pixels"):
        picture_size(tmp_path / "a.png")


def test_a_size_that_was_scaled_and_rounded_keeps_its_aspect() -> None:
    for height in range(50, 400, 37):
        for width in range(50, 400, 41):
            for scale in (0.3, 0.5, 0.77):
                small = round(scale * height), round(scale * width)
                assert has_same_aspect(small, (height, width))
                assert has_same_aspect((height, width), small)
                wide = small[0], round(1.2 * small[1]) + 2
                assert not has_same_aspect(wide, (height, width))


@pytest.mark.parametrize(("side", "table"), [(32, SMALL_TASKS), (256, TASKS)])
def test_a_condition_is_found_at_the_outputs_size_and_then_shrunk(side: int, table: Any) -> None:
    photo = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    half = (side // 2, side // 2)
    for task in ("edges", "grey", "blur", "fill"):
        whole = table[task].condition(photo)
        assert torch.equal(derived(task, photo), whole)
        assert torch.equal(derived(task, photo, half), resize(whole, half))
    assert not torch.equal(derived("edges", photo, half), derived("edges", resize(photo, half)))
