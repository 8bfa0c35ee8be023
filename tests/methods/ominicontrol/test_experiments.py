"""The experiments' own machinery: arms, kept rows, and passes of the smallest size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedded import open_random, opened, random_judges

from modelgraft.diffusion.latents import grid_ids
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.experiments import EXPERIMENTS, arms
from modelgraft.methods.ominicontrol.experiments.arms import (
    EDGES,
    filling_model,
    known_tokens,
    open_bench,
    trained,
)
from modelgraft.methods.ominicontrol.experiments.drawn import kept_rows
from modelgraft.methods.ominicontrol.method.branches import FluxInputs


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "open_control", open_random)
    monkeypatch.setattr(arms, "load_judges", random_judges)


@pytest.mark.parametrize("id", ["O0", "O6", "O7"])
def test_a_quick_pass_measures_everything(id: str, tmp_path: Path) -> None:
    (experiment,) = [one for one in EXPERIMENTS if one.id == id]
    with opened(tmp_path / "run") as run:
        found = experiment.run(run, True)
    assert len(found.numbers) > 10 and found.seeds == (0,)
    assert all(np.isfinite(one.value) for one in found.numbers)


def test_an_arm_is_trained_once_and_again_when_it_learns_otherwise(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as run:
        bench = open_bench(run, True)
        first = trained(bench, EDGES, 0) / "edges.safetensors"
        before = first.stat().st_mtime_ns
        assert trained(bench, EDGES, 0) / "edges.safetensors" == first
        assert first.stat().st_mtime_ns == before
        trained(bench, replace(EDGES, rank=2), 0)
        assert first.stat().st_mtime_ns != before
        assert not bench.control.infos


def test_rows_are_measured_again_when_what_they_depend_on_changes(tmp_path: Path) -> None:
    calls: list[int] = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"a": np.array([1.0, np.nan])}

    with opened(tmp_path / "run") as run:
        bench = open_bench(run, True)
        for of in ({"rank": 4}, {"rank": 4}, {"rank": 1}):
            found = kept_rows(bench, "x", of, work)
            np.testing.assert_equal(found["a"], [1.0, np.nan])
    assert len(calls) == 2


def test_known_tokens_make_no_error_and_the_others_see_only_them(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as run:
        control = open_bench(run, True).control
    control.attach("fill", AdapterInfo(task="fill", mode="independent"))
    places = grid_ids(8, 8)
    clean, noise = torch.randn(2, 64, 48), torch.randn(2, 64, 48)
    timestep = torch.tensor([0.4, 0.9])
    mix = timestep.view(-1, 1, 1)
    inputs = FluxInputs(
        hidden_states=(1 - mix) * clean + mix * noise,
        encoder_hidden_states=torch.randn(2, 24, 64),
        pooled_projections=torch.randn(2, 64),
        timestep=timestep,
        img_ids=places,
        txt_ids=torch.zeros(24, 3),
    )
    torch.manual_seed(3)
    model = filling_model(control, places, "fill")
    errors = (model(inputs, {"fill": clean}) - (noise - clean)).abs().amax(dim=(0, 2))
    torch.manual_seed(3)
    (known,) = known_tokens(1, 8, seed=int(torch.randint(2**31, ())))
    assert errors[known.flatten()].max() < 1e-5 < errors[~known.flatten()].min()


def test_known_tokens_are_a_quarter_to_three_quarters() -> None:
    found = known_tokens(20, 8, seed=1).float().mean(dim=(1, 2))
    assert len(found) == 20 and found.min() >= 0.25 and found.max() <= 0.75
