"""E5: many questions share one encoding."""

from __future__ import annotations

import time
from typing import Any

import torch

from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.evaluate.race import race_lap
from modelgraft.methods.star_attention.evaluate.ruler import sample_prompt
from modelgraft.methods.star_attention.evaluate.summary import number
from modelgraft.methods.star_attention.experiments.subject import (
    DENSE,
    described,
    samples_of,
    subject,
)
from modelgraft.methods.star_attention.infer import generate

NUM_QUESTIONS = 8
NEW_TOKENS = 16
AT_LEAST = 4.0


def _run(run: Run, quick: bool) -> Findings:
    length, rounds, questions = (512, 1, 2) if quick else (4096, 2, NUM_QUESTIONS)
    loaded = subject(run)
    prompt = sample_prompt(loaded.tokenizer, samples_of(run, "niah_single_1", length, 1)[0])
    ids = torch.tensor([[*prompt.context_ids, *prompt.query_ids]], device=loaded.model.device)
    num_query = len(prompt.query_ids)
    arms = ("star", "dense, encoded once", "dense")
    with run.journal("E5-rounds.jsonl") as journal:
        for index in range(len(journal.rows), rounds):
            order = arms if index % 2 == 0 else tuple(reversed(arms))
            row = {}
            for arm in order:
                run.check()
                run.progress(index, rounds, f"{questions} questions, {arm}")
                row[arm] = _seconds(loaded.model, ids, num_query, questions, arm)
            journal.append(row)
        rows = journal.rows
    of_arm = {arm: [row[arm] for row in rows] for arm in arms}
    gain = ratio_interval(of_arm["dense"], of_arm["star"])
    label = f"{questions} questions on {length} tokens"
    numbers = (
        number(f"{label}, times faster than {questions} dense runs", gain, unit="x", baseline=1.0),
        number(f"{label}, times faster than dense encoded once",
               ratio_interval(of_arm["dense, encoded once"], of_arm["star"]), unit="x",
               baseline=1.0),
    )  # fmt: skip
    verdict = HOLDS if gain.value > AT_LEAST else DOES_NOT_HOLD
    return Findings(numbers, verdict, seeds=(run.seed,), subject=described(run))


def _seconds(model: Any, ids: torch.Tensor, num_query: int, questions: int, arm: str) -> float:
    """Seconds for the same question, asked again each time, as its words do not change the work."""
    start = time.perf_counter()
    if arm == "dense":
        for _ in range(questions):
            race_lap(model, ids, num_query, None, NEW_TOKENS)
        return time.perf_counter() - start
    config = StarConfig() if arm == "star" else DENSE
    context = ids[:, : ids.shape[1] - num_query]
    cache = encode_context(model, context, config, headroom=num_query + NEW_TOKENS)
    for _ in range(questions):
        generate(model, cache, ids, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)
        cache.rewind()
    return time.perf_counter() - start


QUESTIONS = Experiment(
    "E5",
    "Eight questions about one document are answered from one encoding, several times faster than "
    "by eight dense runs.",
    "Not measured in the paper; it follows from encoding without the query.",
    _run,
)
