"""The action `train`: an adapter for each task, with measurements on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from modelgraft.core.errors import ConfigError, MissingExtra, Unavailable
from modelgraft.core.lazy import need
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.pictures import grid, write_picture
from modelgraft.diffusion.prompts import too_long
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import trained_info
from modelgraft.methods.ominicontrol.adapter.lora import adapted_layers, target_modules
from modelgraft.methods.ominicontrol.config import Task, TrainConfig
from modelgraft.methods.ominicontrol.data.copies import count_copies
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.drawing import enlarged, steps_and_guidance
from modelgraft.methods.ominicontrol.evaluate import numbers_beside
from modelgraft.methods.ominicontrol.infer import Sampling, generate
from modelgraft.methods.ominicontrol.measuring import Measure, Posed, measure_of, pose
from modelgraft.methods.ominicontrol.opening import (
    Notes,
    Sizes,
    law_of,
    note_odd,
    num_black,
    open_control,
    sizes_of,
    to_log,
)
from modelgraft.methods.ominicontrol.sources import (
    AnySource,
    Split,
    counts_of,
    open_source,
    prompts_in,
    sizes_under,
    split,
)
from modelgraft.methods.ominicontrol.stored import open_cache
from modelgraft.methods.ominicontrol.train import (
    Batches,
    Fresh,
    Learning,
    PromptCache,
    Tokeniser,
)
from modelgraft.methods.ominicontrol.train import train as train_adapters
from modelgraft.training.processes import accelerator_of

_PROBES = 16
_PROBE_STEPS = 8
_SHOWN = 8
_LEAST_PX, _SAMPLE_PX = 96, 256
"""Sides of cells in a sheet: at least, and at most where there will be many sheets."""
_UNTOLD = ("identity at 1",)
"""What so few pictures cannot tell: it needs many subjects of one shape."""


def learn(config: TrainConfig, run: Run) -> Result:
    """Train, save one file for each task, and say how held-out pictures obey before and after."""
    require_packages(config)
    accelerator = accelerator_of(config.optim, run.settings)
    settings = replace(run.settings, device=str(accelerator.device))
    control, loaded = open_control(config.model, settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    remarks: list[str] = []
    sizes, parts = prepared(control, config, run, remarks)
    gigabytes = 0 if config.cache else config.text_cache_gb
    prompts = PromptCache(control.pipe, length=512, num_bytes=gigabytes * 1e9)
    posed = pose(parts.probes, parts.numbers, sizes.output)
    probe = Probe(control, posed, sizes, config, run, prompts.awake)
    remarks += [parts.remark, *probe.remarks]
    remarks += note_odd(run, control.pipe, black=num_black(posed.shown.conditions))
    remarks += _note_copies(parts.training, run)
    before = probe.measure("before")
    tokenise = Tokeniser(control, prompts)
    made_by = f"{loaded.name} {loaded.revision} {control.transformer.dtype}"
    batches = _batches(
        parts.training, tokenise, prompts, run, accelerator if config.cache else None, made_by
    )
    if config.checkpointing:
        control.transformer.enable_gradient_checkpointing()
    learning = Learning(
        steps=config.steps,
        law=law_of(control.pipe, config.timesteps),
        optim=config.optim,
        drop_text=config.drop_text,
        drop_condition=config.drop_condition,
    )
    train_adapters(control, parts.training, learning, run, batches=batches, between=probe.between)
    if prompts.cut:
        run.log("prompts cut off", num=len(prompts.cut), first=min(prompts.cut))
        remarks.append(f"{len(prompts.cut)} prompts are longer than the text encoder takes.")
    for task in config.task:
        path = run.add("text", f"{task}.safetensors", f"The adapter for {task}")
        control.save(task, path)
    numbers = _numbers(control, config, before, probe.measure("after"))
    numbers += counts_of(parts.training)
    return Result(tuple(numbers), remarks=tuple(one for one in remarks if one))


# -- what training begins with ---------------------------------------------------------------------


def require_packages(config: TrainConfig) -> None:
    """`MissingExtra` for a package that the optimiser needs, rather than after all other work."""
    if config.optim.optimiser == "prodigy":
        need("prodigyopt", extra="optim")


def prepared(
    control: OminiControl, config: TrainConfig, notes: Notes, remarks: list[str]
) -> tuple[Sizes, Split]:
    """Sizes and pictures of a training, with its adapters on the transformer.

    What options and files can be wrong in is told here, by weights or without any: of `control` a
    dry run has the sizes alone.
    """
    sizes = _put_on(control, config, notes, remarks)
    source = open_source(config.data, config.task, sizes, notes)
    return sizes, split(source, _PROBES, seed=notes.seed)


def _put_on(control: OminiControl, config: TrainConfig, notes: Notes, remarks: list[str]) -> Sizes:
    """An adapter for each task, ready to be trained; the sizes of its pictures."""
    if config.start is None:
        sizes = sizes_of(control.pipe, config.size, config.condition_size)
        for task in config.task:
            _attach(control, config, task, sizes, notes.seed)
    else:
        sizes = _go_on(control, config, config.start.expanduser(), notes, remarks)
    for task in config.task:
        _check_blocks(control, task)
    return sizes


def _attach(
    control: OminiControl, config: TrainConfig, task: Task, sizes: Sizes, seed: int
) -> None:
    info = trained_info(
        task,
        size_px=sizes.output,
        condition_px=sizes.condition,
        token_px=sizes.token,
        mode=config.mode or "independent",
        base=config.model,
        delta=config.delta,
        blocks=config.blocks,
    )
    told: dict[str, Any] = {"rank": config.rank, "alpha": config.alpha, "modules": config.modules}
    given = {name: value for name, value in told.items() if value is not None}
    control.attach(task, info, seed=seed, **given)


def _go_on(
    control: OminiControl, config: TrainConfig, start: Path, notes: Notes, remarks: list[str]
) -> Sizes:
    """The adapter in a file, trained further as it was trained; `ConfigError` for other options."""
    (task,) = config.task
    control.load(start, task, report=to_log(notes, remarks))
    info = control.infos[task]
    if info.task != task:
        raise ConfigError("task", f"task {task}: {start} was trained for {info.task}.")
    sizes = sizes_under(control.pipe, config.size, info)
    lora = control.transformer.peft_config[task]
    own = {
        "rank": lora.r,
        "alpha": lora.lora_alpha,
        "mode": info.mode,
        "delta": info.delta,
        "blocks": info.blocks,
        "condition_size": sizes.condition,
    }
    for name, value in own.items():
        given = getattr(config, name)
        if given is not None and given != value:
            raise ConfigError(name, f"{name} {given}: {start} was trained with {value}.\n"
                              "  Leave it out, or say the same.")  # fmt: skip
    if config.modules is not None:
        wanted = target_modules(control.transformer, config.modules)
        if set(wanted) != adapted_layers(control.transformer, task):
            raise ConfigError("modules", f"modules {config.modules}: {start} is on other layers.\n"
                              "  Leave it out.")  # fmt: skip
    blocks = "all blocks" if info.blocks is None else f"blocks {info.blocks[0]} {info.blocks[1]}"
    to_log(notes, remarks)(
        f"{start.name} is trained further as it was: {info.mode}, delta {info.delta}, scale "
        f"{info.scale:g}, seen in {blocks}"
    )
    control.infos[task] = replace(
        info, condition_px=sizes.condition, size_px=sizes.output, base=config.model
    )
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


# -- data ------------------------------------------------------------------------------------------


def _note_copies(source: AnySource, run: Run) -> list[str]:
    """Log if references of a person's own pairs are their targets; the remark for the result."""
    if isinstance(source, ToySource) or "subject" not in source.tasks:
        return []
    found = count_copies(source, seed=run.seed)
    if found.remark:
        run.log("references that are their targets", **vars(found), remark=found.remark)
    return [found.remark]


def _batches(
    source: AnySource,
    tokenise: Tokeniser,
    prompts: PromptCache,
    run: Run,
    sharing: Accelerator | None,
    made_by: str,
) -> Batches:
    """What is learnt from, as tokens; on the disk if there is an accelerator to share that work.

    Text encoders leave the GPU when all embedded prompts are on the disk, or fit into memory.
    """
    texts = prompts_in(source)
    if isinstance(source, ToySource) or texts is None:
        return Fresh(source, tokenise)
    batches: Batches = Fresh(source, tokenise)
    if sharing is not None:
        batches = open_cache(source, texts, tokenise, run, sharing, made_by=made_by)
        prompts.cut |= set(too_long(tokenise.control.pipe, texts))
    is_kept = sharing is not None or prompts.keep_all(["", *texts])
    if is_kept and tokenise.device.type != "cpu":
        prompts.rest()
        run.log("text encoders rest on the CPU", prompts=len(set(texts)))
    return batches


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
            return measure_of(task, self._control.transformer.device, self._posed.is_toy)
        except (MissingExtra, Unavailable) as error:
            self._run.log(f"{task} is not measured", reason=str(error))
            self.remarks.append(f"{task} is not measured. {str(error).splitlines()[0]}")
            return None

    def between(self, step: int) -> None:
        """After every `probe_every` steps measure, and keep what was drawn beside the result."""
        every = self._config.probe_every
        if every and (step + 1) % every == 0:
            outputs = self.draw()
            # Not among the run's artefacts, of which its page holds every one.
            path = self._run.artefacts / f"samples-{step + 1:06d}.png"
            write_picture(path, self._sheet(outputs, _SAMPLE_PX))
            means = {
                name: float(np.nanmean(one))
                for name, one in self._measured(outputs).items()
                if not np.isnan(one).all()
            }
            self._run.metric(step, **means)

    def measure(self, name: str) -> dict[str, Array]:
        """Every measure of every task [pictures] before or after training; pictures are kept."""
        outputs = self.draw()
        path = self._run.add("grid", f"{name}.png", f"Conditions, outputs {name} training, targets")
        write_picture(path, self._sheet(outputs, outputs.shape[-1]))
        return self._measured(outputs)

    def _measured(self, outputs: Tensor) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for one in self._measures:
            found |= one(outputs, self._posed)
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

    def _sheet(self, outputs: Tensor, most_px: int) -> Tensor:
        """Rows of conditions, outputs and targets, in cells of at most so many pixels."""
        shown = self._posed.shown
        side = max(_LEAST_PX, min(outputs.shape[-1], most_px))
        conditions = {task: shown.conditions[task] for task in self._config.task}
        rows = {**conditions, "output": outputs, "target": shown.targets}
        cells = [enlarged(one, (side, side)) for row in rows.values() for one in row[:_SHOWN]]
        return grid(cells, min(_SHOWN, len(shown)), row_labels=list(rows))


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
