"""What a training run needs to go on: trained weights, optimiser state, step. No pickle.

A checkpoint holds `model.safetensors` (the trainable parameters by name), `optim.safetensors`
(`<parameter>.<state>`, and `.<name>` for a number that the optimiser keeps of all parameters
together), `ema.safetensors` when there is an average, and `state.json`. No random state is kept,
because each step seeds its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from modelgraft.core.errors import InputError
from modelgraft.core.files import read_json, write_json
from modelgraft.nn.weights import plain_os_errors
from modelgraft.training.ema import Ema
from modelgraft.training.optim import OF_ALL, trainable

Snapshot = dict[str, dict[str, Tensor]]


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None) -> Snapshot:
    """Whole tensors on the CPU by file and name; every process calls it, as shards are gathered."""
    parameters = trainable(model)
    state = {
        f"{name}.{key}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    group = optimizer.param_groups[0]
    state |= {
        f".{key}": torch.tensor(group[key], dtype=torch.float64) for key in OF_ALL if key in group
    }
    files: dict[str, Mapping[str, Tensor]] = {"model": parameters, "optim": state}
    if ema is not None:
        files["ema"] = ema.weights
    return {
        file: {name: whole(tensor) for name, tensor in tensors.items()}
        for file, tensors in files.items()
    }


def write_snapshot(folder: Path, taken: Snapshot, step: int) -> None:
    """Write the files of a checkpoint taken before `step`, the next one to run."""
    with plain_os_errors():
        for file, tensors in taken.items():
            save_file(tensors, folder / f"{file}.safetensors")
    write_json(folder / "state.json", {"step": step})


def load_snapshot(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None
) -> int:
    """Put a checkpoint's tensors into place and return the next step.

    Raises `InputError` when the checkpoint was made of other parameters.
    """
    step = read_json(folder / "state.json", "the state of a checkpoint")["step"]
    parameters = trainable(model)
    weights = load_file(folder / "model.safetensors")
    if ({name: tuple(one.shape) for name, one in weights.items()}) != (
        {name: tuple(one.shape) for name, one in parameters.items()}
    ):
        raise InputError(
            f"{folder}: this checkpoint holds other parameters than the model that goes on.\n"
            "  Start in another folder, or with the model and options of the checkpoint."
        )
    states: dict[str, dict[str, Tensor]] = {name: {} for name in ("", *parameters)}
    for full_name, tensor in load_file(folder / "optim.safetensors").items():
        name, _, key = full_name.rpartition(".")
        states[name][key] = tensor
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_like(weights[name], parameter))
            optimizer.state[parameter] = {
                key: _like(value, parameter) if value.dim() else value.to(parameter.device)
                for key, value in states[name].items()
            }
    for group in optimizer.param_groups:
        group |= {key: type(group[key])(value.item()) for key, value in states[""].items()}
    if ema is not None:
        ema.load(load_file(folder / "ema.safetensors"))
    return int(step)


def whole(tensor: Tensor) -> Tensor:
    """The tensor of all shards, on the CPU, in memory of its own."""
    found = tensor.detach()
    found = found.full_tensor() if isinstance(found, DTensor) else found
    return found.cpu().contiguous().clone()


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """`tensor` on the parameter's device, and cut as the parameter is."""
    moved = tensor.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(moved, parameter.device_mesh, parameter.placements)
    return moved
