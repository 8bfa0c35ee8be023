"""Sampling in a second process: the same answers, and a clear word when it ends or falls silent."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rlvr_job import CONFIG, Job, actors, checking, policy, prompts, sampling, weights

from modelgraft.core.errors import InputError, Unavailable
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.config import LoraConfig
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train.rlvr.episodes import Samples, Schedule, draw, encode_prompts
from modelgraft.methods.tulu3.train.rlvr.ppo import Actors
from modelgraft.methods.tulu3.train.rlvr.sampler import (
    InTurn,
    Meanwhile,
    read_model,
    read_weights,
    write_model,
    write_weights,
)

TOKENIZER = build_tokenizer()
SCHEDULE = Schedule(encode_prompts(TOKENIZER, prompts(), 40), replace(CONFIG, lag="1"), seed=3)
# Starting processes takes long on a busy machine.
pytestmark = pytest.mark.timeout(400)


def with_adapter(model: Any) -> Any:
    wrapped = attach(model, LoraConfig(rank=2), seed=0)
    move(wrapped)
    return wrapped


def move(model: Any) -> None:
    """What an optimiser step does: all that is trained changes."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def meanwhile(model: Any, folder: Path, **options: Any) -> Meanwhile:
    how = sampling(Actors(model, TOKENIZER))
    return Meanwhile(model, how, folder, batch_size=64, **options)


def same(one: Samples, other: Samples) -> bool:
    theirs = other.tensors()
    return one.version == other.version and all(
        torch.equal(tensor, theirs[name]) for name, tensor in one.tensors().items()
    )


def drawn(model: Any, iteration: int) -> Samples:
    job = SCHEDULE.job(iteration)
    return draw(model, job, sampling(Actors(model, TOKENIZER)), batch_size=64)


@pytest.mark.parametrize("wrap", [lambda model: model, with_adapter])
def test_a_model_and_later_weights_come_back_from_the_disk_bit_by_bit(tmp_path, wrap):
    model = wrap(policy())
    write_model(tmp_path / "model", model)
    again = read_model(tmp_path / "model", "sdpa")
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(model(input_ids=ids).logits, again(input_ids=ids).logits)
    move(model)
    write_weights(tmp_path / "weights.safetensors", model)
    read_weights(tmp_path / "weights.safetensors", again)
    assert torch.equal(model(input_ids=ids).logits, again(input_ids=ids).logits)


def test_the_process_gives_the_answers_of_the_weights_it_was_asked_with(tmp_path):
    """Bit for bit; then it is killed, which is told with its exit."""
    model = policy()
    sampler = meanwhile(model, tmp_path)
    try:
        expected = [drawn(model, 0)]
        sampler.ask(SCHEDULE.job(0))
        sampler.ask(SCHEDULE.job(1))
        expected.append(drawn(model, 1))
        move(model)  # while they are being written
        found = [sampler.take(0), sampler.take(1)]
        expected.append(drawn(model, 2))
        sampler.ask(SCHEDULE.job(2))
        found.append(sampler.take(2))
        assert all(same(*pair) for pair in zip(found, expected, strict=True))
        assert [one.version for one in found] == [0, 0, 1]
        assert [path.name for path in tmp_path.glob("weights-*")] == [
            "weights-00000001.safetensors"
        ]
        long = replace(SCHEDULE.job(3), prompts=((5,) * 190,) * 12)
        sampler.ask(long)
        with pytest.raises(InputError, match="more than the 192 positions"):
            sampler.take(3)
        sampler.ask(SCHEDULE.job(4))  # an error of ours does not end the process
        assert sampler.pid is not None
        os.kill(sampler.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"samples answers ended: .*\n.*--lag 0"):
            sampler.take(5)
        assert sampler.pid is None
    finally:
        sampler.close()


def test_an_adapter_is_sampled_with_the_weights_kept_for_a_job_and_silence_is_told(tmp_path):
    """A run killed within an iteration asks again, when its own weights have moved on."""
    model = with_adapter(policy())
    threads = torch.get_num_threads()
    sampler = meanwhile(model, tmp_path, silence_s=5.0)
    expected = drawn(model, 0)
    write_weights(tmp_path / "weights-00000000.safetensors", model)
    move(model)
    try:
        sampler.ask(SCHEDULE.job(0))
        assert same(sampler.take(0), expected)
        pid = sampler.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        sampler.ask(SCHEDULE.job(1))
        with pytest.raises(Unavailable, match="no sign of life for 5 s"):
            sampler.take(1)
        assert not Path(f"/proc/{pid}").exists()
    finally:
        sampler.close()
    assert torch.get_num_threads() == threads


def test_a_process_that_cannot_start_says_why(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    sampler = meanwhile(policy(), tmp_path)
    with pytest.raises(Unavailable, match=r"ended: .*(model_type|config)") as caught:
        sampler.ask(SCHEDULE.job(0))
        sampler.take(0)
    assert str(tmp_path / "sampler.log") in str(caught.value)


def test_without_lag_the_process_gives_the_run_of_a_single_one(tmp_path):
    """Acceptance 15: lag 0 is the synchronous run, bit for bit, whoever samples."""
    found = []
    with checking() as pool:
        for name in ("in turn", "process"):
            made = actors()
            how = sampling(made)
            sampler = (
                InTurn(made.policy, how, batch_size=64)
                if name == "in turn"
                else Meanwhile(made.policy, how, tmp_path / "sampler", batch_size=64)
            )
            found.append(Job().start(tmp_path / name, pool, actors=made, sampler=sampler)[0])
    one, other = (weights(made) for made in found)
    assert all(torch.equal(one[name], other[name]) for name in one)
