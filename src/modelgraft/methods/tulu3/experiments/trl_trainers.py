"""The trainers of the package trl on our micro-batches, and what a training leaves to compare."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import load
from modelgraft.language.packing import IGNORED, Batch
from modelgraft.training.config import OptimConfig


@dataclass(frozen=True)
class Trained:
    """Each step's loss, when it was recorded (s), and the weights at the end."""

    losses: Sequence[float]
    times: Sequence[float]
    weights: Mapping[str, Tensor]

    @property
    def step_s(self) -> float:
        """The mean time of a step, from the end of the first one to that of the last."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


def weights_of(model: Any) -> dict[str, Tensor]:
    """The weights of a model by name, on the CPU, in memory of their own."""
    return {name: one.detach().cpu().clone() for name, one in model.named_parameters()}


class _Followed(TrainerCallback):
    """Keeps each step's loss, and when it was recorded."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.times: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.times.append(time.time())


@dataclass(frozen=True)
class Peer:
    """A trainer of TRL, of SFT or DPO, and what it trains on.

    `columns` are those of its data set, in the order of training, and `shown` the micro-batches
    that it has to make of them: ours. `options` are those that its kind alone has.
    """

    kind: Literal["SFT", "DPO"]
    tokenizer: Any
    optim: OptimConfig
    columns: Mapping[str, Sequence[Any]]
    options: Mapping[str, Any]
    shown: Sequence[Batch]

    def train(self, model: Any) -> Trained:
        """Train the model in place; `InputError` when TRL shows it anything but our batches."""
        followed = _Followed()
        steps = len(self.shown) * self.optim.micro_batch // self.optim.batch
        options = {**_same_options(self.optim, steps, model.device.type), **self.options}
        with tempfile.TemporaryDirectory() as folder, _no_telemetry():
            trainer = load(f"trl:{self.kind}Trainer")(
                model,
                args=load(f"trl:{self.kind}Config")(output_dir=folder, **options),
                train_dataset=load("datasets:Dataset").from_dict(self.columns),
                processing_class=self.tokenizer,
                callbacks=[followed],
            )
            trainer.remove_callback(PrinterCallback)
            self._compare(trainer.get_train_dataloader())
            trainer.train()
        return Trained(followed.losses, followed.times, weights_of(model))

    def _compare(self, batches: Iterable[Mapping[str, Tensor]]) -> None:
        found = [(batch["input_ids"], _labels(batch)) for batch in batches]
        ours = [(batch.ids, batch.labels) for batch in self.shown]
        same = [all(map(torch.equal, *pair)) for pair in zip(found, ours, strict=False)]
        if not all(same) or len(found) != len(ours):
            raise InputError(
                f"{self.kind}: of TRL's {len(found)} micro-batches {sum(same)} hold the tokens and "
                f"labels of our {len(ours)}; steps on others cannot be compared.\n"
                "  Install a version of trl that makes the same of the chat template."
            )


def _labels(batch: Mapping[str, Tensor]) -> Tensor:
    """The tokens that TRL learns; of pairs it says where they are."""
    if "labels" in batch:
        return batch["labels"]
    return batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)


@contextlib.contextmanager
def _no_telemetry() -> Generator[None]:
    """TRL reports to the hub that a trainer is made; not inside the block."""
    constants = load("huggingface_hub:constants")
    known = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = known


def _same_options(optim: OptimConfig, steps: int, device: str) -> dict[str, Any]:
    """Options of TRL that make it do what we do, and record every step."""
    return {
        "max_steps": steps,
        "per_device_train_batch_size": optim.micro_batch,
        "gradient_accumulation_steps": optim.batch // optim.micro_batch,
        "train_sampling_strategy": "sequential",
        "max_length": None,
        "optim": "adamw_torch_fused",
        "learning_rate": optim.lr,
        "lr_scheduler_type": optim.schedule,
        "adam_beta1": optim.betas[0],
        "adam_beta2": optim.betas[1],
        "adam_epsilon": optim.eps,
        "weight_decay": optim.weight_decay,
        "max_grad_norm": optim.clip,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device != "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
