"""Sixty steps on one picture: the embedded model can be taught to obey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from embedded import opened

from modelgraft.core.settings import Settings
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.data.shown import Shown
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.method.branches import branch_velocity
from modelgraft.methods.ominicontrol.method.objective import Velocity, draw, flow_matching_errors
from modelgraft.methods.ominicontrol.opening import law_of, open_control
from modelgraft.methods.ominicontrol.train import (
    Learning,
    PromptCache,
    Tokeniser,
    branch_model,
    places_of,
    train,
)
from modelgraft.training.config import OptimConfig

NUM_DRAWS = 24


@dataclass(frozen=True)
class OneScene:
    """The same scene under every number, with compact edges."""

    source: ToySource
    total: int = 1

    def take(self, numbers: Sequence[int], use: int) -> Shown:
        return self.source.take([5] * len(numbers), 0)


def test_sixty_steps_on_one_picture_halve_the_error_at_times_and_noises_not_trained_on(
    tmp_path: Path,
) -> None:
    """Half of the error before, and half of the base model's without the condition."""
    control, _ = open_control("tiny:flux", Settings(device="cpu", dtype="float32"))
    info = AdapterInfo(task="edges", mode="independent", scale=2.0, condition_px=16)
    control.attach("edges", info, rank=4)
    scene = OneScene(ToySource(("edges",), seed=0, condition_px=16))
    how = Learning(
        steps=60,
        law=law_of(control.pipe, None),
        optim=OptimConfig(lr=1e-2, schedule="constant", batch=4, micro_batch=4, save_every=100),
        drop_text=0.0,
        drop_condition=0.0,
    )
    shown = scene.take([0] * NUM_DRAWS, 0)
    batch = Tokeniser(control, PromptCache(control.pipe, length=512, num_bytes=1e9))(shown)
    draws = draw(NUM_DRAWS, batch, how.law, seed=1)

    @torch.no_grad()
    def error(model: Velocity) -> float:
        return float(flow_matching_errors(model, batch, draws, guided=False).mean())

    model = branch_model(control, places_of(control, shown))
    base = error(lambda inputs, _: branch_velocity(control.transformer, inputs, []))
    before = error(model)
    with opened(tmp_path / "run") as run:
        train(control, scene, how, run)
    assert error(model) < 0.5 * min(before, base)
