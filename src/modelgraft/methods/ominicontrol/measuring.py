"""The action `evaluate`: pictures with and without the condition, measured one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import write_json
from modelgraft.core.provenance import versions
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.conditions import depth_anything, rectangles, tasks_for
from modelgraft.diffusion.pictures import grid, write_picture
from modelgraft.diffusion.vision import Encoder, load_encoder, vision_encoder
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.config import TASKS as KNOWN
from modelgraft.methods.ominicontrol.config import EvaluateConfig, Task
from modelgraft.methods.ominicontrol.data.files import FileSource
from modelgraft.methods.ominicontrol.data.shown import Shown
from modelgraft.methods.ominicontrol.data.toys import Scenes, ToySource, draw_scenes, told
from modelgraft.methods.ominicontrol.drawing import enlarged, steps_and_guidance
from modelgraft.methods.ominicontrol.evaluate import (
    alignment,
    around_toys,
    fidelity,
    identity,
    likeness,
    numbers_beside,
    obedience,
    text_accuracy,
)
from modelgraft.methods.ominicontrol.infer import Sampling, generate
from modelgraft.methods.ominicontrol.opening import load_adapters, note_odd, open_control
from modelgraft.methods.ominicontrol.sources import (
    AnySource,
    as_measured,
    at_size,
    names_of,
    open_source,
    sizes_under,
)
from modelgraft.tiny.oracles import load_judges

Measure = Callable[[Tensor], dict[str, Array]]
"""From outputs [b, 3, H, W] to every measure [b] of them."""
_BATCH = 16
_SHOWN = 8
_ARMS = ("with", "without")


# -- what is asked ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Posed:
    """Pictures to draw, and what outputs are measured by."""

    shown: Shown
    asked: Mapping[str, Tensor]
    """The conditions at the output's size [b, 3, H, W], whatever the size they are shown at."""
    known: Tensor
    """Where a condition to fill shows the original [b, 1, H, W], as 1."""
    scenes: Scenes | None
    """The truth, of toys."""


def pose(source: AnySource, numbers: Sequence[int], size_px: int) -> Posed:
    """The pictures of a source with these numbers, for outputs of a size."""
    shown = source.take(numbers, 0)
    is_whole = source.condition_px == size_px
    asked = (shown if is_whole else at_size(source, size_px).take(numbers, 0)).conditions
    known = rectangles(numbers, size_px, size_px, seed=0)
    if isinstance(source, FileSource):
        for place, number in enumerate(numbers):
            if "fill" in source.pairs[number].conditions:  # a file tells it by black alone
                known[place] = (asked["fill"][place] > 0).any(dim=0)
    scenes = None
    if isinstance(source, ToySource):
        scenes = draw_scenes(numbers, seed=source.seed, split=source.split, stage=source.stage)
    return Posed(shown=shown, asked=asked, known=known, scenes=scenes)


def measure_of(task: Task, posed: Posed) -> Measure:
    """What measures how well outputs obey; the networks that it needs are loaded at once.

    Raises what `depth_anything` and `vision_encoder` raise when those are not to be had.
    """
    scenes, asked = posed.scenes, posed.asked[task]
    if task == "subject":
        if scenes is None:
            return partial(likeness, vision_encoder(), references=asked)
        return partial(identity, load_judges(), scenes=scenes)
    estimate = None
    if task == "depth":
        estimate = depth_anything() if scenes is None else load_judges().estimate
    return partial(
        obedience,
        task,
        conditions=asked,
        targets=posed.shown.targets,
        makers=tasks_for(max(asked.shape[-2:])),
        estimate=estimate,
        known=posed.known,
        near=None if scenes is None else around_toys(scenes),
    )


def measures_of(task: Task, posed: Posed, encoder: Encoder | None = None) -> list[Measure]:
    """All that outputs are measured by: how well they obey, how they look, what they show.

    An original counts where the condition lies over the output; of a subject, the reference does.
    The `encoder` takes the place of the usual vision model. Raises what `measure_of` raises.
    """
    is_subject = task == "subject"
    given = posed.asked[task] if is_subject else posed.shown.targets
    measures: list[Measure] = []
    if encoder is None or not is_subject or posed.scenes is not None:
        measures.append(measure_of(task, posed))
    if not is_subject:
        measures.append(partial(fidelity, targets=given))
    if posed.scenes is not None:
        measures.append(
            partial(text_accuracy, load_judges(), scenes=posed.scenes, says=told((task,)))
        )
    if encoder is not None:
        of = "reference" if is_subject else "target"
        prompts = posed.shown.prompts
        measures.append(partial(alignment, encoder, others=given, prompts=prompts, of=of))
    return measures


# -- the action ------------------------------------------------------------------------------------


def measure(config: EvaluateConfig, run: Run) -> Result:
    """Every measure with its interval, beside that of the same noise without the condition."""
    control, loaded = open_control(config.model, run.settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    remarks: list[str] = []
    (name,) = load_adapters(control, [config.adapter], run, remarks)
    info = control.infos[name]
    task = next((one for one in KNOWN if one == info.task), None)
    if task is None:
        raise ConfigError("adapter", f"adapter {name}: nothing is measured for task {info.task}.")
    sizes = sizes_under(control.pipe, config.size, info)
    source, numbers = _held_out(config, open_source(config.data, (task,), sizes, run))
    posed = pose(source, numbers, sizes.output)
    encoder = None
    if config.encoder is not None:
        encoder = load_encoder(config.encoder)
        remarks.append(f"The encoder of the cosines is {config.encoder}.")
    measures = measures_of(task, posed, encoder)
    shown = posed.shown
    remarks += note_odd(run, control.pipe, prompts=shown.prompts, conditions=shown.conditions,
                        strengths=[config.strength])  # fmt: skip
    steps, guidance = steps_and_guidance(control, config.steps, config.guidance)
    sampling = Sampling(height=sizes.output, width=sizes.output, steps=steps, guidance=guidance,
                        executor=config.executor)  # fmt: skip
    drawn = {
        arm: _draw(control, shown, name if arm == "with" else None, config, sampling, run)
        for arm in _ARMS
    }
    found: dict[str, dict[str, Array]] = {arm: {} for arm in _ARMS}
    for arm, outputs in drawn.items():
        for one in measures:
            found[arm] |= one(outputs)
    means = tuple(numbers_beside(found["with"], found["without"]))
    _write_samples(run, names_of(source, numbers), shown, found, means)
    _write_grid(run, shown, drawn, task)
    if config.data is not None:
        remarks.append(
            "An adapter that was trained on these pictures scores higher than on others."
        )
    return Result(means, remarks=tuple(remarks))


def _held_out(config: EvaluateConfig, source: AnySource) -> tuple[AnySource, range]:
    """Scenes that no training shows, or the first pictures of a person's own."""
    if isinstance(source, ToySource):
        source = replace(source, split="held-out")
    most = config.samples if source.total is None else min(config.samples, source.total)
    return as_measured(source), range(most)


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
        seeds = [_noise_seed(run, place) for place in range(start, start + len(prompts))]
        drawn.append(generate(control, prompts, given, sampling, seeds=seeds))
    return torch.cat(drawn)


def _noise_seed(run: Run, place: int) -> int:
    return run.seed + place


def _write_samples(
    run: Run,
    names: Sequence[str],
    shown: Shown,
    found: Mapping[str, Mapping[str, Array]],
    numbers: Sequence[Number],
) -> None:
    """A row for every picture with all that was measured of it in both arms, and the means."""
    rows = [
        {
            "id": name,
            "prompt": prompt,
            "seed": _noise_seed(run, place),
            **{arm: _as_json(measures, place) for arm, measures in found.items()},
        }
        for place, (name, prompt) in enumerate(zip(names, shown.prompts, strict=True))
    ]
    content = {
        "format": 1,
        "seeds": [run.seed],
        "versions": versions(),
        "rows": rows,
        "aggregate": [one.as_dict() for one in numbers],
    }
    write_json(run.add("text", "samples.json", "Every measure of every picture"), content)


def _as_json(measures: Mapping[str, Array], place: int) -> dict[str, float | None]:
    return {
        name: None if np.isnan(values[place]) else float(values[place])
        for name, values in measures.items()
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
