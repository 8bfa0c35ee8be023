"""From a model and its options to the result of a benchmark: RULER's scores, or a race."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.report import Table
from modelgraft.methods.star_attention.config import RaceConfig, RulerConfig, StarConfig
from modelgraft.methods.star_attention.data import Sample, read_records, write_predictions
from modelgraft.methods.star_attention.evaluate.race import Lap, alternate, race_lap, race_prompt
from modelgraft.methods.star_attention.evaluate.ruler import (
    DENSE,
    Prediction,
    Reader,
    make_samples,
    predict_beside_dense,
    read_material,
    task_names,
    usable,
)
from modelgraft.methods.star_attention.evaluate.summary import (
    depth_plot,
    place_rows,
    prefill_plot,
    race_numbers,
    summarise,
)

_RACE_QUERY = 32


# -- RULER and BABILong ----------------------------------------------------------------------------


def score_model(model: Any, tokenizer: Any, config: RulerConfig, run: Run) -> Result:
    """Scores per task and family, and dense attention's on the same samples when asked for.

    Samples that cannot be run are in `rejects.jsonl`; `InputError` when none can.
    """
    arms: dict[str, StarConfig] = {config.pattern: config.star}
    if config.compare:
        arms[DENSE] = StarConfig(pattern="dense")
    samples, given = _samples(model, tokenizer, config, arms, run)

    def between(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, "samples")

    reader = Reader(
        model=model, tokenizer=tokenizer, allow_extrapolation=config.allow_extrapolation
    )
    with run.journal("predictions-journal.jsonl") as journal:
        found = predict_beside_dense(reader, samples, arms, journal, between=between)
    result = _ruler_result(samples, found, list(arms), run)
    if len(samples) == given:
        return result
    missing = f"{given - len(samples)} of {given} samples could not be run; see rejects.jsonl"
    return replace(result, partial=missing)


def _samples(
    model: Any, tokenizer: Any, config: RulerConfig, arms: Mapping[str, StarConfig], run: Run
) -> tuple[list[Sample], int]:
    """The samples that can be run under every arm, and how many there were."""
    unread: list[str] = []

    def reject_row(file: Path, line: int, id: str, reason: str) -> None:
        unread.append(reason)
        run.reject(file, line, id, reason)

    def reject(sample: Sample, reason: str) -> None:
        source = f"{config.data or 'generated'}, {sample.task}"
        run.reject(source, sample.index, sample.task, reason)

    if config.data is not None:
        samples = read_records(config.data, reject=reject_row)
    else:
        names = task_names(
            config.tasks, has_squad=bool(config.squad), has_hotpot=bool(config.hotpot)
        )
        material = read_material(config.essay, config.squad, config.hotpot)
        samples = make_samples(
            tokenizer,
            names,
            length=config.length,
            num=config.samples,
            seed=run.seed,
            material=material,
        )
    given = len(samples) + len(unread)
    extrapolate = config.allow_extrapolation
    kept = usable(model, tokenizer, samples, reject, arms=arms, allow_extrapolation=extrapolate)
    if not kept:
        raise InputError(
            f"none of the {given} samples can be run; the first reasons are in "
            f"{run.folder / 'rejects.jsonl'}."
        )
    return kept, given


def _ruler_result(
    samples: Sequence[Sample], found: Sequence[Prediction], arms: Sequence[str], run: Run
) -> Result:
    summary = summarise(found, arms)
    columns = ("task or family", "arm", "score (%)", "answer NLL", "empty", "samples")
    table = Table(columns, summary.rows)
    table.save(run.add("table", "scores.json", "Scores per task and family."))
    if rows := place_rows(samples, found, arms):
        columns = ("where the fact lies", "arm", "score (%)", "answer NLL", "samples")
        caption = "Scores by the depth of the fact, and by the block that holds it."
        Table(columns, rows).save(run.add("table", "places.json", caption))
    if plot := depth_plot(samples, found, arms):
        plot.save(run.add("plot", "depth.json", "Each point is one sample; lower is better."))
    _save_predictions(samples, found, run)
    return Result(summary.numbers, remarks=summary.remarks)


def _save_predictions(samples: Sequence[Sample], found: Sequence[Prediction], run: Run) -> None:
    """One file per task and arm in the official format."""
    by_key = {(sample.task, sample.index): sample for sample in samples}
    for task, arm in {(one.task, one.arm): None for one in found}:
        pairs = [
            (by_key[one.task, one.index], one.text)
            for one in found
            if (one.task, one.arm) == (task, arm)
        ]
        name = f"predictions-{task}-{arm}.jsonl"
        write_predictions(run.add("text", name, f"{task}, {arm}: official format."), pairs)


# -- race ------------------------------------------------------------------------------------------


def race_model(model: Any, tokenizer: Any, config: RaceConfig, run: Run) -> Result:
    """Ratios of prefill, decoding, end to end and peak memory against the stock model."""
    # The stock model is the arm called dense; the same pattern on our cache needs another name.
    ours = config.pattern if config.pattern != DENSE else "dense in place"
    numbers: list[Number] = []
    rows: list[list[Any]] = []
    seconds: dict[str, dict[int, list[float]]] = {DENSE: {}, ours: {}}
    for done, length in enumerate(config.lengths):
        run.check()
        run.progress(done, len(config.lengths), f"{length} tokens")
        laps = _laps(model, tokenizer, length, config, ours, run)
        label = f"{length} tokens"
        numbers += race_numbers(label, laps, config.new_tokens, arm=ours, called=ours)
        for arm, many in laps.items():
            seconds[arm][length] = [one.prefill_s for one in many]
            rows += [
                [length, arm, one.prefill_s, 1 / one.token_s, one.total_s(config.new_tokens)]
                for one in many
            ]
    columns = ("context (tokens)", "arm", "prefill (s)", "decode (tokens/s)", "total (s)")
    Table(columns, rows).save(run.add("table", "laps.json", "Every timed round."))
    caption = "Medians; bands from fastest to slowest round."
    prefill_plot(seconds).save(run.add("plot", "prefill.json", caption))
    remark = "Compare within this table only: the seconds belong to this machine and its load."
    return Result(tuple(numbers), remarks=(remark,))


def _laps(
    model: Any, tokenizer: Any, length: int, config: RaceConfig, ours: str, run: Run
) -> dict[str, list[Lap]]:
    """The timed rounds of the stock model and of ours on one prompt."""
    ids = race_prompt(tokenizer, length, _RACE_QUERY).to(model.device)

    def lap(arm: StarConfig | None) -> Lap:
        run.check()
        return race_lap(
            model,
            ids,
            _RACE_QUERY,
            arm,
            config.new_tokens,
            allow_extrapolation=config.allow_extrapolation,
        )

    lap(config.star)  # warms caches and allocator for both arms
    return alternate({DENSE: partial(lap, None), ours: partial(lap, config.star)}, config.repeats)
