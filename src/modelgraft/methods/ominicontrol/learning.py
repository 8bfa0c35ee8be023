"""The action `train`: an adapter for each task, with measurements on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, MissingExtra, Unavailable
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.pictures import grid, write_picture
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import trained_info
from modelgraft.methods.ominicontrol.config import Task, TrainConfig
from modelgraft.methods.ominicontrol.drawing import enlarged, steps_and_guidance
from modelgraft.methods.ominicontrol.evaluate import numbers_beside
from modelgraft.methods.ominicontrol.infer import Sampling, generate
from modelgraft.methods.ominicontrol.measuring import Measure, Posed, measure_of, pose
from modelgraft.methods.ominicontrol.opening import (
    Sizes,
    law_of,
    note_odd,
    open_control,
    sizes_of,
    to_log,
)
from modelgraft.methods.ominicontrol.sources import (
    AnySource,
    open_source,
    prompts_in,
    sizes_under,
    split,
)
from modelgraft.methods.ominicontrol.train import Learning, PromptCache
from modelgraft.methods.ominicontrol.train import train as train_adapters
from modelgraft.training.processes import accelerator_of

_OF_FILE = ("rank", "alpha", "modules")
"""Options that an adapter to go on from answers itself, whatever they are."""
_PROBES = 16
_PROBE_STEPS = 8
_UNTOLD = ("identity at 1",)
"""What so few pictures cannot tell: it needs many subjects of one shape."""


def learn(config: TrainConfig, run: Run) -> Result:
    """Train, save one file for each task, and say how held-out pictures obey before and after."""
    device = str(accelerator_of(config.optim, run.settings).device)
    control, loaded = open_control(config.model, replace(run.settings, device=device))
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    remarks: list[str] = []
    sizes = _put_on(control, config, run, remarks)
    parts = split(open_source(config.data, config.task, sizes, run), _PROBES, seed=run.seed)
    prompts = PromptCache(control.pipe, length=512, num_bytes=config.text_cache_gb * 1e9)
    posed = pose(parts.probes, parts.numbers, sizes.output)
    probe = Probe(control, posed, sizes, config, run, prompts.awake)
    remarks += [parts.remark, *probe.remarks]
    remarks += note_odd(run, control.pipe, conditions=posed.shown.conditions)
    before = probe.measure("before")
    _embed_first(control, parts.training, prompts, run)
    if config.checkpointing:
        control.transformer.enable_gradient_checkpointing()
    learning = Learning(
        steps=config.steps,
        law=law_of(control.pipe, config.timesteps),
        optim=config.optim,
        drop_text=config.drop_text,
        drop_condition=config.drop_condition,
    )
    train_adapters(control, parts.training, learning, run, prompts=prompts, between=probe.between)
    if prompts.cut:
        run.log("prompts cut off", num=len(prompts.cut), first=min(prompts.cut))
        remarks.append(f"{len(prompts.cut)} prompts are longer than the text encoder takes.")
    for task in config.task:
        path = run.add("text", f"{task}.safetensors", f"The adapter for {task}")
        control.save(task, path)
    numbers = _numbers(control, config, before, probe.measure("after"))
    return Result(tuple(numbers), remarks=tuple(one for one in remarks if one))


# -- adapters --------------------------------------------------------------------------------------


def _put_on(control: OminiControl, config: TrainConfig, run: Run, remarks: list[str]) -> Sizes:
    """An adapter for each task, ready to be trained; the sizes of its pictures."""
    if config.start is None:
        sizes = sizes_of(control.pipe, config.size, config.condition_size)
        for task in config.task:
            _attach(control, config, task, sizes, run)
    else:
        sizes = _go_on(control, config, config.start.expanduser(), run, remarks)
    for task in config.task:
        _check_blocks(control, task)
    return sizes


def _attach(control: OminiControl, config: TrainConfig, task: Task, sizes: Sizes, run: Run) -> None:
    info = trained_info(
        task,
        size_px=sizes.output,
        condition_px=sizes.condition,
        token_px=sizes.token,
        mode=config.mode,
        base=config.model,
        delta=config.delta,
        blocks=config.blocks,
    )
    rank, alpha, modules = (getattr(config, name) for name in _OF_FILE)
    control.attach(task, info, rank=rank, alpha=alpha, modules=modules, seed=run.seed)


def _go_on(
    control: OminiControl, config: TrainConfig, start: Path, run: Run, remarks: list[str]
) -> Sizes:
    """The adapter in a file, trained further as it was trained; `ConfigError` for other options."""
    (task,) = config.task
    usual = TrainConfig()
    for name in _OF_FILE:
        if getattr(config, name) != getattr(usual, name):
            raise ConfigError(name, f"{name}: {start} has its own; leave it out.")
    control.load(start, task, report=to_log(run, remarks))
    info = control.infos[task]
    if info.task != task:
        raise ConfigError("task", f"task {task}: {start} was trained for {info.task}.")
    sizes = sizes_under(control.pipe, config.size, info)
    own = {
        "mode": info.mode,
        "delta": info.delta,
        "blocks": info.blocks,
        "condition_size": sizes.condition,
    }
    for name, value in own.items():
        given = getattr(config, name)
        if given not in (getattr(usual, name), value):
            raise ConfigError(name, f"{name} {given}: {start} was trained with {value}.\n"
                              "  Leave it out; the file says what it is.")  # fmt: skip
    blocks = "all blocks" if info.blocks is None else f"blocks {info.blocks[0]} {info.blocks[1]}"
    to_log(run, remarks)(
        f"{start.name} is trained further as it was: {info.mode}, delta {info.delta}, scale "
        f"{info.scale:g}, seen in {blocks}"
    )
    control.infos[task] = replace(info, condition_px=sizes.condition, base=config.model)
    for one in control.parameters(task):
        one.requires_grad_(True)
    return sizes


def _check_blocks(control: OminiControl, task: Task) -> None:
    """`ConfigError` when a condition would be seen in blocks that the transformer has not."""
    own = control.infos[task].blocks
    transformer = control.transformer
    number = len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)
    if own is not None and own[1] > number:
        raise ConfigError(
            "blocks",
            f"blocks {own[0]} {own[1]}: the model has {number} blocks, so the second number is at "
            f"most {number}.",
        )


def _embed_first(control: OminiControl, source: AnySource, prompts: PromptCache, run: Run) -> None:
    """Embed all prompts if they fit into the cache, and free the GPU of the text encoders."""
    texts = prompts_in(source)
    if texts is None or not prompts.keep_all(["", *texts]):
        return
    if control.transformer.device.type != "cpu":
        prompts.rest()
        run.log("text encoders rest on the CPU", prompts=len(set(texts)))


# -- probes ----------------------------------------------------------------------------------------


class Probe:
    """How well fixed pictures obey: answers whether anything is being learnt."""

    def __init__(
        self,
        control: OminiControl,
        posed: Posed,
        sizes: Sizes,
        config: TrainConfig,
        run: Run,
        awake: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._control, self._posed, self._config, self._run = control, posed, config, run
        self._awake = awake
        self.remarks: list[str] = []
        """What is not measured, and why."""
        self._measures = [one for task in config.task if (one := self._measure_of(task))]
        steps, guidance = steps_and_guidance(control, _PROBE_STEPS, None)
        self._sampling = Sampling(
            height=sizes.output, width=sizes.output, steps=steps, guidance=guidance
        )

    def _measure_of(self, task: Task) -> Measure | None:
        try:
            return measure_of(task, self._posed)
        except (MissingExtra, Unavailable) as error:
            self._run.log(f"{task} is not measured", reason=str(error))
            self.remarks.append(f"{task} is not measured. {str(error).splitlines()[0]}")
            return None

    def between(self, step: int) -> None:
        """Measure after every `probe_every` steps."""
        every = self._config.probe_every
        if every and (step + 1) % every == 0:
            means = {
                name: float(np.nanmean(one))
                for name, one in self.measure("").items()
                if not np.isnan(one).all()
            }
            self._run.metric(step, **means)

    def measure(self, name: str) -> dict[str, Array]:
        """Every measure of every task [pictures]; with a `name` the pictures are kept."""
        found: dict[str, Array] = {}
        outputs = self.draw()
        for one in self._measures:
            found |= one(outputs)
        if name:
            self._keep(outputs, name)
        return {name: values for name, values in found.items() if name not in _UNTOLD}

    def draw(self) -> Tensor:
        """Outputs under the conditions, from fixed noise."""
        shown = self._posed.shown
        conditions = [
            Condition(picture=shown.conditions[task], adapter=task) for task in self._config.task
        ]
        with torch.random.fork_rng(), self._awake():
            return generate(
                self._control, shown.prompts, conditions, self._sampling, seeds=range(len(shown))
            )

    def _keep(self, outputs: Tensor, name: str) -> None:
        shown = self._posed.shown
        side = max(96, outputs.shape[-1])
        rows = [*(shown.conditions[task] for task in self._config.task), outputs, shown.targets]
        cells = [enlarged(one, (side, side)) for row in rows for one in row[:8]]
        path = self._run.add("grid", f"{name}.png", f"Conditions, outputs {name} training, targets")
        write_picture(path, grid(cells, min(8, len(shown))))


def _numbers(
    control: OminiControl, config: TrainConfig, before: dict[str, Array], after: dict[str, Array]
) -> list[Number]:
    added = sum(one.numel() for task in config.task for one in control.parameters(task))
    total = sum(one.numel() for one in control.transformer.parameters()) - added
    numbers = [
        Number("weights trained", added),
        Number("share of the model's weights", 100 * added / total, unit="%", better="lower"),
    ]
    return [*numbers, *numbers_beside(after, before)]
