"""Estimators of views and refiners of textures: a network, its codec, and how both are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.methods.material_anything.method.confidence import as_input
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import Hold, Schedule, sample

Frame = Literal["view", "uv"]
"""In which axes a network's bumps lie: the picture's, or those of texture coordinates."""


class Codec(Protocol):
    """Pictures to latents and back: a VAE, or `tiny.Patches`."""

    channels: int
    """Of the latents of a picture."""

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents [B, channels, h, w] of pictures [B, 3, H, W] from 0 to 1."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], not clipped."""
        ...


@dataclass(frozen=True)
class Conditions:
    """What a network is told beside its noisy latents."""

    shared: Tensor
    """[B, S, h, w], for all heads."""
    own: Tensor | None = None
    """[B, 3 channels, h, w], a third for each head."""
    position: Tensor | None = None
    """[B, 3, h / 2, w / 2] in space, for networks that attend by it."""
    guess: Tensor | None = None
    """Of the clean latents [B, 3 channels, h, w], for denoisers that begin from one."""


Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From `[latents of all maps | shared | own]` [B, C, h, w], steps [B] and positions to v."""


@dataclass(frozen=True)
class Denoiser:
    """The paper's material estimator or refiner, of any size."""

    network: Network
    codec: Codec
    schedule: Schedule
    frame: Frame = "view"

    def of_view(self, picture: Tensor, normal: Tensor, confidence: Tensor) -> Conditions:
        """What an estimator is told.

        The picture in sRGB and the camera's normals as colours, both [B, 3, H, W] on white, and
        which pixels show light to believe [B, 1, H, W].
        """
        latents = self.codec.encode(torch.cat([picture, normal]))
        mask = as_input(confidence, (latents.shape[2], latents.shape[3]))
        return Conditions(torch.cat([*latents.chunk(2), mask.to(latents.dtype)], 1))

    def of_texture(self, coarse: Maps, position: Tensor) -> Conditions:
        """What a refiner is told: textures with holes, and positions from 0 to 1 [B, 3, H, W]."""
        latents = self.codec.encode(torch.cat([position, *coarse]))
        where, *own = latents.chunk(4)
        half = functional.adaptive_avg_pool2d(position, (where.shape[2] // 2, where.shape[3] // 2))
        return Conditions(where, torch.cat(own, 1), half)

    def encode(self, maps: Maps) -> Tensor:
        """Latents [B, 3 channels, h, w] of maps."""
        return torch.cat(self.codec.encode(torch.cat(maps)).chunk(3), 1)

    def decode(self, latents: Tensor) -> Maps:
        """Maps of latents, not clipped."""
        return Maps(*self.codec.decode(torch.cat(latents.chunk(3, 1))).chunk(3))

    def predict(self, latents: Tensor, step: Tensor, given: Conditions) -> Tensor:
        """v [B, 3 channels, h, w] of noisy latents at steps [B]."""
        own = [] if given.own is None else [given.own]
        return self.network(torch.cat([latents, given.shared, *own], 1), step, given.position)

    def importance(self, step: Tensor) -> Tensor:
        """What errors of v at steps [B] count in training: all alike."""
        return torch.ones(len(step), device=step.device)

    @torch.no_grad()
    def denoise(
        self,
        given: Conditions,
        *,
        steps: int,
        generator: torch.Generator,
        hold: Hold | None = None,
        eta: float = 0.0,
    ) -> Maps:
        """Maps from the generator's noise; where `hold` is 1 they keep its latents."""
        batch, _, height, width = given.shared.shape
        shape = (batch, 3 * self.codec.channels, height, width)
        start = torch.randn(shape, generator=generator, device=generator.device)
        latents = sample(
            lambda z, step: self.predict(z, step, given),
            start.to(given.shared),
            self.schedule,
            steps,
            hold=hold,
            eta=eta,
            generator=generator,
        )
        return self.decode(latents).sound()
