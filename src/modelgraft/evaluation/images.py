"""How near pictures come to what was asked: edges found again, errors of pixels, structure.

Pictures are [b, c, H, W] from 0 to 1, marks (edges, masks) [b, H, W]; every function gives one
value per picture [b], so that intervals can be made.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from modelgraft.core.errors import InputError

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]

SSIM_WINDOW_PX: Final = 11
"""Sides that pictures must have at least for `ssim`."""
_SIGMA: Final = 1.5


def edge_f1(found: ArrayLike, asked: ArrayLike, *, tolerance_px: int = 0) -> Array:
    """F1 = 2 TP / (2 TP + FP + FN) of edge pixels [b, H, W]; 1 where neither has any.

    With a tolerance a pixel counts as true when the other set has one within so many pixels along
    both axes, and 2 TP is the true pixels of both sets together.
    """
    ours, theirs = np.asarray(found, dtype=bool), np.asarray(asked, dtype=bool)
    _check_shapes(ours, theirs, axes=3)
    near_theirs, near_ours = (_dilated(one, tolerance_px) for one in (theirs, ours))
    true = _count(ours & near_theirs) + _count(theirs & near_ours)
    marked = _count(ours) + _count(theirs)
    return np.where(marked > 0, true / np.maximum(marked, 1), 1.0)


def mse(pictures: ArrayLike, truth: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    """Mean squared difference on the scale from 0 to 255, of the pixels where `where` is 1.

    `where` is [b, 1, H, W]. `InputError` names the pictures of which it leaves nothing.
    """
    ours, theirs = np.asarray(pictures, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    _check_shapes(ours, theirs, axes=4)
    squares = (255 * (ours - theirs)) ** 2
    if where is None:
        return squares.mean(axis=(1, 2, 3))
    weights = np.asarray(where, dtype=np.float64)
    _check_shapes(weights, ours[:, :1], axes=4)
    total = weights.sum(axis=(1, 2, 3))
    if not total.all():
        raise InputError(
            f"mse: the region is empty in picture {np.flatnonzero(total == 0)[0]} of {len(ours)}.\n"
            "  Leave such pictures out and count them."
        )
    return (weights * squares.mean(axis=1, keepdims=True)).sum(axis=(1, 2, 3)) / total


def psnr(pictures: ArrayLike, truth: ArrayLike) -> Array:
    """Peak signal to noise ratio in decibels; infinite where both are equal."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / mse(pictures, truth))


def ssim(pictures: ArrayLike, truth: ArrayLike) -> Array:
    """Structural similarity (Wang et al. 2004, IEEE TIP 13(4)), the mean over channels.

    Windows of 11 x 11 pixels weighted by a Gaussian of 1.5, only where they lie wholly inside;
    constants 0.01 and 0.03 of the range. For the similarity of luma give pictures of one channel.
    """
    ours, theirs = np.asarray(pictures, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    _check_shapes(ours, theirs, axes=4)
    height, width = ours.shape[2:]
    if min(height, width) < SSIM_WINDOW_PX:
        raise InputError(
            f"ssim: {width} x {height} pixels; a window of {SSIM_WINDOW_PX} x {SSIM_WINDOW_PX} has "
            "to fit in.\n"
            "  Take psnr or mse for smaller pictures."
        )
    mean, other = _windowed(ours), _windowed(theirs)
    variance = _windowed(ours**2) - mean**2
    other_variance = _windowed(theirs**2) - other**2
    covariance = _windowed(ours * theirs) - mean * other
    small, less_small = 0.01**2, 0.03**2
    alike = (2 * mean * other + small) * (2 * covariance + less_small)
    size = (mean**2 + other**2 + small) * (variance + other_variance + less_small)
    return (alike / size).mean(axis=(1, 2, 3))


def _windowed(values: Array) -> Array:
    """Gaussian means of the windows that lie inside [b, c, H - 10, W - 10]."""
    steps = np.arange(SSIM_WINDOW_PX) - SSIM_WINDOW_PX // 2
    weights = np.exp(-(steps**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis in (2, 3):
        values = sliding_window_view(values, SSIM_WINDOW_PX, axis=axis) @ weights
    return values


def _dilated(marks: Marks, reach_px: int) -> Marks:
    """Pixels that have a mark within so many pixels along both axes."""
    wide = np.pad(marks, ((0, 0), (reach_px, reach_px), (reach_px, reach_px)))
    for axis in (1, 2):
        wide = np.asarray(sliding_window_view(wide, 2 * reach_px + 1, axis=axis).any(axis=-1))
    return wide


def _count(marks: Marks) -> NDArray[np.int64]:
    return marks.sum(axis=(1, 2))


def _check_shapes(ours: NDArray, theirs: NDArray, *, axes: int) -> None:
    if ours.ndim != axes or ours.shape != theirs.shape:
        raise InputError(
            f"pictures of shapes {ours.shape} and {theirs.shape} cannot be compared: both need the "
            f"same {axes} axes.\n  Resize one to the other first."
        )
