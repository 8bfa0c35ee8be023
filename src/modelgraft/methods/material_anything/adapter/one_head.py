"""The ablation of the paper: one U-Net that draws all maps in one latent of twelve channels."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

_LATENT, _MAPS = 4, 3


def one_head(unet: UNet2DConditionModel, *, shared: int = 9, own: int = 0) -> UNet2DConditionModel:
    """A stock U-Net whose first and last convolution are widened; the rest starts as it is.

    Its input is ordered as that of `TripleHeadUNet`, `[latents of all maps | shared | own of all]`.
    The first convolution starts with the mean over the maps' latents and blind to conditions, the
    last one with a copy for every map: given equal latents, the untrained model predicts for each
    map what `unet` does.
    """
    inputs = _MAPS * (_LATENT + own) + shared
    config = {key: one for key, one in unet.config.items() if not key.startswith("_")}
    config |= {"in_channels": inputs, "out_channels": _MAPS * _LATENT}
    with torch.device("meta"):
        found: Any = UNet2DConditionModel.from_config(config)
    weights = {name: value.clone() for name, value in unet.state_dict().items()}
    first = weights["conv_in.weight"][:, :_LATENT]
    wide = first.new_zeros(len(first), inputs, *first.shape[2:])
    wide[:, : _MAPS * _LATENT] = first.repeat(1, _MAPS, 1, 1) / _MAPS
    weights["conv_in.weight"] = wide
    weights["conv_out.weight"] = weights["conv_out.weight"].repeat(_MAPS, 1, 1, 1)
    weights["conv_out.bias"] = weights["conv_out.bias"].repeat(_MAPS)
    found.load_state_dict(weights, assign=True)
    return found
