"""Weights on the disk: which of them cannot be computed with, and why they were not written."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Generator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from modelgraft.core.errors import UnsupportedModel
from modelgraft.core.intake import DTYPE_BITS

_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu)
_FLOATS = ("F64", "F32", "F16", "BF16")


def non_finite(path: Path) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity, in one safetensors file or in a folder.

    One tensor is in memory at a time; about 2 GB of bfloat16 are read in a second. Integer tensors,
    and packed 4-bit and 6-bit ones, have no such values and are passed over.
    """
    names = []
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with safe_open(file, framework="pt") as tensors:
            names += [name for name in tensors.keys() if not is_finite(tensors.get_tensor(name))]
    return names


def weight_bytes(path: Path, dtype: torch.dtype) -> int:
    """Bytes that the tensors of a safetensors file take when its floats are loaded as `dtype`.

    Packed and integer tensors keep their own size. Only the header is read.
    """
    total = 0
    with safe_open(path, framework="pt") as tensors:
        for name in tensors.keys():
            part = tensors.get_slice(name)
            kind = part.get_dtype()
            bits = 8 * dtype.itemsize if kind in _FLOATS else DTYPE_BITS[kind]
            total += math.prod(part.get_shape()) * bits // 8
    return total


def refuse_non_finite(path: Path, names: Sequence[str]) -> None:
    """Raise `UnsupportedModel` when there are `names` of tensors that are not finite."""
    if names:
        some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise UnsupportedModel(
            f"{path}: {len(names)} weight tensors hold NaN or infinity: {some}.\n"
            "  Every result would be undefined. Fetch the model again, or save it again from the "
            "last good checkpoint."
        )


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether the tensor holds neither NaN nor infinity."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    if tensor.element_size() == 1:
        if tensor.dtype not in _FLOAT8:
            return True
        tensor = tensor.to(torch.bfloat16)
    # One pass without a mask of the tensor's size: NaN wins every comparison, and an infinity is
    # the smallest or the largest value.
    low, high = tensor.aminmax()
    return bool(torch.isfinite(low) and torch.isfinite(high))


@contextlib.contextmanager
def plain_os_errors() -> Generator[None]:
    """Raise a full or read-only disk as the `OSError` it is; safetensors only words it."""
    try:
        yield
    except SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):
            number = int(code[1])
            raise OSError(number, os.strerror(number)) from error
        raise
