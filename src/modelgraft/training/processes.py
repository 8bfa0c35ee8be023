"""The device and the processes of a training run."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from modelgraft.core.settings import Settings
from modelgraft.training.config import OptimConfig


def accelerator_of(config: OptimConfig, settings: Settings) -> Accelerator:
    """The accelerator of one training run, on the device and in the number type that it asks for.

    accelerate keeps the first number type of a process for good, so that a later run of the same
    process, such as the next step of a pipeline, could have no other; what it keeps is dropped.
    On a CPU it sees the processes that torchrun started only if it is told to stay there.
    """
    is_cpu = settings.device == "cpu" or not torch.cuda.is_available()
    if settings.device.startswith("cuda:"):
        torch.cuda.set_device(settings.device)
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=config.precision, cpu=is_cpu)
