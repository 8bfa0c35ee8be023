"""What can be measured of a picture with two views without a model.

Pictures are [3, H, 2H] and views [3, s, s], sRGB from 0 to 1.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from modelgraft.evaluation.images import ssim
from modelgraft.methods.ominicontrol.pairs.crops import views_of

_LUMA: Final = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
_FLOOR: Final = 0.01  # in drawings most columns equal their neighbours
_SEAM_SHARE: Final = 128  # a model's seam is at most so small a share of the width off the middle
_CLIPPED: Final = 0.5 / 255


def luma(picture: Tensor) -> Tensor:
    """Brightness [H, W] as seen."""
    return torch.einsum("chw,c->hw", picture, _LUMA)


def similarity(picture: Tensor) -> float:
    """The structural similarity of the two views, 1 for equal ones."""
    left, right = views_of(picture)
    return float(ssim(left[None].numpy(), right[None].numpy())[0])


def spread(view: Tensor) -> float:
    """How much a view varies: the largest standard deviation among its colours; 0 if it is flat."""
    return float(view.flatten(1).std(dim=1, correction=0).max())


def seam(picture: Tensor) -> float:
    """How much larger the step between two columns is at the middle than elsewhere, about 1 if not.

    The step of a column is what three quarters of its rows exceed, so an object's edge does not
    count: a border between views runs from top to bottom. The largest step near the middle over the
    median of all, both raised by 0.01.
    """
    steps = (picture[..., 1:] - picture[..., :-1]).abs().mean(dim=0).quantile(0.25, dim=0)
    middle = picture.shape[-1] // 2 - 1
    reach = picture.shape[-1] // _SEAM_SHARE
    near = steps[middle - reach : middle + reach + 1].max()
    return float((near + _FLOOR) / (steps.median() + _FLOOR))


def gap(picture: Tensor) -> float:
    """How much the columns at the middle vary; about 0 between two views on one plain ground."""
    width = picture.shape[-1]
    reach = width // _SEAM_SHARE + 1
    return spread(picture[..., width // 2 - reach : width // 2 + reach])


def sharpness(picture: Tensor) -> float:
    """The brightness step between neighbours that one pixel in a hundred exceeds."""
    seen = luma(picture)
    across = (seen[:, 1:] - seen[:, :-1])[:-1].abs()
    down = (seen[1:] - seen[:-1])[:, :-1].abs()
    found = torch.maximum(across, down).flatten()
    return float(found.kthvalue(max(1, round(0.99 * found.numel()))).values)


def noise(picture: Tensor) -> float:
    """The standard deviation of pixel noise in the brightness.

    From the response to the difference of two Laplacians, which ramps and straight edges do not
    give (J. Immerkaer, Fast Noise Variance Estimation, 1996); ours takes the median of it in the
    place of the mean, so that texture in less than half of the picture does not count.
    """
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])
    found = conv2d(luma(picture)[None, None], mask[None, None]).abs()
    return 1.4826 * float(found.median()) / 6


def clipped(picture: Tensor) -> float:
    """The share of pixels that are pure black or pure white."""
    is_black = (picture <= _CLIPPED).all(dim=0)
    is_white = (picture >= 1 - _CLIPPED).all(dim=0)
    return float((is_black | is_white).float().mean())
