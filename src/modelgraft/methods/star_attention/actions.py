"""The actions of the card: names and paths become objects, library functions do the work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run, Settings
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.report import Table, Turn, save_trace
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.language.chat import encode, is_seamless, split_chat
from modelgraft.language.documents import read_document
from modelgraft.language.load import (
    DType,
    Loaded,
    fastest_cpu_dtype,
    load_causal_lm,
    load_skeleton,
)
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.adapter.files import load_cache, save_cache
from modelgraft.methods.star_attention.adapter.hosts import ProcessHosts
from modelgraft.methods.star_attention.adapter.support import (
    check_length,
    check_model,
    model_shape,
)
from modelgraft.methods.star_attention.config import (
    AnswerConfig,
    ModelOptions,
    PlanConfig,
    RaceConfig,
    RulerConfig,
    StarConfig,
)
from modelgraft.methods.star_attention.data import Sample, read_records, write_predictions
from modelgraft.methods.star_attention.evaluate.advice import advise, cost_numbers
from modelgraft.methods.star_attention.evaluate.race import Lap, alternate, race_lap, race_prompt
from modelgraft.methods.star_attention.evaluate.ruler import (
    Prediction,
    make_samples,
    predict,
    predict_all,
    read_material,
    task_names,
    usable,
)
from modelgraft.methods.star_attention.evaluate.scores import score
from modelgraft.methods.star_attention.evaluate.summary import (
    depth_plot,
    prefill_plot,
    race_numbers,
    summarise,
)
from modelgraft.methods.star_attention.experiments import EXPERIMENTS
from modelgraft.methods.star_attention.infer import Answer, ask, dense_answer, open_hosts
from modelgraft.methods.star_attention.method import plan_blocks

_RACE_QUERY = 32


def answer(config: AnswerConfig, run: Run) -> Result:
    """Encode the document once, answer every question, and say what it took."""
    document = read_document(config.file)
    hosts = open_hosts()
    if hosts is not None and config.cache is not None:
        raise ConfigError("cache", "--cache: several processes share the context; it needs one.")
    loaded = _load(config, run)
    messages = [{"role": "user", "content": config.question[0]}]
    prompt = split_chat(loaded.tokenizer, messages, document=document.text)
    for question in config.question:
        if not is_seamless(loaded.tokenizer, document.text[-200:] + "\n\n", question):
            run.log("seam", note="document and question would be tokenised otherwise together")
    context = torch.tensor([prompt.context_ids], device=loaded.model.device)
    cache, encode_s = _encoded(loaded, context, config, run, hosts)
    answers = ask(
        loaded.model,
        loaded.tokenizer,
        cache,
        config.question,
        follow_up=config.follow_up,
        max_new_tokens=config.max_new_tokens,
        stopping_criteria=[_Stop(run)],
    )
    run.check()
    stock = _stock_answers(loaded, document.text, config, run) if config.compare else []
    result = _answer_result(cache, answers, stock, encode_s, run)
    if not loaded.tokenizer.chat_template:
        remark = "The tokenizer has no chat template: plain text with Answer: was used."
        result = replace(result, remarks=(*result.remarks, remark))
    return result


def estimate_answer(config: AnswerConfig, settings: Settings) -> list[Number]:
    """What `answer` would cost: tokens, operations and memory, from the model's sizes alone."""
    document = read_document(config.file)
    skeleton = load_skeleton(config.model, offline=settings.offline)
    check_model(skeleton.model)
    messages = [{"role": "user", "content": config.question[0]}]
    prompt = split_chat(skeleton.tokenizer, messages, document=document.text)
    blocks = plan_blocks(len(prompt.context_ids), config.star)
    return cost_numbers(model_shape(skeleton.model), blocks)


def plan(config: PlanConfig, run: Run) -> Result:
    """The cost of an encoding by the model's sizes, and an advice."""
    skeleton = load_skeleton(config.model, offline=run.settings.offline)
    check_model(skeleton.model)
    check_length(skeleton.model, config.tokens, allow_extrapolation=config.allow_extrapolation)
    shape = model_shape(skeleton.model)
    blocks = plan_blocks(config.tokens, config.star, hosts=config.hosts)
    limit = int(config.memory_gb * 1e9) if config.memory_gb else None
    advice = advise(shape, config.tokens, config.star, hosts=config.hosts, limit_bytes=limit)
    numbers = cost_numbers(shape, blocks, hosts=config.hosts)
    text = f"Take --block {advice.block}: " + "; ".join(advice.sentences) + "."
    return Result(tuple(numbers), text=text)


def ruler(config: RulerConfig, run: Run) -> Result:
    """Scores per task and family, star beside dense on the same samples."""
    loaded = _load(config, run)
    unread: list[str] = []
    if config.data is not None:

        def reject_row(file: str | Path, line: int, id: str, reason: str) -> None:
            unread.append(f"line {line}: {reason}")
            run.reject(file, line, id, reason)

        samples = read_records(config.data, reject=reject_row)
    else:
        samples = make_samples(
            loaded.tokenizer,
            task_names(config.tasks, has_squad=bool(config.squad), has_hotpot=bool(config.hotpot)),
            length=config.length,
            num=config.samples,
            seed=run.seed,
            material=read_material(config.essay, config.squad, config.hotpot),
        )
    given = len(samples) + len(unread)

    def reject(sample: Sample, reason: str) -> None:
        run.reject(config.data or "generated", sample.index, sample.task, reason)

    samples = usable(
        loaded.model,
        loaded.tokenizer,
        samples,
        reject,
        allow_extrapolation=config.allow_extrapolation,
    )
    if not samples:
        raise InputError(
            f"none of the {given} samples can be run; the first reasons are in "
            f"{run.folder / 'rejects.jsonl'}."
        )
    arms: dict[str, StarConfig] = {config.pattern: config.star}
    if config.compare:
        arms["dense"] = StarConfig(pattern="dense")

    def predict_one(sample: Any, arm_config: StarConfig, arm: str) -> Prediction:
        return predict(
            loaded.model,
            loaded.tokenizer,
            sample,
            arm_config,
            arm=arm,
            score=score,
            allow_extrapolation=config.allow_extrapolation,
        )

    def between(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, "samples")

    with run.journal("predictions-journal.jsonl") as journal:
        found = predict_all(samples, arms, journal, predict_one, between=between)
    result = _ruler_result(samples, found, list(arms), run)
    if len(samples) == given:
        return result
    missing = f"{given - len(samples)} of {given} samples could not be run; see rejects.jsonl"
    return replace(result, partial=missing)


def race(config: RaceConfig, run: Run) -> Result:
    """Ratios of prefill, decoding, end to end and peak memory, star against the stock model."""
    loaded = _load(config, run)
    check_model(loaded.model)
    star = config.star
    numbers: list[Number] = []
    rows = []
    seconds: dict[str, dict[int, list[float]]] = {"dense": {}, "star": {}}
    for done, length in enumerate(config.lengths):
        run.check()
        run.progress(done, len(config.lengths), f"{length} tokens")
        ids = race_prompt(loaded.tokenizer, length, _RACE_QUERY).to(loaded.model.device)

        def lap(arm: StarConfig | None, ids: Any = ids) -> Lap:
            run.check()
            return race_lap(
                loaded.model,
                ids,
                _RACE_QUERY,
                arm,
                config.new_tokens,
                allow_extrapolation=config.allow_extrapolation,
            )

        lap(star)  # warms caches and allocator for both arms
        laps = alternate({"dense": partial(lap, None), "star": partial(lap, star)}, config.repeats)
        numbers += race_numbers(f"{length} tokens", laps, config.new_tokens)
        for arm, many in laps.items():
            seconds[arm][length] = [one.prefill_s for one in many]
        rows += [
            [length, arm, one.prefill_s, 1 / one.token_s, one.total_s(config.new_tokens)]
            for arm, many in laps.items()
            for one in many
        ]
    columns = ("context (tokens)", "arm", "prefill (s)", "decode (tokens/s)", "total (s)")
    Table(columns, rows).save(run.add("table", "laps.json", "Every timed round."))
    caption = "Medians; bands from fastest to slowest round."
    prefill_plot(seconds).save(run.add("plot", "prefill.json", caption))
    remark = "Compare within this table only: the seconds belong to this machine and its load."
    return Result(tuple(numbers), remarks=(remark,))


def reproduce(config: ReproduceConfig, run: Run) -> Result:
    """The paper's claims at this scale."""
    return reproduce_experiments(
        "star_attention",
        EXPERIMENTS,
        names=config.experiments,
        quick=config.quick,
        run=run,
        folder=config.folder,
    )


def _load(config: ModelOptions, run: Run) -> Loaded:
    settings = run.settings
    dtype: str = settings.dtype
    if dtype == "auto" and settings.device in ("auto", "cpu") and not torch.cuda.is_available():
        # A resumed run must not mix number types, and the choice is a measurement.
        dtype = run.choose_once("dtype", fastest_cpu_dtype)
    loaded = load_causal_lm(
        config.model, device=settings.device, dtype=cast(DType, dtype), offline=settings.offline
    )
    run.log("loaded", model=loaded.name, revision=loaded.revision, dtype=str(loaded.model.dtype))
    return loaded


def _encoded(
    loaded: Loaded, context: Any, config: AnswerConfig, run: Run, hosts: ProcessHosts | None
) -> tuple[StarCache, float | None]:
    """The context encoded now with the seconds it took, or read from `config.cache` and None."""
    star = config.star
    if config.cache is not None and config.cache.exists():
        cache = load_cache(
            loaded.model,
            config.cache,
            context_ids=context,
            config=star,
            allow_extrapolation=config.allow_extrapolation,
        )
        return cache, None

    def report(done: int, total: int, text: str) -> None:
        run.check()
        run.progress(done, total, text)

    longest = max(len(encode(loaded.tokenizer, question)) for question in config.question)
    rounds = len(config.question) if config.follow_up else 1
    start = time.perf_counter()
    cache = encode_context(
        loaded.model,
        context,
        star,
        headroom=rounds * (longest + config.max_new_tokens + 32),
        hosts=hosts,
        allow_extrapolation=config.allow_extrapolation,
        report=report,
    )
    seconds = time.perf_counter() - start
    run.log("encoded", tokens=cache.num_tokens, seconds=round(seconds, 3))
    if config.cache is not None:
        save_cache(cache, loaded.model, config.cache)
    return cache, seconds


class _Stop:
    """Ends generation when someone asked the run to stop, and raises nothing inside the model."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        size = (len(input_ids),)
        return torch.full(size, self.run.is_stopping, device=input_ids.device)


def _stock_answers(loaded: Loaded, document: str, config: AnswerConfig, run: Run) -> list[Answer]:
    found = []
    for number, question in enumerate(config.question):
        run.check()
        run.progress(number, len(config.question), "the stock model answers too")
        found.append(
            dense_answer(
                loaded.model,
                loaded.tokenizer,
                document,
                question,
                max_new_tokens=config.max_new_tokens,
                stopping_criteria=[_Stop(run)],
            )
        )
    return found


def _answer_result(
    cache: StarCache,
    answers: Sequence[Answer],
    stock: Sequence[Answer],
    encode_s: float | None,
    run: Run,
) -> Result:
    ours = cache.plan.config.pattern
    ours = "star attention" if ours == "star" else ours
    turns = []
    for number, one in enumerate(answers):
        turns += [Turn("question", one.question), Turn(ours, one.text, one.seconds)]
        if stock:
            turns.append(Turn("stock model", stock[number].text, stock[number].seconds))
    save_trace(run.add("trace", "answers.jsonl", "Questions and answers."), turns)
    answer_s = sum(one.seconds for one in answers)
    made = sum(len(one.ids) for one in answers)
    numbers = [
        Number("document", cache.num_tokens, unit="tokens"),
        Number("blocks", len(cache.plan.blocks)),
        Number("answered in", answer_s, n=len(answers), unit="s", better="lower"),
        Number("generated", made, unit="tokens"),
    ]
    remarks = tuple(f"{text}." for text in cache.plan.warnings)
    if encode_s is None:
        remarks += ("The encoding was read from --cache, so no time to encode is counted.",)
    else:
        numbers.insert(2, Number("encoded in", encode_s, unit="s", better="lower"))
    if stock:
        stock_s = sum(one.seconds for one in stock)
        same = sum(a.text == b.text for a, b in zip(answers, stock, strict=True))
        numbers.append(Number("same words as the stock model", same, n=len(stock), unit="answers"))
        if encode_s is not None:
            gain = stock_s / (encode_s + answer_s)
            name = "all answers, times faster than the stock model"
            numbers.append(Number(name, gain, n=len(stock), unit="x", baseline=1.0))
    lines = [f"{one.question}\n  {one.text}" for one in answers]
    if cache.plan.is_dense:
        remarks += ("This plan is dense attention: fewer than three blocks gain nothing.",)
    return Result(tuple(numbers), text="\n".join(lines), remarks=remarks)


def _ruler_result(
    samples: Sequence[Any], found: Sequence[Prediction], arms: Sequence[str], run: Run
) -> Result:
    summary = summarise(found, arms)
    columns = ("task or family", "arm", "score (%)", "answer NLL", "empty", "samples")
    table = Table(columns, summary.rows)
    table.save(run.add("table", "scores.json", "Scores per task and family."))
    if plot := depth_plot(samples, found, arms):
        plot.save(run.add("plot", "depth.json", "Each point is one sample; lower is better."))
    by_key = {(sample.task, sample.index): sample for sample in samples}
    for task, arm in {(one.task, one.arm): None for one in found}:
        pairs = [
            (by_key[one.task, one.index], one.text)
            for one in found
            if (one.task, one.arm) == (task, arm)
        ]
        name = f"predictions-{task}-{arm}.jsonl"
        write_predictions(run.add("text", name, f"{task}, {arm}: official format."), pairs)
    return Result(summary.numbers, remarks=summary.remarks)
