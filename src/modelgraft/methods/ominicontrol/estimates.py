"""What pictures and training would take, before they are paid for: from the model's sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelgraft.core.results import Number, Result, format_value
from modelgraft.core.settings import Settings
from modelgraft.diffusion.load import FluxSkeleton, load_flux_skeleton
from modelgraft.evaluation.tables import markdown_rows
from modelgraft.methods.ominicontrol.adapter.lora import num_added
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    GenerateConfig,
    PairsConfig,
    TrainConfig,
)
from modelgraft.methods.ominicontrol.data.files import read_pairs
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX
from modelgraft.methods.ominicontrol.drawing import STRENGTHS
from modelgraft.methods.ominicontrol.method.cost import Shape, sampling_flop
from modelgraft.methods.ominicontrol.opening import SIZE_LARGE_PX, SMALL_STEPS, STEPS
from modelgraft.methods.ominicontrol.pairs.crops import PUBLISHED_HEIGHT_PX
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import open_items

_SMALL_TEXT, _TEXT = 24, 512
"""Tokens of a prompt: those of the embedded model, and those of T5."""
_TOKEN_PX = 16
"""Pixels along one side of a token of FLUX.1."""
_BACKWARD = 2
"""Passes through the frozen model that one step costs: forward, and back to the adapter."""


def cost_table(config: CostConfig, settings: Settings) -> Result:
    """Operations of a picture with conditions, joint and cached, and the size of the cache."""
    model = _sizes(config.model, settings)
    size = config.size or model.default_px
    condition = model.tokens(config.condition_size or size)
    rows, numbers = [], []
    for number in config.conditions:
        flop = {
            way: sampling_flop(
                model.shape, image=model.tokens(size), text=config.text_length or model.text,
                condition=condition, conditions=number, steps=config.steps or model.steps, way=way,
            )
            for way in ("joint", "cached")
        }  # fmt: skip
        cache = number * model.shape.key_values(condition)
        cells = (number, flop["joint"] / 1e12, flop["cached"] / 1e12, cache / 1e6)
        rows.append([format_value(one) for one in cells])
        numbers.append(Number(f"{number} conditions: joint over cached",
                              flop["joint"] / flop["cached"], unit="x", baseline=1.0))  # fmt: skip
    head = ["conditions", "joint TFLOP", "cached TFLOP", "cache MB"]
    return Result(tuple(numbers), text=markdown_rows(head, rows, [True] * len(head)))


def estimate_train(config: TrainConfig, settings: Settings) -> list[Number]:
    """Pictures, weights and operations of a training."""
    model = _sizes(config.model, settings)
    transformer: Any = model.found.transformer
    seen = config.steps * config.optim.batch
    size = config.size or model.default_px
    flop = _BACKWARD * sampling_flop(
        model.shape, image=model.tokens(size), text=model.text,
        condition=model.tokens(config.condition_size or size), conditions=len(config.task),
        steps=1, way="joint",
    )  # fmt: skip
    added = num_added(transformer, config.modules, config.rank)
    numbers = [
        Number("steps", config.steps),
        Number("pictures seen", seen),
        Number("weights trained", len(config.task) * added),
        Number("operations", seen * flop / 1e12, unit="TFLOP"),
        model.weights(),
    ]
    if config.data is not None and config.task != ("subject",):
        pairs = read_pairs(config.data.expanduser(), config.task, lambda *_: None)
        numbers.insert(0, Number("pictures in the data", len(pairs)))
    return numbers


def estimate_generate(config: GenerateConfig, settings: Settings) -> list[Number]:
    """Pictures and operations, for conditions whose keys are computed once and for joint ones."""
    model = _sizes(config.model, settings)
    tokens = model.tokens(config.size or model.default_px)
    conditions = len(config.condition)
    each = len(STRENGTHS) + 1 if config.compare else 1
    numbers = [Number("pictures", len(config.prompt) * each)]
    for way in ("cached", "joint"):
        flop = sampling_flop(
            model.shape, image=tokens, text=model.text, condition=tokens, conditions=conditions,
            steps=config.steps or model.steps, way=way,
        )  # fmt: skip
        numbers.append(Number(f"operations of a picture, {way}", flop / 1e12, unit="TFLOP"))
    cache = conditions * model.shape.key_values(tokens)
    return [*numbers, Number("cache of the conditions", cache / 1e6, unit="MB"), model.weights()]


def estimate_pairs(config: PairsConfig, settings: Settings) -> list[Number]:
    """Prompts, pictures, looks of the judge and operations."""
    items = open_items(config.items, config.toys, seed=settings.seed, reject=lambda *_: None)
    model = _sizes(config.model, settings)
    prompts = pair_prompts(items)
    pictures = len(prompts) * config.seeds
    height = config.height or (SIZE_PX if model.is_small else PUBLISHED_HEIGHT_PX)
    flop = sampling_flop(
        model.shape, image=2 * model.tokens(height), text=model.text, condition=0, conditions=0,
        steps=config.steps or model.steps, way="joint",
    )  # fmt: skip
    return [
        Number("prompts", len(prompts)),
        Number("pictures", pictures),
        Number("looks of the judge", pictures * config.looks),
        Number("operations", pictures * flop / 1e12, unit="TFLOP"),
        model.weights(),
    ]


@dataclass(frozen=True)
class _Model:
    """Sizes of a model, and what its actions take unless they are told otherwise."""

    found: FluxSkeleton
    shape: Shape

    @property
    def is_small(self) -> bool:
        return self.found.token_px < _TOKEN_PX

    @property
    def text(self) -> int:
        return _SMALL_TEXT if self.is_small else _TEXT

    @property
    def steps(self) -> int:
        return SMALL_STEPS if self.is_small else STEPS

    @property
    def default_px(self) -> int:
        return SIZE_PX if self.is_small else SIZE_LARGE_PX

    def tokens(self, side_px: int) -> int:
        return (side_px // self.found.token_px) ** 2

    def weights(self) -> Number:
        transformer: Any = self.found.transformer
        size = sum(one.numel() * one.element_size() for one in transformer.parameters())
        return Number("weights of the transformer", size / 1e6, unit="MB")


def _sizes(name: str, settings: Settings) -> _Model:
    found = load_flux_skeleton(name, device=settings.device, offline=settings.offline)
    transformer: Any = found.transformer
    return _Model(found, Shape.of(transformer.config))
