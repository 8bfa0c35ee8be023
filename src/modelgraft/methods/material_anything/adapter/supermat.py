"""SuperMat (arXiv 2411.17515): albedo, roughness and metallic of a picture in one step.

Its network is a U-Net of Stable Diffusion whose last level is there twice, once for each map. It
reads the picture's latents where others read noise, and draws no bumps.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from modelgraft.core.errors import InputError
from modelgraft.core.intake import check_safetensors
from modelgraft.core.lazy import need
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report, to_stderr
from modelgraft.methods.material_anything.adapter import folders, parts
from modelgraft.methods.material_anything.adapter.latents import TextedNetwork, VaeCodec
from modelgraft.methods.material_anything.adapter.levels import run_down, run_up
from modelgraft.methods.material_anything.denoising import Codec, Conditions, Frame, Network
from modelgraft.methods.material_anything.estimators import flat_bumps, is_object, with_held
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import Hold, Schedule, clean_of
from modelgraft.nn.devices import find_device, find_dtype, move

VIEW_PX: Final = 512
"""The size of the pictures that it learnt from."""
_GREY: Final = 0.5
"""What it learnt to see beside an object."""


class SuperMatUNet(nn.Module):
    """A U-Net of Stable Diffusion with `experts` last levels, under the published names."""

    def __init__(self, stock: Any, experts: int = 2) -> None:
        super().__init__()
        self.config = stock.config
        self.time_proj, self.time_embedding = stock.time_proj, stock.time_embedding
        self.conv_in = stock.conv_in
        self.down_blocks, self.mid_block = stock.down_blocks, stock.mid_block
        self.up_blocks = nn.ModuleList(stock.up_blocks[:-1])
        self.last_up_blocks = nn.ModuleList(
            copy.deepcopy(stock.up_blocks[-1]) for _ in range(experts)
        )
        self.conv_norm_out, self.conv_act = stock.conv_norm_out, stock.conv_act
        self.rep_conv_out = nn.ModuleList(copy.deepcopy(stock.conv_out) for _ in range(experts))

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """What is predicted for each map, [B, 4 experts, h, w], of latents [B, 4, h, w]."""
        time = timestep.to(sample.device).expand(len(sample))
        embedded = self.time_embedding(self.time_proj(time).to(sample.dtype))
        x = self.conv_in(sample)
        skips = [x]
        for block in self.down_blocks:
            x, found = run_down(block, x, embedded, text)
            skips.extend(found)
        x = self.mid_block(x, embedded, encoder_hidden_states=text)
        blocks: Any = self.up_blocks
        for block in blocks:
            number = len(block.resnets)
            skips, taken = skips[:-number], skips[-number:]
            x = run_up(block, x, taken, embedded, text, skips[-1].shape[2:])
        lasts = (run_up(last, x, skips, embedded, text, None) for last in self.last_up_blocks)
        return torch.cat([
            conv(self.conv_act(self.conv_norm_out(last)))
            for conv, last in zip(self.rep_conv_out, lasts, strict=True)
        ], 1)  # fmt: skip


@dataclass(frozen=True)
class SuperMat:
    """An `Estimator` that needs one step, no noise and no normals."""

    network: Network
    """From latents [B, 4, h, w] to v of albedo and of roughness and metallic [B, 8, h, w]."""
    codec: Codec
    schedule: Schedule
    frame: Frame = "view"

    def of_view(self, picture: Tensor, normal: Tensor, confidence: Tensor) -> Conditions:
        """Latents of the picture on grey; it always believes the light."""
        shown = torch.lerp(torch.full_like(picture, _GREY), picture, is_object(normal))
        return Conditions(self.codec.encode(shown))

    def encode(self, maps: Maps) -> Tensor:
        """The maps themselves, as held pixels are put back in the end."""
        return maps.joined()

    @torch.no_grad()
    def denoise(
        self,
        given: Conditions,
        *,
        steps: int = 1,
        generator: torch.Generator | None = None,
        hold: Hold | None = None,
        eta: float = 0.0,
    ) -> Maps:
        """Maps with even bumps; `steps`, `generator` and `eta` change nothing.

        The step is the last one, of which a trailing schedule starts, from latents of zero.
        """
        latents = given.shared
        step = torch.full((len(latents),), len(self.schedule.kept) - 1)
        v = self.network(latents, step, None)
        clean = clean_of(self.schedule, torch.zeros_like(v), v, step.to(v.device))
        albedo, rm = self.codec.decode(torch.cat(clean.chunk(2, 1))).chunk(2)
        return with_held(Maps(albedo, rm, flat_bumps(albedo)).sound(), hold)


def load_supermat(
    weights: str | Path,
    base: str | Path,
    settings: Settings,
    *,
    report: Report = to_stderr,
) -> SuperMat:
    """SuperMat of its weights, a safetensors file, and the Stable Diffusion 2.1 it was trained on.

    The published checkpoint is a pickle, which is not read: convert it where you trust it. Raises
    what `published.load_estimator` raises.
    """
    file = Path(weights).expanduser()
    _require_safetensors(file)
    place = find_device(settings.device)
    dtype = find_dtype(settings.dtype, place, lambda: "float32")
    stock = need("diffusers", extra="hf").UNet2DConditionModel
    origin = folders.find(base, settings, report)
    schedule = parts.read_schedule(origin.folder)
    with torch.device("meta"):
        config = stock.load_config(origin.folder / "unet", local_files_only=True)
        network = SuperMatUNet(stock.from_config(config))
    folders.require_memory(origin, dtype, place)
    tensors = folders.read_tensors([file], dtype)
    folders.load_weights(network, tensors, source=file, report=report)
    text = parts.empty_prompt(origin.folder)
    parts.require_text_width(network.config, text, origin.folder)
    vae = parts.load_vae(origin.folder)
    for one in (network.eval(), vae):
        move(one, place, name=weights)
    return SuperMat(TextedNetwork(network, text), VaeCodec(vae), schedule)


def _require_safetensors(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"{file}: there is no such file.")
    if file.suffix != ".safetensors":
        raise InputError(
            f"{file}: not a safetensors file; pickled weights are not read, as they can run code.\n"
            "  Convert it where you trust it: torch.load with weights_only=True, then save_file of "
            "safetensors.torch."
        )
    check_safetensors(file)
