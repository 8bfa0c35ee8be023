"""E2: time, memory and accuracy against length (paper, table 1)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import paired_bootstrap
from modelgraft.evaluation.report import Axis, Plot, Series, Table
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.star_attention.adapter.support import model_shape
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.race import Lap, race_lap
from modelgraft.methods.star_attention.evaluate.ruler import sample_prompt
from modelgraft.methods.star_attention.evaluate.summary import number, race_numbers
from modelgraft.methods.star_attention.experiments.subject import (
    DENSE,
    predictions,
    samples_of,
    subject,
)
from modelgraft.methods.star_attention.method import dense_cost, plan_blocks, plan_cost

TASK = "niah_single_1"
NEW_TOKENS = 64
SAMPLES = {1024: 10, 2048: 10, 4096: 6, 8192: 3}
PREFILL_AT_MOST = {(4096, 8): 0.9, (8192, 8): 0.75}


def _run(run: Run, quick: bool) -> Findings:
    sizes = {512: 1} if quick else SAMPLES
    numbers: list[Number] = []
    rows: list[list[Any]] = []
    for length, num in sizes.items():
        samples = samples_of(run, TASK, length, num)
        arms = {f"m={m}": StarConfig(block=1 / m) for m in (4, 8)}
        laps = _laps(run, length, samples, arms, warm=length == min(sizes))
        found = predictions(run, f"E2-answers-{length}", samples, {"dense": DENSE, **arms})
        for arm, config in arms.items():
            numbers += race_numbers(f"{length}, {arm}", laps, NEW_TOKENS, arm=arm)
            star = [one.nll for one in found if one.arm == arm]
            dense = [one.nll for one in found if one.arm == "dense"]
            gap = paired_bootstrap(star, dense)
            numbers.append(
                number(f"{length}, {arm}: answer NLL above dense", gap, unit="nats/token",
                       baseline=0.0, better="lower")
            )  # fmt: skip
            numbers.append(_flop_ratio(run, length, arm, config))
        for arm, each in laps.items():
            exact = [one.score for one in found if one.arm == arm]
            rows += [
                [length, arm, lap.prefill_s, 1 / lap.token_s, lap.total_s(NEW_TOKENS),
                 (lap.peak_bytes or 0) / 2**20, exact[index]]
                for index, lap in enumerate(each)
            ]  # fmt: skip
    _draw(run, numbers, rows)
    return Findings(tuple(numbers), _verdict(numbers), seeds=(run.seed,))


def _laps(
    run: Run, length: int, samples: list[Sample], arms: dict[str, StarConfig], *, warm: bool
) -> dict[str, list[Lap]]:
    """One lap of each arm on each sample, in alternating order, journaled one by one."""
    loaded = subject(run)
    contenders: dict[str, StarConfig | None] = {"dense": None, **arms}
    with run.journal(f"E2-laps-{length}.jsonl") as journal:
        done = {(row["arm"], row["index"]): Lap(**row["lap"]) for row in journal.rows}
        for index, sample in enumerate(samples):
            prompt = sample_prompt(loaded.tokenizer, sample)
            ids = torch.tensor([[*prompt.context_ids, *prompt.query_ids]])
            ids = ids.to(loaded.model.device)
            names = list(contenders) if index % 2 == 0 else list(reversed(contenders))
            for arm in names:
                run.check()
                run.progress(index, len(samples), f"{length} tokens, {arm}")
                if (arm, index) in done:
                    continue
                if warm:
                    _lap(loaded.model, ids, len(prompt.query_ids), contenders[arm])
                    warm = False
                lap = _lap(loaded.model, ids, len(prompt.query_ids), contenders[arm])
                journal.append({"arm": arm, "index": index, "lap": asdict(lap)})
                done[arm, index] = lap
    return {arm: [done[arm, index] for index in range(len(samples))] for arm in contenders}


def _lap(model: Any, ids: Tensor, num_query: int, config: StarConfig | None) -> Lap:
    return race_lap(model, ids, num_query, config, NEW_TOKENS)


def _flop_ratio(run: Run, length: int, arm: str, config: StarConfig) -> Number:
    shape = model_shape(subject(run).model)
    share = plan_cost(shape, plan_blocks(length, config)).total / dense_cost(shape, length).total
    name = f"{length}, {arm}: operations, star/dense"
    return Number(name, share, unit="x", baseline=1.0, better="lower")


def _verdict(numbers: list[Number]) -> Any:
    found = {one.name: one for one in numbers}
    for (length, m), limit in PREFILL_AT_MOST.items():
        ratio = found.get(f"{length}, m={m}: prefill time, star/dense")
        peak = found.get(f"{length}, m={m}: peak memory, star/dense")
        if ratio is None or ratio.value > limit or (peak is not None and peak.value > 1.0):
            return DOES_NOT_HOLD
    return HOLDS


def _draw(run: Run, numbers: list[Number], rows: list[list[Any]]) -> None:
    total = f"total, {NEW_TOKENS} tokens (s)"
    columns = (
        "context",
        "arm",
        "prefill (s)",
        "decode (tokens/s)",
        total,
        "peak (MiB)",
        "exact",
    )
    Table(columns, rows).save(run.add("table", "E2-laps.json", "Every timed round."))
    lengths = sorted({row[0] for row in rows})
    series = []
    for arm in dict.fromkeys(row[1] for row in rows):
        times = {n: [row[2] for row in rows if row[:2] == [n, arm]] for n in lengths}
        middle = [sorted(times[n])[len(times[n]) // 2] for n in lengths]
        series.append(
            Series(arm, lengths, middle, [min(times[n]) for n in lengths],
                   [max(times[n]) for n in lengths])
        )  # fmt: skip
    plot = Plot(
        kind="line",
        title="Prefill time against context length",
        x=Axis("context (tokens)", log=True),
        y=Axis("seconds", low=0),
        series=series,
    )
    plot.save(run.add("plot", "E2-prefill.json", "Medians; bands from fastest to slowest round."))


LENGTHS = Experiment(
    "E2",
    "Star prefill takes a shrinking share of dense prefill as the context grows, in no more "
    "memory.",
    "Llama-3.1-8B-Instruct, 8 A100, against ring attention: 1.1x at 16K to 2.7x at 128K; here "
    "one CPU against dense attention.",
    _run,
)
