"""A tiny regression with exact arithmetic, whose items differ in how many targets they have."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from modelgraft.core.runs import Run, open_run
from modelgraft.training.batches import Shuffled
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import Loss, fit

Item = tuple[Tensor, Tensor]


def items(num: int = 24) -> list[Item]:
    """Inputs [k, 3] with targets [k], k from 1 to 4."""
    draw = torch.Generator().manual_seed(0)
    sizes = [1 + index % 4 for index in range(num)]
    return [
        (torch.randn(k, 3, generator=draw).double(), torch.randn(k, generator=draw).double())
        for k in sizes
    ]


def collate(batch: list[Item]) -> Item:
    return torch.cat([x for x, _ in batch]), torch.cat([y for _, y in batch])


def network(*, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1)).double()


@dataclass
class Job:
    """One training job over the items; `stop_at` asks the run to stop during that step."""

    config: OptimConfig
    steps: int = 12
    dropout: float = 0.0
    stop_at: int | None = None
    spoil: tuple[int, ...] = ()

    def start(self, folder: Path, model: nn.Module | None = None) -> nn.Module:
        model = model or network(dropout=self.dropout)
        with open_run(folder, seed=3) as run:
            return fit(self._step(model, run), self.batches(), model, run, self.config,
                       steps=self.steps)  # fmt: skip

    def batches(self) -> Shuffled:
        config = self.config
        return Shuffled(items(), collate, config.batch, config.micro_batch, seed=3)

    def _step(self, model: nn.Module, run: Run):
        calls = iter(range(10**6))
        per_step = -(-self.config.batch // self.config.micro_batch)

        def step(batch: Item) -> Loss:
            index = next(calls) // per_step
            if index == self.stop_at:
                signal.raise_signal(signal.SIGTERM)
            x, y = batch
            error = (model(x).squeeze(-1) - y).square()
            total = error.sum() * (float("nan") if index in self.spoil else 1.0)
            return Loss(total, len(y), {"error": float(error.mean().detach())})

        return step
