"""Maps looked up by pixels that cover many of their texels: averages, after Williams 1983."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.spatial.files.colours import linear_of
from modelgraft.spatial.meshes import Bytes
from modelgraft.spatial.sampling import Wrap, texture

# What the 256 values of a byte mean, as linear values.
_CURVES: Final = {
    "srgb": linear_of(np.arange(256) / 255).astype(np.float32),
    "linear": (np.arange(256) / 255).astype(np.float32),
}
# Texels that are turned into floating point in one step.
_TEXELS: Final = 1 << 22


def averaged(
    values: Bytes,
    uv: Tensor,
    covered: Tensor,
    *,
    space: Literal["srgb", "linear"],
    wrap: Wrap = "clamp",
) -> Tensor:
    """Linear values [n, C] of a map [H, W, C] of bytes at UVs [n, 2].

    Each is the mean of about the share `covered` [n] of the unit square, taken between the two
    nearest of ever smaller maps; where that is less than a texel it is `sampling.texture`. `space`
    is that of colours: a fourth channel is always linear.
    """
    height, width = values.shape[:2]
    level = 0.5 * torch.log2((covered * height * width).clamp_min(1))
    level = level.clamp_max(max(height, width).bit_length() - 1)
    first, last = int(level.min()), int(level.max().ceil())
    maps = _halved(values, first, _CURVES[space])
    found = torch.zeros(len(uv), values.shape[2])
    for number in range(first, last + 1):
        share = (1 - (level - number).abs()).clamp_min(0)
        here = share.nonzero()[:, 0]
        found[here] += share[here, None] * texture(maps, uv[here][None], wrap=wrap)[0]
        maps = functional.adaptive_avg_pool2d(maps, _size(maps.shape[2:], 1))
    return found


def _halved(values: Bytes, times: int, curve: np.ndarray) -> Tensor:
    """The map [1, C, h, w] in floating point, as many times smaller; some rows at a time."""
    height, width = _size(values.shape, times)
    step, rest = divmod(len(values), height)
    rows = height if rest else max(1, _TEXELS // (step * values.shape[1]))
    strips = []
    for top in range(0, height, rows):
        end = min(top + rows, height)
        own = values if rest else values[top * step : end * step]
        strips.append(functional.adaptive_avg_pool2d(_meant(own, curve), (end - top, width)))
    return torch.cat(strips, 2)


def _meant(values: Bytes, curve: np.ndarray) -> Tensor:
    """The values [1, C, H, W] of bytes [H, W, C]."""
    found = curve[values]
    found[..., 3:] = _CURVES["linear"][values[..., 3:]]
    return torch.from_numpy(found).movedim(-1, 0)[None]


def _size(size: Sequence[int], times: int) -> tuple[int, int]:
    return max(1, size[0] >> times), max(1, size[1] >> times)
