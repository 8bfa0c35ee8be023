"""E1: how token losses are aggregated decides whether a step depends on how its batch was cut."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.conversation import tokenise_conversation
from modelgraft.language.packing import Sample, collate
from modelgraft.methods.tulu3.adapter.models import load_trainable
from modelgraft.methods.tulu3.config import LoraConfig, SftConfig, SftOptim
from modelgraft.methods.tulu3.data import Conversation, Prompt, world_conversations, world_prompt
from modelgraft.methods.tulu3.experiments.arms import (
    SUBJECTS,
    arm,
    described,
    difference,
    is_above,
    mean,
    number,
    score,
    seeds_of,
    shares,
    write_rows,
)
from modelgraft.methods.tulu3.method.sft import Aggregation
from modelgraft.methods.tulu3.train.sft import sft_loss
from modelgraft.methods.tulu3.world.tasks import CONTEXT, length_contrast

MODES: tuple[Aggregation, ...] = get_args(Aggregation)
FAULT: Aggregation = "microbatch_mean"
TRAINED: tuple[Aggregation, ...] = ("token_mean", "token_sum", FAULT)
SPLITS = (1, 2, 8)
GRADIENT_BATCH = 32
SKILLS = ("long", "short")
# The longest prompt leaves this much of the context; a long answer takes 81 tokens.
_MAX_NEW_TOKENS = 82
# Most answers are short, as in real mixes; the rate leaves long ones unfinished after 48 steps.
_SHORT_FOR_EACH_LONG = 7
_LR = 1e-3

# Thresholds of the verdict: relative differences of gradients.
SAME, OTHER = 1e-5, 1e-2


def gradient_differences(
    model: Any, samples: Sequence[Sample], pad_id: int
) -> dict[Aggregation, float]:
    """How far the gradient of one batch moves, at most, when the batch is cut otherwise.

    The norm of the difference to the uncut batch's gradient over the norm of that.
    """
    found = {}
    for how in MODES:
        whole, *cut = (_gradient(model, samples, pad_id, how, parts) for parts in SPLITS)
        found[how] = max(float((one - whole).norm() / whole.norm()) for one in cut)
    return found


def _gradient(
    model: Any, samples: Sequence[Sample], pad_id: int, how: Aggregation, parts: int
) -> Tensor:
    """The gradient of a step over `parts` micro-batches, all weights in a row."""
    model.zero_grad(set_to_none=True)
    count = 0.0
    size = len(samples) // parts
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        loss = sft_loss(model, collate([[one] for one in part], pad_id=pad_id), how)
        loss.total.backward()
        count += loss.count
    return torch.cat([one.grad.flatten() for one in model.parameters()]) / count


def is_confirmed(differences: Mapping[Aggregation, float], long: Mapping[str, Array]) -> bool:
    """Whether only the fault depends on the cut, and is worse than `token_mean` on long answers.

    `long` holds what passed of the long answers [seeds, items] of the trained modes.
    """
    others = [value for how, value in differences.items() if how != FAULT]
    return (
        max(others) < SAME
        and differences[FAULT] > OTHER
        and is_above(difference(long["token_mean"], long[FAULT]))
    )


def _run(run: Run, quick: bool) -> Findings:
    differences = _differences(run)
    num, num_tests = (32, 8) if quick else (1536, 64)
    seeds = seeds_of(run, quick)
    prompts = _prompts(num_tests, run.seed)
    passed: dict[str, dict[str, Array]] = {name: {} for name in SKILLS}
    for how in TRAINED:
        outcomes = []
        for seed in seeds:
            config = SftConfig(
                data=write_rows(run, f"E1-{seed}", _rows(num, seed)),
                model=SUBJECTS["base"],
                epochs=1.0,
                aggregation=how,
                optim=SftOptim(lr=_LR, micro_batch=1),
            )
            model = arm(run, f"E1-{how}", seed, "sft", config)
            outcomes.append(
                score(run, f"{how}, seed {seed}", model, prompts, max_new_tokens=_MAX_NEW_TOKENS)
            )
        for name in SKILLS:
            passed[name][how] = shares(outcomes, name)
    numbers = [
        Number(f"{how}: gradient difference between cuts of a batch", value, n=GRADIENT_BATCH,
               unit="relative", baseline=differences[FAULT], better="lower")
        for how, value in differences.items()
    ]  # fmt: skip
    for name in SKILLS:
        numbers += _numbers(name, passed[name])
    _draw(run, passed)
    verdict = HOLDS if is_confirmed(differences, passed["long"]) else DOES_NOT_HOLD
    return Findings(tuple(numbers), verdict, seeds=seeds, subject=described(run))


def _differences(run: Run) -> dict[Aggregation, float]:
    loaded = load_trainable(SUBJECTS["base"], run, LoraConfig())
    rows = world_conversations(GRADIENT_BATCH, seed=run.seed)
    # As in training: drawn in turn, every cut would hold each skill and so much the same lengths.
    random.Random(rng_seed("E1", run.seed)).shuffle(rows)
    samples = [
        tokenise_conversation(loaded.tokenizer, one.messages, CONTEXT, row=one.id) for one in rows
    ]
    return gradient_differences(loaded.model, samples, loaded.tokenizer.pad_token_id)


def _rows(num: int, seed: int) -> list[Conversation]:
    """`num` copying tasks, one in eight with a long answer."""
    cycle = _SHORT_FOR_EACH_LONG + 1
    assert num % cycle == 0
    tasks = length_contrast("train", 2 * num * _SHORT_FOR_EACH_LONG // cycle, seed=seed)
    kept = [*tasks[::2], *tasks[1 :: 2 * _SHORT_FOR_EACH_LONG]]
    return [Conversation(task.id, tuple(task.messages(task.answer)), task.source) for task in kept]


def _prompts(num: int, seed: int) -> list[Prompt]:
    """`num` prompts of long answers and those of short ones among as many, all different."""
    found = {
        task.prompt: replace(world_prompt(task), source=task.id.split("-")[1])
        for task in length_contrast("dev", 2 * num, seed=seed)
    }
    return list(found.values())


def _numbers(name: str, passed: Mapping[str, Array]) -> list[Number]:
    fault = passed[FAULT]
    numbers = [
        number(f"{how}: exact match, {name} answers", mean(passed[how]), unit="%",
               baseline=float(fault.mean()))
        for how in TRAINED
    ]  # fmt: skip
    for how in TRAINED:
        if how != FAULT:
            gap = difference(passed[how], fault)
            numbers.append(
                number(f"{how} above {FAULT}, {name} answers", gap, unit="points", baseline=0.0)
            )
    return numbers


def _draw(run: Run, passed: Mapping[str, Mapping[str, Array]]) -> None:
    plot = Plot(
        kind="bar",
        title="Exact match after training with one sample per micro-batch",
        x=Axis("answers"),
        y=Axis("exact match (%)", low=0, high=100),
        series=[
            Series(how, list(SKILLS), [float(passed[name][how].mean()) for name in SKILLS])
            for how in TRAINED
        ],
    )
    caption = "Long answers have about 80 characters, short ones four."
    plot.save(run.add("plot", "E1-aggregation.json", caption))


AGGREGATION = Experiment(
    "E1",
    "Sums and means over the tokens of a whole step do not depend on how its batch is cut; the "
    "mean of micro-batch means does, and learns long answers worse.",
    "Section 4.3: a sum in place of the mean of micro-batch means, found with Llama-3.0-8B on the "
    "Tulu-2 mix.",
    _run,
)
