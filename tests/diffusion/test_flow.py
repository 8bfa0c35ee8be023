"""Rectified flow: targets, and the law of training times."""

from __future__ import annotations

import torch

from modelgraft.diffusion.flow import FEW_TOKENS, noisy, velocity


def test_the_velocity_leads_from_any_time_to_the_picture() -> None:
    clean, noise = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([0.1, 0.4, 0.7, 1.0])
    x = noisy(clean, noise, time)
    assert torch.allclose(x - time.view(-1, 1, 1) * velocity(clean, noise), clean, atol=1e-6)


def test_times_are_logistic_normal() -> None:
    drawn = torch.logit(FEW_TOKENS.draw(20000, torch.Generator().manual_seed(0)))
    assert abs(drawn.mean() - 1.2) < 0.05 and abs(drawn.std() - 1.3) < 0.05
