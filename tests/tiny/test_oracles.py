"""The judges of toy scenes: what they read, how they are trained, and that they load again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from modelgraft.core.runs import open_run
from modelgraft.tiny.oracles import (
    FACTORS,
    AttributeNet,
    DepthNet,
    Judges,
    SubjectEncoder,
    load_judges,
)
from modelgraft.tiny.recipes.oracles import (
    TRAINERS,
    attribute_numbers,
    present_colours,
    scenes,
    truths,
)
from modelgraft.training.config import OptimConfig

OPTIM = OptimConfig(lr=1e-3, schedule="constant", batch=8, micro_batch=8, save_every=100)


@pytest.mark.parametrize("name", list(TRAINERS))
def test_a_judge_learns_from_renders(tmp_path: Path, name: str) -> None:
    with open_run(tmp_path / name, seed=0) as run:
        net = TRAINERS[name](run, OPTIM, 12)
    assert not net.training
    rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    losses = [float(row.split('"loss": ')[1].split(",")[0]) for row in rows]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_every_factor_has_its_truth() -> None:
    shown = scenes(np.arange(50), seed=0, split="held-out", name="test")
    found = truths(shown)
    assert found.keys() == FACTORS.keys()
    for name, values in found.items():
        assert values.min() >= 0 and values.max() < FACTORS[name]
    colours = present_colours(shown.subjects)
    assert set(colours.sum(1).tolist()) == {1.0, 2.0}


def test_the_ceiling_is_measured_on_held_out_scenes() -> None:
    torch.manual_seed(0)
    found = attribute_numbers(AttributeNet().eval(), seed=0, number=64)
    assert {one.name for one in found} == {f"oracle: {name}" for name in (*FACTORS, "colours")}
    assert all(one.n == 64 and one.low is not None for one in found)


def test_identities_are_unit_vectors_and_depth_lies_between_0_and_1() -> None:
    pictures = torch.rand(3, 3, 32, 32)
    identity = SubjectEncoder().eval()(pictures)
    assert torch.allclose(identity.norm(dim=1), torch.ones(3), atol=1e-5)
    depth, cover = DepthNet().eval()(pictures)
    for one in (depth, cover):
        assert one.shape == (3, 32, 32) and one.min() >= 0 and one.max() <= 1


def test_saved_judges_load_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = Judges(AttributeNet().eval(), DepthNet().eval(), SubjectEncoder().eval())
    for name, net in zip(Judges._fields, made, strict=True):
        save_file(net.state_dict(), tmp_path / f"{name}.safetensors")
    pictures = torch.rand(2, 3, 32, 32)
    again = load_judges(tmp_path)
    assert torch.equal(again.estimate(pictures), made.estimate(pictures))
    assert torch.equal(again.subjects(pictures), made.subjects(pictures))
