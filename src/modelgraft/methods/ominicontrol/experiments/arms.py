"""Arms of the experiments: adapters trained on the embedded model, and what their pictures show.

Every arm is a run of its own below the experiment's; a finished one is read, never trained again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modelgraft.core.attempts import RunRecord
from modelgraft.core.files import read_json, remove_folder, write_json
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.conditions import rectangles
from modelgraft.diffusion.flow import TimestepLaw
from modelgraft.diffusion.latents import encode
from modelgraft.evaluation.intervals import Array, Interval, paired_bootstrap_over_seeds
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Findings
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.baselines import (
    added_features,
    copied_features,
    copied_network,
)
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.toys import (
    Reference,
    Scenes,
    ToySource,
    conditions_of,
    draw_scenes,
    prompts_of,
)
from modelgraft.methods.ominicontrol.evaluate import (
    identity,
    obedience,
    text_accuracy,
)
from modelgraft.methods.ominicontrol.infer import Sampling, draw_pictures, generate
from modelgraft.methods.ominicontrol.method.attention import Mode
from modelgraft.methods.ominicontrol.method.objective import Velocity
from modelgraft.methods.ominicontrol.opening import (
    SMALL_GUIDANCE,
    SMALL_STEPS,
    law_of,
    open_control,
)
from modelgraft.methods.ominicontrol.train import Learning, branch_model, places_of, train
from modelgraft.tiny.oracles import Judges, load_judges
from modelgraft.training.config import OptimConfig

Kind = Literal["tokens", "addition", "controlnet"]
SEEDS = (0, 1, 2)
NUM_SCENES = 200
STEPS = 1000
OPTIM = OptimConfig(lr=2e-3, schedule="cosine", warmup=0.05, batch=32, micro_batch=32, clip=0.5,
                    save_every=100)  # fmt: skip
_BATCH = 50
"""Pictures drawn at a time."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training; its name is also its folder's."""

    name: str
    tasks: tuple[Task, ...]
    kind: Kind = "tokens"
    modules: str = "full"
    rank: int = 4
    mode: Mode = "independent"
    delta: tuple[float, ...] | None = None
    """Places of the condition; None is the task's own rule."""
    condition_px: int = 32
    blocks: tuple[int, ...] | None = None
    reference: Reference = "other"
    steps: int = STEPS


EDGES = Arm(name="edges full r4", tasks=("edges",))
"""What several experiments compare with."""


@dataclass
class Bench:
    """The embedded model, its judges and the held-out scenes that every arm is measured on."""

    run: Run
    control: OminiControl
    judges: Judges
    scenes: Scenes
    numbers: np.ndarray
    quick: bool
    subject: Mapping[str, str]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of training."""
        return SEEDS[:1] if self.quick else SEEDS

    def findings(self, numbers: Sequence[Number], *, holds: bool) -> Findings:
        """What an experiment gives back."""
        verdict = HOLDS if holds else DOES_NOT_HOLD
        return Findings(tuple(numbers), verdict, seeds=self.seeds, subject=self.subject)

    def prompts(self, tasks: Sequence[Task]) -> list[str]:
        """Captions of the scenes; they do not describe a subject that is a condition."""
        return prompts_of(self.scenes, self.numbers, tells="subject" not in tasks)

    def conditions(self, tasks: Sequence[Task], px: int = 32) -> dict[str, Tensor]:
        """Conditions of the scenes [n, 3, px, px] by task."""
        return conditions_of(self.scenes, tasks, self.numbers, use=0, size_px=px)


def open_bench(run: Run, quick: bool) -> Bench:
    """Load the embedded model and draw the held-out scenes."""
    settings = replace(run.settings, dtype="float32")
    control, loaded = open_control("tiny:flux", settings)
    numbers = np.arange(4 if quick else NUM_SCENES)
    scenes = draw_scenes(numbers, seed=rng_seed("bench", 0), split="held-out")
    subject = {"model": loaded.name, "weights": loaded.revision, "dtype": "float32"}
    return Bench(run, control, load_judges(), scenes, numbers, quick, subject)


# -- training --------------------------------------------------------------------------------------


def trained(bench: Bench, arm: Arm, seed: int) -> Path:
    """The folder of an arm trained with one seed: a file for each task, and its loss by step."""
    folder = bench.run.folder / "arms" / f"{arm.name}-{seed}".replace(" ", "-").replace(",", "")
    config = {**asdict(arm), "seed": seed, "quick": bench.quick}
    record = RunRecord(method="ominicontrol", action="arm", config=config)
    settings = replace(bench.run.settings, seed=seed, dtype="float32")

    def work(own: Run) -> Result:
        (own.artefacts / "adapters").mkdir(parents=True, exist_ok=True)
        (_train_controlnet if arm.kind == "controlnet" else _train_adapters)(bench, arm, own)
        remove_folder(own.folder / "checkpoints")
        return Result()

    nested_run(bench.run, folder, settings, record, work)
    return folder / "artefacts" / "adapters"


def _learning(bench: Bench, arm: Arm) -> Learning:
    law: TimestepLaw = law_of(bench.control.pipe, None)
    return Learning(steps=3 if bench.quick else arm.steps, law=law)


def _optim(bench: Bench) -> OptimConfig:
    return replace(OPTIM, batch=4, micro_batch=4) if bench.quick else OPTIM


def _source(arm: Arm, own: Run) -> ToySource:
    return ToySource(
        arm.tasks, seed=own.seed, condition_px=arm.condition_px, reference=arm.reference
    )


def info_of_arm(arm: Arm, task: Task) -> AdapterInfo:
    """What the adapter's file says: the task's own places unless the arm has others."""
    scale = 32 / arm.condition_px
    rule = (0.0, -arm.condition_px / 4) if task == "subject" else (0.0, 0.0)
    is_aligned = task != "subject"
    return AdapterInfo(
        task=task,
        mode=arm.mode,
        delta=rule if arm.delta is None else arm.delta,
        scale=scale if is_aligned else 1.0,
        condition_px=arm.condition_px,
        base="tiny:flux",
    )


def _train_adapters(bench: Bench, arm: Arm, own: Run) -> None:
    control, source = bench.control, _source(arm, own)
    for task in arm.tasks:
        info = info_of_arm(arm, task)
        control.attach(task, info, rank=arm.rank, modules=arm.modules, seed=own.seed)
    try:
        if arm.kind == "addition":
            model = addition_model(control, arm.tasks[0])
        else:
            blocks = range(*arm.blocks) if arm.blocks else None
            model = branch_model(control, places_of(control, source.take([0], 0)), blocks)
        train(control, source, _optim(bench), _learning(bench, arm), own, model=model)
        for task in arm.tasks:
            control.save(task, own.artefacts / "adapters" / f"{task}.safetensors")
    finally:
        control.detach()


def addition_model(control: OminiControl, task: Task) -> Velocity:
    """The condition's features added before the first block; the adapter acts on all tokens."""

    def velocity(inputs: Any, conditions: Mapping[str, Tensor]) -> Tensor:
        with added_features(control.transformer, conditions[task], task):
            return control.transformer(**vars(inputs), return_dict=False)[0]

    return velocity


def _train_controlnet(bench: Bench, arm: Arm, own: Run) -> None:
    (task,) = arm.tasks
    transformer = bench.control.transformer
    torch.manual_seed(rng_seed("controlnet", own.seed))
    network = copied_network(transformer)

    def velocity(inputs: Any, conditions: Mapping[str, Tensor]) -> Tensor:
        with copied_features(transformer, network, conditions[task]):
            return transformer(**vars(inputs), return_dict=False)[0]

    train(bench.control, _source(arm, own), _optim(bench), _learning(bench, arm), own,
          model=velocity, trainable=network)  # fmt: skip
    halves = {key: one.contiguous() for key, one in network.state_dict().items()}
    save_file(halves, own.artefacts / "adapters" / f"{task}.safetensors")


def losses(folder: Path) -> list[float]:
    """The loss of every step of a trained arm."""
    path = folder.parents[1] / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


# -- measuring -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How an arm's pictures are drawn; the defaults are those of every comparison."""

    strengths: tuple[float, ...] = (1.0,)
    scope: Literal["main", "image"] = "main"
    executor: Literal["auto", "branch", "cached"] = "auto"
    steps: int = SMALL_STEPS
    guidance: float = SMALL_GUIDANCE


def _sampling(bench: Bench, drawing: Drawing) -> Sampling:
    return Sampling(
        height=32,
        width=32,
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
    prompts = bench.prompts(tasks)
    conditions = bench.conditions(tasks, arm.condition_px if arm else 32)
    control = bench.control
    for task, folder in zip(tasks, folders, strict=True):
        control.load_as(folder / f"{task}.safetensors", info_of_arm(arm, task), task)  # ty: ignore[invalid-argument-type]
    strengths = drawing.strengths * (len(tasks) if len(drawing.strengths) == 1 else 1)
    drawn = []
    sampling = _sampling(bench, drawing)
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
            known=rectangles(bench.numbers, 32, 32, seed=0),
        )
    if "subject" in tasks:
        found |= identity(bench.judges, outputs, bench.scenes)
    return found | text_accuracy(bench.judges, outputs, bench.scenes)


def kept_rows(bench: Bench, name: str, work: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """What `work` measures, kept in the run's folder as JSON with a row for every scene."""
    path = bench.run.folder / "measured" / f"{name}.json".replace(" ", "-").replace(",", "")
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        rows = {key: [None if np.isnan(one) else float(one) for one in values]
                for key, values in work().items()}  # fmt: skip
        write_json(path, rows)
    rows = read_json(path, "what an arm's pictures show")
    return {
        key: np.array([np.nan if one is None else one for one in values])
        for key, values in rows.items()
    }


def arm_rows(
    bench: Bench, arm: Arm, drawing: Drawing | None = None, *, name: str = ""
) -> dict[str, Array]:
    """Every measure of an arm [seeds, n]."""

    def draw(seed: int) -> Tensor:
        return pictures(bench, arm, [trained(bench, arm, seed)] * len(arm.tasks), drawing)

    return seed_rows(bench, f"{arm.name}-{name}", arm.tasks, draw)


def seed_rows(
    bench: Bench, name: str, tasks: Sequence[Task], draw: Callable[[int], Tensor]
) -> dict[str, Array]:
    """Every measure [seeds, n] of the pictures that `draw` gives for each seed of training."""
    found = []
    for seed in bench.seeds:
        bench.run.progress(seed, len(bench.seeds), name)
        found.append(
            kept_rows(bench, f"{name}-{seed}", lambda seed=seed: measure(bench, draw(seed), tasks))
        )
    return {key: np.stack([one[key] for one in found]) for key in found[0]}


def controlled_rows(bench: Bench, arm: Arm) -> dict[str, Array]:
    """Every measure [seeds, n] of an arm that brings its condition in by added features."""

    def draw(seed: int) -> Tensor:
        return _controlled_pictures(bench, arm, trained(bench, arm, seed))

    return seed_rows(bench, arm.name, arm.tasks, draw)


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
                drawn.append(
                    draw_pictures(control, prompts[rows], _sampling(bench, Drawing()), seeds=seeds)
                )
    finally:
        control.detach()
    return torch.cat(drawn)


def base_rows(bench: Bench, tasks: Sequence[Task]) -> dict[str, Array]:
    """Every measure of the base model's pictures [1, n], which see no condition."""

    def work() -> Mapping[str, Array]:
        drawn = pictures(bench, None, [])
        return measure(bench, drawn, tasks)

    name = "base " + " ".join(tasks)
    return {key: one[None] for key, one in kept_rows(bench, name, work).items()}


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
