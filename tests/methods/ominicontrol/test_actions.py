"""The actions, on the embedded model with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from embedded import open_random, opened, random_judges

from modelgraft.core.errors import ConfigError
from modelgraft.diffusion.load import load_flux
from modelgraft.methods.ominicontrol import actions
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    JudgesConfig,
    PairsConfig,
    PretrainConfig,
)
from modelgraft.methods.ominicontrol.pairs.reading import read_records
from modelgraft.tiny.flux import build_pipeline, save_pipeline
from modelgraft.tiny.oracles import load_judges
from modelgraft.training.config import OptimConfig


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "open_control", open_random)
    monkeypatch.setattr(actions, "load_judges", random_judges)


def test_the_cost_of_a_model_is_told_from_its_config(tmp_path: Path) -> None:
    save_pipeline(build_pipeline(), tmp_path / "flux")
    config = CostConfig(model=str(tmp_path / "flux"), size=32, text_length=24, steps=28)
    with opened(tmp_path / "run") as run:
        found = actions.cost(config, run)
    assert found.numbers[0].value == 1
    assert found.numbers[-1].value > 2.5 and "cached TFLOP" in found.text


def test_pairs_of_toys_are_drawn_judged_and_recorded(tmp_path: Path) -> None:
    config = PairsConfig(toys=1, height=32, steps=1, guidance=1.0, seeds=1, threshold=0)
    with opened(tmp_path / "run") as run:
        found = {one.name: one.value for one in actions.pairs(config, run).numbers}
    assert found["pairs made"] == 9 == found["pairs kept"] and found["pairs refused"] == 0
    kept = list(read_records(tmp_path / "run" / "artefacts", threshold=0))
    assert len(kept) == 9 and kept[0].picture().shape == (3, 32, 64)


def test_a_pretrained_pipeline_is_saved_and_trained_further(tmp_path: Path) -> None:
    optim = OptimConfig(lr=1e-3, batch=4, micro_batch=4, save_every=1)
    with opened(tmp_path / "first") as run:
        actions.pretrain(PretrainConfig(stage="easy", diptychs=0, steps=1, optim=optim), run)
    folder = tmp_path / "first" / "artefacts" / "flux"
    assert load_flux(folder, device="cpu").pipe("a star toy", num_inference_steps=1).images
    config = PretrainConfig(diptychs=0.5, steps=1, start=folder, optim=optim)
    with opened(tmp_path / "second") as run:
        found = actions.pretrain(config, run)
    assert found.numbers[0].value == 4


def test_a_fill_model_is_made_of_a_base_and_goes_on_as_one(tmp_path: Path) -> None:
    optim = OptimConfig(lr=1e-3, batch=4, micro_batch=4, save_every=1)
    options = {"stage": "easy", "diptychs": 0, "steps": 1, "optim": optim}
    save_pipeline(build_pipeline(), tmp_path / "base")
    with opened(tmp_path / "first") as run:
        actions.pretrain(PretrainConfig(fill=True, start=tmp_path / "base", **options), run)
    folder = tmp_path / "first" / "artefacts" / "flux-fill"
    assert load_flux(folder, device="cpu").pipe.transformer.config.in_channels == 112
    with opened(tmp_path / "second") as run:
        actions.pretrain(PretrainConfig(fill=True, start=folder, **options), run)
    assert (tmp_path / "second" / "artefacts" / "flux-fill" / "model_index.json").exists()
    with opened(tmp_path / "third") as run, pytest.raises(ConfigError, match="fills in"):
        actions.pretrain(PretrainConfig(start=folder, **options), run)


def test_judges_are_trained_each_by_itself_and_load_again(tmp_path: Path) -> None:
    config = JudgesConfig(steps=2, optim=OptimConfig(lr=1e-3, batch=8, micro_batch=8))
    with opened(tmp_path / "run") as run:
        found = actions.judges(config, run)
    assert {one.name for one in found.numbers} >= {"oracle: shape", "oracle: colours"}
    judges = load_judges(tmp_path / "run" / "artefacts" / "judges")
    assert judges.estimate(torch.rand(1, 3, 32, 32)).shape == (1, 1, 32, 32)
