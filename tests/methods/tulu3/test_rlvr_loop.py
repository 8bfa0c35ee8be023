"""The iterations as a whole: they learn, resume with the same bits, and stop when they must."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rlvr_job import CONFIG, Job, actors, checking, policy, prompts, sampling, weights
from safetensors.torch import load_file

from modelgraft.core.errors import ConfigError, Interrupted, Partial
from modelgraft.evaluation.intervals import Interval
from modelgraft.language.score_heads import with_score_head
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.config import LoraConfig, PpoConfig
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train.rlvr.held_out import verified_rate
from modelgraft.methods.tulu3.train.rlvr.ppo import Actors
from modelgraft.methods.tulu3.train.rlvr.sampler import InTurn, read_weights

# Two passes over two minibatches: four optimiser steps to an iteration.
LONG = replace(CONFIG, ppo=replace(CONFIG.ppo, passes=2, minibatches=2))
GROUPS = replace(CONFIG, algo="grpo", samples=4)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with checking() as pool:
        yield pool


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def iterations(folder: Path) -> list[dict[str, Any]]:
    return [row for row in rows(folder) if "iteration" in row]


def same(one: Actors, other: Actors) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def apart(one: Actors, other: Actors) -> float:
    ours, theirs = weights(one), weights(other)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("algo", ["ppo", "grpo", "rloo"])
def test_answers_come_to_be_what_is_paid_for(tmp_path, pool, algo):
    """A random network that is paid for ending within four characters learns to end."""
    config = replace(
        CONFIG,
        algo=algo,
        samples=1 if algo == "ppo" else 8,
        episodes=32 * 24,
        missing_eos=-10.0,
        beta=0.01,
        eval_every=12,
        optim=replace(CONFIG.optim, lr=4e-3, batch=32, micro_batch=32, save_every=50),
    )
    made = actors(config)
    look = verified_rate(made.tokenizer, prompts(), config, pool)
    _, outcome = Job(config).start(tmp_path / "run", pool, actors=made, evaluate=look)
    found = iterations(tmp_path / "run")
    first, last = (sum(row["verified"] for row in part) / 3 for part in (found[:3], found[-3:]))
    assert first < 0.35 and last > 0.8
    assert found[-1]["no_eos"] < 0.2 and found[-1]["kl"] > 0.5
    number = next(one for one in outcome.numbers if one.name == "held-out score, best look")
    assert number.value == 1.0 and number.baseline == 0.0 and outcome.partial == ""


def test_a_row_of_metrics_tells_of_every_iteration(tmp_path, pool):
    Job().start(tmp_path / "run", pool)
    found = iterations(tmp_path / "run")
    assert [row["iteration"] for row in found] == [row["version"] for row in found] == [0, 1, 2, 3]
    wanted = (
        *("verified", "score", "length", "kl", "no_eos", "verifier_errors", "explained_variance"),
        *("seconds_sampling", "seconds_measuring", "seconds_training", "seconds_whole", "drift"),
    )
    assert all(name in row for row in found for name in wanted)
    assert found[0]["kl"] == 0 and abs(found[0]["drift"]) < 1e-5
    steps = [row for row in rows(tmp_path / "run") if "loss" in row]
    assert all({"clipped", "value_loss", "policy_loss", "lr"} <= row.keys() for row in steps)
    assert not (tmp_path / "run" / "episodes").exists()  # nothing goes on from here


@pytest.mark.parametrize("config", [CONFIG, replace(GROUPS, beta=0.1)])
def test_the_cut_into_micro_batches_does_not_change_the_run(tmp_path, pool, config):
    cut = replace(config, optim=replace(config.optim, micro_batch=5))
    found = [
        Job(one).start(
            tmp_path / str(one.optim.micro_batch), pool, actors=actors(one, dtype=torch.float64)
        )[0]
        for one in (config, cut)
    ]
    assert apart(*found) < 1e-9


@pytest.mark.parametrize("stop_at", [0, 2, 3, 6])
def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path, pool, stop_at):
    """Within an iteration and at its end, with models that are freshly made."""
    unbroken, _ = Job(LONG).start(tmp_path / "unbroken", pool)
    with pytest.raises(Interrupted):
        Job(LONG, stop_at=stop_at).start(tmp_path / "broken", pool)
    resumed, _ = Job(LONG).start(tmp_path / "broken", pool)
    assert same(unbroken, resumed)
    kept = [{n: v for n, v in row.items() if "seconds" not in n and n != "time"} for run in
            ("unbroken", "broken") for row in iterations(tmp_path / run)]  # fmt: skip
    assert kept[:4] == kept[4:]


def start_process(folder: Path, target: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("rlvr_job.py")
    command = [sys.executable, str(script), str(folder), str(target), json.dumps(options)]
    marked = {**os.environ, "RLVR_TEST": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=400, env=marked)


def num_left_over(folder: Path) -> int:
    """How many processes go on that this run, or what it started, has left behind."""
    found = 0
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or belongs to another user
            found += f"RLVR_TEST={folder}".encode() in environ.read_bytes().split(b"\0")
    return found


@pytest.mark.timeout(500)  # of which starting processes takes most, on a busy machine
@pytest.mark.parametrize("lag", ["0", "1"])
def test_a_stopped_and_then_killed_run_goes_on_to_the_same_bits(tmp_path, pool, lag):
    """SIGTERM within an iteration, then SIGKILL within a later one, past its last checkpoint.

    With lag a second process samples for every attempt, and none is left behind; the unbroken run
    samples at the moments when that process is asked to.
    """
    config, folder = replace(LONG, lag=lag), tmp_path / "run"
    with pytest.raises(Interrupted):
        Job(config, stop_at=4).start(folder, pool)
    assert rows(folder)[-1]["step"] == 5  # the second step of iteration 1
    options = {"lag": lag, "ppo": {"passes": 2, "minibatches": 2}}
    killed = start_process(folder, tmp_path / "none", kill_at=13, **options)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert {row["step"] for row in rows(folder)} == set(range(14))
    end = time.monotonic() + 60
    while num_left_over(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert num_left_over(folder) == 0
    resumed, _ = Job(config).start(folder, pool)
    made = actors(config)
    in_turn = InTurn(made.policy, sampling(made), batch_size=64)
    unbroken, _ = Job(config).start(tmp_path / "unbroken", pool, actors=made, sampler=in_turn)
    assert same(unbroken, resumed)
    versions = {row["iteration"]: row["version"] for row in iterations(folder)}
    assert versions == dict(enumerate([0, 0, 1, 2] if lag == "1" else [0, 1, 2, 3]))
    assert not (folder / "sampler-0").exists()


@pytest.mark.parametrize("algo", ["grpo", "ppo"])
def test_where_there_are_adapters_nothing_else_is_trained(tmp_path, pool, algo):
    peft = pytest.importorskip("peft")
    config = replace(CONFIG, algo=algo, samples=4, beta=0.1)
    base = policy()
    below = {name: one.clone() for name, one in base.state_dict().items()}
    critic = None
    if algo == "ppo":
        lora = peft.LoraConfig(r=2, task_type="SEQ_CLS", target_modules="all-linear")
        critic = peft.get_peft_model(with_score_head(base, seed=1), lora)
    made = Actors(attach(base, LoraConfig(rank=2), seed=0), build_tokenizer(), critic)
    before = weights(made)
    Job(config).start(tmp_path / "run", pool, actors=made)
    after = weights(made)
    moved = {name for name, one in after.items() if not torch.equal(one, before[name])}
    adapters = {name for name in after if "lora_" in name or "modules_to_save" in name}
    assert moved == adapters
    inner = made.policy.get_base_model().state_dict()
    kept = {name.replace(".base_layer.", "."): one for name, one in inner.items()}
    assert all(torch.equal(kept[name], one) for name, one in below.items())
    assert iterations(tmp_path / "run")[-1]["kl"] != 0


def test_a_reward_model_adds_its_score_to_answers_that_end(tmp_path, pool):
    config = replace(CONFIG, reward_weight=2.0, episodes=12)
    made = actors(config)
    scorer = with_score_head(policy(), seed=0)
    torch.nn.init.zeros_(scorer.score.weight)
    job = Job(config)
    job.start(tmp_path / "zero", pool, actors=replace(made, reward_model=scorer))
    Job(replace(config, reward_weight=0.0)).start(tmp_path / "none", pool)
    zero, none = (iterations(tmp_path / name)[0]["score"] for name in ("zero", "none"))
    assert zero == none
    scorer = with_score_head(policy(), seed=0)
    job.start(tmp_path / "some", pool, actors=replace(actors(config), reward_model=scorer))
    assert iterations(tmp_path / "some")[0]["score"] != none


# -- looking at the policy -------------------------------------------------------------------------


def test_the_best_policy_is_kept_and_nothing_is_evaluated_twice(tmp_path, pool):
    told = iter([0.1, 0.5, 0.4, 0.5])
    seen: list[dict[str, torch.Tensor]] = []

    def look(model: Any) -> Interval:
        seen.append({name: one.detach().clone() for name, one in model.named_parameters()})
        return Interval(next(told), 0.0, 1.0, 10)

    config = replace(CONFIG, eval_every=1, episodes=36)
    made, outcome = Job(config).start(tmp_path / "run", pool, evaluate=look)
    assert outcome.best is not None
    kept = load_file(outcome.best)
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)  # the earlier of the two
    values = {one.name: (one.value, one.baseline) for one in outcome.numbers}
    assert values["held-out score, best look"] == (0.5, 0.1)
    assert values["iterations of the best look"] == (1, None)
    read_weights(outcome.best, made.policy)
    assert all(torch.equal(one, seen[1][n]) for n, one in made.policy.named_parameters())
    assert [row["version"] for row in rows(tmp_path / "run", "evaluations.jsonl")] == [0, 1, 2, 3]
    Job(config).start(tmp_path / "run", pool, evaluate=look)  # would ask for a fifth value
    assert len(seen) == 4


def test_the_policy_is_looked_at_before_at_the_end_and_now_and_then(tmp_path, pool):
    config = replace(CONFIG, eval_every=3)
    look = verified_rate(build_tokenizer(), prompts(), config, pool)
    Job(config).start(tmp_path / "run", pool, evaluate=look)
    assert [row["version"] for row in rows(tmp_path / "run", "evaluations.jsonl")] == [0, 3, 4]
    _, outcome = Job(replace(config, eval_every=0)).start(tmp_path / "no", pool, evaluate=look)
    assert outcome.best is None


# -- stopping --------------------------------------------------------------------------------------


def test_a_policy_too_far_from_its_reference_ends_the_run_with_its_weights(tmp_path, pool):
    config = replace(CONFIG, max_kl=0.05, optim=replace(CONFIG.optim, lr=0.02))
    made, outcome = Job(config).start(tmp_path / "run", pool)
    assert "nats from the reference" in outcome.partial and "--max-kl 0.05" in outcome.partial
    kept = load_file(tmp_path / "run" / "stopped.safetensors")
    policy_now = dict(made.policy.named_parameters())
    assert all(torch.equal(kept[name], one) for name, one in policy_now.items())
    assert len(iterations(tmp_path / "run")) < 4


def test_equal_rewards_are_logged_and_nothing_becomes_nan(tmp_path, pool):
    job = Job(replace(CONFIG, missing_eos=0.0), prompts(verifier="same", truth="none"))
    made, _ = job.start(tmp_path / "run", pool)
    log = rows(tmp_path / "run", "log.jsonl")
    assert sum(row["event"] == "all rewards equal" for row in log) == 4
    assert all(torch.isfinite(one).all() for one in weights(made).values())


def test_failing_verifiers_end_the_run(tmp_path):
    with checking() as pool, pytest.raises(Partial, match="could not be checked"):
        Job(prompts=prompts(verifier="broken", truth="raise")).start(tmp_path / "run", pool)


def test_prompts_that_are_too_long_are_remarked_on(tmp_path, pool):
    _, outcome = Job(replace(CONFIG, max_prompt=30, episodes=12)).start(tmp_path / "run", pool)
    assert outcome.remarks == ("4 prompts of more than 30 tokens are left out.",)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (replace(GROUPS, algo="rloo"), "only ppo trains a critic"),
        (replace(CONFIG, reward_weight=1.0), "no reward model to score"),
        (replace(CONFIG, ppo=PpoConfig(minibatches=13)), "each of 1 processes has 12 episodes"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, pool, config, match):
    with pytest.raises(ConfigError, match=match):
        Job(config).start(tmp_path / "run", pool, actors=actors())


def test_the_estimator_without_a_gradient_is_refused_as_a_loss():
    with pytest.raises(ConfigError, match="zero on average"):
        replace(GROUPS, kl="k1")


def two_processes(folder: Path, target: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("rlvr_job.py")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"),
        *(str(script), str(folder), str(target), json.dumps(options)),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=290)


@pytest.mark.timeout(600)
def test_two_processes_that_were_stopped_go_on_with_the_same_episodes(tmp_path):
    """Only one of them hears the signal, and only the first one's folder is there afterwards."""
    options = {"lag": "1"}
    done = two_processes(tmp_path / "whole", tmp_path / "expected", **options)
    assert done.returncode == 0, done.stderr[-2000:]
    stopped = two_processes(tmp_path / "run", tmp_path / "found", stop_at=2, **options)
    assert stopped.returncode != 0 and not (tmp_path / "found").exists()
    assert "Interrupted" in stopped.stderr
    done = two_processes(tmp_path / "run", tmp_path / "found", **options)
    assert done.returncode == 0, done.stderr[-2000:]
    expected, found = load_file(tmp_path / "expected"), load_file(tmp_path / "found")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.timeout(400)
def test_two_processes_train_as_one(tmp_path, pool):
    """Each samples and trains on half of the prompts; whitening sees the tokens of both."""
    done = two_processes(tmp_path / "run", tmp_path / "weights")
    assert done.returncode == 0, done.stderr[-2000:]
    shared = load_file(tmp_path / "weights")
    alone = weights(Job().start(tmp_path / "alone", pool)[0])
    assert max(float((alone[name] - shared[name]).abs().max()) for name in alone) < 1e-4
    kept = [{name: row[name] for name in ("verified", "score", "length")}
            for run in ("run", "alone") for row in iterations(tmp_path / run)]  # fmt: skip
    assert kept[:4] == kept[4:]
