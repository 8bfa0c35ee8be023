"""Denoising maps by v-prediction, with known regions held (sections 3.2 and 3.4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor], Tensor]
"""From noisy latents [B, C, h, w] and their step [B] to what is predicted, v [B, C, h, w]."""


@dataclass(frozen=True)
class Schedule:
    """How much of the clean latents is left at each training step."""

    kept: Tensor
    """alpha-bar [T], falling; z_t = sqrt(kept) z_0 + sqrt(1 - kept) noise."""

    def at(self, step: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(kept) and sqrt(1 - kept) of steps [B], shaped to multiply `like` [B, ...]."""
        kept = self.kept.to(like.device)[step].to(like.dtype)
        kept = kept.view(-1, *[1] * (like.dim() - 1))
        return kept.sqrt(), (1 - kept).sqrt()


@dataclass(frozen=True)
class Hold:
    """Latents that earlier views have settled."""

    latents: Tensor
    """[B, C, h, w]."""
    mask: Tensor
    """[B, 1, h, w]: 1 where they hold."""
    how: Literal["x0", "noisy"] = "x0"
    """What is replaced at every step: the prediction of the clean latents, as in the published
    code, or the noisy ones, as in the paper."""


def scaled_linear(num: int = 1000, first: float = 0.00085, last: float = 0.012) -> Schedule:
    """The schedule of Stable Diffusion 2: square roots of beta are evenly spaced."""
    roots = torch.linspace(first**0.5, last**0.5, num, dtype=torch.float64)
    return Schedule((1 - roots**2).cumprod(0))


def ending_in_noise(schedule: Schedule) -> Schedule:
    """The schedule rescaled so that nothing is left at its last step.

    Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed (arXiv 2305.08891),
    algorithm 1; one step from pure noise needs it.
    """
    root = schedule.kept.sqrt()
    return Schedule(((root - root[-1]) * root[0] / (root[0] - root[-1])).square())


def noisy(schedule: Schedule, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """z_t of clean latents [B, ...] at steps [B]."""
    left, lost = schedule.at(step, clean)
    return left * clean + lost * noise


def velocity(schedule: Schedule, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """What the network learns: v_t = sqrt(kept) noise - sqrt(1 - kept) z_0."""
    left, lost = schedule.at(step, clean)
    return left * noise - lost * clean


def clean_of(schedule: Schedule, latents: Tensor, v: Tensor, step: Tensor) -> Tensor:
    """z_0 of noisy latents and their v."""
    left, lost = schedule.at(step, latents)
    return left * latents - lost * v


def noise_of(schedule: Schedule, latents: Tensor, v: Tensor, step: Tensor) -> Tensor:
    """The noise in noisy latents, of their v."""
    left, lost = schedule.at(step, latents)
    return lost * latents + left * v


def trailing_steps(num: int, steps: int) -> Tensor:
    """`steps` of `num` training steps, falling from the last one; a single step is the last."""
    return torch.linspace(num, 0, steps + 1, dtype=torch.float64)[:-1].round().long() - 1


def sample(
    network: Network,
    start: Tensor,
    schedule: Schedule,
    steps: int,
    *,
    hold: Hold | None = None,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Clean latents from noise `start` [B, C, h, w] in `steps` steps.

    `eta` 1 is ancestral (DDPM) and 0 deterministic (DDIM) sampling. Where `hold` is 1 the result
    equals its latents, and where it is 0 everywhere the result is as without.
    """
    times = trailing_steps(len(schedule.kept), steps).to(start.device)
    z, kept = start, schedule.kept.to(start.device, torch.float64)
    for place, time in enumerate(times):
        step = time.expand(len(z))
        if hold is not None and hold.how == "noisy":
            noise = _held_noise(hold, place, generator)
            z = _where(hold, noisy(schedule, hold.latents, noise, step), z)
        v = network(z, step)
        clean = clean_of(schedule, z, v, step)
        if hold is not None and hold.how == "x0":
            clean = _where(hold, hold.latents, clean)
        if place + 1 == len(times):
            return clean if hold is None else _where(hold, hold.latents, clean)
        now, after = kept[time], kept[times[place + 1]]
        spread = eta * ((1 - after) / (1 - now) * (1 - now / after)).sqrt()
        noise = (z - now.sqrt().to(z.dtype) * clean) / (1 - now).sqrt().to(z.dtype)
        z = (
            after.sqrt().to(z.dtype) * clean
            + (1 - after - spread**2).clamp_min(0).sqrt().to(z.dtype) * noise
        )
        if eta:
            z = z + spread.to(z.dtype) * _like(z, generator)
    return z


def _where(hold: Hold, known: Tensor, other: Tensor) -> Tensor:
    """Known latents where they hold entirely, a blend at soft borders; exact at 0 and 1."""
    return torch.lerp(other, known, hold.mask.to(other.dtype))


def _held_noise(hold: Hold, place: int, generator: torch.Generator | None) -> Tensor:
    """Noise of the held latents from a stream of its own, so that it moves no other noise."""
    seed = place if generator is None else generator.initial_seed() + 1 + place
    own = torch.Generator(hold.latents.device).manual_seed(seed)
    return _like(hold.latents, own)


def _like(tensor: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(tensor.shape, dtype=tensor.dtype, device=tensor.device, generator=generator)
