"""The actions of the card: names and paths become objects, library functions do the work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run, Settings
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.report import Table, Turn, save_trace
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.language.chat import encode, is_seamless, split_chat
from modelgraft.language.documents import read_document
from modelgraft.language.load import Loaded, load_causal_lm, load_skeleton
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.adapter.files import load_cache, save_cache
from modelgraft.methods.star_attention.adapter.hosts import Hosts
from modelgraft.methods.star_attention.adapter.support import check_model, model_shape
from modelgraft.methods.star_attention.config import (
    AnswerConfig,
    ModelOptions,
    PlanConfig,
    RaceConfig,
    RulerConfig,
    StarConfig,
)
from modelgraft.methods.star_attention.data import read_records, write_predictions
from modelgraft.methods.star_attention.evaluate.advice import advise, cost_numbers
from modelgraft.methods.star_attention.evaluate.race import Lap, alternate, race_lap, race_prompt
from modelgraft.methods.star_attention.evaluate.ruler import (
    Prediction,
    make_samples,
    predict,
    predict_all,
    read_material,
    task_names,
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
    start = time.perf_counter()
    cache = _encoded(loaded, context, config, run, hosts)
    encode_s = time.perf_counter() - start
    run.log("encoded", tokens=cache.num_tokens, seconds=round(encode_s, 3))
    answers = ask(
        loaded.model,
        loaded.tokenizer,
        cache,
        config.question,
        follow_up=config.follow_up,
        max_new_tokens=config.max_new_tokens,
    )
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
    if config.data is not None:
        samples = read_records(config.data, reject=run.reject)
    else:
        samples = make_samples(
            loaded.tokenizer,
            task_names(config.tasks, has_squad=bool(config.squad), has_hotpot=bool(config.hotpot)),
            length=config.length,
            num=config.samples,
            seed=run.seed,
            material=read_material(config.essay, config.squad, config.hotpot),
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
    return _ruler_result(samples, found, list(arms), run)


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
    loaded = load_causal_lm(
        config.model, device=settings.device, dtype=settings.dtype, offline=settings.offline
    )
    run.log("loaded", model=loaded.name, revision=loaded.revision, dtype=str(loaded.model.dtype))
    return loaded


def _encoded(
    loaded: Loaded, context: Any, config: AnswerConfig, run: Run, hosts: Hosts | None
) -> StarCache:
    """The context encoded now, or read from `config.cache` when it was kept there."""
    star = config.star
    if config.cache is not None and config.cache.exists():
        return load_cache(
            loaded.model,
            config.cache,
            context_ids=context,
            config=star,
            allow_extrapolation=config.allow_extrapolation,
        )
    longest = max(len(encode(loaded.tokenizer, question)) for question in config.question)
    rounds = len(config.question) if config.follow_up else 1
    cache = encode_context(
        loaded.model,
        context,
        star,
        headroom=rounds * (longest + config.max_new_tokens + 32),
        hosts=hosts,
        allow_extrapolation=config.allow_extrapolation,
        report=run.progress,
    )
    if config.cache is not None:
        save_cache(cache, loaded.model, config.cache)
    return cache


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
            )
        )
    return found


def _answer_result(
    cache: StarCache,
    answers: Sequence[Answer],
    stock: Sequence[Answer],
    encode_s: float,
    run: Run,
) -> Result:
    turns = []
    for number, one in enumerate(answers):
        turns += [Turn("question", one.question), Turn("star attention", one.text, one.seconds)]
        if stock:
            turns.append(Turn("stock model", stock[number].text, stock[number].seconds))
    save_trace(run.add("trace", "answers.jsonl", "Questions and answers."), turns)
    total_s = encode_s + sum(one.seconds for one in answers)
    made = sum(len(one.ids) for one in answers)
    numbers = [
        Number("document", cache.num_tokens, unit="tokens"),
        Number("blocks", len(cache.plan.blocks)),
        Number("encoded in", encode_s, unit="s", better="lower"),
        Number("answered in", total_s - encode_s, n=len(answers), unit="s", better="lower"),
        Number("generated", made, unit="tokens"),
    ]
    if stock:
        stock_s = sum(one.seconds for one in stock)
        same = sum(a.text == b.text for a, b in zip(answers, stock, strict=True))
        numbers += [
            Number("faster than the stock model", stock_s / total_s, n=len(stock), unit="x",
                   baseline=1.0),
            Number("same words as the stock model", same, n=len(stock), unit="answers"),
        ]  # fmt: skip
    lines = [f"{one.question}\n  {one.text}" for one in answers]
    remarks = tuple(f"{text}." for text in cache.plan.warnings)
    if cache.plan.is_dense:
        remarks += ("This plan is dense attention: fewer than three blocks gain nothing.",)
    return Result(tuple(numbers), text="\n".join(lines), remarks=remarks)


def _ruler_result(
    samples: Sequence[Any], found: Sequence[Prediction], arms: Sequence[str], run: Run
) -> Result:
    by_key = {(sample.task, sample.index): sample for sample in samples}
    for task, arm in {(one.task, one.arm): None for one in found}:
        pairs = [
            (by_key[one.task, one.index], one.text)
            for one in found
            if (one.task, one.arm) == (task, arm)
        ]
        name = f"predictions-{task}-{arm}.jsonl"
        write_predictions(run.add("text", name, f"{task}, {arm}: official format."), pairs)
    summary = summarise(found, arms)
    columns = ("task or family", "arm", "score (%)", "answer NLL", "empty", "samples")
    table = Table(columns, summary.rows)
    table.save(run.add("table", "scores.json", "Scores per task and family."))
    if plot := depth_plot(samples, found, arms):
        plot.save(run.add("plot", "depth.json", "Each point is one sample; lower is better."))
    return Result(summary.numbers, remarks=summary.remarks)
