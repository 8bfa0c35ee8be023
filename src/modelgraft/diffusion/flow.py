"""Rectified flow: noisy samples, their velocity, the laws of timesteps, noise levels and steps.

Time 1 is noise and time 0 the picture: x_t = (1 - t) x_0 + t noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError

# FLUX.1: the shift grows linearly with the number of tokens between two picture sizes.
_TOKENS, _SHIFTS = (256, 4096), (0.5, 1.15)


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


def noisy(clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """x_t of samples [b, ...] at their timesteps [b]."""
    t = timestep.view(-1, *[1] * (clean.dim() - 1)).to(clean.dtype)
    return (1 - t) * clean + t * noise


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """What the model predicts: dx/dt = noise - x_0."""
    return noise - clean


def clean_of(noised: Tensor, predicted: Tensor, timestep: Tensor) -> Tensor:
    """The picture that a predicted velocity points to: x_0 = x_t - t v."""
    return noised - timestep.view(-1, *[1] * (noised.dim() - 1)).to(noised.dtype) * predicted


def flux_mu(num_tokens: int) -> float:
    """FLUX.1-dev's shift of the noise levels for so many image tokens, as a logarithm."""
    slope = (_SHIFTS[1] - _SHIFTS[0]) / (_TOKENS[1] - _TOKENS[0])
    return _SHIFTS[0] + (num_tokens - _TOKENS[0]) * slope


def noise_levels(steps: int, *, mu: float = 0.0) -> list[float]:
    """`steps` noise levels from 1 down to 1/steps, shifted by e^mu, and a final 0."""
    if steps < 1:
        raise ConfigError("steps", f"steps {steps}: sampling takes at least one step.")
    plain = [1 - step / steps for step in range(steps)]
    return [math.exp(mu) / (math.exp(mu) + 1 / sigma - 1) for sigma in plain] + [0.0]


def euler(
    model: Callable[[Tensor, float], Tensor], noise: Tensor, levels: Sequence[float]
) -> Tensor:
    """Follow the velocity `model(x, t)` from noise through the noise levels to the picture."""
    x = noise
    for level, following in itertools.pairwise(levels):
        x = x + (following - level) * model(x, level)
    return x
