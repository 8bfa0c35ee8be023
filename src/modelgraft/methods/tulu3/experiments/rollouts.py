"""E9: rollouts against stock `generate`, on the prompts that RLVR samples from."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.generation import Sampling, generate_batch
from modelgraft.language.load import Loaded
from modelgraft.methods.tulu3.data import world_prompts
from modelgraft.methods.tulu3.experiments.arms import SUBJECTS, described, load_subject, number
from modelgraft.methods.tulu3.train.rlvr.episodes import encode_prompts, stop_ids

BATCH = 64
NEW_TOKENS = 64
# Prompts by how many answers are sampled to each: PPO takes one, GRPO several.
GROUPS = (1, 8)

# Threshold of the verdict: tokens per second against stock.
FASTER = 2.0


def _run(run: Run, quick: bool) -> Findings:
    loaded = load_subject(run, SUBJECTS["sft"])
    batch, rounds = (8, 2) if quick else (BATCH, 9)
    numbers = []
    differing = 0
    for group in GROUPS:
        ids = _prompts(loaded, batch, group, run.seed)
        for temperature in (0.0, 1.0):
            pairs = []
            for index in range(rounds + 1):
                run.check()
                run.progress(index, rounds + 1, f"{group} answers to a prompt")
                made = {is_ours: make(loaded, ids, temperature, seed=index * batch)
                        for is_ours, make in ((True, _ours), (False, _stock))}  # fmt: skip
                order = (index % 2 == 0, index % 2 == 1)
                found = {is_ours: _timed(made[is_ours]) for is_ours in order}
                if index:  # the first round warms up, and says whether greedy answers are the same
                    pairs.append([_rate(*found[is_ours]) for is_ours in (True, False)])
                elif not temperature:
                    ours, stock = found[True][0], found[False][0]
                    differing += sum(a != b for a, b in zip(ours, stock, strict=True))
            gain = ratio_interval(*([pair[side] for pair in pairs] for side in (0, 1)))
            how = "sampled" if temperature else "greedy"
            name = f"{how}, {group} to a prompt: tokens per second, ours against stock"
            numbers.append(number(name, gain, unit="x", baseline=1.0))
    numbers.append(
        Number("greedy answers that differ from stock", differing, n=batch * len(GROUPS),
               better="lower")
    )  # fmt: skip
    holds = not differing and all(one.value >= FASTER for one in numbers[:-1])
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=(run.seed,),
        subject=described(run, "sft"),
    )


Prompts = list[tuple[int, ...]]
Answers = list[list[int]]


def _prompts(loaded: Loaded, batch: int, group: int, seed: int) -> Prompts:
    prompts = world_prompts(batch // group, split="train", seed=seed)
    questions = encode_prompts(loaded.tokenizer, prompts, max_prompt=192)
    return [question.ids for question in questions for _ in range(group)]


def _timed(write: Callable[[], Answers]) -> tuple[Answers, float]:
    began = time.perf_counter()
    answers = write()
    return answers, time.perf_counter() - began


def _rate(answers: Answers, seconds: float) -> float:
    """Tokens per second up to the end of each answer; what stock writes behind it is no use."""
    return sum(map(len, answers)) / seconds


def _ours(loaded: Loaded, ids: Prompts, temperature: float, *, seed: int) -> Callable[[], Answers]:
    sampling = Sampling(
        max_new_tokens=NEW_TOKENS,
        temperature=temperature,
        stop_ids=stop_ids(loaded.model, loaded.tokenizer),
    )

    def write() -> Answers:
        seeds = range(seed, seed + len(ids)) if temperature else ()
        found = generate_batch(loaded.model, ids, sampling, seeds=seeds, batch_size=len(ids))
        return [one.ids for one in found]

    return write


def _stock(loaded: Loaded, ids: Prompts, temperature: float, *, seed: int) -> Callable[[], Answers]:
    """Stock `generate` on left-padded rows."""
    model: Any = loaded.model
    stops = stop_ids(model, loaded.tokenizer)
    width = max(map(len, ids))
    pad = loaded.tokenizer.pad_token_id
    rows = torch.tensor([[pad] * (width - len(one)) + list(one) for one in ids])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in ids])
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}

    def write() -> Answers:
        torch.manual_seed(seed)
        with torch.no_grad():
            found: Tensor = model.generate(
                rows.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=NEW_TOKENS,
                eos_token_id=list(stops),
                pad_token_id=pad,
                **(drawn if temperature else {"do_sample": False}),
            )
        return [_ended(row, stops) for row in found[:, width:].tolist()]

    return write


def _ended(row: list[int], stops: tuple[int, ...]) -> list[int]:
    ends = [place for place, token in enumerate(row) if token in stops]
    return row[: ends[0] + 1] if ends else row


ROLLOUTS = Experiment(
    "E9",
    "Batched rollouts write what stock generate writes, at twice its tokens per second.",
    "Answers come from vLLM; not compared with stock generation.",
    _run,
)
