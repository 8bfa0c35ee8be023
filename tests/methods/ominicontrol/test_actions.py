"""The actions, on the embedded model with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedded import open_random, opened, random_judges

from modelgraft.core.errors import ConfigError
from modelgraft.core.settings import Settings
from modelgraft.diffusion.load import load_flux
from modelgraft.methods.ominicontrol import actions, measuring
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    EvaluateConfig,
    JudgesConfig,
    PairsConfig,
    PretrainConfig,
)
from modelgraft.methods.ominicontrol.data.shown import Shown
from modelgraft.methods.ominicontrol.pairs.reading import read_records
from modelgraft.tiny.flux import build_pipeline, save_pipeline
from modelgraft.tiny.oracles import load_judges
from modelgraft.training.config import OptimConfig


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (actions, measuring):
        monkeypatch.setattr(module, "open_control", open_random)
        monkeypatch.setattr(module, "load_judges", random_judges)


@pytest.mark.parametrize("task", ["edges", "depth", "fill", "subject"])
def test_pictures_are_measured_beside_those_without_the_condition(
    tmp_path: Path, task: Any
) -> None:
    made, _ = open_random("", Settings())
    made.attach(task, AdapterInfo(task=task, mode="independent", condition_px=32))
    made.save(task, tmp_path / f"{task}.safetensors")
    config = EvaluateConfig(adapter=str(tmp_path / f"{task}.safetensors"), samples=4, size=32,
                            steps=1)  # fmt: skip
    with opened(tmp_path / "run") as run:
        found = {one.name: one for one in actions.evaluate(config, run).numbers}
    wanted = {"edges": "edge F1", "depth": "depth MSE", "fill": "hidden MSE",
              "subject": "identity cosine"}[task]  # fmt: skip
    assert found[wanted].baseline is not None and found["text"].n == 4
    rows = json.loads((tmp_path / "run" / "artefacts" / "samples.json").read_text())
    assert set(rows) == {"with", "without"} and len(rows["with"][wanted]) == 4


def test_what_the_toy_world_alone_can_show_is_not_asked_of_files(tmp_path: Path) -> None:
    for task in ("edges", "subject"):
        made, _ = open_random("", Settings())
        made.attach(task, AdapterInfo(task=task))
        made.save(task, tmp_path / f"{task}.safetensors")
    for changes, told in (
        ({"adapter": "edges", "size": 64}, "the toy world has 32"),
        ({"adapter": "subject", "data": tmp_path}, "a subject is known again"),
    ):
        task = changes["adapter"]
        given = {"size": 32, **changes, "adapter": str(tmp_path / f"{task}.safetensors")}
        with pytest.raises(ConfigError, match=told), opened(tmp_path / task) as run:
            actions.evaluate(EvaluateConfig(**given), run)


def test_the_region_to_fill_of_own_files_is_the_one_that_is_black() -> None:
    targets = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    conditions = targets.clone()
    conditions[:, :, 8:24] = 0
    shown = Shown(targets=targets, prompts=["", ""], conditions={"fill": conditions})
    found = measuring.obeyed("fill", targets + 0.1 * (conditions == 0), shown)
    assert np.allclose(found["hidden MSE"], 25.5**2) and np.allclose(found["known MSE"], 0)


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
    assert found["pairs made"] == 9 == found["pairs kept"]
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


def test_judges_are_trained_each_by_itself_and_load_again(tmp_path: Path) -> None:
    config = JudgesConfig(steps=2, optim=OptimConfig(lr=1e-3, batch=8, micro_batch=8))
    with opened(tmp_path / "run") as run:
        found = actions.judges(config, run)
    assert {one.name for one in found.numbers} >= {"oracle: shape", "oracle: colours"}
    judges = load_judges(tmp_path / "run" / "artefacts" / "judges")
    assert judges.estimate(torch.rand(1, 3, 32, 32)).shape == (1, 1, 32, 32)
