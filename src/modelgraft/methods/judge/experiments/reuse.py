"""E11: one rubric and eight candidates: what calls share is computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.load import Loaded
from modelgraft.language.prefixes import Counts, Question, read_logprobs
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.experiments.subject import described, subject
from modelgraft.methods.judge.judges.local import ChoiceJudge
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import Rubric
from modelgraft.methods.judge.world.lexicon import FILLER, TEMPLATES

CANDIDATES = 8
BATCH = 8
# Thresholds of the verdict: times fewer tokens, times faster, and nats of difference.
FEWER, FASTER, ALIKE = 4.0, 3.0, 1e-4


def long_pairs(num: int) -> tuple[Item, Asking]:
    """An item with so many candidates, and a rubric of about 300 tokens.

    In the prompt a candidate takes about 100 tokens, half of them the fence around it.
    """
    places = ("harbour", "station", "library", "bridge", "garden", "market", "tower", "school")
    texts = []
    for number in range(num):
        lines = [
            TEMPLATES[(number + turn) % len(TEMPLATES)].format(
                word=places[(number + turn) % len(places)],
                adjective=("old", "quiet", "busy", "small")[turn % 4],
                other=places[(number + 3 * turn + 1) % len(places)],
            )
            for turn in range(4)
        ]
        texts.append(" ".join([*lines, FILLER[number % len(FILLER)]]))
    levels = [f"Level {level}: " + " ".join(FILLER) for level in range(1, 3)]
    rubric = Rubric(
        name="long",
        question="Which description of the town is more helpful?",
        rules=tuple(levels + list(FILLER)),
    )
    item = Item(
        "town",
        "Describe a small town with its buildings, for somebody who has never been there.",
        tuple(Candidate(f"c{place}", text) for place, text in enumerate(texts)),
    )
    return item, Asking(read_template("pair"), rubric)


def _run(run: Run, quick: bool) -> Findings:
    loaded = subject(run)
    num, rounds = (3, 2) if quick else (CANDIDATES, 3)
    item, asking = long_pairs(num)
    judge = ChoiceJudge(loaded.model, loaded.tokenizer, name=loaded.name)
    labels = ("A", "B")
    wanted = judge.trie(labels).children[()]
    prompts = [judge.prompt_ids(asking.call(item, *pair)) for pair in permutations(range(num), 2)]
    counts = Counts()
    arms: dict[str, Callable[[], np.ndarray]] = {
        "shared": lambda: _shared(loaded, prompts, wanted, counts),
        "one by one": lambda: _alone(loaded, prompts, wanted),
        f"batches of {BATCH}": lambda: _batched(loaded, prompts, wanted),
    }
    told = {name: run_once() for name, run_once in arms.items()}  # warms up, and is compared
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for index in range(rounds):
        names = list(arms)[index % len(arms) :] + list(arms)[: index % len(arms)]
        for name in names:
            run.check()
            run.progress(index, rounds, name)
            began = time.perf_counter()
            arms[name]()
            seconds[name].append(time.perf_counter() - began)
    tokens = counts.computed // (rounds + 1)
    alone = sum(map(len, prompts))
    difference = float(np.abs(told["shared"] - told["one by one"]).max())
    others = [name for name in arms if name != "shared"]
    gains = {name: ratio_interval(seconds[name], seconds["shared"]) for name in others}
    numbers = [
        Number("tokens computed", tokens, n=len(prompts), unit="tokens", baseline=float(alone),
               better="lower"),
        Number("times fewer tokens", alone / tokens, n=len(prompts), unit="x", baseline=1.0),
        *(
            Number(f"time of {name} against shared", gain.value, gain.low, gain.high, gain.n,
                   unit="x", baseline=1.0)
            for name, gain in gains.items()
        ),
        Number("largest difference of a log-probability", difference, n=told["shared"].size,
               unit="nats", baseline=0.0, better="lower"),
        Number("decisions that differ", int(_differs(told)), n=len(prompts), better="lower",
               baseline=0.0),
    ]  # fmt: skip
    holds = (
        alone / tokens >= FEWER
        and all(gain.value >= FASTER for gain in gains.values())
        and difference <= ALIKE
    )
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=(run.seed,),
        subject=described(loaded),
    )


def _differs(told: dict[str, np.ndarray]) -> int:
    """Prompts whose likeliest token among the wanted ones is another one."""
    return int((told["shared"].argmax(axis=1) != told["one by one"].argmax(axis=1)).sum())


def _shared(
    loaded: Loaded, prompts: Sequence[tuple[int, ...]], wanted: tuple[int, ...], counts: Counts
) -> np.ndarray:
    questions = [Question.after(prompt, wanted) for prompt in prompts]
    told = read_logprobs(loaded.model, questions, counts=counts)
    return np.array([next(iter(one.values())) for one in told])


@torch.no_grad()
def _alone(
    loaded: Loaded, prompts: Sequence[tuple[int, ...]], wanted: tuple[int, ...]
) -> np.ndarray:
    """A stock forward pass for each prompt, logits of its last token only."""
    model: Any = loaded.model
    rows = []
    for prompt in prompts:
        logits = model(torch.tensor([prompt], device=model.device), logits_to_keep=1).logits[0, -1]
        rows.append(logits.float().log_softmax(-1)[list(wanted)].cpu().numpy())
    return np.stack(rows)


@torch.no_grad()
def _batched(
    loaded: Loaded, prompts: Sequence[tuple[int, ...]], wanted: tuple[int, ...]
) -> np.ndarray:
    """Stock forward passes of left-padded batches."""
    model: Any = loaded.model
    rows = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(one)) + list(one) for one in batch])
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in batch])
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)
        logits = model(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            position_ids=places.to(model.device),
            logits_to_keep=1,
        ).logits[:, -1]
        rows.append(logits.float().log_softmax(-1)[:, list(wanted)].cpu().numpy())
    return np.concatenate(rows)


REUSE = Experiment(
    "E11",
    "All ordered pairs of eight candidates under one rubric take a quarter of the tokens and a "
    "third of the time of separate forward passes, with the same log-probabilities.",
    "Not a claim of the survey; by count 6,750 tokens instead of 30,800.",
    _run,
)
