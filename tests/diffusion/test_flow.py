"""Rectified flow: noise levels, steps and targets."""

from __future__ import annotations

import math

import pytest
import torch

from modelgraft.core.errors import ConfigError
from modelgraft.diffusion.flow import (
    TimestepLaw,
    clean_of,
    euler,
    flux_mu,
    noise_levels,
    noisy,
    velocity,
)


def test_the_velocity_leads_from_any_time_to_the_picture() -> None:
    clean, noise = torch.randn(2, 4, 5, 3)
    time = torch.tensor([0.1, 0.4, 0.7, 1.0])
    x = noisy(clean, noise, time)
    assert torch.allclose(clean_of(x, velocity(clean, noise), time), clean, atol=1e-6)


def test_times_are_logistic_normal() -> None:
    law = TimestepLaw(1.2, 1.3)
    drawn = torch.logit(law.draw(20000, torch.Generator().manual_seed(0)))
    assert abs(drawn.mean() - 1.2) < 0.05 and abs(drawn.std() - 1.3) < 0.05


def test_the_shift_of_flux_at_512_and_1024_pixels() -> None:
    assert flux_mu(1024) == pytest.approx(0.63)
    assert flux_mu(256) == pytest.approx(0.5) and flux_mu(4096) == pytest.approx(1.15)
    assert flux_mu(4802) == pytest.approx(1.27, abs=0.005)


def test_noise_levels_are_those_of_the_stock_scheduler() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=4.0)
    scheduler.set_timesteps(sigmas=[1 - step / 8 for step in range(8)])
    assert torch.allclose(scheduler.sigmas, torch.tensor(noise_levels(8, mu=math.log(4))))
    moving = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    moving.set_timesteps(sigmas=[1 - step / 8 for step in range(8)], mu=0.63)
    assert torch.allclose(moving.sigmas, torch.tensor(noise_levels(8, mu=0.63)))


def test_steps_along_a_straight_flow_reach_the_picture() -> None:
    clean, noise = torch.randn(2, 1, 6, 3)
    found = euler(lambda x, t: velocity(clean, noise), noise, noise_levels(5, mu=1.0))
    assert torch.allclose(found, clean, atol=1e-5)


def test_no_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one step"):
        noise_levels(0)
