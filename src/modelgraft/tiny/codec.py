"""The pixel codec of the small image models: an exact linear map in the place of an autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

# Orthonormal rows: a 2 x 2 block's mean and its three differences (Haar), and the mean of red,
# green and blue with two differences.
_HAAR = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1.0]]) / 2
_COLOUR = (
    torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1.0]]) / torch.tensor([3, 2, 6.0])[:, None] ** 0.5
)
# Standard deviations of the 4 x 3 channels over renders of the toy world. Each channel is divided
# by the square root of its own, so that the noise of sampling is small where pixels vary little.
_SPREAD = torch.tensor(
    [
        [1.458, 0.869, 0.548],
        [0.269, 0.153, 0.094],
        [0.331, 0.173, 0.108],
        [0.158, 0.085, 0.051],
    ]
)


class PixelCodec(ModelMixin, ConfigMixin):
    """Blocks of 2 x 2 pixels as 12 channels and back, with the interface of `AutoencoderKL`.

    Pictures are [b, 3, h, w] from -1 to 1 with even sides, latents [b, 12, h/2, w/2]. There is
    nothing to train and nothing is lost. `picture_px` is the side of the pictures that a pipeline
    with this codec has learnt to draw.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 12,
        block_out_channels: tuple[int, ...] = (12, 12),
        scaling_factor: float = 1.75,
        shift_factor: float = 0.07,
        picture_px: int = 32,
    ) -> None:
        super().__init__()
        matrix = torch.kron(_HAAR, _COLOUR)
        spread = _SPREAD.flatten().sqrt()
        self.analysis = nn.Parameter(matrix / spread[:, None], requires_grad=False)
        self.synthesis = nn.Parameter(matrix.T * spread, requires_grad=False)

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """The latents of a picture, as a distribution without spread."""
        blocks = rearrange(x, "b c (h p) (w q) -> b (p q c) h w", p=2, q=2)
        mean = torch.einsum("dk,bkhw->bdhw", self.analysis.to(x), blocks)
        moments = torch.cat([mean, torch.zeros_like(mean)], dim=1)
        found = DiagonalGaussianDistribution(moments, deterministic=True)
        return AutoencoderKLOutput(latent_dist=found) if return_dict else (found,)

    def decode(self, z: Tensor, return_dict: bool = True, generator: object = None) -> Any:
        """The picture of some latents."""
        blocks = torch.einsum("kd,bdhw->bkhw", self.synthesis.to(z), z)
        sample = rearrange(blocks, "b (p q c) h w -> b c (h p) (w q)", p=2, q=2, c=3)
        return DecoderOutput(sample=sample) if return_dict else (sample,)
