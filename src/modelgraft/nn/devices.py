"""From the words auto, cuda:1 or bfloat16 to a device and a number type of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from modelgraft.core.errors import ConfigError, UnsupportedModel

DType = Literal["auto", "float32", "bfloat16", "float16"]


def find_device(device: str) -> torch.device:
    """The device called `device`; auto is the GPU if there is one.

    Raises `ConfigError` for a name that is none and for a GPU that is not here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        place = None
    if place is None or place.type not in ("cpu", "cuda"):
        raise ConfigError("device", f"device: {device!r}; use auto, cpu, cuda or cuda:N")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            "device",
            f"device: {device} is not here; this torch sees {torch.cuda.device_count()} GPUs.\n"
            "  Use auto or cpu; modelgraft doctor says what is missing.",
        )
    return place


def move(model: Any, place: torch.device, *, name: object) -> None:
    """Put a model or pipeline on a device; raises `UnsupportedModel` if it is too large for it."""
    try:
        model.to(place)
    except torch.OutOfMemoryError:
        raise UnsupportedModel(
            f"{name}: its weights do not fit on {place}.\n"
            "  Use --dtype bfloat16, a smaller model, or --device cpu."
        ) from None


def find_dtype(dtype: str, place: torch.device, on_cpu: Callable[[], str]) -> torch.dtype:
    """The number type called `dtype`; auto is bfloat16 on a GPU and what `on_cpu` says on a CPU.

    Raises `ConfigError` for another name.
    """
    if dtype == "auto":
        dtype = on_cpu() if place.type == "cpu" else "bfloat16"
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError("dtype", f"dtype: {dtype!r}; use auto, float32, bfloat16 or float16")
    return getattr(torch, dtype)
