"""Rectified flow: noisy samples, their velocity, and the laws of training timesteps.

Time 1 is noise and time 0 the picture: x_t = (1 - t) x_0 + t noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor


@dataclass(frozen=True)
class TimestepLaw:
    """Training timesteps t = sigmoid(mean + deviation N(0, 1)).

    FLUX adapters are trained with mean 0 and deviation 1 (OminiControl, section 3.3). Models of few
    tokens settle the layout at high noise and need more of it.
    """

    mean: float = 0.0
    deviation: float = 1.0

    def draw(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """`number` timesteps [n] in (0, 1)."""
        noise = torch.randn(number, generator=generator)
        return torch.sigmoid(self.mean + self.deviation * noise)


FEW_TOKENS: Final = TimestepLaw(1.2, 1.3)
"""For models of some dozen tokens, such as the embedded one."""


def noisy(clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """x_t of samples [b, ...] at their timesteps [b]."""
    t = timestep.view(-1, *[1] * (clean.dim() - 1)).to(clean.dtype)
    return (1 - t) * clean + t * noise


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """What the model predicts: dx/dt = noise - x_0."""
    return noise - clean
