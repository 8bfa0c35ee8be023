"""Several processes train an adapter as one does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_process import LEARNING, Twelve, trained
from safetensors.torch import load_file
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.train import (
    Feed,
    Fresh,
    PromptCache,
    Tokeniser,
    numbers_of,
)
from modelgraft.training.config import OptimConfig


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_what_one_would_learn_from(pipe: Any, world: int) -> None:
    """Pictures, conditions, text, times, noise and drops, row by row, however the batch is cut."""
    tokenise = Tokeniser(OminiControl(pipe), PromptCache(pipe, length=512, num_bytes=1e9))

    def rows(micro_batch: int, rank: int, world: int, step: int) -> list[tuple[Tensor, ...]]:
        how = replace(LEARNING, optim=OptimConfig(batch=7, micro_batch=micro_batch))
        feed = Feed(Twelve(), Fresh(Twelve(), tokenise), how, 3, rank=rank, world=world)
        return [
            (batch.clean[place], batch.conditions["edges"][place], *batch.text.take(place),
             draws.timestep[place], draws.noise[place], draws.chances[place])
            for batch, draws in feed(step)
            for place in range(len(batch))
        ]  # fmt: skip

    for step in (0, 4):
        whole = rows(7, 0, 1, step)
        for rank in range(world):
            own = rows(2, rank, world, step)
            for found, wanted in zip(own, whole[rank::world], strict=True):
                assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_fewer_samples_than_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch 2 is smaller than the 4 processes"):
        numbers_of(Twelve(), 0, 2, seed=0, world=4)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_the_adapter_that_one_trains(tmp_path: Path) -> None:
    """Each takes half of every batch, cut otherwise; noise and drops belong to the sample."""
    script = Path(__file__).with_name("adapter_process.py")
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words = [str(script), str(tmp_path / "run"), str(tmp_path / "found")]
    done = subprocess.run(
        [sys.executable, *launcher, *words], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    alone = trained(tmp_path / "alone")
    both = [load_file(tmp_path / f"found-{rank}.safetensors") for rank in (0, 1)]
    assert all(torch.equal(both[0][name], both[1][name]) for name in alone)
    assert max(float((alone[name] - both[0][name]).abs().max()) for name in alone) < 1e-5
