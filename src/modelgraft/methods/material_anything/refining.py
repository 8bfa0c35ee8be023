"""Training refiners of textures: holes are filled and the errors of views mended (section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.data.coarse import Coarse, coarse
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import clean_of, noisy, velocity
from modelgraft.methods.material_anything.train import Learning
from modelgraft.methods.material_anything.world_textures import Textures
from modelgraft.training.ema import Ema
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of

HOLE_WEIGHT = 4.0
"""How much more a texel counts that no view has seen."""


class TextureSource(Protocol):
    """Textures to learn from, by number."""

    @property
    def total(self) -> int:
        """How many there are."""
        ...

    def take(self, places: Sequence[int]) -> Textures:
        """Textures with these numbers, each below `total`."""
        ...


class Batch(NamedTuple):
    """True textures, and what views would have left of them."""

    textures: Textures
    coarse: Coarse

    def weights(self) -> Tensor:
        """How much each texel counts [n, 1, H, W]; 0 beside the charts."""
        mask = self.textures.mask
        return mask * (HOLE_WEIGHT - (HOLE_WEIGHT - 1) * self.coarse.seen)


def with_holes(textures: Textures, seeds: Sequence[int]) -> Batch:
    """What a refiner is shown of textures, each drawn from its own seed."""
    parts = [
        coarse(
            Maps(*(one[place : place + 1] for one in textures.maps)),
            textures.weights[place : place + 1],
            seed=seed,
        )
        for place, seed in enumerate(seeds)
    ]
    maps = Maps(*(torch.cat(one) for one in zip(*(part.maps for part in parts), strict=True)))
    return Batch(textures, Coarse(maps, torch.cat([part.seen for part in parts])))


def train_refiner(
    denoiser: Denoiser, model: nn.Module, source: TextureSource, learning: Learning, run: Run,
    between: Callable[[int, Ema], None] | None = None,
) -> Ema:  # fmt: skip
    """Train `model`, the network of the denoiser; what comes back are its averaged weights.

    Of `learning` the render loss and the mask of light play no part. Only texels on charts count,
    holes more than others.
    """
    accelerator = accelerator_of(learning.optim, run.settings)
    rank, world = accelerator.process_index, accelerator.num_processes
    size, micro = learning.optim.batch, learning.optim.micro_batch
    # The averages lie where the weights do.
    ema = Ema(model.to(accelerator.device), learning.ema)

    def batches(step: int) -> list[Batch]:
        numbers = range(step * size, (step + 1) * size)[rank::world]
        found = []
        for start in range(0, len(numbers), micro):
            seeds = [rng_seed("texture", run.seed, one) for one in numbers[start : start + micro]]
            found.append(with_holes(source.take([one % source.total for one in seeds]), seeds))
        return found

    def step(batch: Batch) -> Loss:
        parts = _losses(denoiser, batch)
        own = sum(getattr(learning.weights, name) * one for name, one in parts.items())
        values = {name: float(one.detach().mean()) for name, one in parts.items()}
        return Loss(own.sum(), len(batch.textures), values)

    def after(index: int) -> None:
        if between is not None and accelerator.is_main_process:
            between(index, ema)

    fit(step, batches, model, run, learning.optim, steps=learning.steps,
        accelerator=accelerator, ema=ema, between=after)  # fmt: skip
    return ema


def _losses(denoiser: Denoiser, batch: Batch) -> dict[str, Tensor]:
    """Of each sample [n], at a step and with noise from torch's generator: of v, and of maps.

    Batches stay on the CPU; networks and codecs move what they are given. Errors of the decoded
    maps are weighed by what is left of the clean latents.
    """
    schedule, textures = denoiser.schedule, batch.textures
    given = denoiser.of_texture(batch.coarse.maps, textures.position)
    clean = denoiser.encode(textures.maps)
    time = torch.randint(len(schedule.kept), (len(textures),))
    noise = torch.randn_like(clean)
    z = noisy(schedule, clean, noise, time)
    found = denoiser.predict(z, time, given)
    weights = batch.weights()
    coarser = functional.adaptive_avg_pool2d(weights, (clean.shape[2], clean.shape[3]))
    errors = (found - velocity(schedule, clean, noise, time)).square()
    maps = denoiser.decode(clean_of(schedule, z, found, time)).joined()
    kept = schedule.kept.to(time.device)[time].to(found.dtype)
    return {
        "velocity": denoiser.importance(time) * _mean(errors, coarser),
        "maps": kept * _mean((maps - textures.maps.joined()).square(), weights),
    }


def _mean(errors: Tensor, weights: Tensor) -> Tensor:
    """Of each sample [n, C, h, w], weighed by [n, 1, h, w]."""
    return (errors.mean(1, keepdim=True) * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
