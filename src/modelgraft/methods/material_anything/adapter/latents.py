"""The networks and the codec of a Stable Diffusion folder, as `denoising` calls them.

Latents stay on their caller's device and in its number type: only what goes through a model is
moved to it. So equal seeds draw equal noise on every device, and steps are summed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.denoising import Denoiser

Role = Literal["estimator", "refiner"]
CHANNELS: dict[Role, tuple[int, int]] = {"estimator": (9, 0), "refiner": (4, 4)}
"""Of the conditions of all heads and of each head's own: see `TripleHeadUNet`."""


class VaeCodec:
    """A VAE of diffusers: the mode of its latents, scaled as the U-Net learnt them."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.channels: int = vae.config.latent_channels
        vae.enable_slicing()  # one picture at a time, as they are large

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents [B, 4, H / 8, W / 8] of pictures [B, 3, H, W] from 0 to 1.

        Raises `InputError` for sides that are no multiple of what a latent stands for.
        """
        side = 2 ** (len(self.vae.config.block_out_channels) - 1)
        height, width = pictures.shape[2:]
        if height % side or width % side:
            raise InputError(
                f"pictures of {height} x {width} pixels: this codec takes sides that are multiples "
                f"of {side}.\n  Choose such a size for views and textures."
            )
        given = (2 * pictures - 1).to(self.vae.device, self.vae.dtype)
        latents = self.vae.encode(given).latent_dist.mode()
        return (latents * self.vae.config.scaling_factor).to(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], not clipped."""
        given = (latents / self.vae.config.scaling_factor).to(self.vae.device, self.vae.dtype)
        return (self.vae.decode(given).sample / 2 + 0.5).to(latents)


@dataclass(frozen=True)
class TextedNetwork:
    """A U-Net that always reads the same words, the empty prompt's in the published code."""

    unet: nn.Module
    """Of the names of Stable Diffusion; returns a tensor, or diffusers' output."""
    text: Tensor
    """States of the prompt [1, n, width]."""

    def __call__(self, sample: Tensor, step: Tensor, position: Tensor | None = None) -> Tensor:
        """What is predicted for `sample` [B, C, h, w] at training steps [B]; no `position`."""
        unet: Any = self.unet
        weight = unet.time_embedding.linear_1.weight  # no adapter changes its type
        text = self.text.to(weight).expand(len(sample), -1, -1)
        found = unet(sample.to(weight), step.to(weight.device), text)
        return (found if isinstance(found, Tensor) else found.sample).to(sample)


@dataclass(frozen=True)
class Origin:
    """The folder that a model came from."""

    name: str
    """As it was asked for: a folder or a hub id."""
    revision: str
    """The hub's commit; empty for a folder."""
    folder: Path
    """Where its files lie."""


@dataclass(frozen=True, kw_only=True)
class StableDenoiser(Denoiser):
    """An estimator or a refiner on a U-Net of Stable Diffusion's family."""

    unet: nn.Module = field(repr=False)
    """What is trained, the network without its text."""
    role: Role
    origin: Origin
