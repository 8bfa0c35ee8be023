"""Where the tokens of a condition stand (section 3.2.2; scaled positions from OminiControl2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.diffusion.latents import grid_ids


def condition_ids(
    height: int, width: int, *, delta: Sequence[float] = (0, 0), scale: float = 1.0
) -> Tensor:
    """Places [height x width, 3] in float32 of a condition's grid of tokens.

    A place i becomes scale i + (scale - 1) / 2 + delta: a token of a condition at half size
    (scale 2) stands in the middle of the 2 x 2 tokens it stands for. `delta` counts target tokens
    and has two numbers (rows, columns) or three, the first for the model's first axis.
    """
    if len(delta) not in (2, 3):
        raise ConfigError("delta", f"delta {tuple(delta)}: rows and columns, or three axes.")
    ids = grid_ids(height, width)
    ids[:, 1:] = scale * ids[:, 1:] + (scale - 1) / 2
    shift = [0.0] * (3 - len(delta)) + [float(one) for one in delta]
    return ids + torch.tensor(shift)
