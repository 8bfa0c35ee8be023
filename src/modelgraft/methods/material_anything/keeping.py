"""Finished views of a painting in files, so that one that was stopped goes on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file, save
from torch import Tensor

from modelgraft.core.files import make_folder, write_atomic


class Painting(NamedTuple):
    """A view's maps, and the texture after it."""

    maps: Tensor
    """[1, 9, h, w]; bumps are normals in the world, encoded."""
    values: Tensor
    """[9, H, W], likewise."""
    painted: Tensor
    """Where the texture has a value [H, W], boolean."""


def keep_view(folder: Path, view: int, painting: Painting) -> None:
    """Write a view; a file is there whole or not at all."""
    make_folder(folder)
    tensors = {name: one.contiguous() for name, one in painting._asdict().items()}
    write_atomic(_file(folder, view), save(tensors))


def kept_view(folder: Path, view: int) -> Painting | None:
    """A view that an earlier attempt has finished."""
    path = _file(folder, view)
    return Painting(**load_file(path)) if path.exists() else None


def _file(folder: Path, view: int) -> Path:
    return folder / f"view-{view:02d}.safetensors"
