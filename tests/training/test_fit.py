"""The loop: the cut of a batch, stops, bad numbers and processes leave the result as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_job import Job, collate, items, network

from modelgraft.core.errors import (
    ConfigError,
    InputError,
    Interrupted,
    MissingExtra,
    Partial,
    UnsupportedModel,
)
from modelgraft.core.runs import open_run
from modelgraft.training.config import OptimConfig
from modelgraft.training.ema import Ema
from modelgraft.training.fit import Loss, _sum_over_processes, fit
from modelgraft.training.optim import optimizer_of


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in model.named_parameters()}


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_the_loop_is_plain_adamw_on_the_mean_over_all_targets(tmp_path, config):
    """Against the textbook loop: whole batch, mean loss, torch's own optimiser and clipping."""
    job = Job(config)
    ours = weights(job.start(tmp_path / "ours"))
    model = network()
    matrices = [one for one in model.parameters() if one.dim() > 1]
    vectors = [one for one in model.parameters() if one.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr)
    for index in range(job.steps):
        x, y = collate([items()[i] for i in job.batches().indices(index)])
        (model(x).squeeze(-1) - y).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:  # one step of warm-up, then down to 0
            group["lr"] = config.lr * min(1.0, 1 - (index - 1) / (job.steps - 1))
        optimizer.step()
        optimizer.zero_grad()
    assert distance(ours, weights(model)) < 1e-12


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_the_cut_into_micro_batches_does_not_change_the_step(tmp_path, config, micro_batch):
    whole = weights(Job(config).start(tmp_path / "whole"))
    cut = weights(Job(replace(config, micro_batch=micro_batch)).start(tmp_path / "cut"))
    assert distance(whole, cut) < 1e-12


def prodigy(config: OptimConfig) -> OptimConfig:
    """As the paper of OminiControl trains: a rate of 1, and a decay."""
    pytest.importorskip("prodigyopt")
    return replace(config, optimiser="prodigy", lr=1.0)


@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_prodigy_takes_the_librarys_own_steps_at_the_rate_of_the_schedule(
    tmp_path, config, warmup, capsys
):
    config = replace(prodigy(config), warmup=warmup, clip=None, schedule="constant")
    job = Job(config, steps=60)
    ours = weights(job.start(tmp_path / "ours"))
    assert not capsys.readouterr().out  # which is for the result
    from prodigyopt import Prodigy

    model = network()
    groups = [
        {"params": [one for one in model.parameters() if one.dim() == dim], "weight_decay": decay}
        for dim, decay in ((2, 0.1), (1, 0.0))
    ]
    optimizer = Prodigy(groups, use_bias_correction=True, safeguard_warmup=True)
    rates = []
    for index in range(job.steps):
        x, y = collate([items()[i] for i in job.batches().indices(index)])
        (model(x).squeeze(-1) - y).square().mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = min(1.0, (index + 1) / (warmup * job.steps)) if warmup else 1.0
        rates.append(optimizer.param_groups[0]["d"] * optimizer.param_groups[0]["lr"])
        optimizer.step()
        optimizer.zero_grad()
    assert distance(ours, weights(model)) < 1e-12
    rows = [json.loads(line) for line in open(tmp_path / "ours" / "metrics.jsonl")]
    assert [row["lr"] for row in rows] == pytest.approx(rates) and rates[-1] > 2 * rates[0]


def test_a_missing_optimiser_is_named_with_the_command_that_installs_it(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(MissingExtra, match=r'pip install "modelgraft\[optim\]"'):
        optimizer_of(network(), replace(config, optimiser="prodigy"))


@pytest.mark.parametrize("stop_at", [0, 1, 4, 5, 10])
@pytest.mark.parametrize("optimiser", ["adamw", "prodigy"])
def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path, config, stop_at, optimiser):
    job = Job(prodigy(config) if optimiser == "prodigy" else config, dropout=0.3)
    unbroken = weights(job.start(tmp_path / "unbroken"))
    with pytest.raises(Interrupted):
        replace(job, stop_at=stop_at).start(tmp_path / "broken")
    # The model that goes on is freshly made: everything it needs is in the checkpoint.
    resumed = weights(job.start(tmp_path / "broken", network(dropout=0.3)))
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    steps = [json.loads(line)["step"] for line in open(tmp_path / "broken" / "metrics.jsonl")]
    assert steps == list(range(job.steps))


def test_parts_of_a_module_dict_are_clipped_each_by_its_own_norm(tmp_path, config):
    """Trained side by side, two networks end as if each had a loop and an optimizer of its own."""
    job = Job(replace(config, clip=0.01))
    names = {"policy": 1.0, "critic": 30.0}  # a joint norm would be the second one's

    def start(folder: Path, *chosen: str) -> torch.nn.Module:
        model = torch.nn.ModuleDict({name: network() for name in chosen})

        def step(batch):
            x, y = batch
            total = sum(names[one] * (model[one](x).squeeze(-1) - y).square() for one in chosen)
            return Loss(total.sum(), len(y))

        with open_run(folder, seed=3) as run:
            return fit(step, job.batches(), model, run, job.config, steps=4)

    together = weights(start(tmp_path / "both", *names))
    for name in names:
        alone = weights(start(tmp_path / name, name))
        assert distance(alone, {key: together[key] for key in alone}) < 1e-15


def test_dropout_is_drawn_anew_in_every_step(tmp_path, config):
    model = network(dropout=0.5)
    seen: list[torch.Tensor] = []

    def step(batch):
        x, y = batch
        seen.append(torch.rand(1))
        return Loss((model(x).squeeze(-1) - y).square().sum(), len(y))

    with open_run(tmp_path / "run", seed=1) as run:
        fit(step, Job(config).batches(), model, run, config, steps=3)
    assert len({float(one) for one in seen}) == 3


@pytest.mark.parametrize("spoil", [(2,), (2, 3), (2, 3, 5)])
def test_a_step_with_a_loss_that_is_not_finite_is_not_taken(tmp_path, config, spoil):
    job = Job(config, spoil=spoil)
    model = job.start(tmp_path / "run")
    assert all(torch.isfinite(one).all() for one in model.parameters())
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert log.count("step not taken") == len(spoil)


def test_three_bad_steps_in_a_row_end_the_run_with_the_last_good_state(tmp_path, config):
    with pytest.raises(Partial, match=r"steps 7 to 9.*step-00000006"):
        Job(config, spoil=(7, 8, 9)).start(tmp_path / "run")
    good = load_file(tmp_path / "run" / "checkpoints" / "step-00000006" / "model.safetensors")
    assert all(torch.isfinite(one).all() for one in good.values())


def test_a_gradient_that_is_not_finite_is_not_taken_either(tmp_path, config):
    model = network()
    before = weights(model)

    def step(batch):
        x, _ = batch
        # The square root of 0: a finite loss with an infinite gradient.
        return Loss((model(x) * 0).abs().sqrt().sum(), len(x))

    with open_run(tmp_path / "run") as run, pytest.raises(Partial, match="gradient norm"):
        fit(step, Job(config).batches(), model, run, config, steps=5)
    assert distance(before, weights(model)) == 0


def test_a_checkpoint_of_another_model_is_refused(tmp_path, config):
    with pytest.raises(Interrupted):
        Job(config, stop_at=4).start(tmp_path / "run")
    other = torch.nn.Sequential(torch.nn.Linear(3, 1)).double()
    with pytest.raises(InputError, match="other parameters"):
        Job(config).start(tmp_path / "run", other)


def test_a_model_without_trainable_parameters_is_refused(tmp_path, config):
    with pytest.raises(UnsupportedModel, match="no trainable parameter"):
        Job(config).start(tmp_path / "run", network().requires_grad_(False))


def test_only_what_requires_a_gradient_is_trained_and_saved(tmp_path, config):
    model = network()
    model[0].requires_grad_(False)
    frozen = model[0].weight.clone()
    Job(config).start(tmp_path / "run", model)
    assert torch.equal(frozen, model[0].weight)
    saved = load_file(tmp_path / "run" / "checkpoints" / "step-00000012" / "model.safetensors")
    assert set(saved) == {"3.weight", "3.bias"}


def test_the_average_is_resumed_and_can_be_applied_and_taken_back(tmp_path, config):
    def start(folder: Path, stop_at: int | None) -> tuple[torch.nn.Module, Ema]:
        model = network()
        ema = Ema(model, 0.9)
        job = Job(config, stop_at=stop_at)
        with open_run(folder, seed=3) as run:
            fit(job._step(model, run), job.batches(), model, run, config, steps=12, ema=ema)
        return model, ema

    model, whole = start(tmp_path / "whole", None)
    with pytest.raises(Interrupted):
        start(tmp_path / "cut", 5)
    _, resumed = start(tmp_path / "cut", None)
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    own = weights(model)
    with whole.applied():
        assert distance(own, weights(model)) > 1e-4
    assert distance(own, weights(model)) == 0


def test_a_batch_smaller_than_the_processes_is_refused():
    job = Job(OptimConfig(batch=2, micro_batch=1))
    with pytest.raises(ConfigError, match="smaller than the 4 processes"):
        replace(job.batches(), world=4)


@pytest.mark.parametrize(
    ("launcher", "form"), [("torchrun", "whole"), ("torchrun", "sharded"), ("accelerate", "whole")]
)
def test_two_processes_train_as_one(tmp_path, config, launcher, form):
    """Each takes half of every batch; gradients are summed, so the weights agree to rounding.

    Whole copies of the model, and one that FSDP2 has cut in two.
    """
    alone = weights(Job(config).start(tmp_path / "alone"))
    script = Path(__file__).with_name("train_process.py")
    command = {
        "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"],
        # Without a GPU, --multi_gpu is accelerate's way to start processes.
        "accelerate": [
            *("-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"),
            *("--num_machines", "1", "--num_processes", "2", "--mixed_precision", "no"),
            *("--dynamo_backend", "no", "--main_process_port", "0"),
        ],
    }[launcher]
    target = tmp_path / "weights.safetensors"
    done = subprocess.run(
        [sys.executable, *command, str(script), str(tmp_path / "run"), str(target), form],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shared = load_file(target)
    assert distance(alone, shared) < 1e-12


def test_gradients_of_several_types_are_summed_in_calls_of_any_size(tmp_path, monkeypatch):
    """In one process the sum is the gradient itself, however it was packed; none becomes zero."""
    monkeypatch.setattr("modelgraft.training.fit._BUCKET", 10)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        parameters = [
            torch.nn.Parameter(torch.zeros(shape, dtype=dtype))
            for shape, dtype in (
                ((3,), torch.float32), ((4, 4), torch.float32), ((2, 2), torch.float64),
                ((5,), torch.float32), ((1,), torch.float32),
            )
        ]  # fmt: skip
        for one in parameters[:-1]:
            one.grad = torch.randn_like(one)
        before = [one.grad.clone() for one in parameters[:-1]]
        _sum_over_processes(parameters)
    finally:
        torch.distributed.destroy_process_group()
    assert all(torch.equal(one.grad, had) for one, had in zip(parameters, before, strict=False))
    assert parameters[-1].grad.tolist() == [0]
