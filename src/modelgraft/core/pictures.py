"""Picture files opened with bounds: known formats, a limit of pixels, damage named.

Pillow is imported where it is used; nothing here touches colours or values.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelgraft.core.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS: Final = 64_000_000
"""What is unpacked at most: a file of a few kilobytes can promise gigabytes."""
Source = Path | str | bytes
"""A file, or the content of one."""

# Readers that run no program (EPS would); a JPEG of several pictures counts as JPEG.
FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# What Pillow raises on damaged files, by mutation of thousands of them.
_DAMAGE: Final = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError,
    AttributeError, struct.error, zlib.error,
)  # fmt: skip


def source_name(source: Source) -> str:
    """What errors call a picture that was given no name."""
    return "the picture" if isinstance(source, bytes) else str(source)


def open_picture(source: Source, name: str) -> Image.Image:
    """A Pillow image of which the header is read; `name` stands in errors.

    `InputError` for what is missing, none, damaged or promises far more than `MAX_PIXELS`; the
    caller compares the exact number, since only it knows its limit.
    """
    from PIL import Image, UnidentifiedImageError

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large(name) from None
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; expected a picture.") from None
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: not a picture that can be read; it may be damaged or of another kind.\n"
            f"  {', '.join(FORMATS)} can be read. Open it in an image program and save it as PNG."
        ) from None
    except _DAMAGE as error:
        raise InputError(f"{name}: the picture cannot be read: {error}.") from None


@contextmanager
def damage_named(name: str) -> Generator[None]:
    """Turn what Pillow raises while it decodes into `InputError` that calls the picture `name`."""
    try:
        yield
    except _DAMAGE as error:
        raise InputError(
            f"{name}: the picture is damaged, cut off or of a kind that cannot be read: {error}.\n"
            "  Copy it again, or open it in an image program and save it as PNG."
        ) from None


def too_large(name: str, most: int = MAX_PIXELS) -> InputError:
    """The error for a picture of more than `most` pixels."""
    return InputError(
        f"{name}: the picture has more than {most:,} pixels.\n"
        "  Make it smaller in an image program; models work at about one million."
    )
