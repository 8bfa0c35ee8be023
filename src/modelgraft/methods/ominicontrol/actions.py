"""The actions of the card: names and paths become objects, library functions do the work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from modelgraft.core.attempts import RunRecord
from modelgraft.core.errors import ConfigError
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.load import load_flux
from modelgraft.diffusion.vision import vision_encoder
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.methods.ominicontrol.config import (
    ConditionsConfig,
    CostConfig,
    EvaluateConfig,
    GenerateConfig,
    JudgesConfig,
    PairsConfig,
    PretrainConfig,
    TrainConfig,
)
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX
from modelgraft.methods.ominicontrol.drawing import draw, steps_and_guidance
from modelgraft.methods.ominicontrol.estimates import cost_table
from modelgraft.methods.ominicontrol.experiments import EXPERIMENTS
from modelgraft.methods.ominicontrol.learning import learn
from modelgraft.methods.ominicontrol.measuring import measure
from modelgraft.methods.ominicontrol.opening import check_side, is_small, note_odd, open_control
from modelgraft.methods.ominicontrol.pairs.crops import PUBLISHED_HEIGHT_PX
from modelgraft.methods.ominicontrol.pairs.drawing import Drawing
from modelgraft.methods.ominicontrol.pairs.factory import Factory, make_pairs
from modelgraft.methods.ominicontrol.pairs.judging import Judging, automatic_judge
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import open_items
from modelgraft.methods.ominicontrol.preparing import prepare
from modelgraft.tiny.flux import build_pipeline, fill_pipeline, save_pipeline
from modelgraft.tiny.oracles import load_judges, save_halves
from modelgraft.tiny.recipes.flux import FluxRecipe, is_fill, train_flux
from modelgraft.tiny.recipes.oracles import JUDGES, Judge


def train(config: TrainConfig, run: Run) -> Result:
    """Train one adapter for each task."""
    return learn(config, run)


def generate(config: GenerateConfig, run: Run) -> Result:
    """Draw pictures under conditions."""
    return draw(config, run)


def evaluate(config: EvaluateConfig, run: Run) -> Result:
    """Measure how well pictures obey."""
    return measure(config, run)


def conditions(config: ConditionsConfig, run: Run) -> Result:
    """Make conditions of pictures."""
    return prepare(config, run)


def pairs(config: PairsConfig, run: Run) -> Result:
    """Draw pairs of subjects and judge them."""
    items = open_items(config.items, config.toys, seed=run.seed, reject=run.reject)
    control, _ = open_control(config.model, run.settings)
    small = is_small(control.pipe)
    height = config.height or (SIZE_PX if small else PUBLISHED_HEIGHT_PX)
    check_side("height", height, token_px(control.pipe))
    steps, guidance = steps_and_guidance(control, config.steps, config.guidance)
    factory = Factory(
        drawing=Drawing(height=height, steps=steps, guidance=guidance, seeds=config.seeds),
        judging=Judging(looks=config.looks, threshold=config.threshold),
    )
    encode = load_judges().subjects if small else vision_encoder(config.encoder)
    prompts = pair_prompts(items)
    remarks = note_odd(run, control.pipe, black={}, prompts=[one.text for one in prompts])
    made = make_pairs(control.pipe, prompts, automatic_judge(encode), factory, run)
    return replace(made, remarks=(*made.remarks, *remarks))


def cost(config: CostConfig, run: Run) -> Result:
    """Operations of a picture with conditions, joint and cached, and the size of the cache."""
    return cost_table(config, run.settings)


def pretrain(config: PretrainConfig, run: Run) -> Result:
    """Train TinyFlux, and save it in float16."""
    pipe = _base(config, run)
    recipe = FluxRecipe(steps=config.steps, stage=config.stage, diptychs=config.diptychs)
    ema = train_flux(pipe, recipe, config.optim, run)
    with ema.applied():
        save_pipeline(pipe, run.artefacts / ("flux-fill" if config.fill else "flux"))
    return Result((Number("samples seen", config.steps * config.optim.batch),))


def _base(config: PretrainConfig, run: Run) -> Any:
    start = config.start or ("tiny:flux" if config.fill else None)
    torch.manual_seed(run.seed)
    if start is None:
        return build_pipeline()
    found: Any = load_flux(start, device=run.settings.device, dtype="float32").pipe
    if is_fill(found) and not config.fill:
        raise ConfigError(
            "start", f"start {start}: a model that fills in.\n  Say --fill, or take another start."
        )
    return fill_pipeline(found) if config.fill and not is_fill(found) else found


def judges(config: JudgesConfig, run: Run) -> Result:
    """Train the judges of toy scenes, and say how well each reads held-out ones."""
    (run.artefacts / "judges").mkdir(exist_ok=True)
    numbers: list[Number] = []
    for name, judge in JUDGES.items():
        record = RunRecord(method="ominicontrol", action=name, config={"steps": config.steps})

        def work(own: Run, name: str = name, judge: Judge = judge) -> Result:
            net: Any = judge.train(own, config.optim, config.steps)
            save_halves(net, run.artefacts / "judges" / f"{name}.safetensors")
            return Result(tuple(judge.numbers(net, seed=own.seed)))

        result, _ = nested_run(run, run.folder / "nets" / name, run.settings, record, work)
        numbers += result.numbers
    return Result(tuple(numbers))


def reproduce(config: ReproduceConfig, run: Run) -> Result:
    """The paper's claims at this scale."""
    return reproduce_experiments(
        "ominicontrol",
        EXPERIMENTS,
        names=config.experiments,
        quick=config.quick,
        run=run,
        folder=config.folder,
    )
