"""The action `evaluate`: pictures with and without the condition, measured scene by scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import write_json
from modelgraft.core.results import Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.conditions import Estimator, rectangles, tasks_for
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
from modelgraft.methods.ominicontrol.opening import (
    Sizes,
    check_toy_size,
    load_adapters,
    note_odd,
    open_control,
    sizes_of,
)
from modelgraft.tiny.oracles import load_judges

_BATCH = 16
_SHOWN = 8


def measure(config: EvaluateConfig, run: Run) -> Result:
    """Every measure with its interval, beside that of the same noise without the condition."""
    control, loaded = open_control(config.model, run.settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    (name,) = load_adapters(control, [config.adapter], run)
    info = control.infos[name]
    task = next((one for one in KNOWN if one == info.task), None)
    if task is None:
        raise ConfigError("adapter", f"adapter {name}: nothing is measured for task {info.task}.")
    if task == "subject" and config.data is not None:
        raise ConfigError("data", "data: a subject is known again in the toy world alone.")
    sizes = sizes_of(control.pipe, config.size, info.condition_px)
    shown, scenes = _pictures(config, sizes, task, run)
    note_odd(run, control.pipe, prompts=shown.prompts, conditions=shown.conditions,
             strengths=[config.strength])  # fmt: skip
    steps, guidance = steps_and_guidance(control, config.steps, config.guidance)
    sampling = Sampling(height=sizes.output, width=sizes.output, steps=steps, guidance=guidance,
                        executor=config.executor)  # fmt: skip
    drawn = {
        arm: _draw(control, shown, name if arm == "with" else None, config, sampling, run)
        for arm in ("with", "without")
    }
    rows = {arm: _measured(one, shown, task, scenes) for arm, one in drawn.items()}
    write_json(run.add("table", "samples.json", "Every measure of every picture"), _as_json(rows))
    _write_grid(run, shown, drawn, info.task)
    return Result(tuple(numbers_beside(rows["with"], rows["without"])))


def _pictures(
    config: EvaluateConfig, sizes: Sizes, task: Task, run: Run
) -> tuple[Shown, Scenes | None]:
    tasks = (task,)
    numbers = range(config.samples)
    if config.data is None:
        check_toy_size(sizes.output)
        source = ToySource(tasks, seed=run.seed, condition_px=sizes.condition, split="held-out",
                           is_training=False)  # fmt: skip
        return source.take(numbers, 0), draw_scenes(numbers, seed=run.seed, split="held-out")
    pairs = read_pairs(config.data, tasks, run.reject)[: config.samples]
    files = FileSource(pairs, tasks, sizes.output, sizes.condition, sizes.token,
                       is_training=False)  # fmt: skip
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


def _measured(outputs: Tensor, shown: Shown, task: Task, scenes: Scenes | None) -> dict[str, Array]:
    if scenes is None:
        return obeyed(task, outputs, shown)
    judges = load_judges()
    found = obeyed(task, outputs, shown, scenes=range(len(shown)), estimate=judges.estimate)
    if task == "subject":
        found |= identity(judges, outputs, scenes)
    return found | text_accuracy(judges, outputs, scenes)


def obeyed(
    task: Task,
    outputs: Tensor,
    shown: Shown,
    *,
    scenes: Sequence[int] | None = None,
    estimate: Estimator | None = None,
) -> dict[str, Array]:
    """How well outputs keep their conditions, which are those of these toy scenes or of files."""
    size = (outputs.shape[-2], outputs.shape[-1])
    asked = torch.stack([enlarged(one, size) for one in shown.conditions[task]])
    if scenes is None:  # the region to fill may be a person's own
        known = (asked > 0).any(dim=1, keepdim=True).float()
    else:
        known = rectangles(scenes, *size, seed=0)
    return obedience(
        task,
        outputs,
        asked,
        shown.targets,
        estimate=estimate,
        known=known,
        makers=tasks_for(max(size)),
    )


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
