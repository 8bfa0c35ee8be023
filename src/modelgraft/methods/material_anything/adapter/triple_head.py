"""Three heads on the U-Net of Stable Diffusion, built of diffusers' own blocks (section 3.2).

Each head, one per material map, owns the outermost level of the U-Net; the levels inside are
shared. Names of parameters are those of the published weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from modelgraft.core.errors import UnsupportedModel
from modelgraft.methods.material_anything.adapter.levels import run_down, run_up

_LATENT = 4
"""Channels of one map's latents."""


class TripleHeadUNet(ModelMixin, ConfigMixin):
    """A U-Net that denoises several maps of one view at once.

    A head's input is `[its noisy latents | its own conditions | the conditions of all]` by channel.
    The estimator has no own conditions and 9 shared ones (picture 4, normals 4, mask 1), the
    refiner 4 of its own (its coarse map) and 4 shared (positions).
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, unet: dict[str, Any], heads: int = 3, shared: int = 9, own: int = 0) -> None:
        super().__init__()
        stock: Any = UNet2DConditionModel.from_config(unet)
        _require_levels(stock)
        self.shared, self.own = shared, own
        width = stock.conv_in.out_channels
        merged = stock.down_blocks[0].downsamplers[0].out_channels
        inputs = _LATENT + own + shared

        def each(part: nn.Module) -> nn.ModuleList:
            return nn.ModuleList(copy.deepcopy(part) for _ in range(heads))

        self.conv_in = each(nn.Conv2d(inputs, width, 3, padding=1))
        self.time_proj, self.time_embedding = stock.time_proj, stock.time_embedding
        self.down_blocks_outer = each(stock.down_blocks[0])
        self.conv_down = nn.Conv2d(heads * merged, merged, 3, padding=1)
        self.conv_down_res = nn.Conv2d(heads * merged, merged, 3, padding=1)
        self.down_blocks = nn.ModuleList(stock.down_blocks[1:])
        self.mid_block = stock.mid_block
        self.up_blocks = nn.ModuleList(stock.up_blocks[:-1])
        self.up_blocks_outer = each(stock.up_blocks[-1])
        self.conv_norm_out = each(stock.conv_norm_out)
        self.conv_act = stock.conv_act
        self.conv_out = each(stock.conv_out)

    @classmethod
    def from_sd(
        cls, unet: UNet2DConditionModel, *, heads: int = 3, shared: int = 9, own: int = 0
    ) -> Self:
        """Heads that all start as the U-Net's outermost level; what is inside starts as it is.

        The first convolution keeps the U-Net's weights for the latents and starts at zero for the
        conditions, and the two that merge heads start as their mean, so that the untrained model
        predicts what the U-Net does. (In the paper these three start from random weights.)
        """
        # Keys that begin with _ say where the base lay, which is nothing to save.
        sizes = {key: one for key, one in unet.config.items() if not key.startswith("_")}
        with torch.device("meta"):
            found = cls(sizes, heads, shared, own)
        weights = {
            target: value.clone()
            for name, value in unet.state_dict().items()
            if not name.startswith("conv_in.")
            for target in _targets(name, heads, len(unet.up_blocks))
        }
        first: Any = unet.conv_in
        inputs = first.weight.new_zeros(found.conv_in[0].weight.shape)
        inputs[:, :_LATENT] = first.weight.detach()[:, :_LATENT]
        for head in range(heads):
            weights[f"conv_in.{head}.weight"] = inputs.clone()
            weights[f"conv_in.{head}.bias"] = first.bias.detach().clone()
        for name in ("conv_down", "conv_down_res"):
            width, merged = getattr(found, name).weight.shape[:2]
            conv = nn.utils.skip_init(
                nn.Conv2d, merged, width, 3, padding=1, device=unet.device, dtype=unet.dtype
            )
            average(conv, heads)
            weights |= {f"{name}.{key}": one for key, one in conv.state_dict().items()}
        found.load_state_dict(weights, assign=True)
        return found

    def retold(self, *, shared: int, own: int) -> Self:
        """The same network for other conditions: it starts blind to them, and is equal otherwise.

        So a refiner starts from an estimator.
        """
        config: Any = self.config
        with torch.device("meta"):
            found = type(self)(dict(config["unet"]), config["heads"], shared, own)
        weights = {name: value.clone() for name, value in self.state_dict().items()}
        for name, like in found.state_dict().items():
            if name.startswith("conv_in.") and name.endswith(".weight"):
                blind = weights[name].new_zeros(like.shape)
                blind[:, :_LATENT] = weights[name][:, :_LATENT]
                weights[name] = blind
        found.load_state_dict(weights, assign=True)
        return found

    def forward(self, sample: Tensor, timestep: Tensor | int, text: Tensor) -> Tensor:
        """What is predicted for each map, [B, 4 heads, h, w], head after head.

        `sample` [B, 4 heads + shared + own heads, h, w] holds the noisy latents, the shared
        conditions and each head's own ones in this order; `text` [B, n, width] are the states of
        the prompt.
        """
        heads = len(self.conv_in)
        latents, shared, own = sample.split((_LATENT * heads, self.shared, self.own * heads), 1)
        time = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        embedded = self.time_embedding(self.time_proj(time).to(sample.dtype))
        outer, merged = self._down(latents.chunk(heads, 1), own, shared, embedded, text)
        inner = self._inner(self.conv_down(merged), self.conv_down_res(merged), embedded, text)
        return torch.cat([
            self._up(head, inner, skips, embedded, text) for head, skips in enumerate(outer)
        ], 1)  # fmt: skip

    def _down(
        self, latents: Sequence[Tensor], own: Tensor, shared: Tensor, time: Tensor, text: Tensor
    ) -> tuple[list[tuple[Tensor, ...]], Tensor]:
        """Each head's skips at full size, and all their outputs at half of it, by channel."""
        skips, halves = [], []
        for head, noisy in enumerate(latents):
            coarse = own[:, head * self.own : (head + 1) * self.own]
            x = self.conv_in[head](torch.cat([noisy, coarse, shared], 1))
            half, found = run_down(self.down_blocks_outer[head], x, time, text)
            skips.append((x, *found[:-1]))
            halves.append(half)
        return skips, torch.cat(halves, 1)

    def _inner(self, x: Tensor, skip: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """The shared levels, from half size to the input of the last level at full size."""
        skips = [skip]
        for block in self.down_blocks:
            x, found = run_down(block, x, time, text)
            skips.extend(found)
        x = self.mid_block(x, time, encoder_hidden_states=text)
        blocks: Any = self.up_blocks
        for block in blocks:
            number = len(block.resnets)
            skips, taken = skips[:-number], skips[-number:]
            size = skips[-1].shape[2:] if skips else [2 * side for side in x.shape[2:]]
            x = run_up(block, x, taken, time, text, size)
        return x

    def _up(
        self, head: int, x: Tensor, skips: Sequence[Tensor], time: Tensor, text: Tensor
    ) -> Tensor:
        if x.shape[2:] != skips[0].shape[2:]:
            x = nn.functional.interpolate(x, size=skips[0].shape[2:], mode="nearest")
        x = run_up(self.up_blocks_outer[head], x, skips, time, text, None)
        return self.conv_out[head](self.conv_act(self.conv_norm_out[head](x)))


def average(conv: nn.Conv2d, heads: int) -> None:
    """Make a convolution over the channels of all heads return their mean."""
    width = conv.out_channels
    with torch.no_grad():
        conv.weight.zero_()
        if conv.bias is not None:
            conv.bias.zero_()
        for channel in range(width):
            conv.weight[channel, channel::width, 1, 1] = 1 / heads


def _targets(name: str, heads: int, levels: int) -> Iterator[str]:
    """The names in the triple head of what the U-Net calls `name`."""
    part, _, rest = name.partition(".")
    if part in ("conv_norm_out", "conv_out"):
        yield from (f"{part}.{head}.{rest}" for head in range(heads))
    elif part in ("down_blocks", "up_blocks"):
        number, _, rest = rest.partition(".")
        is_outer = int(number) == (0 if part == "down_blocks" else levels - 1)
        if is_outer:
            yield from (f"{part}_outer.{head}.{rest}" for head in range(heads))
        else:
            yield f"{part}.{int(number) - (part == 'down_blocks')}.{rest}"
    else:
        yield name


def _require_levels(unet: Any) -> None:
    if len(unet.down_blocks) < 2 or not unet.down_blocks[0].downsamplers:
        raise UnsupportedModel(
            "this U-Net has one level, and heads need an outer and an inner one.\n"
            "  Use a U-Net of the Stable Diffusion family."
        )
    config: Any = unet.config
    if config.class_embed_type or config.addition_embed_type or config.encoder_hid_dim_type:
        raise UnsupportedModel(
            "this U-Net expects further embeddings (sizes or classes), as SDXL's does.\n"
            "  Use a U-Net of the families of Stable Diffusion 1 or 2."
        )
