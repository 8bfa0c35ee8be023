"""The device and the processes of a training run."""

from __future__ import annotations

import atexit

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import distributed as dist

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
    accelerator = Accelerator(mixed_precision=config.precision, cpu=is_cpu)
    if is_cpu and accelerator.num_processes > 1:
        atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Close the group of processes: Gloo, left open, now and then aborts a process that is done."""
    if dist.is_initialized():
        dist.destroy_process_group()


def same_text(text: str, accelerator: Accelerator) -> str:
    """The first process's text, on every process; the folder of a run is read by all of them."""
    if accelerator.num_processes == 1:
        return text
    size = torch.tensor([len(text.encode())], device=accelerator.device)
    dist.broadcast(size, 0)
    content = torch.zeros(int(size), dtype=torch.uint8, device=accelerator.device)
    if accelerator.is_main_process and text:
        content.copy_(torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8))
    if len(content):
        dist.broadcast(content, 0)
    return bytes(content.tolist()).decode()
