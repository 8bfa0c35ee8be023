"""What pictures and training would take, before they are paid for: from the model's sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelgraft.core.results import Number, Result, format_value
from modelgraft.core.settings import Settings
from modelgraft.diffusion.load import FluxSkeleton, load_flux_skeleton
from modelgraft.diffusion.pictures import Size, picture_size
from modelgraft.evaluation.tables import markdown_rows
from modelgraft.methods.ominicontrol.adapter.finding import told_info
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.adapter.lora import num_added
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    GenerateConfig,
    PairsConfig,
    TrainConfig,
)
from modelgraft.methods.ominicontrol.data.files import read_pairs
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX
from modelgraft.methods.ominicontrol.drawing import (
    BATCH,
    arms_of,
    check_tasks,
    image_guidance,
    output_of,
    settled,
    strengths_of,
)
from modelgraft.methods.ominicontrol.infer import is_distilled
from modelgraft.methods.ominicontrol.method.cost import Shape, Way, sampling_flop
from modelgraft.methods.ominicontrol.opening import (
    SIZE_LARGE_PX,
    SMALL_STEPS,
    STEPS,
    TOKEN_LARGE_PX,
    check_side,
    condition_size,
)
from modelgraft.methods.ominicontrol.pairs.crops import PUBLISHED_HEIGHT_PX
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import open_items
from modelgraft.methods.ominicontrol.pairs.reading import is_records

_SMALL_TEXT, _TEXT = 24, 512
"""Tokens of a prompt: those of the embedded model, and those of T5."""
WAYS: Final[tuple[Way, ...]] = ("joint", "cached")
_BACKWARD = 2
"""Passes through the frozen model that one step costs: forward, and back to the adapter."""


def cost_table(config: CostConfig, settings: Settings) -> Result:
    """Operations of a picture with conditions, joint and cached, and the size of the cache."""
    model = _sizes(config.model, settings)
    size = model.side("size", config.size)
    condition = model.tokens(model.side("condition_size", config.condition_size or size))
    rows, numbers = [], []
    for number in config.conditions:
        flop = {
            way: sampling_flop(
                model.shape, image=model.tokens(size), text=config.text_length or model.text,
                condition=condition, conditions=number, steps=config.steps or model.steps, way=way,
            )
            for way in WAYS
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
    size = model.side("size", config.size)
    flop = _BACKWARD * sampling_flop(
        model.shape, image=model.tokens(size), text=model.text,
        condition=model.tokens(model.side("condition_size", config.condition_size or size)),
        conditions=len(config.task),
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
    if config.data is not None and not is_records(config.data.expanduser()):
        pairs = read_pairs(config.data.expanduser(), config.task, lambda *_: None)
        numbers.insert(0, Number("pictures in the data", len(pairs)))
    return numbers


def estimate_generate(config: GenerateConfig, settings: Settings) -> list[Number]:
    """Pictures and operations, for conditions whose keys are computed once and for joint ones."""
    strengths = strengths_of(config)
    model = _sizes(config.model, settings)
    infos = [told_info(name) or AdapterInfo(task="") for name in config.adapter]
    check_tasks(config, infos)
    sizes = [picture_size(path) for path in config.condition]
    token = model.found.token_px
    output = output_of(config, infos, sizes, usual_px=model.default_px, token=token)
    tokens = [
        _area(condition_size(size, info, output_px=max(output), token=token), token)
        for size, info in zip(sizes, infos, strict=True)
    ]
    steps, passes = model.passes(infos, config.steps, config.guidance)
    branches = 2 if tokens and image_guidance(config.image_guidance, infos) != 1 else 1
    passes *= branches
    sets = set(arms_of(strengths, compare=config.compare).values())
    numbers = [Number("pictures", len(config.prompt) * len(sets))]
    for way in WAYS:
        alone, *others = (
            sampling_flop(model.shape, image=_area(output, token), text=model.text,
                          condition=one, conditions=min(one, 1), steps=steps, way=way)
            for one in (0, *tokens)
        )  # fmt: skip
        flop = passes * (alone + sum(one - alone for one in others))
        numbers.append(Number(f"operations of a picture, {way}", flop / 1e12, unit="TFLOP"))
    rows = branches if config.reuse else passes * min(len(config.prompt), BATCH)
    cache = rows * sum(model.shape.key_values(one) for one in tokens)
    return [*numbers, Number("cache of the conditions", cache / 1e6, unit="MB"), model.weights()]


def estimate_pairs(config: PairsConfig, settings: Settings) -> list[Number]:
    """Prompts, pictures, looks of the judge and operations."""
    items = open_items(config.items, config.toys, seed=settings.seed, reject=lambda *_: None)
    model = _sizes(config.model, settings)
    prompts = pair_prompts(items)
    pictures = len(prompts) * config.seeds
    height = config.height or (SIZE_PX if model.is_small else PUBLISHED_HEIGHT_PX)
    check_side("height", height, model.found.token_px)
    steps, passes = model.passes((), config.steps, config.guidance)
    flop = passes * sampling_flop(
        model.shape, image=2 * model.tokens(height), text=model.text, condition=0, conditions=0,
        steps=steps, way="joint",
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
        return self.found.token_px < TOKEN_LARGE_PX

    @property
    def text(self) -> int:
        return _SMALL_TEXT if self.is_small else _TEXT

    @property
    def steps(self) -> int:
        return SMALL_STEPS if self.is_small else STEPS

    @property
    def default_px(self) -> int:
        return SIZE_PX if self.is_small else SIZE_LARGE_PX

    def side(self, name: str, asked: int | None) -> int:
        """The side that an option asks for, or the model's own."""
        found = asked or self.default_px
        check_side(name, found, self.found.token_px)
        return found

    def tokens(self, side_px: int) -> int:
        return (side_px // self.found.token_px) ** 2

    def passes(
        self, infos: Sequence[AdapterInfo], steps: int | None, guidance: float | None
    ) -> tuple[int, int]:
        """Steps of a picture, and passes at each: two where guidance is true."""
        distilled = is_distilled(self.found)
        steps, guidance = settled(infos, steps, guidance, small=self.is_small, distilled=distilled)
        return steps, 2 if guidance > 1 and not distilled else 1

    def weights(self) -> Number:
        transformer: Any = self.found.transformer
        size = sum(one.numel() * one.element_size() for one in transformer.parameters())
        return Number("weights of the transformer", size / 1e6, unit="MB")


def _area(size: Size, token: int) -> int:
    """Tokens of a picture."""
    return size[0] * size[1] // token**2


def _sizes(name: str, settings: Settings) -> _Model:
    found = load_flux_skeleton(name, device=settings.device, offline=settings.offline)
    transformer: Any = found.transformer
    return _Model(found, Shape.of(transformer.config))
