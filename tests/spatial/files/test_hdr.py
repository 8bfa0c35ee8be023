"""Radiance pictures: what is read, and how what cannot be read is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.hdr import read_hdr
from modelgraft.worlds.skies import sky


def packed(radiance: NDArray) -> NDArray[np.uint8]:
    """Pixels [h, w, 4] with the exponent of the brightest channel."""
    mantissa, exponent = np.frexp(radiance.max(axis=-1, keepdims=True))
    scale = np.where(mantissa > 0, np.ldexp(1.0, 8 - exponent), 0)
    shared = np.where(mantissa > 0, exponent + 128, 0)
    return np.concatenate([radiance * scale, shared], axis=-1).astype(np.uint8)


def rolled(line: bytes) -> bytes:
    """One channel of a row: equal bytes as runs, others as they are."""
    out, at = b"", 0
    while at < len(line):
        run = 1
        while run < 127 and at + run < len(line) and line[at + run] == line[at]:
            run += 1
        if run > 2:
            out, at = out + bytes([128 + run, line[at]]), at + run
            continue
        end = at + 1
        while end < len(line) and end - at < 128 and line[end : end + 3] != line[end : end + 1] * 3:
            end += 1
        out, at = out + bytes([end - at]) + line[at:end], end
    return out


def content(
    radiance: NDArray, *, lines: str = "FORMAT=32-bit_rle_rgbe\n", is_rolled: bool = True
) -> bytes:
    height, width = radiance.shape[:2]
    head = f"#?RADIANCE\n# drawn\n{lines}\n-Y {height} +X {width}\n".encode()
    pixels = packed(radiance)
    if not is_rolled:
        return head + pixels.tobytes()
    mark = b"\2\2" + width.to_bytes(2, "big")
    rows = [mark + b"".join(rolled(row[:, one].tobytes()) for one in range(4)) for row in pixels]
    return head + b"".join(rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studio.hdr"


@pytest.fixture(scope="module")
def studio() -> NDArray:
    radiance = sky("softbox", size=(20, 300)).astype(np.float64)
    radiance[0, :40] = 0
    return radiance


@pytest.mark.parametrize("is_rolled", [True, False])
def test_radiance_comes_back_to_a_part_in_256_of_the_brightest(
    path: Path, studio: NDArray, is_rolled: bool
) -> None:
    path.write_bytes(content(studio, is_rolled=is_rolled))
    found = read_hdr(path)
    assert found.dtype == np.float32 and found.shape == studio.shape
    brightest = studio.max(axis=-1, keepdims=True)
    assert (np.abs(found - studio) <= brightest / 128 + 1e-12).all()
    assert np.array_equal(packed(found.astype(np.float64)), packed(studio))


def test_exposures_and_colour_corrections_are_undone(path: Path, studio: NDArray) -> None:
    path.write_bytes(content(studio))
    plain = read_hdr(path)
    lines = "EXPOSURE=2.0\nFORMAT=32-bit_rle_rgbe\nEXPOSURE= 4\nCOLORCORR= 1 2 .5\n"
    path.write_bytes(content(studio, lines=lines))
    assert np.allclose(read_hdr(path) * 8 * [1, 2, 0.5], plain, rtol=1e-6)


FAULTS = {
    "no such file": None,
    "not a Radiance picture": b"PNG",
    "header does not end": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "XYZ": b"#?RGBE\nFORMAT=32-bit_rle_xyze\n\n-Y 1 +X 1\n" + bytes(4),
    "rows from the top": b"#?RGBE\n\n+Y 2 +X 2\n" + bytes(16),
    "at most 33,554,432": b"#?RGBE\n\n-Y 99999 +X 99999\n",
    "nothing in this picture": b"#?RGBE\n\n-Y 0 +X 9\n",
    "cut off": b"#?RGBE\n\n-Y 4096 +X 8192\n\2\2\40\0",
    "before 1991": b"#?RGBE\n\n-Y 1 +X 2\n\1\1\1\5\1\1\1\5",
    "an exposure of": b"#?RGBE\nEXPOSURE=-1\n\n-Y 1 +X 1\n" + bytes(4),
    "goes beyond its row": b"#?RGBE\n\n-Y 1 +X 8\n\2\2\0\10" + b"\211\7" * 4,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_read_is_refused_by_name(path: Path, fault: str) -> None:
    given = FAULTS[fault]
    if given is not None:
        path.write_bytes(given)
    message = "xyze" if fault == "XYZ" else fault
    with pytest.raises(InputError, match=message) as caught:
        read_hdr(path)
    assert str(caught.value).startswith(str(path))


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file"):
        read_hdr(tmp_path)


@pytest.mark.parametrize("is_rolled", [True, False])
def test_damage_ends_in_a_picture_or_an_input_error(
    path: Path, studio: NDArray, is_rolled: bool
) -> None:
    sound = content(studio[:6, :40], is_rolled=is_rolled)
    generator = np.random.default_rng(0)
    refused = 0
    for place in range(300):
        damaged = bytearray(sound)
        if place % 3:
            for at in generator.integers(len(sound), size=1 + place % 4):
                damaged[at] = generator.integers(256)
        else:
            del damaged[generator.integers(len(sound)) :]
        path.write_bytes(damaged)
        try:
            found = read_hdr(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            assert found.ndim == 3 and np.isfinite(found).all()
    assert refused > 90
