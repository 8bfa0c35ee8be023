"""What is learnt, and what is left out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from modelgraft.diffusion.flow import TimestepLaw
from modelgraft.diffusion.latents import grid_ids
from modelgraft.diffusion.prompts import Prompts
from modelgraft.methods.ominicontrol.method.branches import FluxInputs
from modelgraft.methods.ominicontrol.method.cost import Shape, sampling_flop
from modelgraft.methods.ominicontrol.method.objective import (
    Batch,
    Dropped,
    drop,
    flow_matching_errors,
)

FLUX = Shape.of(
    {
        "num_attention_heads": 24,
        "attention_head_dim": 128,
        "num_layers": 19,
        "num_single_layers": 38,
    }
)


def make_batch(size: int = 4) -> Batch:
    return Batch(
        clean=torch.randn(size, 4, 6),
        ids=grid_ids(2, 2),
        text=Prompts(torch.randn(size, 3, 5), torch.randn(size, 5)),
        conditions={"edges": torch.randn(size, 4, 6), "grey": torch.randn(size, 4, 6)},
    )


def make_dropped(share: float) -> Dropped:
    return Dropped(
        text=Prompts(torch.zeros(1, 3, 5), torch.zeros(1, 5)),
        conditions={"edges": torch.zeros(1, 4, 6), "grey": torch.zeros(1, 4, 6)},
        text_share=share,
        condition_share=share,
    )


def test_a_perfect_predictor_has_no_error() -> None:
    batch = make_batch()

    def perfect(inputs: FluxInputs, conditions: Mapping[str, Tensor]) -> Tensor:
        time = inputs.timestep.view(-1, 1, 1)
        return (inputs.hidden_states - batch.clean) / time

    errors = flow_matching_errors(perfect, batch, TimestepLaw(2.0, 0.5), guided=False)
    assert errors.shape == (4,) and errors.max() < 1e-6


def test_the_error_is_a_mean_over_tokens_and_channels() -> None:
    batch = replace(make_batch(), clean=torch.zeros(4, 4, 6))
    seen = {}

    def zero(inputs: FluxInputs, conditions: Mapping[str, Tensor]) -> Tensor:
        seen["noise"] = inputs.hidden_states / inputs.timestep.view(-1, 1, 1)
        return torch.zeros_like(inputs.hidden_states)

    errors = flow_matching_errors(zero, batch, TimestepLaw(), guided=False)
    assert torch.allclose(errors, seen["noise"].square().mean(dim=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("guided", [True, False])
def test_a_guided_model_is_trained_at_guidance_one(guided: bool) -> None:
    def check(inputs: FluxInputs, conditions: Mapping[str, Tensor]) -> Tensor:
        assert inputs.guidance is None or bool((inputs.guidance == 1).all())
        assert (inputs.guidance is not None) == guided
        return torch.zeros_like(inputs.hidden_states)

    flow_matching_errors(check, make_batch(), TimestepLaw(), guided=guided)


def test_a_tenth_is_dropped_of_text_and_of_each_condition_apart() -> None:
    torch.manual_seed(0)
    batch = make_batch(20_000)
    kept = drop(batch, make_dropped(0.1))
    no_text = (kept.text.tokens == 0).all(dim=(1, 2))
    assert torch.equal(no_text, (kept.text.pooled == 0).all(dim=1))
    gone = {name: (one == 0).all(dim=(1, 2)) for name, one in kept.conditions.items()}
    for one in (no_text, *gone.values()):
        assert abs(float(one.float().mean()) - 0.1) < 0.02
    both = (gone["edges"] & gone["grey"]).float().mean()
    assert abs(float(both) - 0.01) < 0.005
    rest = ~gone["edges"]
    assert torch.equal(kept.conditions["edges"][rest], batch.conditions["edges"][rest])


def test_nothing_is_dropped_at_a_share_of_zero() -> None:
    batch = make_batch()
    kept = drop(batch, make_dropped(0.0))
    assert torch.equal(kept.text.tokens, batch.text.tokens)
    assert all(torch.equal(kept.conditions[name], one) for name, one in batch.conditions.items())


@pytest.mark.parametrize(
    ("conditions", "joint", "cached", "compact"),
    [(0, 602, 602, 602), (1, 1054, 646, 613), (2, 1506, 691, 624), (4, 2411, 781, 646)],
)
def test_the_cost_of_flux_at_512_pixels(
    conditions: int, joint: int, cached: int, compact: int
) -> None:
    for way, tokens, told in (("joint", 1024, joint), ("cached", 1024, cached),
                              ("cached", 256, compact)):  # fmt: skip
        found = sampling_flop(FLUX, image=1024, text=512, condition=tokens, conditions=conditions,
                              steps=28, way=way)  # fmt: skip
        assert found / 1e12 == pytest.approx(told, rel=0.01)


def test_the_cache_of_a_condition_takes_seven_tenths_of_a_gigabyte() -> None:
    assert FLUX.key_values(1024) == pytest.approx(0.72e9, rel=0.01)
