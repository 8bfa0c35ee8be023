"""Which pixels of a picture show light that may be believed (section 3.3 of the paper).

1 lets the estimator read materials from shading, 0 asks it to invent them from what is seen.
The background always counts as believed.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Light = Literal["trusted", "none", "generated"]
LIGHTS: tuple[Light, ...] = get_args(Light)


def confidence(light: Light | Tensor, is_object: Tensor, known: Tensor | None = None) -> Tensor:
    """The mask [B, 1, H, W] of pictures of which `is_object` [B, 1, H, W] is covered.

    `trusted` believes every pixel (scans, photographs), `none` no pixel of the object (albedo
    only), `generated` those that `known` [B, 1, H, W] earlier views have painted. A mask of one's
    own [B or 1, 1, h, w] is resized to the nearest pixel.
    """
    if isinstance(light, Tensor):
        found = functional.interpolate(light.float(), size=is_object.shape[2:], mode="nearest")
        believed = found.expand(len(is_object), -1, -1, -1)
    elif light == "generated" and known is not None:
        believed = known.float()
    else:
        believed = torch.full_like(is_object, float(light == "trusted"), dtype=torch.float32)
    return torch.where(is_object > 0, believed, 1.0)


def as_input(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask as a channel of the network's input: nearest pixel, -1 or 1."""
    return 2 * functional.interpolate(mask.float(), size=size, mode="nearest") - 1
