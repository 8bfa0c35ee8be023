"""Which light to believe, as a person says it: in a word, or by masks in files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.material_anything.method.confidence import LIGHTS, Light
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.spatial.files.textures import read_texture

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_HALF: Final = 128


def believed(light: str | Path, *, view_px: int) -> Light | Tensor:
    """A word of `LIGHTS`, or masks of views of `view_px`: 1 where light is believed.

    A picture is the mask [1, 1, h, w] of all views; a folder of ten, in the order of their names
    with numbers counted, has one for each of `VIEWS` [10, 1, h, w]. They may be square pictures of
    any size and are resized to the nearest pixel; bright is believed, dark (below half) is not.
    `ConfigError` for what is neither word nor path, `InputError` for what is there and no mask.
    """
    for word in LIGHTS:
        if str(light) == word:
            return word
    path = Path(light)
    if not os.path.exists(path):
        raise ConfigError(
            "light",
            f"light: {str(light)!r} is no file or folder.\n"
            f"  Use {', '.join(LIGHTS)}, a mask picture for all views, or a folder of ten.",
        )
    files = _of_folder(path) if path.is_dir() else [path]
    return torch.cat([_mask(file, view_px) for file in files])


def _of_folder(folder: Path) -> list[Path]:
    found = [one for one in folder.iterdir() if one.suffix.lower() in _SUFFIXES]
    found = [one for one in found if not one.name.startswith(".")]
    if len(found) != len(VIEWS):
        order = ", ".join(view.sector for view in VIEWS)
        raise InputError(
            f"{folder}: {len(found)} pictures; needed is a mask for each of {len(VIEWS)} views.\n"
            f"  Name them 0.png to 9.png, for the views {order}; or give one picture for all."
        )
    return sorted(found, key=_counted)


def _counted(path: Path) -> list[tuple[int, str]]:
    """A key that puts 2 before 10."""
    words = re.split(r"(\d+)", path.stem)
    return [(int(word), "") if word.isdecimal() else (0, word) for word in words]


def _mask(path: Path, view_px: int) -> Tensor:
    """[1, 1, view_px, view_px]"""
    values = read_texture(path, 1, name=str(path))[..., 0]
    height, width = values.shape
    if height != width:
        raise InputError(
            f"{path}: a mask of {width} x {height} pixels; views are square.\n"
            "  Make it square, as the view's picture is, in an image program."
        )
    mask = torch.from_numpy((values >= _HALF).astype(np.float32))[None, None]
    return functional.interpolate(mask, size=(view_px, view_px), mode="nearest")
