"""Training of TinyFlux on the toy world: single scenes first, then diptychs beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from einops import reduce
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.flow import FEW_TOKENS, noisy, velocity
from modelgraft.diffusion.latents import decode, encode, grid_ids, pack
from modelgraft.tiny.flux import TOKEN_PX
from modelgraft.tiny.masks import inpainting_masks
from modelgraft.tiny.scenes import Shown, diptychs, singles
from modelgraft.training.config import OptimConfig
from modelgraft.training.ema import Ema
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of
from modelgraft.worlds.captions import Captions
from modelgraft.worlds.palettes import COLOURS
from modelgraft.worlds.rendering import render
from modelgraft.worlds.shapes import SHAPES
from modelgraft.worlds.toys import (
    BACKGROUNDS,
    POSITIONS,
    TEXTURES,
    TILTS,
    Placings,
    Stage,
    Subjects,
    draw_placings,
    draw_subjects,
)

EMA_DECAY = 0.999
_BANK = 1 << 16
"""Scenes of each kind that are rendered once and shown again, with other noise, after that many."""
_PROBES = 96


@dataclass(frozen=True, kw_only=True)
class FluxRecipe:
    """What is shown, how much of it, and how errors count."""

    steps: int
    stage: Stage = "full"
    diptychs: float = 0.0
    """Share of the samples that are diptychs."""
    drop_text: float = 0.1
    """Share of the captions that are left out, for guidance."""
    uniform_times: float = 0.3
    """Share of the times that is uniform; the law for few tokens alone hardly sees small ones, and
    what it leaves of the noise there shows as speckles."""
    object_weight: float = 6.0
    """How much more an error counts in tokens that show a toy."""


def is_fill(pipe: Any) -> bool:
    """Whether a pipeline is shown a masked picture beside the noise."""
    return isinstance(pipe, FluxFillPipeline)


def trained_parts(pipe: Any) -> nn.ModuleDict:
    """The transformer and the text encoders; the codec has nothing to learn."""
    return nn.ModuleDict(
        {
            "transformer": pipe.transformer,
            "text_encoder": pipe.text_encoder,
            "text_encoder_2": pipe.text_encoder_2,
        }
    )


class Samples(NamedTuple):
    """Latent tokens [b, n, 48], caption ids [b, m], a weight of each token [b, n], the grid."""

    clean: Tensor
    words: Tensor
    weight: Tensor
    grid: tuple[int, int]


class Bank:
    """Scenes of one kind by number, rendered when first asked for."""

    def __init__(
        self, pipe: Any, draw: Callable[..., Shown], recipe: FluxRecipe, seed: int
    ) -> None:
        self._pipe, self._draw, self._recipe, self._seed = pipe, draw, recipe, seed
        self._kept: dict[int, Samples] = {}

    def take(self, start: int, number: int) -> Samples:
        """Samples `start` to `start + number` of a row; `start` is a multiple of `number`."""
        place = start // number % (_BANK // number) * number
        if place not in self._kept:
            shown = self._draw(
                np.arange(place, place + number), seed=self._seed, stage=self._recipe.stage
            )
            self._kept[place] = self._samples(shown)
        kept = self._kept[place]
        return kept._replace(clean=kept.clean.float())

    def _samples(self, shown: Shown) -> Samples:
        pictures = torch.from_numpy(shown.image).permute(0, 3, 1, 2)
        covered = reduce(
            torch.from_numpy(shown.mask), "b (h p) (w q) -> b (h w)", "max", p=TOKEN_PX, q=TOKEN_PX
        )
        weight = 1 + (self._recipe.object_weight - 1) * (covered > 0.05).float()
        height, width = shown.mask.shape[1] // TOKEN_PX, shown.mask.shape[2] // TOKEN_PX
        clean = encode(self._pipe, pictures).half()
        return Samples(clean, word_ids(self._pipe, shown.captions), weight, (height, width))


def word_ids(pipe: Any, captions: Sequence[str]) -> Tensor:
    """Token ids of captions [n, 24], padded."""
    tokenizer: Any = pipe.tokenizer
    length = tokenizer.model_max_length
    found = tokenizer(list(captions), padding="max_length", max_length=length, truncation=True)
    return torch.tensor(found.input_ids)


def predict(
    pipe: Any,
    x: Tensor,
    timestep: Tensor,
    words: Tensor,
    grid: tuple[int, int],
    seen: Tensor | None = None,
) -> Tensor:
    """The velocity of noisy tokens [b, n, 48] under captions [b, m], text encoders included.

    `seen` [b, n, 64] is what an inpainting model is shown, of `seen_tokens`.
    """
    text = pipe.text_encoder_2(words)[0]
    return pipe.transformer(
        hidden_states=x if seen is None else torch.cat([x, seen], dim=2),
        encoder_hidden_states=text,
        pooled_projections=pipe.text_encoder(words).pooler_output,
        timestep=timestep,
        img_ids=grid_ids(*grid),
        txt_ids=torch.zeros(text.shape[1], 3),
        return_dict=False,
    )[0]


def seen_tokens(pipe: Any, clean: Tensor, grid: tuple[int, int], drawn: Tensor) -> Tensor:
    """What an inpainting model is shown [b, n, 64]: pictures without what is drawn, and that mask.

    `clean` are the pictures' tokens [b, n, 48] and `drawn` masks [b, h, w] of their pixels, laid
    out as `FluxFillPipeline` does: the hidden pixels are grey, the mask's 2 x 2 blocks channels.
    """
    hidden = drawn[:, None].float()
    pictures = decode(pipe, clean, *grid)
    known = encode(pipe, pictures * (1 - hidden) + 0.5 * hidden)
    return torch.cat([known, pack(nn.functional.pixel_unshuffle(hidden, 2))], dim=2)


def train_flux(pipe: Any, recipe: FluxRecipe, optim: OptimConfig, run: Run) -> Ema:
    """Train the pipeline's parts on the toy world; what comes back are the averaged weights.

    An inpainting pipeline learns on random masks. Every 500 steps the run's metrics get what
    `Probe` measures. Processes share each batch evenly.
    """
    accelerator = accelerator_of(optim, run.settings)
    rank, world = accelerator.process_index, accelerator.num_processes
    parts = trained_parts(pipe).train().requires_grad_(True)
    ema = Ema(parts, EMA_DECAY)
    banks = [Bank(pipe, draw, recipe, run.seed) for draw in (singles, diptychs)]
    if optim.batch % world:
        raise ConfigError(
            "optim.batch",
            f"optim.batch {optim.batch}: {world} processes cannot share it evenly.\n"
            f"  Take a multiple of {world}.",
        )
    own = optim.batch // world
    pairs = round(recipe.diptychs * own)
    shares = (own - pairs, pairs)
    empty = word_ids(pipe, [""])
    probe = Probe(pipe, recipe.stage, run.seed)

    def batches(step: int) -> Sequence[Samples]:
        return [
            bank.take((step * world + rank) * share, share)
            for bank, share in zip(banks, shares, strict=True)
            if share
        ]

    def masked(samples: Samples) -> Tensor:
        height, width = (TOKEN_PX * side for side in samples.grid)
        seed = int(torch.randint(2**31, ()))
        drawn = inpainting_masks(np.arange(len(samples.clean)), (height, width), seed)
        return seen_tokens(pipe, samples.clean, samples.grid, torch.from_numpy(drawn))

    def step(samples: Samples) -> Loss:
        number = len(samples.clean)
        is_uniform = torch.rand(number) < recipe.uniform_times
        timestep = torch.where(is_uniform, torch.rand(number), FEW_TOKENS.draw(number))
        noise = torch.randn_like(samples.clean)
        is_dropped = torch.rand(number) < recipe.drop_text
        words = torch.where(is_dropped[:, None], empty, samples.words)
        seen = masked(samples) if is_fill(pipe) else None
        x = noisy(samples.clean, noise, timestep)
        found = predict(pipe, x, timestep, words, samples.grid, seen)
        errors = (found - velocity(samples.clean, noise)).square().mean(-1)
        own = (errors * samples.weight).sum(1) / samples.weight.sum(1)
        return Loss(own.sum(), number)

    def between(step: int) -> None:
        if (step + 1) % 500 or not accelerator.is_main_process:
            return
        with ema.applied():
            run.metric(step, **probe.measure())

    fit(step, batches, parts, run, optim, steps=recipe.steps, accelerator=accelerator, ema=ema,
        between=between)  # fmt: skip
    return ema


# -- is it learning? -------------------------------------------------------------------------------

Word = Literal["background", "position", "size", "colour", "shape", "tilt", "texture"]


class Probe:
    """How well velocities are predicted, and how much each word of the caption is heard.

    A word counts by how much the error on the toy's tokens (for the background: on all others) at
    t = 0.9 grows when the caption names another value. It rises well before samples obey.
    """

    def __init__(self, pipe: Any, stage: Stage, seed: int) -> None:
        places = np.arange(_PROBES)
        self._pipe = pipe
        self._subjects = draw_subjects(places, seed=seed, split="held-out", stage="full")
        if stage == "easy":
            self._subjects = draw_subjects(places + 10**6, seed=seed, stage=stage)
        self._placings = draw_placings(places, self._subjects, seed=seed, name="probe", stage=stage)
        seen = render(self._subjects, self._placings)
        self._clean = encode(pipe, torch.from_numpy(seen.image).permute(0, 3, 1, 2))
        cover = torch.from_numpy(seen.mask)
        covered = reduce(cover, "b (h p) (w q) -> b (h w)", "max", p=TOKEN_PX, q=TOKEN_PX)
        self._is_toy = covered > 0.05
        self._grid = (seen.mask.shape[1] // TOKEN_PX, seen.mask.shape[2] // TOKEN_PX)
        generator = torch.Generator().manual_seed(rng_seed("probe", seed))
        self._noise = torch.randn(self._clean.shape, generator=generator)
        self._said = self._words(self._subjects, self._placings)
        self._seen = None
        if is_fill(pipe):  # nothing is known, so that every word has to be heard
            drawn = torch.ones(seen.mask.shape)
            self._seen = seen_tokens(pipe, self._clean, self._grid, drawn)

    def _words(self, subjects: Subjects, placings: Placings) -> Tensor:
        numbers = [0.0] * 12
        told = [Captions(subjects, placings, place, numbers).full() for place in range(_PROBES)]
        return word_ids(self._pipe, told)

    def _swapped(self, word: Word) -> Tensor:
        """Captions that name another value of one factor."""
        one, placed = self._subjects, self._placings
        if word == "shape":
            one = replace(one, shape=(one.shape + 3) % len(SHAPES))
        elif word == "colour":
            one = replace(one, colour=(one.colour + 3) % len(COLOURS))
        elif word == "texture":
            one = replace(one, texture=(one.texture + 3) % len(TEXTURES))
        else:
            options = {"background": BACKGROUNDS, "position": POSITIONS, "size": (0, 1),
                       "tilt": TILTS}[word]  # fmt: skip
            shifted = (getattr(placed, word) + len(options) // 2) % len(options)
            placed = replace(placed, **{word: shifted})
        return self._words(one, placed)

    @torch.no_grad()
    def _errors(self, time: float, words: Tensor) -> Tensor:
        timestep = torch.full((_PROBES,), time)
        x = noisy(self._clean, self._noise, timestep)
        found = predict(self._pipe, x, timestep, words, self._grid, self._seen)
        return (found - velocity(self._clean, self._noise)).square().mean(-1)

    def measure(self) -> dict[str, float]:
        """Errors at four times, of all tokens and of the toy's, and what each word is worth."""
        found = {}
        for time in (0.1, 0.5, 0.9, 0.99):
            errors = self._errors(time, self._said)
            found[f"mse {time:g}"] = float(errors.mean())
            found[f"toy mse {time:g}"] = float(errors[self._is_toy].mean())
        right = self._errors(0.9, self._said)
        words: tuple[Word, ...] = (
            "background", "position", "size", "colour", "shape", "tilt", "texture",
        )  # fmt: skip
        for word in words:
            where = ~self._is_toy if word == "background" else self._is_toy
            other = self._errors(0.9, self._swapped(word))
            found[f"hears {word}"] = float((other - right)[where].mean())
        return found
