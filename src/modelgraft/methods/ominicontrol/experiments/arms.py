"""Arms of the experiments: adapters trained on the embedded model, each way a run of its own.

A finished arm is read, never trained again, unless the base model or the way of training changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from modelgraft.core.attempts import RunRecord
from modelgraft.core.files import dump_json, remove_folder, sha256_file
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.conditions import rectangles
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Findings
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo, trained_info
from modelgraft.methods.ominicontrol.baselines import (
    added_features,
    copied_features,
    copied_network,
)
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.files import RecordSource
from modelgraft.methods.ominicontrol.data.shown import Shown, Source
from modelgraft.methods.ominicontrol.data.toys import (
    SIZE_PX,
    Reference,
    Scenes,
    ToySource,
    conditions_of,
    draw_scenes,
    prompts_of,
    told,
)
from modelgraft.methods.ominicontrol.method.attention import Mode
from modelgraft.methods.ominicontrol.method.branches import (
    ConditionTokens,
    FluxInputs,
    Wiring,
    branch_velocity,
)
from modelgraft.methods.ominicontrol.method.objective import Velocity
from modelgraft.methods.ominicontrol.opening import law_of, open_control
from modelgraft.methods.ominicontrol.pairs.reading import RECORDS, read_records
from modelgraft.methods.ominicontrol.pairs.records import BEST
from modelgraft.methods.ominicontrol.train import Learning, branch_model, places_of, train
from modelgraft.tiny.flux import TOKEN_PX
from modelgraft.tiny.oracles import WEIGHTS, Judges, load_judges
from modelgraft.training.config import OptimConfig

Kind = Literal["tokens", "masked", "filling", "addition", "controlnet"]
SEEDS = (0, 1, 2)
NUM_SCENES = 100
STEPS = 400
OPTIM = OptimConfig(lr=5e-3, schedule="cosine", warmup=0.05, batch=16, micro_batch=16, clip=0.5,
                    save_every=100)  # fmt: skip


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
    condition_px: int = SIZE_PX
    blocks: tuple[int, ...] | None = None
    reference: Reference = "other"
    pairs: str | None = None
    """Run below the experiment's with pairs to learn from; None is the toy world itself."""
    steps: int = STEPS
    lr: float = OPTIM.lr


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
        """Captions of the scenes; they leave to the conditions what those tell."""
        return prompts_of(self.scenes, self.numbers, says=told(tasks))

    def conditions(self, tasks: Sequence[Task], px: int = SIZE_PX) -> dict[str, Tensor]:
        """Conditions of the scenes [n, 3, px, px] by task."""
        return conditions_of(self.scenes, tasks, self.numbers, use=0, size_px=px)

    def made_from(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Everything that what an arm learns depends on, as its run's config holds it."""
        found = {**asdict(arm), "optim": asdict(self.optim(arm)), "seed": seed,
                 "quick": self.quick, "base": self.subject["weights"]}  # fmt: skip
        if arm.pairs is not None:
            found["pairs"] = sha256_file(self.run.folder / arm.pairs / "artefacts" / RECORDS)
        return json.loads(dump_json(found))

    def optim(self, arm: Arm) -> OptimConfig:
        """How an arm is optimised."""
        found = replace(OPTIM, lr=arm.lr)
        return replace(found, batch=4, micro_batch=4) if self.quick else found


def open_bench(run: Run, quick: bool) -> Bench:
    """Load the embedded model and draw the held-out scenes."""
    settings = replace(run.settings, dtype="float32")
    control, loaded = open_control("tiny:flux", settings)
    numbers = np.arange(4 if quick else NUM_SCENES)
    scenes = draw_scenes(numbers, seed=rng_seed("bench", 0), split="held-out")
    judges = " ".join(sha256_file(one)[:12] for one in sorted(WEIGHTS.glob("*.safetensors")))
    subject = {"model": loaded.name, "weights": loaded.revision, "judges": judges,
               "dtype": "float32", "device": control.transformer.device.type}  # fmt: skip
    return Bench(run, control, load_judges(), scenes, numbers, quick, subject)


def trained(bench: Bench, arm: Arm, seed: int) -> Path:
    """The folder of an arm trained with one seed: a file for each task, and its loss by step."""
    folder = bench.run.folder / "arms" / file_name(f"{arm.name}-{seed}")
    config = bench.made_from(arm, seed)
    record = RunRecord(method="ominicontrol", action="arm", config=config)
    settings = replace(bench.run.settings, seed=seed, dtype="float32")

    def work(own: Run) -> Result:
        (own.artefacts / "adapters").mkdir(parents=True, exist_ok=True)
        (_train_controlnet if arm.kind == "controlnet" else _train_adapters)(bench, arm, own)
        remove_folder(own.folder / "checkpoints")
        return Result()

    nested_run(bench.run, folder, settings, record, work)
    return folder / "artefacts" / "adapters"


def file_name(text: str) -> str:
    """A text as the name of a file."""
    return text.replace(" ", "-").replace(",", "")


def _learning(bench: Bench, arm: Arm) -> Learning:
    law = law_of(bench.control.pipe, None)
    dropped = 0.0 if arm.kind in ("filling", "masked") else 0.1
    steps = 3 if bench.quick else arm.steps
    return Learning(steps=steps, law=law, optim=bench.optim(arm), drop_condition=dropped)


def _source(bench: Bench, arm: Arm, own: Run) -> Source:
    if arm.pairs is not None:
        folder = bench.run.folder / arm.pairs / "artefacts"
        records = list(read_records(folder, threshold=0.0 if bench.quick else BEST))
        return RecordSource(records, SIZE_PX, arm.condition_px, TOKEN_PX)
    source = ToySource(
        arm.tasks, seed=own.seed, condition_px=arm.condition_px, reference=arm.reference
    )
    if arm.kind == "filling":
        return _Known(source, hides=False)
    return _Known(source, hides=True) if arm.kind == "masked" else source


@dataclass(frozen=True)
class _Known:
    """Whole pictures as conditions, or what is left of them when tokens are hidden."""

    source: ToySource
    hides: bool
    total: int | None = None

    def take(self, numbers: Sequence[int], use: int) -> Shown:
        shown = self.source.take(numbers, use)
        given = shown.targets
        if self.hides:
            given = given * as_pixels(known_tokens(len(given), SIZE_PX // TOKEN_PX, seed=use))
        return replace(shown, conditions=dict.fromkeys(shown.conditions, given))


def info_of_arm(arm: Arm, task: Task) -> AdapterInfo:
    """What the adapter's file says: the task's own places unless the arm has others."""
    return trained_info(task, size_px=SIZE_PX, condition_px=arm.condition_px, token_px=TOKEN_PX,
                        mode=arm.mode, base="tiny:flux", delta=arm.delta,
                        blocks=arm.blocks)  # fmt: skip


def _train_adapters(bench: Bench, arm: Arm, own: Run) -> None:
    control, source = bench.control, _source(bench, arm, own)
    for task in arm.tasks:
        info = info_of_arm(arm, task)
        control.attach(task, info, rank=arm.rank, modules=arm.modules, seed=own.seed)
    try:
        places = places_of(control, source.take([0], 0))
        if arm.kind == "addition":
            model = addition_model(control, arm.tasks[0])
        elif arm.kind == "filling":
            model = filling_model(control, places[arm.tasks[0]], arm.tasks[0])
        else:
            model = branch_model(control, places)
        train(control, source, _learning(bench, arm), own, model=model)
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


def filling_model(control: OminiControl, places: Tensor, task: Task) -> Velocity:
    """Known tokens are the condition and only the others are drawn, with one mask a batch.

    The known tokens' velocity is exact, so they add no error (token integration, OminiControl2).
    """
    wiring = Wiring(mode=control.infos[task].mode)
    side = SIZE_PX // TOKEN_PX

    def velocity(inputs: FluxInputs, conditions: Mapping[str, Tensor]) -> Tensor:
        clean, x = conditions[task], inputs.hidden_states
        (known,) = known_tokens(1, side, seed=int(torch.randint(2**31, ())))
        kept = known.flatten()
        drawn = replace(inputs, hidden_states=x[:, ~kept], img_ids=inputs.img_ids[~kept])
        tokens = ConditionTokens(tokens=clean[:, kept], ids=places[kept], adapter=task)
        found = (x - clean) / inputs.timestep.view(-1, 1, 1)
        found[:, ~kept] = branch_velocity(control.transformer, drawn, [tokens], wiring)
        return found

    return velocity


def known_tokens(number: int, side: int, *, seed: int) -> Tensor:
    """Masks [number, side, side] of which a quarter to three quarters is known, in rectangles."""
    drawn = rectangles(np.arange(64 * number), side, side, seed=seed)[:, 0]
    share = drawn.mean(dim=(1, 2))
    found = drawn[(share >= 0.25) & (share <= 0.75)][:number]
    return found.bool()


def as_pixels(tokens: Tensor) -> Tensor:
    """Masks of tokens [n, side, side] as those of pixels [n, 1, H, W]."""
    wide = tokens.repeat_interleave(TOKEN_PX, 1).repeat_interleave(TOKEN_PX, 2)
    return wide[:, None].float()


def _train_controlnet(bench: Bench, arm: Arm, own: Run) -> None:
    (task,) = arm.tasks
    transformer = bench.control.transformer
    torch.manual_seed(rng_seed("controlnet", own.seed))
    network = copied_network(transformer)

    def velocity(inputs: Any, conditions: Mapping[str, Tensor]) -> Tensor:
        with copied_features(transformer, network, conditions[task]):
            return transformer(**vars(inputs), return_dict=False)[0]

    train(bench.control, _source(bench, arm, own), _learning(bench, arm), own,
          model=velocity, trainable=network)  # fmt: skip
    halves = {key: one.contiguous() for key, one in network.state_dict().items()}
    save_file(halves, own.artefacts / "adapters" / f"{task}.safetensors")


def losses(folder: Path) -> list[float]:
    """The loss of every step of a trained arm; of one done again after a stop, the later."""
    path = folder.parents[1] / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return list({row["step"]: row["loss"] for row in rows if "loss" in row}.values())
