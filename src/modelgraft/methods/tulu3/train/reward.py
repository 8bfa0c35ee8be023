"""The reward model: which of two answers is preferred (Tulu 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.core.settings import Settings
from modelgraft.evaluation.intervals import Interval, wilson
from modelgraft.language.load import Loaded
from modelgraft.language.score_heads import with_score_head
from modelgraft.methods.tulu3.adapter.models import attach, load_trainable_skeleton
from modelgraft.methods.tulu3.adapter.scores import answer_scores
from modelgraft.methods.tulu3.config import LoraConfig, RewardConfig
from modelgraft.methods.tulu3.data import Pair
from modelgraft.methods.tulu3.method.reward import reward_loss
from modelgraft.methods.tulu3.train.estimates import (
    memory,
    num_steps,
    operations,
    quiet,
    sizes_of,
    spread,
    training_bytes,
)
from modelgraft.methods.tulu3.train.pairs import (
    PairBatch,
    PairSample,
    collate_pairs,
    load_pairs,
    pair_batches,
    tokenise_pairs,
)
from modelgraft.nn.modes import eval_mode
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of


def reward_model_of(loaded: Loaded, lora: LoraConfig, *, seed: int) -> Any:
    """A new head on the trunk of a model, with an adapter if asked.

    It is the very trunk, not a copy, without an adapter that the model has.
    """
    model = with_score_head(loaded.model, seed=seed, trunk="shared")
    return attach(model, lora, seed=seed, task="SEQ_CLS") if lora.rank else model


def train_reward(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], config: RewardConfig, run: Run
) -> list[Number]:
    """Train the reward model in place, dropout off, and say how often it is right.

    `model` is one of `with_score_head`, with or without an adapter. A share
    `config.held_out` of the pairs, drawn by the run's seed, measures its accuracy before and after
    and is not trained on. Resumes in the run's folder.
    """
    samples = whole_pairs(tokenizer, pairs, config, run)
    held_out, trained = _split(samples, config.held_out, run.seed)
    pad_id = tokenizer.pad_token_id
    accelerator = accelerator_of(config.optim, run.settings)
    if accelerator.distributed_type == DistributedType.FSDP:
        raise ConfigError(
            "",
            "reward saves one whole classifier, which sharded weights do not give.\n"
            "  Start it without FSDP, or train an adapter: --lora.rank 16.",
        )
    model.to(accelerator.device)
    before = pair_accuracy(model, held_out, pad_id=pad_id) if held_out else None
    batches = pair_batches(trained, config.optim, run, accelerator, pad_id=pad_id)
    steps = batches.steps(config.epochs)

    def step(batch: PairBatch) -> Loss:
        return pair_loss(model, batch)

    with eval_mode(model):
        fit(step, batches, model, run, config.optim, steps=steps, accelerator=accelerator)
    numbers = [
        Number("pairs", len(trained)),
        Number("pairs left out", len(pairs) - len(samples), better="lower"),
        Number("steps", steps),
    ]
    if before is not None:
        after = pair_accuracy(model, held_out, pad_id=pad_id)
        numbers.append(Number("held-out accuracy", *after, baseline=before.value))
    return numbers


def pair_loss(model: Any, pairs: PairBatch) -> Loss:
    """The summed loss of a micro-batch of pairs, each side in a forward pass of its own."""
    chosen, rejected = (answer_scores(model, side) for side in pairs[:2])
    margin = (chosen - rejected).detach()
    values = {"accuracy": float((margin > 0).float().mean()), "margin": float(margin.mean())}
    return Loss(reward_loss(chosen, rejected).sum(), float(len(margin)), values)


@torch.no_grad()
def pair_accuracy(
    model: Any, samples: Sequence[PairSample], *, pad_id: int, batch_size: int = 32
) -> Interval:
    """The share of pairs whose chosen answer scores higher, with its interval; ties count wrong."""
    right = 0
    device = next(model.parameters()).device
    with eval_mode(model):
        for start in range(0, len(samples), batch_size):
            part = samples[start : start + batch_size]
            pairs = collate_pairs(part, pad_id=pad_id, device=device)
            chosen, rejected = (answer_scores(model, side) for side in pairs[:2])
            right += int((chosen > rejected).sum())
    return wilson(right, len(samples))


def whole_pairs(
    tokenizer: Any, pairs: Sequence[Pair], config: RewardConfig, run: Run | None
) -> list[PairSample]:
    """All pairs in tokens; one with an answer that ends beyond `config.max_length` is left out.

    Its score would be read at a token that ends nothing. The run, if there is one, logs how many.
    Raises `InputError` when no pair is left, and, with --on-error raise, for the first such one.
    """
    most = config.max_length
    # One token of slack tells an answer that just fits from one that was cut.
    found = tokenise_pairs(tokenizer, pairs, replace(config, max_length=most + 1), run)
    kept = [one for one in found if max(len(one.chosen.ids), len(one.rejected.ids)) <= most]
    num_cut = len(found) - len(kept)
    if (num_cut and config.on_error == "raise") or not kept:
        raise InputError(
            f"{num_cut} of {len(pairs)} pairs have an answer that ends beyond {most} tokens, where "
            "no score can be read.\n  Raise --max-length, or leave them out: --on-error skip."
        )
    if num_cut and run is not None:
        run.log("pairs left out", num=num_cut, reason=f"an answer ends beyond {most} tokens")
    return [one._replace(number=place) for place, one in enumerate(kept)]


def _split(
    samples: Sequence[PairSample], share: float, seed: int
) -> tuple[list[PairSample], list[PairSample]]:
    """The held-out pairs and those to train on, at least one of them."""
    num = min(round(share * len(samples)), len(samples) - 1)
    order = np.random.default_rng(rng_seed(seed, "held-out pairs")).permutation(len(samples))
    return [samples[one] for one in order[:num]], [samples[one] for one in sorted(order[num:])]


def estimate_reward(config: RewardConfig, settings: Settings) -> list[Number]:
    """What `reward` would cost: pairs, tokens, steps, operations and memory.

    The held-out pairs are measured before and after, and their tokens are not among those counted.
    Of more than `MAX_ROWS` pairs so many are tokenised, and the rest is taken to be alike.
    """
    pairs = load_pairs(config, seed=settings.seed, reject=quiet(config.on_error))
    loaded = load_trainable_skeleton(config.model, settings, config.lora)
    looked = spread(pairs)
    samples = whole_pairs(loaded.tokenizer, looked, config, None)
    held_out, trained = _split(samples, config.held_out, settings.seed)
    scale = len(pairs) / len(looked)
    num = round(scale * len(trained))
    tokens = scale * _num_tokens(trained)
    model = reward_model_of(loaded, config.lora, seed=settings.seed)
    sizes = sizes_of(model)
    flop = sizes.training_flop * tokens * config.epochs
    flop += 2 * sizes.forward_flop * scale * _num_tokens(held_out)
    return [
        Number("pairs in the data", len(pairs)),
        Number("pairs", num),
        Number("pairs held out", round(scale * len(held_out))),
        Number("tokens", round(tokens), unit="tokens"),
        Number("steps", num_steps(num, config.epochs, config.optim.batch)),
        operations(flop),
        memory(training_bytes(model)),
    ]


def _num_tokens(samples: Sequence[PairSample]) -> int:
    """Tokens of both sides."""
    return sum(len(side.ids) for one in samples for side in (one.chosen, one.rejected))
