"""The action `train`: an adapter for each task, with measurements on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.conditions import TASKS, rectangles, tasks_for
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.pictures import grid, write_picture
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import Task, TrainConfig
from modelgraft.methods.ominicontrol.data.files import FileSource, RecordSource, read_pairs
from modelgraft.methods.ominicontrol.data.shown import Shown, Source
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.drawing import enlarged
from modelgraft.methods.ominicontrol.evaluate import numbers_beside, obedience
from modelgraft.methods.ominicontrol.infer import Sampling, generate, is_distilled
from modelgraft.methods.ominicontrol.opening import (
    GUIDANCE,
    SMALL_GUIDANCE,
    is_small,
    law_of,
    open_control,
)
from modelgraft.methods.ominicontrol.pairs.reading import read_records
from modelgraft.methods.ominicontrol.train import Learning, PromptCache, branch_model, places_of
from modelgraft.methods.ominicontrol.train import train as train_adapters

_PROBES = 16
_PROBE_STEPS = 8
_HELD_OUT = 10**9
"""Numbers of toy scenes that training never reaches."""


def learn(config: TrainConfig, run: Run) -> Result:
    """Train, save one file for each task, and say how held-out pictures obey before and after."""
    control, loaded = open_control(config.model, run.settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    source = open_source(config, control, run)
    for task in config.task:
        if config.start is not None:
            control.load_as(config.start, info_for(config, task, control), task)
            for one in control.parameters(task):
                one.requires_grad_(True)
        else:
            control.attach(
                task,
                info_for(config, task, control),
                rank=config.rank,
                alpha=config.alpha,
                modules=config.modules,
                seed=run.seed,
            )
    probe = Probe(control, source, config, run)
    before = probe.measure("before")
    blocks = range(*config.blocks) if config.blocks else None
    first = source.take([0], 0)
    learning = Learning(
        steps=config.steps,
        law=law_of(control.pipe, config.timesteps),
        drop_text=config.drop_text,
        drop_condition=config.drop_condition,
    )
    if config.checkpointing:
        control.transformer.enable_gradient_checkpointing()
    train_adapters(
        control,
        source,
        config.optim,
        learning,
        run,
        model=branch_model(control, places_of(control, first), blocks),
        prompts=PromptCache(control.pipe, length=512, num_bytes=config.text_cache_gb * 1e9),
        between=probe.between,
    )
    for task in config.task:
        path = run.add("text", f"{task}.safetensors", f"The adapter for {task}")
        control.save(task, path)
    return Result(tuple(_numbers(control, config, before, probe.measure("after"))))


def info_for(config: TrainConfig, task: Task, control: OminiControl) -> AdapterInfo:
    """What the adapter's file will say of it."""
    side = config.condition_size or config.size
    if config.size % side:
        raise ConfigError(
            "condition_size",
            f"condition_size {side}: the output's size {config.size} must be a multiple of it.",
        )
    is_aligned = TASKS[task].is_aligned
    tokens = side // token_px(control.pipe)
    rule = TASKS[task].delta(tokens)
    return AdapterInfo(
        task=task,
        mode=config.mode,
        delta=tuple(float(one) for one in (config.delta or rule)),
        scale=config.size / side if is_aligned else 1.0,
        condition_px=side,
        base=config.model,
    )


def open_source(config: TrainConfig, control: OminiControl, run: Run) -> Source:
    """The pictures to learn from; raises `InputError` or `ConfigError` before any training."""
    side, multiple = config.condition_size or config.size, token_px(control.pipe)
    for name, px in (("size", config.size), ("condition_size", side)):
        if px % multiple:
            raise ConfigError(name, f"{name} {px}: a multiple of {multiple}, a token's pixels.")
    if config.data is None:
        if config.size != 32:
            raise ConfigError(
                "data", f"size {config.size}: the toy world has 32 pixels; name your own --data."
            )
        return ToySource(config.task, seed=run.seed, condition_px=side)
    folder = config.data.expanduser()
    if (folder / "records.jsonl").is_file() or any(folder.glob("*.parquet")):
        if config.task != ("subject",):
            raise ConfigError("task", "task: a folder of judged pairs teaches subject alone.")
        records = list(read_records(folder, reject=run.reject))
        return RecordSource(records, config.size, side, multiple)
    pairs = read_pairs(folder, config.task, run.reject)
    return FileSource(pairs, config.task, config.size, side, multiple)


class Probe:
    """How well fixed pictures obey: answers whether anything is being learnt."""

    def __init__(
        self, control: OminiControl, source: Source, config: TrainConfig, run: Run
    ) -> None:
        self._control, self._config, self._run = control, config, run
        self._numbers, self._shown = self._pictures(source)
        small = is_small(control.pipe)
        self._sampling = Sampling(
            height=config.size,
            width=config.size,
            steps=_PROBE_STEPS,
            guidance=GUIDANCE if is_distilled(control.pipe) else SMALL_GUIDANCE if small else 1.0,
        )

    def _pictures(self, source: Source) -> tuple[range, Shown]:
        if isinstance(source, ToySource):
            source = replace(source, split="held-out", is_training=False)
            numbers = range(_HELD_OUT, _HELD_OUT + _PROBES)
            return numbers, source.take(numbers, 0)
        if isinstance(source, FileSource):
            source = replace(source, is_training=False)
        numbers = range(min(_PROBES, source.total or _PROBES))
        return numbers, source.take(numbers, 0)

    def between(self, step: int) -> None:
        """Measure after every `probe_every` steps."""
        every = self._config.probe_every
        if every and (step + 1) % every == 0:
            means = {name: float(np.nanmean(one)) for name, one in self.measure("").items()}
            self._run.metric(step, **means)

    def measure(self, name: str) -> dict[str, np.ndarray]:
        """Every measure of every task [pictures]; with a `name` the pictures are kept."""
        shown, found = self._shown, {}
        outputs = self.draw()
        for task in self._config.task:
            if task == "depth":
                continue  # needs a judge of depth; see `evaluate`
            table = tasks_for(self._config.size)
            asked = _at(shown.conditions[task], outputs)
            height, width = outputs.shape[-2:]
            known = rectangles(self._numbers, height, width, seed=0)
            found |= obedience(task, outputs, asked, shown.targets, makers=table, known=known)
        if name:
            self._keep(outputs, name)
        return found

    def draw(self) -> Tensor:
        """Outputs under the conditions, from fixed noise."""
        shown = self._shown
        conditions = [
            Condition(picture=shown.conditions[task], adapter=task) for task in self._config.task
        ]
        with torch.random.fork_rng():
            return generate(
                self._control, shown.prompts, conditions, self._sampling, seeds=range(len(shown))
            )

    def _keep(self, outputs: Tensor, name: str) -> None:
        shown = self._shown
        size = (max(96, self._config.size), max(96, self._config.size))
        rows = [*(shown.conditions[task] for task in self._config.task), outputs, shown.targets]
        cells = [enlarged(one, size) for row in rows for one in row[:8]]
        path = self._run.add("grid", f"{name}.png", f"Conditions, outputs {name} training, targets")
        write_picture(path, grid(cells, min(8, len(shown))))


def _at(conditions: Tensor, outputs: Tensor) -> Tensor:
    """Conditions at the size of the outputs."""
    size = (outputs.shape[-2], outputs.shape[-1])
    return torch.stack([enlarged(one, size) for one in conditions])


def _numbers(
    control: OminiControl,
    config: TrainConfig,
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
) -> list[Number]:
    added = sum(one.numel() for task in config.task for one in control.parameters(task))
    total = sum(one.numel() for one in control.transformer.parameters()) - added
    numbers = [
        Number("weights trained", added),
        Number("share of the model's weights", 100 * added / total, unit="%", better="lower"),
    ]
    return [*numbers, *numbers_beside(after, before)]
