"""E10: our supervised and preference training against the trainers of the package trl."""

from __future__ import annotations

import copy
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.lazy import load
from modelgraft.core.results import Number
from modelgraft.core.runs import Run, open_run
from modelgraft.evaluation.intervals import Array, ratio_interval
from modelgraft.evaluation.reproduction import (
    DOES_NOT_HOLD,
    HOLDS,
    NOT_TESTED,
    Experiment,
    Findings,
)
from modelgraft.methods.tulu3.adapter.models import load_trainable
from modelgraft.methods.tulu3.config import DpoConfig, PairOptim, SftConfig, SftOptim
from modelgraft.methods.tulu3.data import Pair, world_conversations, world_pairs
from modelgraft.methods.tulu3.experiments.arms import SUBJECTS, described, number
from modelgraft.methods.tulu3.experiments.trl_trainers import Peer, Trained, weights_of
from modelgraft.methods.tulu3.train.curves import recorded
from modelgraft.methods.tulu3.train.dpo import joined, reference_of, train_dpo
from modelgraft.methods.tulu3.train.pairs import pair_batches, tokenise_pairs
from modelgraft.methods.tulu3.train.sft import tokenise_all, train_sft
from modelgraft.methods.tulu3.train.tokens import sample_batches
from modelgraft.training.processes import accelerator_of

PEER: Final = "TRL"
SFT: Final = "SFT"
DPO: Final = "DPO"
# The default of the action, which TRL lacks: half of the activations, one side passed once more.
SIDES = "DPO, one side after the other"
BATCH, ROUNDS = 32, 8
# TRL's warm-up begins with a step at a learning rate of 0 and ours does not, so there is none.
_OPTIM: dict[str, Any] = {"warmup": 0.0, "weight_decay": 0.01}

# Thresholds of the verdict: relative differences of the loss, and TRL's time divided by ours.
FIRST_AT_MOST, ANY_AT_MOST = 1e-5, 1e-4
SPEED_AT_LEAST = 0.9

_REMARKS = (
    "Both see the same micro-batches, which is checked token by token; the pairs TRL has tokenised "
    "itself.",
    "The baseline of a difference is what rounding does: ours against ours with whole batches. "
    "Single weights differ most where the gradient nearly vanishes, since AdamW divides by it.",
    "The time of a step is that of its batches, losses, gradients, optimiser and records, from the "
    "end of the first step to that of the last. The reference's log-probabilities are computed "
    "before, by both.",
    "TRL does without bfloat16 and gradient checkpointing, its defaults. Its records include the "
    "entropy and accuracy of tokens.",
)


# Trains a model in place.
Train = Callable[[Any], Trained]


@dataclass(frozen=True)
class Stage:
    """A model, trainings of it on the same batches by name, and one of ours that does not race.

    That one, `uncut`, takes a batch whole instead of in micro-batches, so that only rounding sets
    it apart from ours.
    """

    start: Any
    racers: Mapping[str, Train]
    uncut: Train


# -- ours ------------------------------------------------------------------------------------------


def supervised(run: Run, steps: int, batch: int) -> Stage:
    """Supervised fine-tuning of the base model, its loss the mean over the tokens of a step."""
    optim = SftOptim(batch=batch, micro_batch=batch // 4, **_OPTIM)
    config = SftConfig(model=SUBJECTS["base"], epochs=1.0, optim=optim)
    loaded = load_trainable(config.model, run, config.lora, template=config.template)
    model: Any = loaded.model
    tokenizer: Any = loaded.tokenizer
    conversations = world_conversations(steps * batch, seed=run.seed)
    samples, _ = tokenise_all(tokenizer, conversations, config, run)
    accelerator, pad_id = accelerator_of(optim, run.settings), tokenizer.pad_token_id
    batches = sample_batches(samples, optim, run, accelerator, model=model, pad_id=pad_id)
    rows = [samples[index] for step in range(steps) for index in batches.indices(step)]
    columns = {"input_ids": [row.ids for row in rows], "labels": [row.labels for row in rows]}
    shown = [micro for step in range(steps) for micro in batches(step)]
    peer = Peer(SFT, tokenizer, optim, columns, {"loss_type": "nll"}, shown)

    def ours(config: SftConfig) -> Train:
        return lambda model: _followed(
            run, model, lambda own: train_sft(model, tokenizer, samples, config, own)
        )

    uncut = replace(config, optim=replace(optim, micro_batch=batch))
    return Stage(model, {SFT: ours(config), PEER: peer.train}, ours(uncut))


def preference(run: Run, steps: int, batch: int) -> Stage:
    """DPO of the SFT model with the length-normalised loss, both sides in one forward pass."""
    optim = PairOptim(batch=batch, micro_batch=batch // 2, **_OPTIM)
    config = DpoConfig(model=SUBJECTS["sft"], beta=5.0, concatenated=True, optim=optim)
    loaded = load_trainable(config.model, run, config.lora)
    tokenizer: Any = loaded.tokenizer
    pairs = world_pairs(steps * batch, seed=run.seed)
    samples = tokenise_pairs(tokenizer, pairs, config, run)
    accelerator = accelerator_of(optim, run.settings)
    batches = pair_batches(samples, optim, run, accelerator, pad_id=tokenizer.pad_token_id)
    rows = [pairs[index] for step in range(steps) for index in batches.indices(step)]
    shown = [joined(micro) for step in range(steps) for micro in batches(step)]
    options = {"loss_type": ["sigmoid_norm"], "beta": config.beta, "precompute_ref_log_probs": True}
    peer = Peer(DPO, tokenizer, optim, _columns(rows), options, shown)
    reference = reference_of(loaded, samples, config, run, accelerator)

    def ours(config: DpoConfig) -> Train:
        def train(model: Any, own: Run) -> None:
            fresh = accelerator_of(config.optim, own.settings)  # TRL has put an end to the first
            train_dpo(model, tokenizer, samples, reference, config, own, fresh)

        return lambda model: _followed(run, model, lambda own: train(model, own))

    sides = replace(config, concatenated=False)
    uncut = replace(config, optim=replace(optim, micro_batch=batch))
    racers = {DPO: ours(config), SIDES: ours(sides), PEER: peer.train}
    return Stage(loaded.model, racers, ours(uncut))


def _columns(pairs: Sequence[Pair]) -> dict[str, list[Any]]:
    """Pairs as the messages that TRL makes tokens of."""
    return {
        "prompt": [[dict(message) for message in pair.prompt] for pair in pairs],
        "chosen": [[dict(pair.chosen_messages[-1])] for pair in pairs],
        "rejected": [[dict(pair.rejected_messages[-1])] for pair in pairs],
    }


def _followed(run: Run, model: Any, train: Callable[[Run], object]) -> Trained:
    """What `train` records in a run of its own, which is not kept."""
    settings = replace(run.settings, resume="auto")
    with tempfile.TemporaryDirectory() as folder, open_run(folder, settings=settings) as own:
        train(own)
        losses, times = (recorded(own.folder, name) for name in ("loss", "time"))
    return Trained(losses, times, weights_of(model))


# -- the experiment --------------------------------------------------------------------------------


def race(run: Run, stage: Stage, rounds: int) -> list[dict[str, Trained]]:
    """What comes of each training, round after round; they take turns, forwards and backwards.

    Before the rounds, which it is not counted in, one warms up.
    """
    found = []
    for turn in range(rounds + 1):
        trained = {}
        for name in list(stage.racers)[:: 1 if turn % 2 else -1]:
            run.check()
            run.progress(turn, rounds + 1, f"{name}, round {turn}")
            trained[name] = stage.racers[name](copy.deepcopy(stage.start))
        found += [trained] if turn else []
    return found


def loss_gaps(one: Trained, other: Trained) -> Array:
    """The difference of the losses of each step [steps], relative to the other's."""
    losses = np.array(other.losses)
    return np.abs(np.array(one.losses) - losses) / np.abs(losses)


def weight_gaps(one: Trained, other: Trained, start: Mapping[str, Tensor]) -> tuple[float, float]:
    """The largest difference of a weight relative to the largest change of one, and both as norms.

    The second is the Euclidean norm of all differences, relative to that of all changes.
    """
    apart, moved = (
        torch.cat([(theirs[name] - other.weights[name]).flatten() for name in start])
        for theirs in (one.weights, start)
    )
    return float(apart.abs().max() / moved.abs().max()), float(apart.norm() / moved.norm())


def race_numbers(
    name: str, rounds: Sequence[Mapping[str, Trained]], uncut: Trained, start: Mapping[str, Tensor]
) -> list[Number]:
    """How far training `name` of ours is from TRL's, how far rounding gets, and how fast it is."""
    ours, peer = rounds[0][name], rounds[0][PEER]
    seconds, peer_s = ([one[who].step_s for one in rounds] for who in (name, PEER))
    gaps, rounding = loss_gaps(ours, peer), loss_gaps(ours, uncut)
    weights = zip(weight_gaps(ours, peer, start), weight_gaps(ours, uncut, start), strict=True)
    (largest, largest_rounding), (norm, norm_rounding) = weights
    num_weights = sum(one.numel() for one in start.values())
    return [
        Number(_first(name), float(gaps[0]), n=1, baseline=float(rounding[0]), better="lower"),
        Number(_any(name), float(gaps.max()), n=len(gaps), baseline=float(rounding.max()),
               better="lower"),
        Number(f"{name}: norm of the differences of weights, relative to that of their changes",
               norm, n=num_weights, baseline=norm_rounding, better="lower"),
        Number(f"{name}: largest difference of a weight, relative to the largest change",
               largest, n=num_weights, baseline=largest_rounding, better="lower"),
        number(_faster(name), ratio_interval(peer_s, seconds), unit="x", baseline=1.0),
        Number(f"{name}: a step", statistics.median(seconds), n=len(seconds), unit="s",
               baseline=statistics.median(peer_s), better="lower"),
    ]  # fmt: skip


def _first(name: str) -> str:
    return f"{name}: relative difference of the first loss"


def _any(name: str) -> str:
    return f"{name}: largest relative difference of a loss"


def _faster(name: str) -> str:
    return f"{name}: times as fast as {PEER}"


def criteria(numbers: Sequence[Number]) -> list[tuple[bool, str]]:
    """Whether each threshold is met, with its figures; a number that is missing meets none."""
    values = {one.name: one.value for one in numbers}
    found = []
    for stage in (SFT, DPO):
        for name, limit in ((_first(stage), FIRST_AT_MOST), (_any(stage), ANY_AT_MOST)):
            value = values.get(name, math.inf)
            found.append((value <= limit, f"{name} {value:.2g}, at most {limit:g}"))
        value = values.get(_faster(stage), 0.0)
        text = f"{_faster(stage)} {value:.3g}, at least {SPEED_AT_LEAST:g}"
        found.append((value >= SPEED_AT_LEAST, text))
    return found


def _run(run: Run, quick: bool) -> Findings:
    try:
        load("trl:SFTTrainer")
    except ImportError as error:
        remark = (
            f"{PEER} was not raced: it is not there ({error}). Install it with: pip install trl"
        )
        return Findings((), NOT_TESTED, remarks=(remark,))
    numbers: list[Number] = []
    for make, steps in ((supervised, 20), (preference, 10)):
        stage = make(run, 2, BATCH // 4) if quick else make(run, steps, BATCH)
        rounds = race(run, stage, 1 if quick else ROUNDS)
        uncut, start = stage.uncut(copy.deepcopy(stage.start)), weights_of(stage.start)
        for name in stage.racers:
            numbers += race_numbers(name, rounds, uncut, start) if name != PEER else []
    judged = criteria(numbers)
    subject = described(run, "base")
    subject |= {f"{key} of {DPO}": value for key, value in described(run, "sft").items()}
    return Findings(
        tuple(numbers),
        HOLDS if all(is_met for is_met, _ in judged) else DOES_NOT_HOLD,
        seeds=(run.seed,),
        remarks=(
            *(f"{'Met' if is_met else 'Not met'}: {text}." for is_met, text in judged),
            *_REMARKS,
        ),
        subject={**subject, "trl": load("trl:__version__")},
    )


TRL_STEPS = Experiment(
    "E10",
    "On the same batches, supervised fine-tuning and dpo_norm take the steps that TRL's trainers "
    "take, in no more time.",
    "Not a claim of the paper, which trains with code of its own.",
    _run,
)
