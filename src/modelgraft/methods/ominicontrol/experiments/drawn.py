"""Pictures of the held-out scenes by an arm, and what they show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from modelgraft.core.files import dump_json, read_json, write_json
from modelgraft.diffusion.conditions import rectangles
from modelgraft.diffusion.latents import encode
from modelgraft.evaluation.intervals import Array, Interval, paired_bootstrap_over_seeds
from modelgraft.methods.ominicontrol.adapter.control import Condition
from modelgraft.methods.ominicontrol.baselines import (
    added_features,
    copied_features,
    copied_network,
)
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX, told
from modelgraft.methods.ominicontrol.evaluate import (
    around_toys,
    identity,
    obedience,
    text_accuracy,
)
from modelgraft.methods.ominicontrol.experiments.arms import (
    Arm,
    Bench,
    file_name,
    info_of_arm,
    trained,
)
from modelgraft.methods.ominicontrol.infer import Sampling, draw_pictures, generate
from modelgraft.methods.ominicontrol.opening import SMALL_GUIDANCE, SMALL_STEPS

_BATCH = 50
"""Pictures drawn at a time."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How an arm's pictures are drawn; the defaults are those of every comparison."""

    strengths: tuple[float, ...] = (1.0,)
    scope: Literal["main", "image"] = "main"
    executor: Literal["auto", "branch", "cached"] = "auto"
    steps: int = SMALL_STEPS
    guidance: float = SMALL_GUIDANCE
    prompts: tuple[Task, ...] | None = None
    """Tasks that prompts leave their part to; None is the arm's own."""


def sampling_of(bench: Bench, drawing: Drawing | None = None) -> Sampling:
    """How the pictures of a comparison are drawn."""
    drawing = drawing or Drawing()
    return Sampling(
        height=SIZE_PX,
        width=SIZE_PX,
        steps=2 if bench.quick else drawing.steps,
        guidance=drawing.guidance,
        executor=drawing.executor,
        scope=drawing.scope,
    )


def pictures(
    bench: Bench,
    arm: Arm | None,
    folders: Sequence[Path],
    drawing: Drawing | None = None,
) -> Tensor:
    """Pictures [n, 3, 32, 32] of the held-out scenes by an arm, or by the base model alone.

    `folders` holds the adapters of each task, which may have been trained apart.
    """
    drawing = drawing or Drawing()
    tasks = arm.tasks if arm else ()
    prompts = bench.prompts(tasks if drawing.prompts is None else drawing.prompts)
    conditions = bench.conditions(tasks, arm.condition_px if arm else SIZE_PX)
    control = bench.control
    for task, folder in zip(tasks, folders, strict=True):
        control.load_as(folder / f"{task}.safetensors", info_of_arm(arm, task), task)  # ty: ignore[invalid-argument-type]
    strengths = drawing.strengths * (len(tasks) if len(drawing.strengths) == 1 else 1)
    drawn = []
    sampling = sampling_of(bench, drawing)
    try:
        for start in range(0, len(prompts), _BATCH):
            bench.run.check()
            rows = slice(start, start + _BATCH)
            given = [
                Condition(picture=conditions[task][rows], adapter=task, strength=strength)
                for task, strength in zip(tasks, strengths, strict=True)
            ]
            seeds = range(*rows.indices(len(prompts)))
            drawn.append(generate(control, prompts[rows], given, sampling, seeds=seeds))
    finally:
        control.detach()
    return torch.cat(drawn)


def measure(bench: Bench, outputs: Tensor, tasks: Sequence[Task]) -> dict[str, Array]:
    """Every measure [n] of pictures of the held-out scenes for these tasks, and of their text."""
    found: dict[str, Array] = {}
    asked = bench.conditions(tasks)
    for task in tasks:
        found |= obedience(
            task,
            outputs,
            asked[task],
            bench.scenes.targets,
            estimate=bench.judges.estimate,
            known=rectangles(bench.numbers, SIZE_PX, SIZE_PX, seed=0),
            near=around_toys(bench.scenes),
        )
    if "subject" in tasks:
        found |= identity(bench.judges, outputs, bench.scenes)
    return found | text_accuracy(bench.judges, outputs, bench.scenes, told(tasks))


def kept_rows(
    bench: Bench, name: str, of: Any, work: Callable[[], Mapping[str, Array]]
) -> dict[str, Array]:
    """What `work` measures, kept in the run's folder as JSON with a row for every scene.

    It is measured again when `of`, all that it depends on, is no longer the same.
    """
    path = bench.run.folder / "measured" / f"{file_name(name)}.json"
    of = json.loads(dump_json({"of": of, **bench.subject}))
    found = read_json(path, "what an arm's pictures show") if path.exists() else {}
    if found.get("of") != of:
        path.parent.mkdir(exist_ok=True)
        rows = {key: [None if np.isnan(one) else float(one) for one in values]
                for key, values in work().items()}  # fmt: skip
        found = {"of": of, "rows": rows}
        write_json(path, found)
    return {
        key: np.array([np.nan if one is None else one for one in values])
        for key, values in found["rows"].items()
    }


def arm_rows(
    bench: Bench, arm: Arm, drawing: Drawing | None = None, *, name: str = ""
) -> dict[str, Array]:
    """Every measure of an arm [seeds, n]."""

    def draw(seed: int) -> Tensor:
        return pictures(bench, arm, [trained(bench, arm, seed)] * len(arm.tasks), drawing)

    how = asdict(drawing or Drawing())
    return seed_rows(bench, f"{arm.name} {name}".strip(), [arm], arm.tasks, draw, how)


def seed_rows(
    bench: Bench,
    name: str,
    arms: Sequence[Arm],
    tasks: Sequence[Task],
    draw: Callable[[int], Tensor],
    how: Any = None,
) -> dict[str, Array]:
    """Every measure [seeds, n] of what `draw` gives for each seed of training of the arms."""
    return stacked(bench, name, arms, lambda seed: measure(bench, draw(seed), tasks), [how, *tasks])


def stacked(
    bench: Bench,
    name: str,
    arms: Sequence[Arm],
    work: Callable[[int], Mapping[str, Array]],
    how: Any = None,
) -> dict[str, Array]:
    """What `work` measures for each seed of training of the arms [seeds, n]."""
    found = []
    for seed in bench.seeds:
        bench.run.progress(seed, len(bench.seeds), name)
        of = [how, *(bench.made_from(arm, seed) for arm in arms)]
        found.append(kept_rows(bench, f"{name}-{seed}", of, lambda seed=seed: work(seed)))
    return {key: np.stack([one[key] for one in found]) for key in found[0]}


def controlled_rows(bench: Bench, arm: Arm) -> dict[str, Array]:
    """Every measure [seeds, n] of an arm that brings its condition in by added features."""

    def draw(seed: int) -> Tensor:
        return _controlled_pictures(bench, arm, trained(bench, arm, seed))

    return seed_rows(bench, arm.name, [arm], arm.tasks, draw)


def _controlled_pictures(bench: Bench, arm: Arm, folder: Path) -> Tensor:
    control, (task,) = bench.control, arm.tasks
    prompts, conditions = bench.prompts(arm.tasks), bench.conditions(arm.tasks)[task]
    network = None
    if arm.kind == "controlnet":
        network = load_network(folder, task, control.transformer)
    else:
        control.load_as(folder / f"{task}.safetensors", info_of_arm(arm, task), task)
    drawn = []
    try:
        for start in range(0, len(prompts), _BATCH):
            rows = slice(start, start + _BATCH)
            tokens = encode(control.pipe, conditions[rows])
            with (
                added_features(control.transformer, tokens, task)
                if network is None
                else copied_features(control.transformer, network, tokens)
            ):
                seeds = range(*rows.indices(len(prompts)))
                drawn.append(draw_pictures(control, prompts[rows], sampling_of(bench), seeds=seeds))
    finally:
        control.detach()
    return torch.cat(drawn)


def base_rows(bench: Bench, tasks: tuple[Task, ...]) -> dict[str, Array]:
    """Every measure of the base model's pictures [1, n] of the same prompts alone."""
    drawing = Drawing(prompts=tasks)

    def work() -> Mapping[str, Array]:
        return measure(bench, pictures(bench, None, [], drawing), tasks)

    of = [asdict(drawing), len(bench.numbers)]
    found = kept_rows(bench, "base " + " ".join(tasks), of, work)
    return {key: one[None] for key, one in found.items()}


def ceiling_rows(bench: Bench, tasks: Sequence[Task]) -> dict[str, Array]:
    """Every measure of the true renders [1, n]: the most that the judges could give."""
    found = measure(bench, bench.scenes.targets, tasks)
    return {key: one[None] for key, one in found.items()}


def over_seeds(ours: Array, baseline: Array) -> Interval:
    """The mean of `ours - baseline` over seeds and scenes; scenes without a value are left out."""
    baseline = np.broadcast_to(baseline, ours.shape)
    whole = ~(np.isnan(ours).any(axis=0) | np.isnan(baseline).any(axis=0))
    return paired_bootstrap_over_seeds(ours[:, whole], baseline[:, whole], same_items=True)


def load_network(folder: Path, task: Task, transformer: Any) -> Any:
    """The trained ControlNet of an arm."""
    network = copied_network(transformer)
    network.load_state_dict(load_file(folder / f"{task}.safetensors"))
    return network.eval()
