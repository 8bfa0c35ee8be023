"""The action `evaluate`: pictures with and without the condition, measured one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from modelgraft.diffusion.vision import Encode, Encoder, load_encoder, vision_encoder
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
from modelgraft.methods.ominicontrol.opening import (
    load_adapters,
    note_odd,
    num_black,
    open_control,
    told_of_caching,
)
from modelgraft.methods.ominicontrol.sources import (
    AnySource,
    as_measured,
    at_size,
    counts_of,
    names_of,
    open_source,
    sizes_under,
)
from modelgraft.tiny.oracles import load_judges

_BATCH = 16
"""Pictures in memory at a time, beside the `_SHOWN` of the grid."""
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

    @property
    def is_toy(self) -> bool:
        """Whether the truth is known."""
        return self.scenes is not None


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


# -- measures --------------------------------------------------------------------------------------

Measure = Callable[[Tensor, Posed], dict[str, Array]]
"""From outputs [b, 3, H, W] and what was asked of them to every measure [b]."""


def measure_of(task: Task, device: torch.device, is_toy: bool) -> Measure:
    """What measures how well outputs obey; the networks that it needs are loaded at once.

    A vision model works on the `device`. Raises what `depth_anything` and `vision_encoder` raise
    when those are not to be had.
    """
    judges = load_judges() if is_toy and task in ("depth", "subject") else None
    if task == "subject":
        if judges is None:
            encode = _on(device, vision_encoder())
            return lambda outputs, posed: likeness(encode, outputs, posed.asked[task])
        return lambda outputs, posed: identity(judges, outputs, _truth(posed))
    estimate = None
    if task == "depth":
        estimate = depth_anything() if judges is None else judges.estimate

    def measure(outputs: Tensor, posed: Posed) -> dict[str, Array]:
        asked = posed.asked[task]
        return obedience(
            task,
            outputs,
            asked,
            posed.shown.targets,
            makers=tasks_for(max(asked.shape[-2:])),
            estimate=estimate,
            known=posed.known,
            near=around_toys(posed.scenes) if posed.scenes is not None else None,
        )

    return measure


def measures_of(
    task: Task, device: torch.device, is_toy: bool, encoder: Encoder | None = None
) -> list[Measure]:
    """All that outputs are measured by: how well they obey, how they look, what they show.

    An original counts where the condition lies over the output; of a subject, the reference does.
    The `encoder` takes the place of the usual vision model. Raises what `measure_of` raises.
    """
    is_subject = task == "subject"

    def original(posed: Posed) -> Tensor:
        return posed.asked[task] if is_subject else posed.shown.targets

    measures: list[Measure] = []
    if encoder is None or not is_subject or is_toy:
        measures.append(measure_of(task, device, is_toy))
    if not is_subject:
        measures.append(lambda outputs, posed: fidelity(outputs, original(posed)))
    if is_toy:
        judges = load_judges()
        measures.append(
            lambda outputs, posed: text_accuracy(judges, outputs, _truth(posed), told((task,)))
        )
    if encoder is not None:
        seeing = replace(encoder, pictures=_on(device, encoder.pictures))
        of = "reference" if is_subject else "target"
        measures.append(
            lambda outputs, posed: alignment(
                seeing, outputs, original(posed), posed.shown.prompts, of=of
            )
        )
    return measures


def _truth(posed: Posed) -> Scenes:
    assert posed.scenes is not None  # measures of toys are given toys
    return posed.scenes


def _on(device: torch.device, encode: Encode) -> Encode:
    """The same encoder with its pictures on a device, where its network follows them."""
    return lambda pictures: encode(pictures.to(device))


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
    encoder = None
    if config.encoder is not None:
        encoder = load_encoder(config.encoder)
        remarks.append(f"The encoder of the cosines is {config.encoder}.")
    device = control.transformer.device
    measures = measures_of(task, device, isinstance(source, ToySource), encoder)
    prompts, black = _look_through(source, numbers, run)
    remarks += note_odd(run, control.pipe, prompts=prompts, black=black,
                        strengths=[config.strength])  # fmt: skip
    steps, guidance = steps_and_guidance(control, config.steps, config.guidance)
    sampling = Sampling(height=sizes.output, width=sizes.output, steps=steps, guidance=guidance,
                        executor=config.executor)  # fmt: skip
    found = _Found()
    with told_of_caching(control, config.executor, [name], run, remarks):
        for rows in _batches(numbers):
            run.progress(rows[0], len(numbers), "pictures with the condition and without")
            posed = pose(source, rows, sizes.output)
            seeds = [_noise_seed(run, place) for place in rows]
            drawn = _draw(control, posed.shown, name, config.strength, sampling, seeds, run)
            found.add(task, posed, drawn, measures)
    values = found.values()
    means = tuple(numbers_beside(values["with"], values["without"]))
    _write_samples(run, names_of(source, numbers), prompts, values, means)
    _write_grid(run, found.shown)
    if config.data is not None:
        remarks.append(
            "An adapter that was trained on these pictures scores higher than on others."
        )
    return Result((*means, *counts_of(source)), remarks=tuple(remarks))


def _held_out(config: EvaluateConfig, source: AnySource) -> tuple[AnySource, range]:
    """Scenes that no training shows, or the first pictures of a person's own."""
    if isinstance(source, ToySource):
        source = replace(source, split="held-out")
    most = config.samples if source.total is None else min(config.samples, source.total)
    return as_measured(source), range(most)


def _batches(numbers: range) -> list[range]:
    return [numbers[start : start + _BATCH] for start in range(0, len(numbers), _BATCH)]


def _look_through(source: AnySource, numbers: range, run: Run) -> tuple[list[str], dict[str, int]]:
    """All prompts, and how many conditions are all black; a damaged file is met before drawing."""
    prompts: list[str] = []
    black: dict[str, int] = {}
    for rows in _batches(numbers):
        run.check()
        shown = source.take(rows, 0)
        prompts += shown.prompts
        for name, num in num_black(shown.conditions).items():
            black[name] = black.get(name, 0) + num
    return prompts, black


def _draw(
    control: OminiControl,
    shown: Shown,
    adapter: str,
    strength: float,
    sampling: Sampling,
    seeds: Sequence[int],
    run: Run,
) -> dict[str, Tensor]:
    """Pictures of all prompts in both arms, each with and without from the same noise."""
    (pictures,) = shown.conditions.values()
    given = Condition(picture=pictures, adapter=adapter, strength=strength)
    drawn = {}
    for arm in _ARMS:
        run.check()
        conditions = [given] if arm == "with" else []
        drawn[arm] = generate(control, shown.prompts, conditions, sampling, seeds=seeds)
    return drawn


@dataclass
class _Found:
    """What is kept of the pictures: every measure of each, and the first ones themselves."""

    parts: dict[str, list[dict[str, Array]]] = field(
        default_factory=lambda: {arm: [] for arm in _ARMS}
    )
    shown: dict[str, list[Tensor]] = field(default_factory=dict)
    """By the label of their row in the grid."""

    def add(
        self, task: Task, posed: Posed, drawn: Mapping[str, Tensor], measures: Sequence[Measure]
    ) -> None:
        """Measure what was drawn in both arms."""
        for arm, outputs in drawn.items():
            own: dict[str, Array] = {}
            for one in measures:
                own |= one(outputs, posed)
            self.parts[arm].append(own)
        rows = {task: posed.shown.conditions[task], **drawn, "original": posed.shown.targets}
        for label, pictures in rows.items():
            kept = self.shown.setdefault(label, [])
            kept += [one.clone() for one in pictures[: _SHOWN - len(kept)]]

    def values(self) -> dict[str, dict[str, Array]]:
        """Every measure [pictures] of both arms."""
        return {
            arm: {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
            for arm, parts in self.parts.items()
        }


def _noise_seed(run: Run, place: int) -> int:
    return run.seed + place


def _write_samples(
    run: Run,
    names: Sequence[str],
    prompts: Sequence[str],
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
        for place, (name, prompt) in enumerate(zip(names, prompts, strict=True))
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


def _write_grid(run: Run, shown: Mapping[str, Sequence[Tensor]]) -> None:
    side = max(96, shown["original"][0].shape[-1])
    cells = [enlarged(one, (side, side)) for row in shown.values() for one in row]
    path = run.add("grid", "pictures.png", "Conditions, pictures with and without them, originals")
    columns = len(shown["original"])
    write_picture(path, grid(cells, columns, row_labels=list(shown)))
