"""The one training loop: accumulate, reduce, clip, step, record, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from modelgraft.core.errors import Interrupted, Partial
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.training.checkpoints import load_snapshot, snapshot, write_snapshot
from modelgraft.training.config import OptimConfig
from modelgraft.training.ema import Ema
from modelgraft.training.optim import optimizer_of, trainable
from modelgraft.training.processes import accelerator_of, same_text
from modelgraft.training.schedules import learning_rate_factor

Batch = TypeVar("Batch")
BAD_STEPS = 3
_BUCKET = 2**24
"""Numbers in one sum over processes, so that a large model needs little room for it."""


@dataclass(frozen=True)
class Loss:
    """The loss of one micro-batch as a sum and what the whole step's sum is divided by.

    The step's loss is the sum of all `total` over the sum of all `count`, over micro-batches and
    processes, so a mean over tokens (count: label tokens) or over samples (count: samples) does
    not depend on how the batch was cut. `values` are averaged with the same weights and recorded.
    """

    total: Tensor
    count: float
    values: Mapping[str, float] = field(default_factory=dict)


def fit(
    step: Callable[[Batch], Loss],
    batches: Callable[[int], Sequence[Batch]],
    model: nn.Module,
    run: Run,
    config: OptimConfig,
    *,
    steps: int,
    accelerator: Accelerator | None = None,
    ema: Ema | None = None,
    between: Callable[[int], None] | None = None,
) -> nn.Module:
    """Train the trainable parameters of `model` and return it, resuming from the run's checkpoint.

    `batches(i)` gives this process's micro-batches of optimiser step i, `step` the `Loss` of one;
    what `step` draws comes from torch's generator, seeded anew for every step. `between(i)` is
    called after step i. Under `accelerate launch` gradients are summed over the processes (FSDP2
    shards stay sharded); every process must call `fit` with the same arguments.

    Gradients are clipped by their norm: that of all together, or, for an `nn.ModuleDict` such as a
    policy and its critic, each part by its own.

    A step with a loss or gradient that is not finite leaves the weights as they are; after three
    in a row `Partial` names the steps and the last checkpoint. When someone stops the run, it is
    saved before `Interrupted` is raised.
    """
    accelerator = accelerator or accelerator_of(config, run.settings)
    if accelerator.distributed_type == DistributedType.FSDP:
        model = accelerator.prepare(model)
    if not _is_sharded(trainable(model).values()):
        model.to(accelerator.device)
        _agree(model, accelerator)
    optimizer = optimizer_of(model, config)
    start = _resume(run, model, optimizer, ema, accelerator)
    parts = _parts(model)
    bad: list[int] = []
    for index in range(start, steps):
        began = time.perf_counter()
        torch.manual_seed(rng_seed(run.seed, "step", index, accelerator.process_index))
        factor = learning_rate_factor(index, steps, schedule=config.schedule, warmup=config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * factor
        rate = config.lr * factor * optimizer.param_groups[0].get("d", 1.0)
        sums = _accumulate(step, batches(index), accelerator, run)
        norm = _reduce(parts, sums, accelerator, config.clip)
        is_finite = math.isfinite(sums.loss) and math.isfinite(norm)
        if is_finite:
            optimizer.step()
            if ema is not None:
                ema.update()
        optimizer.zero_grad(set_to_none=True)
        bad = [] if is_finite else [*bad, index]
        if accelerator.is_main_process:
            _record(run, index, steps, sums, norm, rate, time.perf_counter() - began)
        if len(bad) == BAD_STEPS:
            raise _diverged(run, bad, sums.loss, norm)
        if is_finite and between is not None:
            between(index)
        is_due = (index + 1) % config.save_every == 0 or index + 1 == steps
        if (is_due and is_finite) or sums.is_stopping:
            _save(run, index + 1, model, optimizer, ema, accelerator)
        if sums.is_stopping:
            run.check()
            # Another process was told to stop; this one must not wait for it in the next step.
            raise Interrupted(f"{run.folder}: another process of this run was told to stop.")
    return model


@dataclass
class _Sums:
    """What the micro-batches of one step add up to, over all processes."""

    total: float
    count: float
    values: dict[str, float]
    is_stopping: bool

    @property
    def loss(self) -> float:
        """The step's loss; NaN when nothing was counted."""
        return self.total / self.count if self.count else math.nan


def _accumulate(
    step: Callable[[Any], Loss], batch: Sequence[Any], accelerator: Accelerator, run: Run
) -> _Sums:
    """Gradients of the summed losses of all micro-batches, and the sums over all processes."""
    total, count = 0.0, 0.0
    values: dict[str, float] = {}
    for micro in batch:
        with accelerator.autocast():
            loss = step(micro)
        accelerator.backward(loss.total)
        total += float(loss.total.detach())
        count += loss.count
        for name, value in loss.values.items():
            values[name] = values.get(name, 0.0) + value * loss.count
    row = [total, count, float(run.is_stopping), *values.values()]
    if accelerator.num_processes > 1:
        shared = torch.tensor(row, dtype=torch.float64, device=accelerator.device)
        dist.all_reduce(shared)
        row = shared.tolist()
    means = {name: value / row[1] for name, value in zip(values, row[3:], strict=True) if row[1]}
    return _Sums(row[0], row[1], means, row[2] > 0)


def _parts(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters whose gradients are clipped together."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trainable(model).items():
        part = name.partition(".")[0] if isinstance(model, nn.ModuleDict) else ""
        parts.setdefault(part, []).append(parameter)
    return list(parts.values())


def _reduce(
    parts: Sequence[Sequence[nn.Parameter]],
    sums: _Sums,
    accelerator: Accelerator,
    clip: float | None,
) -> float:
    """Turn summed gradients into those of the step's loss, clip them, and return their norm."""
    parameters = [one for part in parts for one in part]
    scale = 1 / sums.count if sums.count else math.nan
    if _is_sharded(parameters):
        scale *= accelerator.num_processes  # FSDP has averaged over the processes
    elif accelerator.num_processes > 1:
        _sum_over_processes(parameters)
    norms = []
    for part in parts:
        given = [one.grad for one in part if one.grad is not None]
        for gradient in given:
            gradient.mul_(scale)
        norm = torch.nn.utils.get_total_norm(given)
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(part, clip, norm)
        norms.append(float(norm.full_tensor() if isinstance(norm, DTensor) else norm))
    return math.hypot(*norms)


def _sum_over_processes(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients over the processes, many a call: a call costs more than small ones do."""
    waiting: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradient = parameter.grad
        if waiting and (gradient.dtype != waiting[0].dtype or size + gradient.numel() > _BUCKET):
            _sum_together(waiting)
            waiting, size = [], 0
        waiting.append(gradient)
        size += gradient.numel()
    if waiting:
        _sum_together(waiting)


def _sum_together(gradients: Sequence[Tensor]) -> None:
    """Sum gradients of one number type in one call."""
    flat = torch.cat([one.flatten() for one in gradients])
    dist.all_reduce(flat)
    sizes = [one.numel() for one in gradients]
    for one, summed in zip(gradients, flat.split(sizes), strict=True):
        one.copy_(summed.view_as(one))


def _record(
    run: Run, index: int, steps: int, sums: _Sums, norm: float, lr: float, seconds: float
) -> None:
    values = {"loss": sums.loss, "grad_norm": norm, "lr": lr, "seconds": seconds, **sums.values}
    run.metric(index, **{name: one for name, one in values.items() if math.isfinite(one)})
    if not (math.isfinite(sums.loss) and math.isfinite(norm)):
        run.log("step not taken", step=index, loss=repr(sums.loss), grad_norm=repr(norm))
    run.progress(index + 1, steps, f"loss {sums.loss:.4g}")


def _diverged(run: Run, bad: list[int], loss: float, norm: float) -> Partial:
    found = run.latest_checkpoint()
    kept = f"the last good state is {found}" if found else "nothing was saved before"
    return Partial(
        f"{run.folder}: steps {bad[0]} to {bad[-1]} gave a loss of {loss} and a gradient norm of "
        f"{norm}; no such step was taken, and {kept}.\n"
        "  Lower the learning rate, or look at the samples of these steps."
    )


def _is_sharded(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether FSDP2 has cut the parameters: then it also reduces their gradients."""
    return any(isinstance(one, DTensor) for one in parameters)


def _agree(model: nn.Module, accelerator: Accelerator) -> None:
    """Every process starts with the weights of the first."""
    if accelerator.num_processes > 1:
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), 0)


def _resume(
    run: Run,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    accelerator: Accelerator,
) -> int:
    found = run.latest_checkpoint() if accelerator.is_main_process else None
    folder = same_text(str(found or ""), accelerator)
    return load_snapshot(Path(folder), model, optimizer, ema) if folder else 0


def _save(
    run: Run,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    accelerator: Accelerator,
) -> None:
    taken = snapshot(model, optimizer, ema)
    if accelerator.is_main_process:
        run.save_checkpoint(step, lambda folder: write_snapshot(folder, taken, step))
    accelerator.wait_for_everyone()
