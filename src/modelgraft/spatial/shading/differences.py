"""How unlike two pictures look, without a trained network."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS: Final = 4


def pyramid(pictures: Tensor, truth: Tensor) -> Tensor:
    """The difference [b] of tone-mapped pictures [b, c, h, w], edges and coarse shapes alike.

    The mean absolute difference of each of four levels of a Laplacian pyramid (Burt and Adelson
    1983), three bands and the rest, and of the first differences along both axes, added up. As all
    of that is linear, the pyramid is that of the difference. Sides of 9 pixels or more.
    """
    rest = pictures - truth
    total = _mean(rest.diff(dim=-1)) + _mean(rest.diff(dim=-2))
    for _ in range(_LEVELS - 1):
        coarse = _blurred(rest)[..., ::2, ::2]
        total = total + _mean(rest - _raised(coarse, rest.shape))
        rest = coarse
    return total + _mean(rest)


def _mean(values: Tensor) -> Tensor:
    return values.abs().mean(dim=(1, 2, 3))


def _blurred(pictures: Tensor) -> Tensor:
    """Both axes by the binomial filter of five taps, with mirrored borders."""
    taps = pictures.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    channels = pictures.shape[1]
    row = taps.expand(channels, 1, 1, 5)
    padded = functional.pad(pictures, (2, 2, 2, 2), mode="reflect")
    along = functional.conv2d(padded, row, groups=channels)
    return functional.conv2d(along, row.mT, groups=channels)


def _raised(coarse: Tensor, shape: torch.Size) -> Tensor:
    """About twice as large: zeros between the pixels, blurred."""
    fine = coarse.new_zeros(shape)
    fine[..., ::2, ::2] = 4 * coarse
    return _blurred(fine)
