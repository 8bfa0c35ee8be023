"""The action `evaluate`: pictures with and without the condition, measured scene by scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import write_json
from modelgraft.core.results import Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.conditions import Estimator, rectangles, tasks_for
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.pictures import grid, write_picture
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.config import TASKS as KNOWN
from modelgraft.methods.ominicontrol.config import EvaluateConfig, Task
from modelgraft.methods.ominicontrol.data.files import FileSource, read_pairs
from modelgraft.methods.ominicontrol.data.shown import Shown
from modelgraft.methods.ominicontrol.data.toys import Scenes, ToySource, draw_scenes
from modelgraft.methods.ominicontrol.drawing import enlarged, steps_and_guidance
from modelgraft.methods.ominicontrol.evaluate import (
    identity,
    numbers_beside,
    obedience,
    text_accuracy,
)
from modelgraft.methods.ominicontrol.infer import Sampling, generate
from modelgraft.methods.ominicontrol.opening import load_adapters, open_control
from modelgraft.tiny.oracles import load_judges

_BATCH = 16
_SHOWN = 8


def measure(config: EvaluateConfig, run: Run) -> Result:
    """Every measure with its interval, beside that of the same noise without the condition."""
    control, loaded = open_control(config.model, run.settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    (name,) = load_adapters(control, [config.adapter])
    info = control.infos[name]
    task = next((one for one in KNOWN if one == info.task), None)
    if task is None:
        raise ConfigError("adapter", f"adapter {name}: nothing is measured for task {info.task}.")
    shown, scenes = _pictures(config, control, task, info.condition_px or config.size, run)
    steps, guidance = steps_and_guidance(control, config.steps, config.guidance)
    sampling = Sampling(height=config.size, width=config.size, steps=steps, guidance=guidance,
                        executor=config.executor)  # fmt: skip
    drawn = {
        arm: _draw(control, shown, name if arm == "with" else None, config, sampling, run)
        for arm in ("with", "without")
    }
    rows = {arm: _measured(one, shown, task, scenes, config) for arm, one in drawn.items()}
    write_json(run.add("table", "samples.json", "Every measure of every picture"), _as_json(rows))
    _write_grid(run, shown, drawn, info.task)
    return Result(tuple(numbers_beside(rows["with"], rows["without"])))


def _pictures(
    config: EvaluateConfig, control: OminiControl, task: Task, condition_px: int, run: Run
) -> tuple[Shown, Scenes | None]:
    tasks = (task,)
    numbers = range(config.samples)
    if config.data is None:
        source = ToySource(tasks, seed=run.seed, condition_px=condition_px, split="held-out",
                           is_training=False)  # fmt: skip
        return source.take(numbers, 0), draw_scenes(numbers, seed=run.seed, split="held-out")
    pairs = read_pairs(config.data, tasks, run.reject)[: config.samples]
    multiple = token_px(control.pipe)
    files = FileSource(pairs, tasks, config.size, condition_px, multiple, is_training=False)
    return files.take(range(len(pairs)), 0), None


def _draw(
    control: OminiControl,
    shown: Shown,
    adapter: str | None,
    config: EvaluateConfig,
    sampling: Sampling,
    run: Run,
) -> Tensor:
    """Pictures of all prompts, under the condition if there is an adapter."""
    drawn = []
    (conditions,) = shown.conditions.values()
    for start in range(0, len(shown), _BATCH):
        run.check()
        run.progress(start, len(shown), "with the condition" if adapter else "without")
        rows = slice(start, start + _BATCH)
        given = []
        if adapter is not None:
            given = [Condition(picture=conditions[rows], adapter=adapter,
                               strength=config.strength)]  # fmt: skip
        prompts = shown.prompts[rows]
        seeds = [run.seed + place for place in range(start, start + len(prompts))]
        drawn.append(generate(control, prompts, given, sampling, seeds=seeds))
    return torch.cat(drawn)


def _measured(
    outputs: Tensor, shown: Shown, task: Task, scenes: Scenes | None, config: EvaluateConfig
) -> dict[str, Array]:
    size = (outputs.shape[-2], outputs.shape[-1])
    (conditions,) = shown.conditions.values()
    asked = torch.stack([enlarged(one, size) for one in conditions])
    judges = load_judges() if scenes is not None else None
    estimate: Estimator | None = judges.estimate if judges else None
    known = rectangles(range(len(shown)), *size, seed=0)
    found = obedience(
        task,
        outputs,
        asked,
        shown.targets,
        estimate=estimate,
        known=known,
        makers=tasks_for(config.size),
    )
    if judges is None or scenes is None:
        return found
    if task == "subject":
        found |= identity(judges, outputs, scenes)
    return found | text_accuracy(judges, outputs, scenes)


def _as_json(rows: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, list[float | None]]]:
    return {
        arm: {
            name: [None if np.isnan(one) else float(one) for one in values]
            for name, values in measures.items()
        }
        for arm, measures in rows.items()
    }


def _write_grid(run: Run, shown: Shown, drawn: Mapping[str, Tensor], task: str) -> None:
    side = max(96, shown.targets.shape[-1])
    rows = {
        task: shown.conditions[task],
        "with": drawn["with"],
        "without": drawn["without"],
        "original": shown.targets,
    }
    cells = [enlarged(one, (side, side)) for row in rows.values() for one in row[:_SHOWN]]
    path = run.add("grid", "pictures.png", "Conditions, pictures with and without them, originals")
    columns = min(_SHOWN, len(shown))
    write_picture(path, grid(cells, columns, row_labels=list(rows)))
