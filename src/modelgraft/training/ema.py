"""An exponential moving average of the trained weights."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch
from torch import Tensor, nn

from modelgraft.training.optim import trainable


class Ema:
    """Averages of a module's trainable parameters: w <- decay w + (1 - decay) p after each step.

    `weights` holds them in float32 by name. Early averages are not corrected for their start at
    the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = trainable(model)
        self.weights = {
            name: one.detach().float().clone() for name, one in self._parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter.detach().float(), 1 - self.decay)

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from the averages of a checkpoint."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @contextlib.contextmanager
    def applied(self) -> Generator[None]:
        """The module holds the averages inside the block, and its own weights again after it."""
        kept = {name: one.detach().clone() for name, one in self._parameters.items()}
        self._copy(self.weights)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])
