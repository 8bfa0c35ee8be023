"""What pictures and training would take, before they are paid for: from the model's sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from modelgraft.core.files import read_json
from modelgraft.core.results import Number, Result, format_value
from modelgraft.core.settings import Settings
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.load import load_flux_skeleton
from modelgraft.diffusion.pictures import Size, picture_size
from modelgraft.evaluation.tables import markdown_rows
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.finding import told_info
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    GenerateConfig,
    PairsConfig,
    TrainConfig,
)
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
from modelgraft.methods.ominicontrol.learning import prepared, require_packages
from modelgraft.methods.ominicontrol.method.cost import Shape, Way, sampling_flop
from modelgraft.methods.ominicontrol.opening import (
    SMALL_STEPS,
    STEPS,
    check_side,
    condition_size,
    is_small,
    sizes_of,
)
from modelgraft.methods.ominicontrol.pairs.crops import PUBLISHED_HEIGHT_PX
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import open_items

_SMALL_TEXT, _TEXT = 24, 512
"""Tokens of a prompt: those of the embedded model, and those of T5."""
_SAMPLE_SIZE = 128
"""Latents along one side of what a Flux pipeline draws."""
WAYS: Final[tuple[Way, ...]] = ("joint", "cached")
_BACKWARD = 2
"""Passes through the frozen model that one step costs: forward, and back to the adapter."""


def cost_table(config: CostConfig, settings: Settings) -> Result:
    """Operations of a picture with conditions, joint and cached, and the size of the cache."""
    model = _sizes(config.model, settings)
    size = sizes_of(model, config.size).output
    condition_px = config.condition_size or size
    check_side("condition_size", condition_px, token_px(model))
    condition = model.tokens(condition_px)
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
    """Pictures, weights and operations of a training.

    Adapters are put on a transformer without weights and the data is opened, so that what the run
    would refuse before its first step is refused here; but for a depth model that is not to be had.
    """
    require_packages(config)
    model = _sizes(config.model, settings)
    weights = model.weights()
    control = OminiControl(model)
    sizes, parts = prepared(control, config, _Unkept(settings.seed), [])
    measured = tuple(task for task in config.task if task != "depth")
    replace(parts.probes, tasks=measured).take(parts.numbers, 0)  # whether they can be decoded
    seen = config.steps * config.optim.batch
    flop = _BACKWARD * sampling_flop(
        model.shape, image=model.tokens(sizes.output), text=model.text,
        condition=model.tokens(sizes.condition), conditions=len(config.task),
        steps=1, way="joint",
    )  # fmt: skip
    added = sum(one.numel() for task in config.task for one in control.parameters(task))
    total = parts.training.total
    return [
        *([] if total is None else [Number("pictures in the data", total)]),
        Number("steps", config.steps),
        Number("pictures seen", seen),
        Number("weights trained", added),
        Number("operations", seen * flop / 1e12, unit="TFLOP"),
        weights,
    ]


@dataclass(frozen=True)
class _Unkept:
    """The notes of a dry run: nothing is written."""

    seed: int

    def log(self, event: str, **fields: Any) -> None:
        pass

    def reject(self, file: str | Path, line: int, id: str, reason: str) -> None:
        pass


def estimate_generate(config: GenerateConfig, settings: Settings) -> list[Number]:
    """Pictures and operations, for conditions whose keys are computed once and for joint ones."""
    strengths = strengths_of(config)
    model = _sizes(config.model, settings)
    infos = [told_info(name) or AdapterInfo(task="") for name in config.adapter]
    check_tasks(config, infos)
    sizes = [picture_size(path) for path in config.condition]
    token = token_px(model)
    usual = sizes_of(model, None).output
    output = output_of(config, infos, sizes, usual_px=usual, token=token)
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
    height = config.height or (SIZE_PX if is_small(model) else PUBLISHED_HEIGHT_PX)
    check_side("height", height, token_px(model))
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
    """What actions ask of a pipeline before they draw: its sizes, without its weights.

    It stands in for the stock pipeline, whose names it has.
    """

    transformer: Any
    name_or_path: str
    vae_scale_factor: int
    default_sample_size: int

    @property
    def shape(self) -> Shape:
        return Shape.of(self.transformer.config)

    @property
    def text(self) -> int:
        return _SMALL_TEXT if is_small(self) else _TEXT

    @property
    def steps(self) -> int:
        return SMALL_STEPS if is_small(self) else STEPS

    def tokens(self, side_px: int) -> int:
        return (side_px // token_px(self)) ** 2

    def passes(
        self, infos: Sequence[AdapterInfo], steps: int | None, guidance: float | None
    ) -> tuple[int, int]:
        """Steps of a picture, and passes at each: two where guidance is true."""
        distilled = is_distilled(self)
        steps, guidance = settled(infos, steps, guidance, small=is_small(self), distilled=distilled)
        return steps, 2 if guidance > 1 and not distilled else 1

    def weights(self) -> Number:
        size = sum(one.numel() * one.element_size() for one in self.transformer.parameters())
        return Number("weights of the transformer", size / 1e6, unit="MB")


def _area(size: Size, token: int) -> int:
    """Tokens of a picture."""
    return size[0] * size[1] // token**2


def _sizes(name: str, settings: Settings) -> _Model:
    found = load_flux_skeleton(name, device=settings.device, offline=settings.offline)
    scale = found.token_px // 2
    own_px = read_json(found.folder / "vae" / "config.json", "the codec's config").get("picture_px")
    # As `load_flux` sets it: what the codec was made for, or what pipelines assume of any.
    side = own_px // scale if own_px else _SAMPLE_SIZE
    return _Model(found.transformer, name, scale, side)
