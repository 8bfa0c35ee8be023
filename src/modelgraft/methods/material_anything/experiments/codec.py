"""A small autoencoder that has seen lit pictures only, as the VAE of Stable Diffusion has.

It never saw a material map, and decodes them with errors: that mismatch between latents and maps
is where losses of decoded maps matter, and `tiny.Patches`, which loses nothing, does not have it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from modelgraft.core.attempts import RunRecord
from modelgraft.core.files import dump_json, remove_folder
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.lighting import training_lights
from modelgraft.methods.material_anything.world import Bank
from modelgraft.spatial.shading.differences import pyramid
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import Loss, fit

STEPS = 2500
OPTIM = OptimConfig(lr=1e-3, schedule="cosine", warmup=0.02, batch=16, micro_batch=16,
                    save_every=500)  # fmt: skip
_MEASURED = 20
"""Batches of pictures from which the size of latents is taken."""


class ConvCodec(nn.Module):
    """Four latent channels at a quarter of the side; 0.3 million weights (`denoising.Codec`)."""

    channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(64, 80, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(80, 80, 3, padding=1), nn.SiLU(),
            nn.Conv2d(80, self.channels, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(self.channels, 80, 3, padding=1), nn.SiLU(),
            nn.Conv2d(80, 80, 3, padding=1), nn.SiLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(80, 64, 3, padding=1), nn.SiLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(64, 32, 3, padding=1), nn.SiLU(),
            nn.Conv2d(32, 3, 3, padding=1),
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(1, self.channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, self.channels, 1, 1))

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents [B, 4, H / 4, W / 4] of pictures [B, 3, H, W] from 0 to 1."""
        return (self.encoder(2 * pictures - 1) - self.mean) / self.deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], not clipped."""
        return self.decoder(latents * self.deviation + self.mean) / 2 + 0.5

    @torch.no_grad()
    def measure(self, pictures: Tensor) -> None:
        """Shift and scale latents so that those of `pictures` have mean 0 and deviation 1."""
        self.mean, self.deviation = torch.zeros_like(self.mean), torch.ones_like(self.deviation)
        found = self.encode(pictures)
        self.mean = found.mean((0, 2, 3), keepdim=True)
        self.deviation = found.std((0, 2, 3), keepdim=True)


def trained_codec(run: Run, source: Bank, *, quick: bool) -> tuple[ConvCodec, str]:
    """The autoencoder of this run, trained once in its folder, and the name of its weights."""
    folder = run.folder / "arms" / "codec"
    steps = 3 if quick else STEPS
    optim = replace(OPTIM, batch=4, micro_batch=4) if quick else OPTIM
    config = {"steps": steps, "optim": asdict(optim), "views": source.total}
    record = RunRecord(method="material_anything", action="codec",
                       config=json.loads(dump_json(config)))  # fmt: skip
    path = folder / "artefacts" / "codec.safetensors"

    def work(own: Run) -> Result:
        torch.manual_seed(rng_seed("codec", own.seed))
        codec = ConvCodec()
        _train(codec, source, own, steps, optim)
        held = {name: one.contiguous() for name, one in codec.state_dict().items()}
        save_file(held, own.add("text", path.name, "The autoencoder's weights"))
        remove_folder(own.folder / "checkpoints")
        return Result()

    settings = replace(run.settings, dtype="float32", device="cpu")
    result, _ = nested_run(run, folder, settings, record, work)
    codec = ConvCodec()
    codec.load_state_dict(load_file(path))
    return codec.eval().requires_grad_(False), result.artefacts[0].sha256


def _train(codec: ConvCodec, source: Bank, run: Run, steps: int, optim: OptimConfig) -> None:
    def batches(step: int) -> list[Tensor]:
        numbers = range(step * optim.batch, (step + 1) * optim.batch)
        return [_pictures(source, [rng_seed("codec", run.seed, one) for one in numbers])]

    def step(pictures: Tensor) -> Loss:
        found = codec.decode(codec.encode(pictures))
        squares = functional.mse_loss(found, pictures, reduction="none").mean((1, 2, 3))
        return Loss((pyramid(found, pictures) + squares).sum(), len(pictures))

    fit(step, batches, codec, run, optim, steps=steps)
    some = range(min(_MEASURED * optim.batch, source.total))
    codec.measure(_pictures(source, list(some)))


def _pictures(source: Bank, seeds: Sequence[int]) -> Tensor:
    """Views under training lights [n, 3, H, W], each drawn from its own seed."""
    views = source.take([seed % source.total for seed in seeds])
    return views.pictures([
        training_lights(eye, seed=seed)
        for eye, seed in zip(views.eye.numpy(), seeds, strict=True)
    ])  # fmt: skip
