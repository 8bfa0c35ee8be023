"""Training of adapters: pictures and their conditions as tokens, drawn once a step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError
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
    Draws,
    Dropped,
    Velocity,
    draw,
    drop,
    flow_matching_errors,
)
from modelgraft.methods.ominicontrol.method.positions import condition_ids
from modelgraft.training.batches import Shuffled
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of

_AT_ONCE = 32
"""Prompts embedded at a time."""


class PromptCache:
    """Embedded prompts, kept on the CPU up to so many bytes and embedded again beyond."""

    def __init__(self, pipe: Any, *, length: int, num_bytes: float) -> None:
        self._pipe, self._length, self._left = pipe, length, num_bytes
        self._kept: dict[str, Prompts] = {}
        self._rests = False
        self.cut: set[str] = set()
        """Texts seen so far of which the model does not see the end."""

    def take(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of the texts, a row each, on the CPU."""
        missing = list(dict.fromkeys(one for one in texts if one not in self._kept))
        fresh: dict[str, Prompts] = {}
        if missing:
            self.cut |= set(too_long(self._pipe, missing, length=self._length))
            with self.awake():
                found = encode_prompts(self._pipe, missing, length=self._length)
            rows = [found.take(slice(place, place + 1)) for place in range(len(missing))]
            fresh = dict(zip(missing, rows, strict=True))
            for text, row in fresh.items():
                self._left -= sum(one.nbytes for one in row)
                if self._left >= 0:
                    self._kept[text] = Prompts(*(one.cpu() for one in row))
        rows = [fresh.get(text) or self._kept[text] for text in texts]
        return Prompts(
            *(torch.cat([one.cpu() for one in part]) for part in zip(*rows, strict=True))
        )

    def keep_all(self, texts: Sequence[str]) -> bool:
        """Embed these texts now if all of them fit; whether they do."""
        missing = [one for one in dict.fromkeys(texts) if one not in self._kept]
        if missing:
            each = sum(one.nbytes for one in self.take(missing[:1]))
            if self._left < each * (len(missing) - 1):
                return False
            for start in range(1, len(missing), _AT_ONCE):
                self.take(missing[start : start + _AT_ONCE])
        return self._left >= 0

    def rest(self) -> None:
        """Leave the text encoders on the CPU from now on, but for what has to be embedded."""
        self._rests = True
        self._move("cpu")

    @contextlib.contextmanager
    def awake(self) -> Generator[None]:
        """Resting text encoders are beside the transformer inside the block."""
        if self._rests:
            self._move(self._pipe.transformer.device)
        try:
            yield
        finally:
            if self._rests:
                self._move("cpu")

    def _move(self, place: Any) -> None:
        for one in (self._pipe.text_encoder, self._pipe.text_encoder_2):
            one.to(place)


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How long adapters learn and how, at which times, and how much is left out."""

    steps: int
    law: TimestepLaw
    optim: OptimConfig
    drop_text: float = 0.1
    drop_condition: float = 0.1


class Embedded(Protocol):
    """Where the embeddings of texts come from."""

    def take(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of the texts, a row each."""
        ...


@dataclass(frozen=True)
class Tokeniser:
    """Shown pictures as the batch that a transformer learns from, on its device."""

    control: OminiControl
    prompts: Embedded

    def __call__(self, shown: Shown) -> Batch:
        """Targets and conditions through the codec, prompts through the text encoders."""
        pipe = self.control.pipe
        side = token_px(pipe)
        height, width = (one // side for one in shown.targets.shape[-2:])
        return Batch(
            clean=self.encoded(shown.targets),
            ids=grid_ids(height, width).to(self.device),
            text=self.embedded(shown.prompts),
            conditions={name: self.encoded(one) for name, one in shown.conditions.items()},
        )

    def dropped(self, shown: Shown, learning: Learning) -> Dropped:
        """The empty prompt and black pictures."""
        return Dropped(
            text=self.embedded([""]),
            conditions={
                name: self.encoded(torch.zeros_like(pictures[:1]))
                for name, pictures in shown.conditions.items()
            },
            text_share=learning.drop_text,
            condition_share=learning.drop_condition,
        )

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.control.transformer.device

    def encoded(self, pictures: Tensor) -> Tensor:
        """Tokens [b, n, c] of pictures [b, 3, H, W]."""
        return encode(self.control.pipe, pictures).to(self.device)

    def embedded(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of texts."""
        return Prompts(*(one.to(self.device) for one in self.prompts.take(texts)))


class Batches(Protocol):
    """A source as a transformer takes it."""

    @property
    def tokenise(self) -> Tokeniser:
        """What texts and pictures go through."""
        ...

    def take(self, numbers: Sequence[int], use: int) -> Batch:
        """The pictures with these numbers; what is random in conditions changes with `use`."""
        ...


@dataclass(frozen=True)
class Fresh:
    """Batches that are worked out at each use."""

    source: Source
    tokenise: Tokeniser

    def take(self, numbers: Sequence[int], use: int) -> Batch:
        """The pictures with these numbers."""
        return self.tokenise(self.source.take(numbers, use))


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


@dataclass
class Feed:
    """The micro-batches of each step with what is drawn for them, this process's share.

    What is drawn belongs to a picture's place in the step, so that neither the number of processes
    nor the cut into micro-batches changes it.
    """

    source: Source
    batches: Batches
    learning: Learning
    seed: int
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> list[tuple[Batch, Draws]]:
        """What is learnt from in this step; `ConfigError` if not every process has a share."""
        optim = self.learning.optim
        numbers = numbers_of(self.source, step, optim.batch, seed=self.seed, world=self.world)
        use = rng_seed("use", self.seed, step)
        own = range(optim.batch)[self.rank :: self.world]
        found = []
        for start in range(0, len(own), optim.micro_batch):
            places = own[start : start + optim.micro_batch]
            batch = self.batches.take([numbers[one] for one in places], use)
            drawn = draw(optim.batch, batch, self.learning.law, seed=rng_seed("draws", use))
            found.append((batch, drawn.take(places)))
        return found


def numbers_of(source: Source, step: int, size: int, *, seed: int, world: int = 1) -> list[int]:
    """The pictures of one step: each once before any comes again, in an order of its own.

    Raises `ConfigError` when there are fewer than the `world` processes that share them.
    """
    first = 0 if source.total else step * size
    order = Shuffled(range(source.total or size), list, size, size, seed=seed, world=world)
    return [first + one for one in order.indices(step)]


def train(
    control: OminiControl,
    source: Source,
    learning: Learning,
    run: Run,
    *,
    model: Velocity | None = None,
    trainable: nn.Module | None = None,
    batches: Batches | None = None,
    between: Callable[[int], None] | None = None,
) -> None:
    """Train what is trainable of `trainable`, by default the transformer, on the source's pictures.

    By default those are adapters named as the source's tasks, and `model` runs each condition as a
    branch with its own. Text and conditions are dropped as `learning` says. `batches` are those
    of the source, by default through the pipeline's codec and text encoders. `between(step)` is
    called after every step. Several processes share the pictures of a step and learn what one
    would; `ConfigError` when there are more processes than pictures.
    """
    optim = learning.optim
    accelerator = accelerator_of(optim, run.settings)
    if accelerator.distributed_type == DistributedType.FSDP:
        raise ConfigError(
            "",
            "train runs the parts of the transformer one by one, which sharded weights do not "
            "allow.\n  Start it without FSDP; each process then holds the whole model.",
        )
    _bring_to(accelerator.device, control.pipe)
    if batches is None:
        prompts = PromptCache(control.pipe, length=512, num_bytes=2e9)
        batches = Fresh(source, Tokeniser(control, prompts))
    first = source.take([0], 0)
    feed = Feed(source, batches, learning, run.seed, rank=accelerator.process_index,
                world=accelerator.num_processes)  # fmt: skip
    dropped = batches.tokenise.dropped(first, learning)
    velocity = model or branch_model(control, places_of(control, first))
    guided = is_distilled(control.pipe)

    def step(micro: tuple[Batch, Draws]) -> Loss:
        batch, draws = micro
        kept = drop(batch, dropped, draws)
        errors = flow_matching_errors(velocity, kept, draws, guided=guided)
        return Loss(errors.sum(), len(batch))

    trained = control.transformer if trainable is None else trainable
    fit(step, feed, trained, run, optim, steps=learning.steps, accelerator=accelerator,
        between=between)  # fmt: skip


def _bring_to(device: torch.device, pipe: Any) -> None:
    """Move a pipeline to a device, unless its transformer is there, or comes there when it is used.

    Text encoders that rest elsewhere beside a transformer in its place stay where they are.
    """
    place = torch.empty(0, device=device).device
    if pipe.transformer.device != place and not hasattr(pipe.transformer, "_hf_hook"):
        pipe.to(place)
