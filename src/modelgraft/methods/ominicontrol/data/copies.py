"""References that are their targets again: from them a model learns to paste (appendix B.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.pictures import resize
from modelgraft.methods.ominicontrol.data.files import FileSource, RecordSource

LOOKED = 64
"""Pairs that are looked at, at most."""
_COMPARED_PX, _SAME = 64, 0.01
"""Side at which two pictures are compared, and the mean difference of their pixels, of 1, up to
which one is the other saved again."""
_ALIKE = 0.9
"""Correlation from which on two pictures are one. Photographs that differ stay far below it, most
of those that are cut, flipped or recoloured do not; of plain pictures, as the toys, some reach it
by chance."""
_TOLERATED = 0.1
"""Share of the pairs that chance may make alike."""
_SIDE_PX, _INNER_PX = 32, 24
"""Of the picture that is searched for, and of its middle, which is what must be found."""
_CUTS = tuple(np.arange(1.0, 0.65, -0.05))
"""Sides of a cut-out, as shares of the whole."""
_FLAT = 0.01
"""Deviation up to which nothing is in a window that could be found again."""
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Copies:
    """How many references are copies of their targets."""

    looked: int
    identical: int
    altered: int
    """Flipped, cut, moved a little, or with other colours."""

    @property
    def remark(self) -> str:
        """What a person has to know before training; empty when all is well."""
        if not self.identical and self.altered <= _TOLERATED * self.looked:
            return ""
        return (
            f"Of {self.looked} pairs looked at, {self.identical} references are the target itself "
            f"and {self.altered} seem to be it flipped, cut or recoloured: from such pairs an "
            "adapter learns to paste its input. Show the subject in another scene or pose."
        )


def count_copies(source: FileSource | RecordSource, *, seed: int) -> Copies:
    """How many of at most `LOOKED` subjects of a source are copies of what they are shown for."""
    source = replace(source, tasks=("subject",))
    order = np.random.default_rng(rng_seed("copies", seed)).permutation(source.total)
    looked = [int(one) for one in order[:LOOKED]]
    identical = altered = 0
    for number in looked:
        shown = source.take([number], 0)
        target, reference = shown.targets[0], shown.conditions["subject"][0]
        if is_identical(reference, target):
            identical += 1
        else:
            altered += likeness(reference, target) >= _ALIKE
    return Copies(len(looked), identical, altered)


def is_identical(reference: Tensor, target: Tensor) -> bool:
    """Whether two pictures [3, H, W] of whatever sizes have the same pixels, or nearly."""
    side = min(*reference.shape[-2:], *target.shape[-2:], _COMPARED_PX)
    one, other = (resize(picture, (side, side)) for picture in (reference, target))
    return float((one - other).abs().mean()) <= _SAME


def likeness(one: Tensor, other: Tensor) -> float:
    """How well one of two pictures [3, H, W] is found in the other, flipped or not, up to 1.

    The middle of a small grey picture is searched for in the other at several sizes. Greys and
    their slopes have to agree at one place: greys alone do so in any two pictures of one layout,
    and slopes alone wherever there is a single outline.
    """
    return max(_found(one, other), _found(other, one))


def _found(wanted: Tensor, searched: Tensor) -> float:
    margin = (_SIDE_PX - _INNER_PX) // 2
    inner = slice(margin, margin + _INNER_PX)
    sought = [_flips(one[:, inner, inner]) for one in _greys_and_slopes(wanted, _SIDE_PX)]
    best = -1.0
    for cut in _CUTS:
        among = _greys_and_slopes(searched, round(_SIDE_PX / cut))
        found = [_correlation(*pair) for pair in zip(among, sought, strict=True)]
        best = max(best, float(torch.minimum(*found).max()))
    return best


def _greys_and_slopes(picture: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """A small picture as grey and as the steepness of its grey [1, side, side]."""
    small = resize(picture, (side, side))
    grey = torch.einsum("c,chw->hw", torch.tensor(_GREY), small)[None]
    padded = functional.pad(grey[None], (1, 1, 1, 1), mode="replicate")[0]
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return grey, torch.hypot(right, down)


def _flips(one: Tensor) -> Tensor:
    """A picture [1, h, w] as it is, and flipped in each and in both directions [4, 1, h, w]."""
    dims: Sequence[tuple[int, ...]] = ((), (-1,), (-2,), (-1, -2))
    return torch.stack([one.flip(each) for each in dims])


def _correlation(searched: Tensor, sought: Tensor) -> Tensor:
    """Normalised cross-correlation of windows of [1, H, W] with n pictures [n, 1, h, w]."""
    size = sought.shape[-2:]
    number = sought[0].numel()
    centred = sought - sought.mean(dim=(-2, -1), keepdim=True)
    norms = centred.flatten(1).norm(dim=1).clamp(min=_FLAT * number**0.5)
    mean = functional.avg_pool2d(searched, size, 1)
    variance = functional.avg_pool2d(searched.square(), size, 1) - mean.square()
    deviations = variance.clamp(min=_FLAT**2).sqrt() * number**0.5
    return functional.conv2d(searched[None], centred)[0] / deviations / norms[:, None, None]
