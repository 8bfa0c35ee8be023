"""Numbers out of files of text, at the speed of a parser in C and within limits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError

MAX_TEXT_BYTES: Final = 256 << 20
"""Of a file that holds its numbers as text: unpacked they take several times the room."""


def require_small(content: bytes, name: str) -> None:
    """`InputError` for a file of text above `MAX_TEXT_BYTES`."""
    if len(content) > MAX_TEXT_BYTES:
        raise InputError(
            f"{name}: {len(content):,} bytes of text; at most {MAX_TEXT_BYTES:,} are read.\n"
            "  Save it in a binary format, such as GLB."
        )


def numbers(text: bytes, where: str) -> NDArray[np.float64]:
    """All the numbers in a text, apart by white space; `InputError` if there is anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's word for what is left over
            return np.fromstring(text, np.float64, sep=" ")
    except (DeprecationWarning, ValueError):
        raise InputError(
            f"{where}: something that is no number.\n  The file is damaged; export it again."
        ) from None


def rows(lines: Sequence[bytes], least: int, where: str) -> NDArray[np.float64]:
    """The numbers of lines [N, C], as many of each as the shortest has, which must be `least`."""
    if not lines:
        return np.zeros((0, least))
    counts = np.array([len(line.split()) for line in lines])
    shortest = int(counts.min())
    if shortest < least:
        raise InputError(
            f"{where}: {shortest} numbers where {least} are needed, in "
            f"{lines[int(counts.argmin())][:60].decode(errors='replace')!r}.\n"
            "  The file is damaged; export it again."
        )
    values = numbers(b" ".join(lines), where)
    if len(values) != counts.sum():
        raise InputError(
            f"{where}: something that is no number.\n  The file is damaged; export it again."
        )
    starts = np.cumsum(counts) - counts
    return values[starts[:, None] + np.arange(shortest)]
