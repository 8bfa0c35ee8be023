"""The actions of the card: names and paths become objects, library functions do the work."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save_file

from modelgraft.core.attempts import RunRecord
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Number, Result, format_value
from modelgraft.core.runs import Run
from modelgraft.diffusion.load import load_flux, load_flux_skeleton
from modelgraft.evaluation.tables import markdown_rows
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    EvaluateConfig,
    GenerateConfig,
    JudgesConfig,
    PairsConfig,
    PretrainConfig,
    TrainConfig,
)
from modelgraft.methods.ominicontrol.drawing import draw
from modelgraft.methods.ominicontrol.learning import learn
from modelgraft.methods.ominicontrol.measuring import measure
from modelgraft.methods.ominicontrol.method.cost import Shape, sampling_flop
from modelgraft.methods.ominicontrol.opening import open_control
from modelgraft.methods.ominicontrol.pairs.drawing import Drawing
from modelgraft.methods.ominicontrol.pairs.factory import Factory, make_pairs
from modelgraft.methods.ominicontrol.pairs.judging import Judging, automatic_judge
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts, read_items
from modelgraft.methods.ominicontrol.pairs.prompts.toys import toy_items
from modelgraft.tiny.flux import build_pipeline, save_pipeline
from modelgraft.tiny.oracles import load_judges
from modelgraft.tiny.recipes.flux import FluxRecipe, train_flux
from modelgraft.tiny.recipes.oracles import TRAINERS, Trainer, attribute_numbers


def train(config: TrainConfig, run: Run) -> Result:
    """Train one adapter for each task."""
    return learn(config, run)


def generate(config: GenerateConfig, run: Run) -> Result:
    """Draw pictures under conditions."""
    return draw(config, run)


def evaluate(config: EvaluateConfig, run: Run) -> Result:
    """Measure how well pictures obey."""
    return measure(config, run)


def pairs(config: PairsConfig, run: Run) -> Result:
    """Draw pairs of subjects and judge them."""
    control, _ = open_control(config.model, run.settings)
    if config.items is None:
        items = list(toy_items(config.toys, seed=run.seed))
    else:
        items = read_items(config.items, reject=run.reject)
    factory = Factory(
        drawing=Drawing(
            height=config.height, steps=config.steps, guidance=config.guidance, seeds=config.seeds
        ),
        judging=Judging(looks=config.looks, threshold=config.threshold),
    )
    judge = automatic_judge(load_judges().subjects)
    return make_pairs(control.pipe, pair_prompts(items), judge, factory, run)


def cost(config: CostConfig, run: Run) -> Result:
    """Operations of a picture with conditions, joint and cached, and the size of the cache."""
    settings = run.settings
    found = load_flux_skeleton(config.model, device=settings.device, offline=settings.offline)
    transformer: Any = found.transformer
    shape = Shape.of(transformer.config)
    image, condition = (
        (side // found.token_px) ** 2
        for side in (config.size, config.condition_size or config.size)
    )
    rows, numbers = [], []
    for number in config.conditions:
        flop = {
            way: sampling_flop(shape, image=image, text=config.text_length, condition=condition,
                               conditions=number, steps=config.steps, way=way)
            for way in ("joint", "cached")
        }  # fmt: skip
        cache = number * shape.key_values(condition)
        cells = (number, flop["joint"] / 1e12, flop["cached"] / 1e12, cache / 1e6)
        rows.append([format_value(one) for one in cells])
        numbers.append(Number(f"{number} conditions: joint over cached",
                              flop["joint"] / flop["cached"], unit="x", baseline=1.0))  # fmt: skip
    head = ["conditions", "joint TFLOP", "cached TFLOP", "cache MB"]
    return Result(tuple(numbers), text=markdown_rows(head, rows, [True] * len(head)))


def pretrain(config: PretrainConfig, run: Run) -> Result:
    """Train TinyFlux, and save it in float16."""
    pipe = _base(config, run)
    recipe = FluxRecipe(steps=config.steps, stage=config.stage, diptychs=config.diptychs)
    ema = train_flux(pipe, recipe, config.optim, run)
    with ema.applied():
        save_pipeline(pipe, run.folder / "artefacts" / "flux")
    return Result((Number("samples seen", config.steps * config.optim.batch),))


def _base(config: PretrainConfig, run: Run) -> Any:
    if config.start is not None:
        return load_flux(config.start, device=run.settings.device, dtype="float32").pipe
    torch.manual_seed(run.seed)
    return build_pipeline()


def judges(config: JudgesConfig, run: Run) -> Result:
    """Train the judges of toy scenes, and say how often the one of attributes is right."""
    (run.artefacts / "judges").mkdir(exist_ok=True)
    numbers: list[Number] = []
    for name, trainer in TRAINERS.items():
        record = RunRecord(method="ominicontrol", action=name, config={"steps": config.steps})

        def work(own: Run, name: str = name, trainer: Trainer = trainer) -> Result:
            net: Any = trainer(own, config.optim, config.steps)
            halves = {key: one.half() if one.is_floating_point() else one
                      for key, one in net.state_dict().items()}  # fmt: skip
            save_file(halves, run.artefacts / "judges" / f"{name}.safetensors")
            found = attribute_numbers(net, seed=own.seed) if name == "attributes" else []
            return Result(tuple(found))

        result, _ = nested_run(run, run.folder / "nets" / name, run.settings, record, work)
        numbers += result.numbers
    return Result(tuple(numbers))
