"""The embedded networks: a triple head of two million weights and a refiner of one.

Both have the layout of the published networks: an outer level per head, merged by two
convolutions into shared inner ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from modelgraft.core.errors import InputError

_GROUPS = 8


class Patches:
    """The embedded codec: squares of pixels as channels, without loss.

    Stands for the VAE of a real model; values from 0 to 1 become latents from -1 to 1.
    """

    def __init__(self, side: int = 4) -> None:
        self.side = side
        self.channels = 3 * side * side

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents [B, 3 side^2, H / side, W / side] of pictures [B, 3, H, W].

        `InputError` for sides that the networks cannot halve.
        """
        if any(one % (2 * self.side) for one in pictures.shape[2:]):
            raise InputError(
                f"pictures of {pictures.shape[2]} x {pictures.shape[3]} pixels: this model takes "
                f"sides that are multiples of {2 * self.side}.\n"
                "  Choose such a size for views and textures."
            )
        return functional.pixel_unshuffle(2 * pictures - 1, self.side)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures, not clipped."""
        return functional.pixel_shuffle(latents, self.side) / 2 + 0.5


class TinyTripleHead(nn.Module):
    """Denoises `heads` maps of one view; what comes back is v of each, head after head.

    `latent`, `shared` and `own` are channels of a head's latents, of the conditions of all heads
    and of its own; the input `[latents of all | shared | own of all]` is ordered as that of the
    real network. With one head, a plain U-Net draws all maps.
    """

    def __init__(
        self,
        *,
        heads: int = 3,
        latent: int = 48,
        shared: int = 97,
        own: int = 0,
        outer: int = 32,
        inner: int = 96,
        fourier: int = 0,
    ) -> None:
        super().__init__()
        self.sizes = {"heads": heads, "latent": latent, "shared": shared, "own": own,
                      "outer": outer, "inner": inner, "fourier": fourier}  # fmt: skip
        self.heads, self.latent, self.shared, self.own = heads, latent, shared, own
        time = 128
        self.time = nn.Sequential(nn.Linear(time, time), nn.SiLU(), nn.Linear(time, time))
        inputs = latent + shared + own
        self.conv_in = nn.ModuleList(nn.Conv2d(inputs, outer, 3, padding=1) for _ in range(heads))
        self.down_outer = nn.ModuleList(
            nn.ModuleList(Residual(outer, outer, time) for _ in range(2)) for _ in range(heads)
        )
        self.shrink = nn.ModuleList(
            nn.Conv2d(outer, outer, 3, stride=2, padding=1) for _ in range(heads)
        )
        merged = heads * outer
        self.merge = nn.Conv2d(merged, inner, 3, padding=1)
        self.merge_skip = nn.Conv2d(merged, inner, 3, padding=1)
        self.down = nn.ModuleList(Residual(inner, inner, time) for _ in range(4))
        self.attention = nn.ModuleList(Attention(inner, fourier) for _ in range(2))
        self.up = nn.ModuleList(
            Residual(2 * inner if place == 0 else inner, inner, time) for place in range(3)
        )
        self.grow = nn.Conv2d(inner, outer, 3, padding=1)
        self.up_outer = nn.ModuleList(
            nn.ModuleList(Residual(2 * outer, outer, time) for _ in range(2)) for _ in range(heads)
        )
        self.norm_out = nn.ModuleList(nn.GroupNorm(_GROUPS, outer) for _ in range(heads))
        self.conv_out = nn.ModuleList(nn.Conv2d(outer, latent, 3, padding=1) for _ in range(heads))

    def silenced(self) -> Self:
        """The same network, answering 0 until it is trained."""
        for weights in self.conv_out.parameters():
            nn.init.zeros_(weights)
        return self

    def forward(self, sample: Tensor, time: Tensor, position: Tensor | None = None) -> Tensor:
        """v [B, heads latent, h, w] of `sample` at `time` [B] from 0 (clean) to 1 (noise).

        `position` [B, 3, h / 2, w / 2], where the network takes it, says where in space each
        place of the inner level lies.
        """
        sizes = (self.latent * self.heads, self.shared, self.own * self.heads)
        latents, shared, own = sample.split(sizes, 1)
        embedded = self.time(sinusoids(time, 128))
        owns = own.chunk(self.heads, 1) if self.own else [own] * self.heads
        skips, halves = [], []
        for head, (noisy, coarse) in enumerate(
            zip(latents.chunk(self.heads, 1), owns, strict=True)
        ):
            x = self.conv_in[head](torch.cat([noisy, coarse, shared], 1))
            kept = []
            for block in self._blocks(self.down_outer, head):
                kept.append(x)
                x = block(x, embedded)
            skips.append(kept)
            halves.append(self.shrink[head](x))
        x = self._inner(torch.cat(halves, 1), embedded, position)
        return torch.cat([self._up(head, x, kept, embedded) for head, kept in enumerate(skips)], 1)

    def _inner(self, halves: Tensor, embedded: Tensor, position: Tensor | None) -> Tensor:
        x, skip = self.merge(halves), self.merge_skip(halves)
        for place, block in enumerate(self.down):
            x = block(x, embedded)
            if place % 2:
                x = self.attention[place // 2](x, position)
        x = torch.cat([x, skip], 1)
        for block in self.up:
            x = block(x, embedded)
        return self.grow(functional.interpolate(x, scale_factor=2.0, mode="nearest"))

    def _up(self, head: int, x: Tensor, kept: Sequence[Tensor], embedded: Tensor) -> Tensor:
        blocks = self._blocks(self.up_outer, head)
        for block, skip in zip(blocks, reversed(kept), strict=True):
            x = block(torch.cat([x, skip], 1), embedded)
        return self.conv_out[head](functional.silu(self.norm_out[head](x)))

    @staticmethod
    def _blocks(parts: nn.ModuleList, head: int) -> Sequence[nn.Module]:
        found = parts[head]
        assert isinstance(found, nn.ModuleList)
        return list(found)


def of_steps(model: nn.Module, number: int) -> Callable[..., Tensor]:
    """The network as denoisers call it: at training steps [B] of `number`, in place of times.

    Only here do tensors go to the network's device, and what it finds comes back to that of its
    sample: everything else is drawn and computed where its caller is, alike for every device.
    """

    def network(sample: Tensor, step: Tensor, position: Tensor | None) -> Tensor:
        place = next(model.parameters()).device
        where = None if position is None else position.to(place)
        return model(sample.to(place), ((step + 1) / number).to(place), where).to(sample)

    return network


class Residual(nn.Module):
    """Two convolutions beside an identity; the time scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, 2 * outputs)
        self.norm2 = nn.GroupNorm(_GROUPS, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, outputs, h, w]."""
        scale, shift = self.time(functional.silu(embedded))[:, :, None, None].chunk(2, 1)
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.norm2(y) * (1 + scale) + shift
        return self.skip(x) + self.conv2(functional.silu(y))


class Attention(nn.Module):
    """Every place looks at every other; with `fourier` octaves also by where it lies in space."""

    def __init__(self, width: int, fourier: int) -> None:
        super().__init__()
        self.fourier = fourier
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.position = nn.Linear(6 * fourier, 2 * width) if fourier else None
        self.num_heads = max(1, width // 32)

    def forward(self, x: Tensor, position: Tensor | None) -> Tensor:
        """[B, width, h, w] to the same; `position` [B, 3, h, w] where the block takes it."""
        height = x.shape[2]
        q, k, v = self.inputs(rearrange(self.norm(x), "b c h w -> b (h w) c")).chunk(3, -1)
        if self.position is not None and position is not None:
            where = rearrange(octaves(position, self.fourier), "b c h w -> b (h w) c")
            of_q, of_k = self.position(where).chunk(2, -1)
            q, k = q + of_q, k + of_k
        q, k, v = (rearrange(one, "b n (m d) -> b m n d", m=self.num_heads) for one in (q, k, v))
        seen = rearrange(functional.scaled_dot_product_attention(q, k, v), "b m n d -> b n (m d)")
        return x + rearrange(self.output(seen), "b (h w) c -> b c h w", h=height)


def sinusoids(time: Tensor, width: int) -> Tensor:
    """Sines and cosines [B, width] of times [B] from 0 to 1."""
    rates = torch.exp(torch.linspace(0, math.log(1000), width // 2, device=time.device))
    angles = time[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def octaves(position: Tensor, number: int) -> Tensor:
    """Sines and cosines [B, 6 number, h, w] of positions [B, 3, h, w], of doubling rates."""
    rates = math.pi * 2.0 ** torch.arange(number, device=position.device)
    angles = position[:, :, None] * rates.view(1, 1, -1, 1, 1)
    return torch.cat([angles.sin(), angles.cos()], 2).flatten(1, 2)
