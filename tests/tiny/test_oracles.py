"""The judges of toy scenes: what they read, how they are trained, and that they load again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

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
    JUDGES,
    attribute_numbers,
    depth_numbers,
    present_colours,
    scenes,
    subject_numbers,
    truths,
)
from modelgraft.training.config import OptimConfig

OPTIM = OptimConfig(lr=1e-3, schedule="constant", batch=8, micro_batch=8, save_every=100)


@pytest.mark.parametrize("name", list(JUDGES))
def test_a_judge_learns_from_renders(tmp_path: Path, name: str) -> None:
    with open_run(tmp_path / name, seed=0) as run:
        net = JUDGES[name].train(run, OPTIM, 12)
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


class Even(torch.nn.Module):
    """Sees nothing: every view is the same, every pixel half as deep as it can be."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, pictures: torch.Tensor) -> Any:
        flat = torch.full((len(pictures), *self.shape), 0.5)
        return flat if len(self.shape) == 1 else (flat, flat)


def test_a_judge_that_sees_nothing_tells_as_many_views_apart_as_chance() -> None:
    (found,) = subject_numbers(cast(Any, Even((4,))), seed=0, number=40)
    assert found.value == 0.5


def test_the_error_of_depth_is_on_the_scale_of_255() -> None:
    (found,) = depth_numbers(cast(Any, Even((32, 32))), seed=0, number=8)
    shown = scenes(np.arange(8), seed=101, split="held-out", name="ceiling")
    assert found.value == pytest.approx(((255 * (0.5 - shown.seen.depth)) ** 2).mean(), rel=1e-4)
