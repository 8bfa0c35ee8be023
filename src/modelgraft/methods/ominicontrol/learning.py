"""The action `train`: an adapter for each task, with measurements on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, MissingExtra, Unavailable
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.conditions import Estimator, depth_anything
from modelgraft.diffusion.pictures import grid, write_picture
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import trained_info
from modelgraft.methods.ominicontrol.config import Task, TrainConfig
from modelgraft.methods.ominicontrol.data.files import FileSource, RecordSource, read_pairs
from modelgraft.methods.ominicontrol.data.shown import Source
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.drawing import enlarged, steps_and_guidance
from modelgraft.methods.ominicontrol.evaluate import numbers_beside
from modelgraft.methods.ominicontrol.infer import Sampling, generate
from modelgraft.methods.ominicontrol.measuring import obeyed
from modelgraft.methods.ominicontrol.opening import (
    Sizes,
    check_toy_size,
    law_of,
    note_odd,
    open_control,
    sizes_of,
    to_log,
)
from modelgraft.methods.ominicontrol.pairs.reading import read_records
from modelgraft.methods.ominicontrol.train import Learning, PromptCache
from modelgraft.methods.ominicontrol.train import train as train_adapters
from modelgraft.tiny.oracles import load_judges

_OF_FILE = ("rank", "alpha", "modules")
"""Options that an adapter to go on from answers itself."""
_PROBES = 16
_PROBE_STEPS = 8
_HELD_OUT = 10**9
"""Numbers of toy scenes that training never reaches."""


def learn(config: TrainConfig, run: Run) -> Result:
    """Train, save one file for each task, and say how held-out pictures obey before and after."""
    control, loaded = open_control(config.model, run.settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    sizes = sizes_of(control.pipe, config.size, config.condition_size)
    source = open_source(config, sizes, run)
    for task in config.task:
        _put_on(control, config, task, sizes, run)
    probe = Probe(control, source, sizes.output, config, run)
    before = probe.measure("before")
    note_odd(run, control.pipe, conditions=probe.shown.conditions)
    prompts = PromptCache(control.pipe, length=512, num_bytes=config.text_cache_gb * 1e9)
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
        prompts=prompts,
        between=probe.between,
    )
    if prompts.cut:
        run.log("prompts cut off", num=len(prompts.cut), first=min(prompts.cut))
    for task in config.task:
        path = run.add("text", f"{task}.safetensors", f"The adapter for {task}")
        control.save(task, path)
    return Result(tuple(_numbers(control, config, before, probe.measure("after"))))


def _put_on(control: OminiControl, config: TrainConfig, task: Task, sizes: Sizes, run: Run) -> None:
    """A fresh adapter for a task, or the one to go on from, ready to be trained."""
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
    if config.start is None:
        control.attach(task, info, rank=rank, alpha=alpha, modules=modules, seed=run.seed)
        return
    for name in _OF_FILE:
        if getattr(config, name) != getattr(TrainConfig(), name):
            raise ConfigError(name, f"{name}: {config.start} has its own; leave it out.")
    control.load_as(config.start, info, task, report=to_log(run))
    for one in control.parameters(task):
        one.requires_grad_(True)


def open_source(config: TrainConfig, sizes: Sizes, run: Run) -> Source:
    """The pictures to learn from; raises `InputError` or `ConfigError` before any training."""
    if config.data is None:
        check_toy_size(sizes.output)
        return ToySource(config.task, seed=run.seed, condition_px=sizes.condition)
    folder = config.data.expanduser()
    if (folder / "records.jsonl").is_file() or any(folder.glob("*.parquet")):
        if config.task != ("subject",):
            raise ConfigError("task", "task: a folder of judged pairs teaches subject alone.")
        records = list(read_records(folder, reject=run.reject))
        return RecordSource(records, sizes.output, sizes.condition, sizes.token)
    pairs = read_pairs(folder, config.task, run.reject)
    return FileSource(pairs, config.task, sizes.output, sizes.condition, sizes.token)


class Probe:
    """How well fixed pictures obey: answers whether anything is being learnt."""

    def __init__(
        self, control: OminiControl, source: Source, size_px: int, config: TrainConfig, run: Run
    ) -> None:
        self._control, self._config, self._run = control, config, run
        self._size_px = size_px
        self._scenes: range | None = None
        numbers = range(min(_PROBES, source.total or _PROBES))
        if isinstance(source, ToySource):
            source = replace(source, split="held-out", is_training=False)
            numbers = self._scenes = range(_HELD_OUT, _HELD_OUT + _PROBES)
        if isinstance(source, FileSource):
            source = replace(source, is_training=False)
        self.shown = source.take(numbers, 0)
        """The pictures."""
        self._depth = self._depth_estimator() if "depth" in config.task else None
        steps, guidance = steps_and_guidance(control, _PROBE_STEPS, None)
        self._sampling = Sampling(height=size_px, width=size_px, steps=steps, guidance=guidance)

    def _depth_estimator(self) -> Estimator | None:
        if self._scenes is not None:
            return load_judges().estimate
        try:
            return depth_anything()
        except (MissingExtra, Unavailable) as error:
            self._run.log("depth is not measured", reason=str(error))
            return None

    def between(self, step: int) -> None:
        """Measure after every `probe_every` steps."""
        every = self._config.probe_every
        if every and (step + 1) % every == 0:
            means = {name: float(np.nanmean(one)) for name, one in self.measure("").items()}
            self._run.metric(step, **means)

    def measure(self, name: str) -> dict[str, np.ndarray]:
        """Every measure of every task [pictures]; with a `name` the pictures are kept."""
        found: dict[str, np.ndarray] = {}
        outputs = self.draw()
        for task in self._config.task:
            if task != "depth" or self._depth is not None:
                found |= obeyed(
                    task, outputs, self.shown, scenes=self._scenes, estimate=self._depth
                )
        if name:
            self._keep(outputs, name)
        return found

    def draw(self) -> Tensor:
        """Outputs under the conditions, from fixed noise."""
        shown = self.shown
        conditions = [
            Condition(picture=shown.conditions[task], adapter=task) for task in self._config.task
        ]
        with torch.random.fork_rng():
            return generate(
                self._control, shown.prompts, conditions, self._sampling, seeds=range(len(shown))
            )

    def _keep(self, outputs: Tensor, name: str) -> None:
        shown = self.shown
        size = (max(96, self._size_px), max(96, self._size_px))
        rows = [*(shown.conditions[task] for task in self._config.task), outputs, shown.targets]
        cells = [enlarged(one, size) for row in rows for one in row[:8]]
        path = self._run.add("grid", f"{name}.png", f"Conditions, outputs {name} training, targets")
        write_picture(path, grid(cells, min(8, len(shown))))


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
