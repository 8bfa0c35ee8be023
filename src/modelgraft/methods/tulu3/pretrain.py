"""The base model of the embedded world, made anew from plain text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.core.settings import Settings
from modelgraft.methods.tulu3.adapter.models import Recipe, save_trained
from modelgraft.methods.tulu3.config import PretrainConfig
from modelgraft.methods.tulu3.tiny import build_tokenizer, tiny_config
from modelgraft.methods.tulu3.train.curves import first_and_last
from modelgraft.methods.tulu3.train.estimates import (
    memory,
    operations,
    sizes_of,
    training_bytes,
)
from modelgraft.methods.tulu3.world.documents import document
from modelgraft.methods.tulu3.world.tasks import CONTEXT
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of

# Numbers of documents set apart for each row; a row needs five at most.
_DOCUMENTS = 16


def pretrain(config: PretrainConfig, run: Run) -> Result:
    """Train a base model of the embedded world from random weights, and save it in float16.

    Rows are stretches of one endless text, documents one after the other with an end of text
    between them; no row is seen twice.
    """
    tokenizer = build_tokenizer()
    torch.manual_seed(rng_seed("tinychat", "weights", run.seed))
    model = LlamaForCausalLM(tiny_config(config.size)).train()
    accelerator = accelerator_of(config.optim, run.settings)
    rank, world = accelerator.process_index, accelerator.num_processes
    size = config.optim.batch

    def batches(step: int) -> Sequence[Tensor]:
        numbers = range(step * size, (step + 1) * size)[rank::world]
        rows = torch.tensor([row(tokenizer, number, seed=run.seed) for number in numbers])
        return rows.to(accelerator.device).split(config.optim.micro_batch)

    def step(rows: Tensor) -> Loss:
        logits = model(input_ids=rows, use_cache=False).logits[:, :-1]
        total = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
        return Loss(total, rows[:, 1:].numel())

    fit(step, batches, model, run, config.optim, steps=config.steps, accelerator=accelerator)
    numbers = [
        *_sizes(model, config),
        *first_and_last(run.folder, "loss"),
    ]
    recipe = Recipe(
        stage="base model",
        base="random weights",
        data={"rows of tinychat documents": config.steps * size},
        options={"size": config.size, "steps": config.steps, "seed": run.seed},
        numbers=numbers,
    )
    save_trained(model.eval().half(), tokenizer, run, recipe)
    return Result(tuple(numbers))


def estimate_pretrain(config: PretrainConfig, settings: Settings) -> list[Number]:
    """What `pretrain` would cost: steps, tokens, operations and memory."""
    with torch.device("meta"):
        model = LlamaForCausalLM(tiny_config(config.size))
    weights, tokens = _sizes(model, config)
    return [
        weights,
        tokens,
        Number("steps", config.steps),
        operations(sizes_of(model).training_flop * tokens.value),
        memory(training_bytes(model)),
    ]


def _sizes(model: LlamaForCausalLM, config: PretrainConfig) -> tuple[Number, Number]:
    """How many weights there are, and how many tokens they see."""
    return (
        Number("weights", sum(one.numel() for one in model.parameters())),
        Number("tokens", config.steps * config.optim.batch * CONTEXT),
    )


def row(tokenizer: Any, number: int, *, seed: int) -> list[int]:
    """Token ids of row `number` of the endless text, as many as the context holds."""
    ids: list[int] = []
    for place in count(number * _DOCUMENTS):
        ids += tokenizer(document(place, seed=seed), verbose=False)["input_ids"]
        ids.append(tokenizer.eos_token_id)
        if len(ids) >= CONTEXT:
            break
    return ids[:CONTEXT]
