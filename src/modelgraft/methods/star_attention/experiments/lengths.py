"""E2: time, memory and accuracy against length (paper, table 1)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import paired_bootstrap, wilson
from modelgraft.evaluation.report import Table
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.chat import encode
from modelgraft.methods.star_attention.adapter.support import model_shape
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.likelihood import continuation_likelihood
from modelgraft.methods.star_attention.evaluate.race import Lap, timed_run
from modelgraft.methods.star_attention.evaluate.ruler import reference_text, sample_prompt
from modelgraft.methods.star_attention.evaluate.scores import score
from modelgraft.methods.star_attention.evaluate.summary import (
    number,
    prefill_plot,
    race_numbers,
)
from modelgraft.methods.star_attention.experiments.subject import (
    REPLY_TOKENS,
    described,
    samples_of,
    subject,
)
from modelgraft.methods.star_attention.method import dense_cost, plan_blocks, plan_cost

TASK = "niah_single_1"
NEW_TOKENS = 64
SAMPLES = {1024: 10, 2048: 10, 4096: 6, 8192: 3}
PREFILL_AT_MOST = {(4096, 8): 0.9, (8192, 8): 0.75}
PEAK_AT_MOST = 1.02  # the resident set of a process moves by this much from lap to lap
END_TO_END_AT_LEAST = {(8192, 8): 1.5}


@dataclass(frozen=True)
class _Round:
    """One arm on one sample: its lap, the answer's NLL, and whether the reply holds the answer."""

    lap: Lap
    nll: float
    exact: float


def _run(run: Run, quick: bool) -> Findings:
    sizes = {512: 1} if quick else SAMPLES
    arms = {f"m={m}": StarConfig(block=1 / m) for m in (4, 8)}
    numbers: list[Number] = []
    rows: list[list[Any]] = []
    for length, num in sizes.items():
        samples = samples_of(run, TASK, length, num, spread=True)
        rounds = _rounds(run, length, samples, arms, warm=length == min(sizes))
        laps = {arm: [one.lap for one in each] for arm, each in rounds.items()}
        for arm, config in arms.items():
            numbers += race_numbers(f"{length}, {arm}", laps, NEW_TOKENS, arm=arm)
            numbers += _quality_numbers(f"{length}, {arm}", rounds[arm], rounds["dense"])
            numbers.append(_flop_ratio(run, length, arm, config))
        for arm, each in rounds.items():
            rows += [[length, arm, *_row(one)] for one in each]
    _draw(run, rows)
    criteria = _criteria(numbers)
    return Findings(
        tuple(numbers),
        HOLDS if all(is_met for is_met, _ in criteria) else DOES_NOT_HOLD,
        seeds=(run.seed,),
        remarks=tuple(f"{'Met' if is_met else 'Not met'}: {text}." for is_met, text in criteria),
        subject=described(run),
    )


def _rounds(
    run: Run, length: int, samples: list[Sample], arms: dict[str, StarConfig], *, warm: bool
) -> dict[str, list[_Round]]:
    """One round of each arm on each sample, in alternating order, journaled one by one."""
    contenders: dict[str, StarConfig | None] = {"dense": None, **arms}
    with run.journal(f"E2-{length}.jsonl") as journal:
        done = {
            (row["arm"], row["index"]): _Round(Lap(**row["lap"]), row["nll"], row["exact"])
            for row in journal.rows
        }
        for index, sample in enumerate(samples):
            names = list(contenders) if index % 2 == 0 else list(reversed(contenders))
            for arm in names:
                run.check()
                run.progress(index, len(samples), f"{length} tokens, {arm}")
                if (arm, index) in done:
                    continue
                if warm:
                    _round(run, sample, contenders[arm])
                    warm = False
                found = _round(run, sample, contenders[arm])
                journal.append({"arm": arm, "index": index, **asdict(found)})
                done[arm, index] = found
    return {arm: [done[arm, index] for index in range(len(samples))] for arm in contenders}


def _round(run: Run, sample: Sample, config: StarConfig | None) -> _Round:
    loaded = subject(run)
    model, tokenizer = loaded.model, loaded.tokenizer
    prompt = sample_prompt(tokenizer, sample)
    ids = torch.tensor([[*prompt.context_ids, *prompt.query_ids]], device=model.device)
    num_query = len(prompt.query_ids)
    timed = timed_run(model, ids, num_query, config, NEW_TOKENS)
    timed.cache.crop(len(prompt.context_ids) - timed.cache.get_seq_length())
    answer = torch.tensor([encode(tokenizer, reference_text(sample))], device=model.device)
    query = ids[:, -num_query:]
    nll = continuation_likelihood(model, timed.cache, query, answer).nll
    reply = tokenizer.decode(timed.ids[0, :REPLY_TOKENS], skip_special_tokens=True)
    return _Round(timed.lap, nll, score(sample, str(reply)))


def _row(one: _Round) -> list[Any]:
    lap = one.lap
    peak = (lap.peak_bytes or 0) / 2**20
    return [lap.prefill_s, 1 / lap.token_s, lap.total_s(NEW_TOKENS), peak, one.exact, one.nll]


def _quality_numbers(label: str, star: list[_Round], dense: list[_Round]) -> list[Number]:
    gap = paired_bootstrap([one.nll for one in star], [one.nll for one in dense])
    exact = wilson(sum(one.exact for one in star), len(star))
    base = sum(one.exact for one in dense) / len(dense)
    return [
        number(f"{label}: exact match", exact, unit="share", baseline=base),
        number(f"{label}: answer NLL above dense", gap, unit="nats/token", baseline=0.0,
               better="lower"),
    ]  # fmt: skip


def _flop_ratio(run: Run, length: int, arm: str, config: StarConfig) -> Number:
    shape = model_shape(subject(run).model)
    share = plan_cost(shape, plan_blocks(length, config)).total / dense_cost(shape, length).total
    name = f"{length}, {arm}: operations, star/dense"
    return Number(name, share, unit="x", baseline=1.0, better="lower")


def _criteria(numbers: list[Number]) -> list[tuple[bool, str]]:
    """What the verdict asks for, each with whether it was reached; a missing number was not."""
    values = {one.name: one.value for one in numbers}
    criteria = []
    for (length, m), limit in PREFILL_AT_MOST.items():
        for name, most in (("prefill time", limit), ("peak memory", PEAK_AT_MOST)):
            label = f"{length}, m={m}: {name}, star/dense"
            value = values.get(label, math.inf)
            criteria.append((value <= most, f"{label} {value:.3g}, at most {most}"))
    for (length, m), limit in END_TO_END_AT_LEAST.items():
        label = f"{length}, m={m}: end to end with {NEW_TOKENS} tokens, times faster"
        value = values.get(label, 0.0)
        criteria.append((value >= limit, f"{label} {value:.3g}, at least {limit}"))
    return criteria


def _draw(run: Run, rows: list[list[Any]]) -> None:
    total = f"total, {NEW_TOKENS} tokens (s)"
    columns = (
        "context",
        "arm",
        "prefill (s)",
        "decode (tokens/s)",
        total,
        "peak (MiB)",
        "exact",
        "answer NLL",
    )
    Table(columns, rows).save(run.add("table", "E2-laps.json", "Every timed round."))
    seconds: dict[str, dict[int, list[float]]] = {}
    for length, arm, prefill_s, *_ in rows:
        seconds.setdefault(arm, {}).setdefault(length, []).append(prefill_s)
    caption = "Medians; bands from fastest to slowest round."
    prefill_plot(seconds).save(run.add("plot", "E2-prefill.json", caption))


LENGTHS = Experiment(
    "E2",
    "Star prefill takes a shrinking share of dense prefill as the context grows, in no more "
    "memory, and the whole answer comes faster.",
    "Llama-3.1-8B-Instruct, 8 A100, against ring attention: 1.1x at 16K to 2.7x at 128K; here "
    "one CPU against dense attention.",
    _run,
)
