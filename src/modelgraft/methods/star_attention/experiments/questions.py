"""E5: many questions share one encoding."""

from __future__ import annotations

import time

import torch

from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.evaluate.race import race_lap
from modelgraft.methods.star_attention.evaluate.ruler import sample_prompt
from modelgraft.methods.star_attention.evaluate.summary import number
from modelgraft.methods.star_attention.experiments.subject import samples_of, subject
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
    with run.journal("E5-rounds.jsonl") as journal:
        for index in range(len(journal.rows), rounds):
            run.check()
            run.progress(index, rounds, "eight questions, star and dense in turn")
            star = _star_seconds(loaded.model, ids, num_query, questions)
            laps = [race_lap(loaded.model, ids, num_query, None, NEW_TOKENS)
                    for _ in range(questions)]  # fmt: skip
            dense = sum(lap.total_s(NEW_TOKENS) for lap in laps)
            journal.append({"star_s": star, "dense_s": dense})
        rows = journal.rows
    gain = ratio_interval([row["dense_s"] for row in rows], [row["star_s"] for row in rows])
    numbers = (
        number(f"{questions} questions on {length} tokens, times faster than dense", gain,
               unit="x", baseline=1.0),
    )  # fmt: skip
    return Findings(numbers, HOLDS if gain.value > AT_LEAST else DOES_NOT_HOLD, seeds=(run.seed,))


def _star_seconds(model: object, ids: torch.Tensor, num_query: int, questions: int) -> float:
    start = time.perf_counter()
    context = ids[:, : ids.shape[1] - num_query]
    cache = encode_context(model, context, StarConfig(), headroom=num_query + NEW_TOKENS)
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
