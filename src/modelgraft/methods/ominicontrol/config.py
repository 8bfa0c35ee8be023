"""The options of OminiControl's actions; standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt
from modelgraft.training.config import OptimConfig

Task = Literal["edges", "depth", "grey", "blur", "fill", "subject"]
TASKS: tuple[Task, ...] = ("edges", "depth", "grey", "blur", "fill", "subject")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One adapter for each task, trained on pictures with their conditions."""

    model: str = opt("tiny:flux", "A Flux pipeline: tiny:flux, a folder, or owner/name on the hub.")
    data: Path | None = opt(
        None,
        "Folder of pictures, JSONL of pairs, or a folder that pairs made; none is the toy world.",
    )
    task: tuple[Task, ...] = opt(
        ("edges",), "What the output obeys; several are trained together, an adapter each."
    )
    size: int | None = opt(
        None, "Side of the output in pixels; none is 512, or 32 of the embedded model.", min=4,
        unit="px",
    )  # fmt: skip
    condition_size: int | None = opt(
        None, "Side of the condition in pixels; none is the output's.", min=4, unit="px"
    )
    delta: tuple[float, ...] | None = opt(
        None, "Added to the condition's places, in tokens; none is the task's own rule."
    )
    mode: Literal["joint", "independent"] | None = opt(
        None,
        "Whether the condition sees text and image; independent ones can be cached. None is "
        "independent, or that of --start.",
    )
    rank: int | None = opt(None, "Rank of the adapter; none is 4, or that of --start.", min=1)
    alpha: float | None = opt(
        None, "Scale of the adapter times its rank; none is the rank, or that of --start.", min=0
    )
    modules: str | None = opt(
        None,
        "Layers with an adapter: full, norm_qk, qkv, qk, or a pattern; none is full, or those of "
        "--start.",
    )
    blocks: tuple[int, ...] | None = opt(
        None,
        "First block in which the condition is seen, and the one after the last: 0 2 are the first "
        "two; none is all.",
        advanced=True,
    )
    steps: int = opt(1000, "Optimiser steps.", min=1)
    drop_text: float = opt(0.1, "Share of the samples without text.", min=0, max=1)
    drop_condition: float = opt(0.1, "Share of the samples with a black condition.", min=0, max=1)
    timesteps: tuple[float, ...] | None = opt(
        None,
        "Mean and deviation of the logistic normal law of times; none is the model's.",
        advanced=True,
    )
    start: Path | None = opt(
        None,
        "An adapter file to go on from, trained as it was before; other options must not "
        "contradict it.",
    )
    checkpointing: bool = opt(
        False, "Compute activations again in the backward pass: less memory, a third more time."
    )
    text_cache_gb: float = opt(
        2.0, "Memory for embedded prompts; what does not fit is embedded at each use.", min=0,
        advanced=True,
    )  # fmt: skip
    cache: bool = opt(
        False,
        "Keep embedded prompts and encoded pictures of --data on the disk, in the run folder, so "
        "that training needs no text encoder.",
    )
    probe_every: int = opt(
        250, "Steps between measurements of how well 16 fixed samples obey; 0 is never.", min=0
    )
    optim: OptimConfig = opt(
        OptimConfig(lr=1e-3, schedule="cosine", warmup=0.05, batch=32, micro_batch=32, clip=0.5),
        "How the adapter is optimised.",
    )

    def __post_init__(self) -> None:
        if self.alpha == 0:
            raise ConfigError(
                "alpha", "alpha 0: the adapter would have no effect; the rank is usual."
            )
        if len(set(self.task)) != len(self.task) or not self.task:
            raise ConfigError("task", f"task {', '.join(self.task)}: name each task once.")
        if self.delta is not None and len(self.delta) not in (2, 3):
            raise ConfigError("delta", f"delta {self.delta}: rows and columns, or three axes.")
        if self.delta is not None and len(self.task) > 1:
            raise ConfigError("delta", "delta holds for one task; leave it out with several.")
        if self.blocks is not None and (
            len(self.blocks) != 2 or not 0 <= self.blocks[0] < self.blocks[1]
        ):
            raise ConfigError("blocks", f"blocks {self.blocks}: a first block and a later end.")
        if self.start is not None and len(self.task) > 1:
            raise ConfigError("start", f"start {self.start}: one adapter, so name one task.")
        if self.cache and self.data is None:
            raise ConfigError("cache", "cache: it is for pictures of your own; name their --data.")
        if self.timesteps is not None and (len(self.timesteps) != 2 or self.timesteps[1] <= 0):
            raise ConfigError("timesteps", "timesteps: a mean and a deviation above 0.")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Pictures of a prompt that obey one or more conditions."""

    prompt: tuple[str, ...] = opt(
        (), "What to draw; a picture for each, and an empty one draws without a text.", blank=True
    )
    condition: tuple[Path, ...] = opt((), "Pictures to obey, one for each adapter.")
    adapter: tuple[str, ...] = opt(
        (), "Adapter files, shipped ones such as tiny:edges, or owner/name:file of the hub."
    )
    strength: tuple[float, ...] = opt((1.0,), "How much each condition counts: one, or one each.")
    start: float = opt(0.0, "Share of the steps after which conditions count.", min=0, max=1)
    end: float = opt(1.0, "Share of the steps until which they count.", min=0, max=1)
    scope: Literal["main", "image"] = opt(
        "main", "Whether strength acts between condition and text too; image is the paper's.",
        advanced=True,
    )  # fmt: skip
    derive: bool = opt(
        True,
        "Make the condition (edges, grey, ...) from the picture given; false takes it as it is.",
    )
    mask: Path | None = opt(
        None,
        "Of a fill adapter's picture: white is kept, black is drawn anew; none is where the "
        "picture itself is black.",
    )
    integrate: bool = opt(
        False,
        "Known tokens enter once and are not drawn again, as OminiControl2 does; needs --mask.",
    )
    model: str = opt("tiny:flux", "A Flux pipeline: tiny:flux, a folder, or owner/name on the hub.")
    size: int | None = opt(
        None, "Longer side of the output in pixels; none is the first adapter's, or the model's.",
        min=4, unit="px",
    )  # fmt: skip
    steps: int | None = opt(None, "Sampling steps; none is the adapter's, or 28.", min=1)
    guidance: float | None = opt(
        None, "Embedded guidance, or true guidance for a model without it; none is the model's."
    )
    image_guidance: float | None = opt(
        None, "Guidance by the condition against a black one; 1 is none, none is the adapter's."
    )
    negative: str = opt("", "What to stay away from, where guidance is true.")
    executor: Literal["auto", "branch", "cached"] = opt(
        "auto", "Cached runs a condition once; branch at every step, as joint adapters need."
    )
    reuse: bool = opt(
        False,
        "Conditions are computed once for up to 8 prompts: less time and memory, but approximate.",
        advanced=True,
    )
    drop_empty: bool = opt(
        False, "Leave out tokens of edge conditions in which nothing is (our extension).",
        advanced=True,
    )  # fmt: skip
    compare: bool = opt(
        False, "Also draw without the conditions and at strengths 0.25, 0.5 and 1, in one grid."
    )

    def __post_init__(self) -> None:
        if not all(math.isfinite(one) and one >= 0 for one in self.strength):
            raise ConfigError(
                "strength", f"strength {self.strength}: 0 removes a condition, 1 is as trained."
            )
        if self.start > self.end:
            raise ConfigError("start", f"start {self.start} lies behind end {self.end}.")
        if self.integrate and self.mask is None:
            raise ConfigError("integrate", "integrate: give the mask that says what is known.")
        if self.reuse and self.executor == "branch":
            raise ConfigError(
                "reuse", "reuse: executor branch computes conditions at every step; leave it out."
            )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How well pictures obey, beside pictures without the condition."""

    adapter: str = opt("tiny:edges", "An adapter file, or a shipped one such as tiny:edges.")
    data: Path | None = opt(
        None,
        "Folder of pictures, JSONL of pairs, or a folder that pairs made; none is held-out scenes "
        "of the toy world.",
    )
    samples: int = opt(64, "Pictures that are drawn and measured.", min=2)
    strength: float = opt(1.0, "How much the condition counts.", min=0)
    model: str = opt("tiny:flux", "A Flux pipeline: tiny:flux, a folder, or owner/name on the hub.")
    size: int | None = opt(
        None, "Side of the output in pixels; none is the adapter's, or the model's.", min=4,
        unit="px",
    )  # fmt: skip
    steps: int | None = opt(None, "Sampling steps; none is the adapter's, or 28.", min=1)
    guidance: float | None = opt(
        None, "Embedded guidance, or true guidance for a model without it; none is the model's."
    )
    executor: Literal["auto", "branch", "cached"] = opt(
        "auto", "Cached runs a condition once; branch at every step, as joint adapters need."
    )
    encoder: str | None = opt(
        None,
        "A CLIP or DINO model, a folder or owner/name on the hub, whose cosines with the original, "
        "the subject and, by CLIP, the prompt are reported; none reports none.",
    )


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """Pairs of one subject in two scenes, drawn as one picture and judged."""

    items: Path | None = opt(
        None, "JSONL of objects with their scenes; none is toys of the embedded world."
    )
    toys: int = opt(4, "Toys, where no items are given; nine prompts each.", min=1)
    model: str = opt("tiny:flux", "A Flux pipeline: tiny:flux, a folder, or owner/name on the hub.")
    height: int | None = opt(
        None, "Height of the picture, which is twice as wide; none is 528, or 32 of toys.", min=16,
        unit="px",
    )  # fmt: skip
    steps: int | None = opt(None, "Sampling steps; none is 28, or 16 of the embedded model.", min=1)
    guidance: float | None = opt(
        None, "Embedded or true guidance, as the model has it; none is the model's."
    )
    seeds: int = opt(5, "Pictures of every prompt.", min=1)
    encoder: str = opt(
        "facebook/dinov2-small",
        "Vision model whose cosine says whether both views show one object; toys have their own.",
    )
    looks: int = opt(1, "How often each pair is judged; it must pass each time.", min=1)
    threshold: float = opt(5.0, "Points that all three scores must reach.", min=0, max=5)


@dataclass(frozen=True, kw_only=True)
class ConditionsConfig:
    """What pictures become when they are conditions."""

    picture: tuple[Path, ...] = opt(
        (),
        "Pictures, or folders of them; none is photographs that scikit-image brings.",
        positional=True,
    )
    task: tuple[Task, ...] = opt(("edges", "grey", "blur", "fill"), "What to make of them.")
    size: int = opt(512, "Longer side of the pictures in pixels.", min=4, unit="px")


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """Operations and cache of conditions, from the model's sizes alone."""

    model: str = opt("tiny:flux", "A Flux pipeline: tiny:flux, a folder, or owner/name on the hub.")
    size: int | None = opt(
        None, "Side of the output in pixels; none is 512, or 32 of the embedded model.", min=4,
        unit="px",
    )  # fmt: skip
    condition_size: int | None = opt(
        None, "Side of each condition in pixels; none is the output's.", min=4, unit="px"
    )
    text_length: int | None = opt(
        None, "Tokens of the prompt; none is 512, or 24 of the embedded model.", min=1
    )
    steps: int | None = opt(None, "Sampling steps; none is 28, or 16 of the embedded model.", min=1)
    conditions: tuple[int, ...] = opt((0, 1, 2, 4), "Numbers of conditions.", min=0)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """TinyFlux, the embedded image model, on the toy world."""

    fill: bool = opt(
        False, "Learn to fill in masked pictures, as FLUX.1-Fill does; begins with a trained model."
    )
    stage: Literal["easy", "full"] = opt(
        "full", "Toys without marks, plain, striped, dotted or halved; or all there are."
    )
    diptychs: float = opt(
        0.4, "Share of the samples that show one toy, or two, in two scenes.", min=0, max=1
    )
    steps: int = opt(4000, "Optimiser steps.", min=1)
    start: Path | None = opt(
        None, "Folder of a pipeline to go on from; none is random weights, or tiny:flux to fill."
    )
    optim: OptimConfig = opt(
        OptimConfig(lr=1.5e-3, schedule="cosine", warmup=0.02, batch=32, micro_batch=32,
                    betas=(0.9, 0.99)),
        "How the model is optimised.",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class JudgesConfig:
    """The networks that read toy scenes, on renders of the toy world."""

    steps: int = opt(4000, "Optimiser steps of each.", min=1)
    optim: OptimConfig = opt(
        OptimConfig(lr=2e-3, schedule="cosine", warmup=0.02, batch=64, micro_batch=64),
        "How they are optimised.",
    )


SMALL_TRAINING: dict[str, Any] = {
    "steps": 400,
    "probe_every": 100,
    "optim.lr": 5e-3,
    "optim.batch": 16,
    "optim.micro_batch": 16,
}
"""Options that suit the embedded model."""
PRESETS = {
    "tiny": {
        "train": SMALL_TRAINING,
        "evaluate": {"samples": 16},
        "pairs": {"toys": 1, "seeds": 1},
    },
    "paper": {
        "model": "black-forest-labs/FLUX.1-dev",
        "train": {
            "size": 512,
            "mode": "joint",
            "rank": 4,
            "optim.batch": 8,
            "optim.micro_batch": 1,
            "optim.optimiser": "prodigy",
            "optim.lr": 1.0,
            "optim.weight_decay": 0.01,
            "optim.schedule": "constant",
            "optim.warmup": 0.0,
            "optim.precision": "bf16",
            "steps": 50_000,
            "checkpointing": True,
        },
    },
}
