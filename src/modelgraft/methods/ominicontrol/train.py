"""Training of adapters: pictures and their conditions as tokens, drawn once a step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.flow import TimestepLaw
from modelgraft.diffusion.latents import encode, grid_ids, token_px
from modelgraft.diffusion.prompts import Prompts, encode_prompts, too_long
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.data.shown import Shown, Source
from modelgraft.methods.ominicontrol.infer import is_distilled
from modelgraft.methods.ominicontrol.method.branches import (
    ConditionTokens,
    FluxInputs,
    Wiring,
    branch_velocity,
)
from modelgraft.methods.ominicontrol.method.objective import (
    Batch,
    Dropped,
    Velocity,
    drop,
    flow_matching_errors,
)
from modelgraft.methods.ominicontrol.method.positions import condition_ids
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import Loss, fit


class PromptCache:
    """Embedded prompts, kept on the CPU up to so many bytes and embedded again beyond."""

    def __init__(self, pipe: Any, *, length: int, num_bytes: float) -> None:
        self._pipe, self._length, self._left = pipe, length, num_bytes
        self._kept: dict[str, Prompts] = {}
        self.cut: set[str] = set()
        """Texts seen so far of which the model does not see the end."""

    def take(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of the texts, a row each."""
        missing = list(dict.fromkeys(one for one in texts if one not in self._kept))
        fresh: dict[str, Prompts] = {}
        if missing:
            self.cut |= set(too_long(self._pipe, missing, length=self._length))
            found = encode_prompts(self._pipe, missing, length=self._length)
            rows = [found.take(slice(place, place + 1)) for place in range(len(missing))]
            fresh = dict(zip(missing, rows, strict=True))
            for text, row in fresh.items():
                self._left -= sum(one.nbytes for one in row)
                if self._left >= 0:
                    self._kept[text] = Prompts(*(one.cpu() for one in row))
        rows = [fresh.get(text) or self._kept[text] for text in texts]
        device = self._pipe.transformer.device
        return Prompts(*(torch.cat(part).to(device) for part in zip(*rows, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How much text and conditions are left out, at which times errors are taken, and how long."""

    steps: int
    law: TimestepLaw
    drop_text: float = 0.1
    drop_condition: float = 0.1


@dataclass
class Tokeniser:
    """Shown pictures as the batch that a transformer learns from."""

    control: OminiControl
    prompts: PromptCache

    def __call__(self, shown: Shown) -> Batch:
        """Targets and conditions through the codec, prompts through the text encoders."""
        pipe = self.control.pipe
        side = token_px(pipe)
        height, width = (one // side for one in shown.targets.shape[-2:])
        device = self.control.transformer.device
        return Batch(
            clean=encode(pipe, shown.targets).to(device),
            ids=grid_ids(height, width).to(device),
            text=self.prompts.take(shown.prompts),
            conditions={
                name: encode(pipe, pictures).to(device)
                for name, pictures in shown.conditions.items()
            },
        )

    def dropped(self, shown: Shown, learning: Learning) -> Dropped:
        """The empty prompt and black pictures."""
        black = {
            name: encode(self.control.pipe, torch.zeros_like(pictures[:1])).to(
                self.control.transformer.device
            )
            for name, pictures in shown.conditions.items()
        }
        return Dropped(
            text=self.prompts.take([""]),
            conditions=black,
            text_share=learning.drop_text,
            condition_share=learning.drop_condition,
        )


def places_of(control: OminiControl, shown: Shown) -> dict[str, Tensor]:
    """Ids of each condition's tokens, by the rule of its adapter."""
    side = token_px(control.pipe)
    found = {}
    for name, pictures in shown.conditions.items():
        info = control.infos[name]
        height, width = (one // side for one in pictures.shape[-2:])
        found[name] = condition_ids(height, width, delta=info.delta, scale=info.scale).to(
            control.transformer.device
        )
    return found


def branch_model(control: OminiControl, places: Mapping[str, Tensor]) -> Velocity:
    """The model that is trained: conditions as branches, each with the adapter of its name."""
    wiring = Wiring(blocks=control.blocks_of(places))

    def velocity(inputs: FluxInputs, conditions: Mapping[str, Tensor]) -> Tensor:
        tokens = [
            ConditionTokens(
                tokens=one, ids=places[name], adapter=name, mode=control.infos[name].mode
            )
            for name, one in conditions.items()
        ]
        return branch_velocity(control.transformer, inputs, tokens, wiring)

    return velocity


def numbers_of(source: Source, step: int, size: int, *, seed: int) -> list[int]:
    """The pictures of one step: each once before any comes again, in an order of its own."""
    first = step * size
    if source.total is None:
        return list(range(first, first + size))
    found = []
    for place in range(first, first + size):
        turn, within = divmod(place, source.total)
        found.append(int(_order(source.total, turn, seed)[within]))
    return found


@functools.lru_cache(maxsize=2)
def _order(total: int, turn: int, seed: int) -> np.ndarray:
    return np.random.default_rng(rng_seed("order", seed, turn)).permutation(total)


def train(
    control: OminiControl,
    source: Source,
    optim: OptimConfig,
    learning: Learning,
    run: Run,
    *,
    model: Velocity | None = None,
    trainable: nn.Module | None = None,
    prompts: PromptCache | None = None,
    between: Callable[[int], None] | None = None,
) -> None:
    """Train what is trainable of `trainable`, by default the transformer, on the source's pictures.

    By default those are adapters named as the source's tasks, and `model` runs each condition as a
    branch with its own. Text and conditions are dropped as `learning` says. `between(step)` is
    called after every step.
    """
    transformer = control.transformer
    prompts = prompts or PromptCache(control.pipe, length=512, num_bytes=2e9)
    tokenise = Tokeniser(control, prompts)
    first = source.take(numbers_of(source, 0, 1, seed=run.seed), 0)
    dropped = tokenise.dropped(first, learning)
    velocity = model or branch_model(control, places_of(control, first))
    guided = is_distilled(control.pipe)

    def batches(step: int) -> list[Batch]:
        numbers = numbers_of(source, step, optim.batch, seed=run.seed)
        size = optim.micro_batch
        parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        return [tokenise(source.take(part, rng_seed("use", run.seed, step))) for part in parts]

    def step(batch: Batch) -> Loss:
        kept = drop(batch, dropped)
        errors = flow_matching_errors(velocity, kept, learning.law, guided=guided)
        return Loss(errors.sum(), len(batch))

    trained = transformer if trainable is None else trainable
    fit(step, batches, trained, run, optim, steps=learning.steps, between=between)
