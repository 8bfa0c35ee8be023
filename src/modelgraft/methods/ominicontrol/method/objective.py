"""What an adapter learns (section 3.3): the flow to pictures that obey their conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modelgraft.diffusion.flow import TimestepLaw, noisy, velocity
from modelgraft.diffusion.prompts import Prompts
from modelgraft.methods.ominicontrol.method.branches import FluxInputs

Velocity = Callable[[FluxInputs, Mapping[str, Tensor]], Tensor]
"""A model: its inputs and the tokens of each condition by name to the velocity [b, n, c]."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pictures as tokens, what is said of them, and the conditions they obey."""

    clean: Tensor
    """[b, n, c]."""
    ids: Tensor
    """[n, 3]."""
    text: Prompts
    conditions: Mapping[str, Tensor]
    """Tokens [b, k, c] by the name of the adapter."""

    def __len__(self) -> int:
        return len(self.clean)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """What stands for text and conditions that are left out, and how often they are."""

    text: Prompts
    """The empty prompt, one row."""
    conditions: Mapping[str, Tensor]
    """Tokens [1, k, c] of a black picture by name."""
    text_share: float = 0.1
    condition_share: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What is left to chance in the errors of some pictures."""

    timestep: Tensor
    """[b] in (0, 1)."""
    noise: Tensor
    """[b, n, c]."""
    chances: Tensor
    """[b, 1 + conditions], uniform from 0 to 1: what is below its share is left out, text first."""

    def take(self, rows: Sequence[int]) -> Draws:
        """Those of the pictures in these rows."""
        places = list(rows)
        return Draws(
            timestep=self.timestep[places], noise=self.noise[places], chances=self.chances[places]
        )


def draw(number: int, like: Batch, law: TimestepLaw, *, seed: int) -> Draws:
    """Draws for so many pictures with tokens and conditions like those of a batch."""
    generator = torch.Generator().manual_seed(seed)
    return Draws(
        timestep=law.draw(number, generator),
        noise=torch.randn(number, *like.clean.shape[1:], generator=generator),
        chances=torch.rand(number, 1 + len(like.conditions), generator=generator),
    )


def drop(batch: Batch, dropped: Dropped, draws: Draws) -> Batch:
    """Samples lose their text, and each condition its picture, independently of each other.

    A dropped condition is not removed but black (section 3.3), which image guidance builds on.
    """
    no_text, *no_condition = draws.chances.unbind(dim=1)
    text = Prompts(
        *(
            torch.where(_rows(no_text < dropped.text_share, one), empty, one)
            for one, empty in zip(batch.text, dropped.text, strict=True)
        )
    )
    conditions = {
        name: torch.where(
            _rows(chance < dropped.condition_share, one), dropped.conditions[name], one
        )
        for (name, one), chance in zip(batch.conditions.items(), no_condition, strict=True)
    }
    return replace(batch, text=text, conditions=conditions)


def _rows(chosen: Tensor, like: Tensor) -> Tensor:
    return chosen.view(-1, *[1] * (like.dim() - 1)).to(like.device)


def flow_matching_errors(model: Velocity, batch: Batch, draws: Draws, *, guided: bool) -> Tensor:
    """Squared error of the velocity, a mean over tokens and channels [b].

    `guided` models get a guidance of 1, as in the official training.
    """
    timestep, noise = draws.timestep.to(batch.clean.device), draws.noise.to(batch.clean)
    inputs = flux_inputs(batch, noisy(batch.clean, noise, timestep), timestep, guided=guided)
    found = model(inputs, batch.conditions)
    return (found.float() - velocity(batch.clean, noise).float()).square().mean(dim=(1, 2))


def flux_inputs(batch: Batch, x: Tensor, timestep: Tensor, *, guided: bool) -> FluxInputs:
    """The stock forward's arguments for noisy tokens of a batch."""
    length = batch.text.tokens.shape[1]
    return FluxInputs(
        hidden_states=x,
        encoder_hidden_states=batch.text.tokens,
        pooled_projections=batch.text.pooled,
        timestep=timestep,
        img_ids=batch.ids,
        txt_ids=torch.zeros(length, batch.ids.shape[1], device=batch.ids.device),
        guidance=torch.ones_like(timestep) if guided else None,
    )
