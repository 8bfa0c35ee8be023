"""Arms of the experiments: estimators of 32 pixels, each way of training a run of its own.

A finished arm is read, never trained again, unless the way of training changed. All arms of a seed
see the same views under the same lights.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from modelgraft.core import store
from modelgraft.core.attempts import RunRecord
from modelgraft.core.files import dump_json, remove_folder, sha256_file
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Findings
from modelgraft.methods.material_anything.denoising import Codec, Denoiser, Frame
from modelgraft.methods.material_anything.experiments.codec import trained_codec
from modelgraft.methods.material_anything.lighting import NUM_UNSEEN, unseen_lights
from modelgraft.methods.material_anything.method.objective import Weights
from modelgraft.methods.material_anything.shipped import (
    ESTIMATOR,
    VIEW_PX,
    load_network,
    save_network,
    small_denoiser,
)
from modelgraft.methods.material_anything.tiny import Patches, TinyTripleHead
from modelgraft.methods.material_anything.train import Learning, train_estimator
from modelgraft.methods.material_anything.world import Bank
from modelgraft.methods.material_anything.world_frames import bank_of
from modelgraft.spatial.shading.render import Light
from modelgraft.training.config import OptimConfig
from modelgraft.worlds.solids import NUMBERS
from modelgraft.worlds.splits import Split

Space = Literal["pixels", "latent"]
SEEDS = (0, 1, 2)
CALCULATION: Final = {"dtype": "float32", "device": "cpu"}
"""How arms learn and all is measured: the world lies on the CPU, and networks are small."""
SIZE_PX = 32
NUM_RELIGHTS = 4
# Some eight minutes of one core at 30 to 40 samples a second.
STEPS = 1000
OPTIM = OptimConfig(lr=1e-3, schedule="cosine", warmup=0.05, batch=16, micro_batch=16, clip=1.0,
                    save_every=250)  # fmt: skip
EMA = 0.995
"""Shorter than that of long trainings: what is left of the first weights is below one per cent."""
_QUICK: Mapping[Split, Sequence[int]] = {"train": (0, 1, 2, 3), "test": (5, 6)}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training; its name is also its folder's."""

    name: str
    heads: Literal[1, 3] = 3
    space: Space = "pixels"
    is_rendered: bool = True
    """With the loss of renders; that of decoded maps is always there."""
    is_told: bool = True
    """With the mask of light."""
    frame: Frame = "view"
    steps: int = STEPS


FULL = Arm(name="three heads rendered")
"""What several experiments compare with."""


@dataclass
class Bench:
    """Views to learn from and to be measured on, lights, and how much is done of everything."""

    run: Run
    quick: bool
    _banks: dict[tuple[Split, int, Frame], Bank] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of training."""
        return SEEDS[:1] if self.quick else SEEDS

    @property
    def shipped_px(self) -> int:
        """Side of the views that shipped models are measured on."""
        return SIZE_PX if self.quick else VIEW_PX

    @property
    def lights(self) -> list[list[Light]]:
        """Those that no training view has."""
        return _unseen()

    @cached_property
    def codec(self) -> tuple[Codec, str]:
        """The autoencoder of this run and the name of its weights."""
        bank = self.bank("train", SIZE_PX)
        return trained_codec(self.run, bank, quick=self.quick)

    @property
    def num_relights(self) -> int:
        """How many lights maps are judged under."""
        return 1 if self.quick else NUM_RELIGHTS

    @property
    def optim(self) -> OptimConfig:
        """How arms are optimised."""
        return replace(OPTIM, batch=4, micro_batch=4) if self.quick else OPTIM

    def objects(self, split: Split) -> Sequence[int]:
        """The numbers of a split's objects that are used."""
        return _QUICK[split] if self.quick else range(NUMBERS[split])

    def bank(self, split: Split, size: int, frame: Frame = "view") -> Bank:
        """All ten views of a split's objects, drawn once."""
        key = (split, size, frame)
        if key not in self._banks:
            self.run.progress(0, 1, f"views of {split}, {size} px, bumps of frame {frame}")
            self._banks[key] = bank_of(split, self.objects(split), size=size, frame=frame)
        return self._banks[key]

    def findings(
        self, numbers: Sequence[Number], *, holds: bool, subject: Mapping[str, str] | None = None
    ) -> Findings:
        """What an experiment gives back; without a `subject` it measured arms."""
        arms = {"model": f"arms of {STEPS} steps of {OPTIM.batch} views", **CALCULATION}
        verdict = HOLDS if holds else DOES_NOT_HOLD
        seeds = self.seeds if subject is None else (self.run.seed,)
        return Findings(tuple(numbers), verdict, seeds=seeds, subject=subject or arms)

    def made_from(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Everything that what an arm learns depends on, as its run's config holds it."""
        optim = asdict(self.optim)
        found = {**asdict(arm), "optim": optim, "ema": EMA, "seed": seed, "quick": self.quick,
                 "size": SIZE_PX, "objects": len(self.objects("train"))}  # fmt: skip
        if arm.space == "latent":
            found["codec"] = self.codec[1]
        return json.loads(dump_json(found))

    def of_space(self, space: Space) -> Codec:
        """How an arm's maps become latents."""
        return Patches() if space == "pixels" else self.codec[0]


@functools.cache
def _unseen() -> list[list[Light]]:
    return [unseen_lights(one) for one in range(NUM_UNSEEN)]


def trained(bench: Bench, arm: Arm, seed: int) -> Denoiser:
    """An arm trained with one seed."""
    folder = bench.run.folder / "arms" / f"{arm.name}-{seed}".replace(" ", "-")
    record = RunRecord(method="material_anything", action="arm", config=bench.made_from(arm, seed))
    settings = replace(bench.run.settings, seed=seed, **CALCULATION)
    codec = bench.of_space(arm.space)
    network = folder / "artefacts" / "network"

    def work(own: Run) -> Result:
        torch.manual_seed(rng_seed("arm", seed))
        model = network_of(arm, codec)
        denoiser = replace(small_denoiser(model, arm.frame), codec=codec)
        steps = 3 if bench.quick else arm.steps
        weights = Weights() if arm.is_rendered else Weights(render=0)
        learning = Learning(steps, bench.optim, weights, is_told=arm.is_told, ema=EMA)
        bank = bench.bank("train", SIZE_PX, arm.frame)
        ema = train_estimator(denoiser, model, bank, learning, own)
        with ema.applied():
            save_network(model, network, frame=arm.frame)
        remove_folder(own.folder / "checkpoints")
        return Result()

    nested_run(bench.run, folder, settings, record, work)
    return replace(small_denoiser(*load_network(network)), codec=codec)


def network_of(arm: Arm, codec: Codec) -> TinyTripleHead:
    """The arm's network with random weights.

    One head is widened until it has at least as many weights as three.
    """
    shared = 2 * codec.channels + 1
    triple = TinyTripleHead(latent=codec.channels, shared=shared)
    if arm.heads == 3:
        return triple.silenced()
    wanted, width = num_weights(triple), 32
    while True:
        width += 8
        single = TinyTripleHead(heads=1, latent=3 * codec.channels, shared=shared, outer=width)
        if num_weights(single) >= wanted:
            return single.silenced()


def num_weights(model: TinyTripleHead) -> int:
    """How many weights a network has."""
    return sum(one.numel() for one in model.parameters())


@torch.no_grad()
def num_macs(model: TinyTripleHead, side: int) -> int:
    """Multiplications with an addition of one call on latents [1, C, side, side]."""
    channels = model.latent * model.heads + model.shared
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, channels, side, side), torch.zeros(1))
    return counter.get_total_flops() // 2


def subject_of(*names: str) -> dict[str, str]:
    """What shipped models an experiment measured."""
    found = {
        name: sha256_file(store.get(name) / "model.safetensors")[:16]
        for name in names or (ESTIMATOR,)
    }
    return {"model": ", ".join(found), "weights": ", ".join(found.values()), **CALCULATION}
