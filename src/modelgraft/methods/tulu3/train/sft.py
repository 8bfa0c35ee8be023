"""Supervised fine-tuning: imitate the assistant's turns (Tulu 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.core.options import flatten
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import Reject
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.language.conversation import tokenise_conversation
from modelgraft.language.logprobs import token_logprobs
from modelgraft.language.packing import Batch, pack
from modelgraft.methods.tulu3.adapter.models import (
    Recipe,
    load_trainable,
    load_trainable_skeleton,
    save_trained,
)
from modelgraft.methods.tulu3.config import SftConfig
from modelgraft.methods.tulu3.data import (
    Conversation,
    read_conversations,
    rejecter,
    world_conversations,
)
from modelgraft.methods.tulu3.method.sft import Aggregation, aggregate
from modelgraft.methods.tulu3.train.curves import first_and_last
from modelgraft.methods.tulu3.train.estimates import (
    memory,
    num_steps,
    operations,
    quiet,
    sizes_of,
    spread,
    training_bytes,
)
from modelgraft.methods.tulu3.train.tokens import (
    Samples,
    has_label,
    leave_out,
    report_tokenising,
    sample_batches,
)
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of

WORLD_ROWS = 2048


def sft(config: SftConfig, run: Run) -> Result:
    """Train `config.model` on the conversations and save it."""
    reject = rejecter(config.on_error, run)
    conversations = read_sft_data(config, seed=run.seed, reject=reject)
    loaded = load_trainable(config.model, run, config.lora, template=config.template)
    samples, sources = tokenise_all(loaded.tokenizer, conversations, config, run)
    num_left_out = len(conversations) - len(samples)
    del conversations  # a million of them take more memory than their tokens
    model, numbers = train_sft(loaded.model, loaded.tokenizer, samples, config, run)
    numbers.append(Number("conversations left out", num_left_out, better="lower"))
    recipe = Recipe(
        stage="SFT",
        base=config.model,
        data=sources,
        options=flatten(config),
        numbers=numbers,
    )
    save_trained(model, loaded.tokenizer, run, recipe)
    return Result(tuple(numbers))


def read_sft_data(config: SftConfig, *, seed: int, reject: Reject | None) -> list[Conversation]:
    """The conversations of the file, or of the embedded world."""
    if config.data is None:
        return world_conversations(config.num or WORLD_ROWS, seed=seed)
    return read_conversations(config.data, reject=reject)[: config.num]


def tokenise_all(
    tokenizer: Any, conversations: Sequence[Conversation], config: SftConfig, run: Run | None
) -> tuple[Samples, Counter[str]]:
    """All conversations as samples, and how many come from each source.

    One of which no label is left after the cut, or that the chat template does not take, is left
    out and recorded in the run, if there is one. Raises `InputError` when none is left, and, with
    --on-error raise, when there is such a one.
    """
    samples, sources, reasons = Samples(), Counter[str](), dict[str, str]()
    for number, one in enumerate(conversations):
        report_tokenising(number, len(conversations), run)
        try:
            sample = tokenise_conversation(tokenizer, one.messages, config.max_length)
        except InputError as error:
            reasons[one.id] = str(error).partition("\n")[0].rstrip(".")
            continue
        if has_label(sample):
            samples.append(sample)
            sources[one.source] += 1
        else:
            reasons[one.id] = f"no answer begins within --max-length {config.max_length} tokens"
    leave_out(reasons, data=config.data, on_error=config.on_error, run=run)
    if not samples:
        raise InputError(
            f"none of {len(conversations)} conversations has an answer within "
            f"{config.max_length} tokens.\n  Raise --max-length, or look at rejects.jsonl."
        )
    return samples, sources


def train_sft(
    model: Any, tokenizer: Any, samples: Samples, config: SftConfig, run: Run
) -> tuple[Any, list[Number]]:
    """The trained model, and what it was trained on and to; resumes in the run's folder."""
    accelerator = accelerator_of(config.optim, run.settings)
    batches = sample_batches(
        samples,
        config.optim,
        run,
        accelerator,
        model=model,
        pad_id=tokenizer.pad_token_id,
        pack_to=config.max_length if config.pack else None,
    )
    steps = batches.steps(config.epochs)
    model.train()

    def step(batch: Batch) -> Loss:
        return sft_loss(model, batch, config.aggregation)

    model = fit(step, batches, model, run, config.optim, steps=steps, accelerator=accelerator)
    model.eval()
    return model, [
        Number("samples", len(samples)),
        Number("tokens", samples.num_tokens),
        Number("tokens learned", samples.num_labels),
        Number("steps", steps),
        *first_and_last(run.folder, "nll_per_token"),
    ]


def sft_loss(model: Any, batch: Batch, how: Aggregation) -> Loss:
    """The loss of one micro-batch, aggregated `how` (equation in `method.sft`)."""
    found = token_logprobs(model, batch)
    total, count = aggregate(-found.sums, found.lengths, how)
    return Loss(total, count, {"nll_per_token": float(-found.values.detach().mean())})


def estimate_sft(config: SftConfig, settings: Settings) -> list[Number]:
    """What `sft` would cost: rows, tokens, steps, operations and memory.

    Of more than `MAX_ROWS` conversations so many are tokenised, and the rest is taken to be alike.
    """
    conversations = read_sft_data(config, seed=settings.seed, reject=quiet(config.on_error))
    loaded = load_trainable_skeleton(config.model, settings, config.lora, template=config.template)
    looked = spread(conversations)
    samples, _ = tokenise_all(loaded.tokenizer, looked, config, None)
    scale = len(conversations) / len(looked)
    rows = len(pack(samples.lengths.tolist(), config.max_length) if config.pack else samples)
    tokens = scale * samples.num_tokens
    flop = sizes_of(loaded.model).training_flop * tokens * config.epochs
    return [
        Number("conversations", len(conversations)),
        Number("samples", round(scale * len(samples))),
        Number("tokens", round(tokens), unit="tokens"),
        Number("tokens learned", round(scale * samples.num_labels), unit="tokens"),
        Number("steps", num_steps(round(scale * rows), config.epochs, config.optim.batch)),
        operations(flop),
        memory(training_bytes(loaded.model)),
    ]
