"""Latents as tokens: packing, the tokens' places, and pictures through the pipeline's codec.

Letters: b batch, c latent channels, h and w latent sides, n tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor


def pack(latents: Tensor) -> Tensor:
    """Latents [b, c, h, w] as tokens [b, (h/2)(w/2), 4c]; the channel is the slowest of the 4c."""
    return rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens [b, height x width, 4c] back as latents [b, c, 2 height, 2 width]."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=height, w=width, p=2, q=2)


def grid_ids(height: int, width: int) -> Tensor:
    """Places of a grid of tokens [height x width, 3] in float32: zero, row, column.

    Not in the model's number type: bfloat16 has no half-integers above 128.
    """
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def token_px(pipe: Any) -> int:
    """Pixels along one side of a token: 16 for FLUX."""
    return 2 * pipe.vae_scale_factor


@torch.no_grad()
def encode(pipe: Any, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Tokens [b, n, 4c] of pictures [b, 3, H, W] from 0 to 1, sides being multiples of a token.

    The mode of the codec's distribution; with a `generator` a sample of it. They come where the
    pipeline executes, which is not where an offloaded codec rests.
    """
    vae = pipe.vae
    found = vae.encode((pictures * 2 - 1).to(pipe._execution_device, vae.dtype)).latent_dist
    latents = found.mode() if generator is None else found.sample(generator)
    return pack((latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor)


@torch.no_grad()
def decode(pipe: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    """Pictures [b, 3, H, W] from 0 to 1 of tokens [b, height x width, 4c]."""
    vae = pipe.vae
    latents = unpack(tokens.to(pipe._execution_device, vae.dtype), height, width)
    latents = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0)
    pictures = vae.decode(latents, return_dict=False)[0]
    return ((pictures.float() + 1) / 2).clamp(0, 1)
