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
    draw,
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

    draws = draw(4, batch, TimestepLaw(2.0, 0.5), seed=0)
    errors = flow_matching_errors(perfect, batch, draws, guided=False)
    assert errors.shape == (4,) and errors.max() < 1e-6


def test_the_error_is_a_mean_over_tokens_and_channels() -> None:
    batch = replace(make_batch(), clean=torch.zeros(4, 4, 6))
    draws = draw(4, batch, TimestepLaw(), seed=0)

    def zero(inputs: FluxInputs, conditions: Mapping[str, Tensor]) -> Tensor:
        time = draws.timestep.view(-1, 1, 1)
        assert torch.equal(inputs.timestep, draws.timestep)
        assert torch.allclose(inputs.hidden_states, time * draws.noise)
        return torch.zeros_like(inputs.hidden_states)

    errors = flow_matching_errors(zero, batch, draws, guided=False)
    assert torch.allclose(errors, draws.noise.square().mean(dim=(1, 2)))


@pytest.mark.parametrize("guided", [True, False])
def test_a_guided_model_is_trained_at_guidance_one(guided: bool) -> None:
    def check(inputs: FluxInputs, conditions: Mapping[str, Tensor]) -> Tensor:
        assert inputs.guidance is None or bool((inputs.guidance == 1).all())
        assert (inputs.guidance is not None) == guided
        return torch.zeros_like(inputs.hidden_states)

    batch = make_batch()
    flow_matching_errors(check, batch, draw(4, batch, TimestepLaw(), seed=0), guided=guided)


def test_draws_are_those_of_their_seed_and_of_their_row() -> None:
    batch = make_batch()
    one, same, other = (draw(6, batch, TimestepLaw(1.2, 1.3), seed=seed) for seed in (1, 1, 2))
    assert one.noise.shape == (6, 4, 6) and one.chances.shape == (6, 3)
    for name in ("timestep", "noise", "chances"):
        values = getattr(one, name)
        assert torch.equal(values, getattr(same, name))
        assert not torch.equal(values, getattr(other, name))
        assert torch.equal(getattr(one.take([4, 1]), name), values[[4, 1]])


def test_times_follow_their_law() -> None:
    times = draw(20_000, make_batch(), TimestepLaw(1.2, 1.3), seed=0).timestep
    normal = torch.logit(times)
    assert abs(float(normal.mean()) - 1.2) < 0.05 and abs(float(normal.std()) - 1.3) < 0.05


def test_a_tenth_is_dropped_of_text_and_of_each_condition_apart() -> None:
    """Shares within 2 % of themselves; 0.002 are three deviations of 200,000 samples."""
    torch.manual_seed(0)
    batch = make_batch(200_000)
    kept = drop(batch, make_dropped(0.1), draw(200_000, batch, TimestepLaw(), seed=0))
    no_text = (kept.text.tokens == 0).all(dim=(1, 2))
    assert torch.equal(no_text, (kept.text.pooled == 0).all(dim=1))
    gone = {name: (one == 0).all(dim=(1, 2)) for name, one in kept.conditions.items()}
    for one in (no_text, *gone.values()):
        assert float(one.float().mean()) == pytest.approx(0.1, rel=0.02)
    for one, other in ((no_text, gone["edges"]), (gone["edges"], gone["grey"])):
        assert float((one & other).float().mean()) == pytest.approx(0.01, rel=0.1)
    rest = ~gone["edges"]
    assert torch.equal(kept.conditions["edges"][rest], batch.conditions["edges"][rest])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_or_everything_is_dropped_at_the_ends(share: float) -> None:
    batch = make_batch()
    dropped = make_dropped(share)
    kept = drop(batch, dropped, draw(4, batch, TimestepLaw(), seed=0))
    text, conditions = (batch.text, batch.conditions)
    if share:
        text, conditions = dropped.text, dropped.conditions
    assert torch.equal(kept.text.tokens, text.tokens.expand_as(kept.text.tokens))
    for name, one in kept.conditions.items():
        assert torch.equal(one, conditions[name].expand_as(one))


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
