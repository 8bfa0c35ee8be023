"""Radiance pictures (.hdr): surroundings with their true brightness, four bytes a pixel.

Format: Ward, "Real Pixels" (Graphics Gems II, 1991), and Radiance's file format notes. A header of
lines up to an empty one, a line with the size, then rows of pixels as red, green, blue and a shared
exponent, plain or with runs of every byte.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.limits import Allowance, read_bounded

_MAX_PIXELS: Final = 8192 * 4096
_MAX_HEADER_BYTES: Final = 1 << 16
_MAGIC: Final = (b"#?RADIANCE", b"#?RGBE")
_RUN_WIDTHS: Final = range(8, 1 << 15)
_LONGEST_RUN: Final = 127


def read_hdr(path: Path) -> NDArray[np.float32]:
    """The linear radiance [H, W, 3] in a Radiance file, in RGB, its first row on top.

    Exposures and colour corrections noted in the file are undone. `InputError` for what is missing,
    damaged, cut off, larger than 8192 x 4096 pixels, in XYZ or with rows in another order.
    """
    data = read_bounded(path, Allowance(str(path)))
    height, width, exposure, start = _header(data, path)
    if height * width > _MAX_PIXELS:
        raise InputError(
            f"{path}: {width} x {height} pixels; at most {_MAX_PIXELS:,} are read.\n"
            "  Make it smaller; surroundings of 2048 x 1024 pixels are plenty for light."
        )
    if not height * width:
        raise InputError(f"{path}: {width} x {height} pixels: there is nothing in this picture.")
    pixels = _pixels(data, start, (height, width), path)
    scale = np.ldexp(1.0, pixels[..., 3:].astype(np.int32) - (128 + 8))
    scale[pixels[..., 3:] == 0] = 0
    radiance = (pixels[..., :3] * scale / exposure).astype(np.float32)
    if not np.isfinite(radiance).all():
        raise _damaged(path, "it holds values that are not numbers")
    return radiance


def _header(data: bytes, path: Path) -> tuple[int, int, NDArray[np.float64], int]:
    """Height, width, exposure [3] and where the pixels begin."""
    if not data.startswith(_MAGIC):
        raise InputError(
            f"{path}: not a Radiance picture; it does not begin with #?RADIANCE.\n"
            "  Convert other pictures of high dynamic range, as EXR, to .hdr."
        )
    end = data.find(b"\n\n", 0, _MAX_HEADER_BYTES)
    stop = data.find(b"\n", end + 2, end + 2 + 256)
    if end < 0 or stop < 0:
        raise _damaged(path, "its header does not end")
    exposure = np.ones(3)
    for line in data[:end].decode("latin-1").splitlines()[1:]:
        key, _, value = line.partition("=")
        if key.strip() == "FORMAT" and value.strip() != "32-bit_rle_rgbe":
            raise InputError(
                f"{path}: its pixels are {value.strip()[:40]!r}; only 32-bit_rle_rgbe is read.\n"
                "  Save it in RGB."
            )
        if key.strip() in ("EXPOSURE", "COLORCORR"):
            exposure *= _factors(value, path)
    size = re.fullmatch(rb"-Y (\d{1,9}) \+X (\d{1,9})", data[end + 2 : stop].strip())
    if size is None:
        raise InputError(
            f"{path}: its size is given as {data[end + 2 : stop][:40].decode('latin-1')!r}; "
            "expected as -Y 512 +X 1024, rows from the top.\n"
            "  Open it in an image program and save it again."
        )
    return int(size[1]), int(size[2]), exposure, stop + 1


def _factors(value: str, path: Path) -> NDArray[np.float64]:
    """One factor or three, above 0."""
    try:
        found = np.array([float(one) for one in value.split()])
    except ValueError:
        raise _damaged(path, f"an exposure of {value[:40]!r}") from None
    if len(found) not in (1, 3) or not (np.isfinite(found).all() and (found > 0).all()):
        raise _damaged(path, f"an exposure of {value[:40]!r}")
    return found


def _pixels(data: bytes, start: int, size: tuple[int, int], path: Path) -> NDArray[np.uint8]:
    """Red, green, blue and exponent [H, W, 4]."""
    height, width = size
    head = data[start : start + 4]
    if width in _RUN_WIDTHS and head[:2] == b"\2\2" and head[2:] == width.to_bytes(2, "big"):
        # A row is four bytes, and at best runs of two bytes each: all of it is there, or none read.
        least = height * (4 + 4 * 2 * -(-width // _LONGEST_RUN))
        if len(data) - start < least:
            raise _damaged(path, "it is cut off")
        return _unrolled(data, start, size, path)
    if len(data) - start < 4 * height * width:
        raise _damaged(path, "it is cut off")
    pixels = np.frombuffer(data, np.uint8, 4 * height * width, start).reshape(height, width, 4)
    if (pixels[..., :3] == 1).all(axis=-1).any():
        raise InputError(
            f"{path}: its runs are written as before 1991.\n"
            "  Open it in an image program and save it again."
        )
    return pixels


def _unrolled(data: bytes, at: int, size: tuple[int, int], path: Path) -> NDArray[np.uint8]:
    """Rows whose four channels follow each other, each as runs and literal bytes."""
    height, width = size
    mark = b"\2\2" + width.to_bytes(2, "big")
    rows = np.empty((height, 4, width), np.uint8)
    for row in rows:
        if data[at : at + 4] != mark:
            raise _damaged(path, "a row does not begin as it should")
        at += 4
        for channel in row:
            values, at = _channel(data, at, width, path)
            channel[:] = np.frombuffer(values, np.uint8)
    return rows.transpose(0, 2, 1)


def _channel(data: bytes, at: int, width: int, path: Path) -> tuple[bytearray, int]:
    """The bytes of one channel of a row, and where they end."""
    values = bytearray()
    while len(values) < width:
        code = data[at] if at < len(data) else 0
        count = code - 128 if code > 128 else code
        taken = 1 if code > 128 else count
        found = data[at + 1 : at + 1 + taken]
        if not count or len(found) < taken:
            raise _damaged(path, "it is cut off, or a run is empty")
        values += found * count if code > 128 else found
        at += 1 + taken
    if len(values) > width:
        raise _damaged(path, "a run goes beyond its row")
    return values, at


def _damaged(path: Path, fault: str) -> InputError:
    return InputError(f"{path}: the picture is damaged: {fault}.\n  Fetch or save it again.")
