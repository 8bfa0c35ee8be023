"""Training estimators on views, from any source of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.data.records import RenderedViews
from modelgraft.methods.material_anything.data.spoiling import spoil
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.lighting import training_lights
from modelgraft.methods.material_anything.method.objective import (
    Truth,
    Weights,
    decoded_losses,
    velocity_losses,
)
from modelgraft.methods.material_anything.method.sampling import noisy
from modelgraft.methods.material_anything.world import Views
from modelgraft.training.config import OptimConfig
from modelgraft.training.ema import Ema
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of


class Source(Protocol):
    """Views to learn from, by number."""

    @property
    def total(self) -> int:
        """How many there are."""
        ...

    def take(self, places: Sequence[int]) -> Views:
        """Views with these numbers, each below `total`."""
        ...


@dataclass(frozen=True)
class Learning:
    """What an estimator learns."""

    steps: int
    optim: OptimConfig
    weights: Weights = field(default_factory=Weights)
    is_told: bool = True
    """Whether the mask says which light to believe; else it is 1 everywhere."""
    ema: float = 0.999


class Batch(NamedTuple):
    """Views and what the network is shown of them."""

    views: Views
    picture: Tensor
    """[n, 3, H, W]"""
    confidence: Tensor
    """[n, 1, H, W]"""
    seed: int
    """Of the lights of the render loss."""


def shown(views: Views, seeds: Sequence[int], *, is_told: bool = True) -> Batch:
    """Pictures of views, some with their light spoilt, each drawn from its own seed."""
    first, second = (_lit(views, name, seeds) for name in ("light", "other light"))
    parts = [
        spoil(*(one[place].movedim(0, -1).numpy() for one in (first, second, views.maps.albedo)),
              views.mask[place, 0].numpy(), seed=seed)
        for place, seed in enumerate(seeds)
    ]  # fmt: skip
    picture = torch.from_numpy(np.stack([one.picture for one in parts])).movedim(-1, 1)
    believed = torch.from_numpy(np.stack([one.confidence for one in parts]))[:, None]
    return Batch(views, picture, believed if is_told else torch.ones_like(believed), seeds[0])


def _lit(views: Views, name: str, seeds: Sequence[int]) -> Tensor:
    """Views under lights drawn by name and seed [n, 3, H, W], or their own renders if they have
    any."""
    drawn = [rng_seed(name, seed) for seed in seeds]
    own: list[Tensor | None] = [None] * len(drawn)
    if isinstance(views, RenderedViews):
        own = [views.shown(place, one) for place, one in enumerate(drawn)]
    rendered = [one for one in own if one is not None]
    if len(rendered) == len(own):
        return torch.stack(rendered)
    lit = views.pictures([
        training_lights(eye, seed=one) for eye, one in zip(views.eye.numpy(), drawn, strict=True)
    ])  # fmt: skip
    pairs = zip(lit, own, strict=True)
    return torch.stack([here if there is None else there for here, there in pairs])


def train_estimator(
    denoiser: Denoiser, model: nn.Module, source: Source, learning: Learning, run: Run,
    between: Callable[[int, Ema], None] | None = None,
) -> Ema:  # fmt: skip
    """Train `model`, the network of the denoiser; what comes back are its averaged weights."""
    accelerator = accelerator_of(learning.optim, run.settings)
    rank, world = accelerator.process_index, accelerator.num_processes
    size = learning.optim.batch
    # The averages lie where the weights do.
    ema = Ema(model.to(accelerator.device), learning.ema)

    def batches(step: int) -> list[Batch]:
        numbers = range(step * size, (step + 1) * size)[rank::world]
        found = []
        for start in range(0, len(numbers), learning.optim.micro_batch):
            seeds = [
                rng_seed("view", run.seed, one)
                for one in numbers[start : start + learning.optim.micro_batch]
            ]
            views = source.take([one % source.total for one in seeds])
            found.append(shown(views, seeds, is_told=learning.is_told))
        return found

    def step(batch: Batch) -> Loss:
        parts = _losses(denoiser, batch, learning.weights)
        own = sum(getattr(learning.weights, name) * one for name, one in parts.items())
        values = {name: float(one.detach().mean()) for name, one in parts.items()}
        return Loss(own.sum(), len(batch.views), values)

    def after(index: int) -> None:
        if between is not None and accelerator.is_main_process:
            between(index, ema)

    fit(step, batches, model, run, learning.optim, steps=learning.steps,
        accelerator=accelerator, ema=ema, between=after)  # fmt: skip
    return ema


def _losses(denoiser: Denoiser, batch: Batch, weights: Weights) -> dict[str, Tensor]:
    """Of each sample [n], at a step and with noise from torch's generator of the CPU.

    Batches stay on the CPU; networks and codecs move what they are given.
    """
    schedule, views = denoiser.schedule, batch.views
    given = denoiser.of_view(batch.picture, views.normal, batch.confidence)
    clean = denoiser.encode(views.maps)
    time = torch.randint(len(schedule.kept), (len(views),))
    noise = torch.randn_like(clean)
    z = noisy(schedule, clean, noise, time)
    found = denoiser.predict(z, time, given)
    velocity = velocity_losses(schedule, clean, noise, time, found)
    parts = {"velocity": velocity * denoiser.importance(time)}
    if weights.maps or weights.render:
        lights = [
            training_lights(eye, seed=rng_seed("render", batch.seed, place))
            for place, eye in enumerate(views.eye.numpy())
        ]
        truth = Truth(views.maps, views.mask, lambda maps: views.radiance(maps, lights))
        parts["maps"], parts["render"] = decoded_losses(
            schedule, z, time, found, truth, denoiser.decode
        )
    return parts
