"""The actions of the card: names and paths become objects, library functions do the work."""

from __future__ import annotations

from typing import Any, cast

from modelgraft.core.errors import ConfigError
from modelgraft.core.processes import refuse_processes
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run, Settings
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.language.documents import read_document
from modelgraft.language.load import (
    DType,
    Loaded,
    fastest_cpu_dtype,
    is_measured,
    load_causal_lm,
    load_skeleton,
)
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
)
from modelgraft.methods.star_attention.evaluate.advice import cost_numbers, plan_result
from modelgraft.methods.star_attention.evaluate.answers import (
    Stop,
    answer_result,
    context_tokens,
    encode_or_load,
    log_seams,
    stock_answers,
)
from modelgraft.methods.star_attention.evaluate.benchmark import race_model, score_model
from modelgraft.methods.star_attention.experiments import EXPERIMENTS
from modelgraft.methods.star_attention.infer import ask, open_hosts
from modelgraft.methods.star_attention.method import plan_blocks


def answer(config: AnswerConfig, run: Run) -> Result:
    """Encode the document once, answer every question, and say what it took."""
    document = read_document(config.file).text
    hosts = open_hosts()
    if hosts is not None and config.cache is not None:
        raise ConfigError("cache", "--cache: several processes share the context; it needs one.")
    loaded = _load(config, run, hosts)
    model, tokenizer = loaded.model, loaded.tokenizer
    log_seams(tokenizer, document, config.question, run)
    cache, encode_s = encode_or_load(model, tokenizer, document, config, run, hosts)
    options = _generation(config, run)
    answers = ask(model, tokenizer, cache, config.question, **options)
    run.check()
    asked = config.question if config.compare else ()
    stock = stock_answers(model, tokenizer, document, asked, run, **options)
    return answer_result(tokenizer, cache, answers, stock, encode_s, run)


def estimate_answer(config: AnswerConfig, settings: Settings) -> list[Number]:
    """What `answer` would cost: tokens, operations and memory, from the model's sizes alone."""
    document = read_document(config.file).text
    skeleton, number_type = _skeleton(config, settings)
    tokens = context_tokens(skeleton.tokenizer, document)
    blocks = plan_blocks(len(tokens), config.star)
    return cost_numbers(model_shape(skeleton.model), blocks, number_type=number_type)


def plan(config: PlanConfig, run: Run) -> Result:
    """The cost of an encoding by the model's sizes, and an advice."""
    skeleton, number_type = _skeleton(config, run.settings)
    extrapolate = config.allow_extrapolation
    check_length(skeleton.model, config.tokens, allow_extrapolation=extrapolate)
    return plan_result(model_shape(skeleton.model), config, number_type)


def ruler(config: RulerConfig, run: Run) -> Result:
    """Scores per task and family, star beside dense on the same samples."""
    refuse_processes("ruler", "only answer shares a context")
    loaded = _load(config, run)
    return score_model(loaded.model, loaded.tokenizer, config, run)


def race(config: RaceConfig, run: Run) -> Result:
    """Ratios of prefill, decoding, end to end and peak memory, star against the stock model."""
    refuse_processes("race", "only answer shares a context")
    loaded = _load(config, run)
    check_model(loaded.model)
    return race_model(loaded.model, loaded.tokenizer, config, run)


def reproduce(config: ReproduceConfig, run: Run) -> Result:
    """The paper's claims at this scale."""
    refuse_processes("reproduce", "only answer shares a context")
    return reproduce_experiments(
        "star_attention",
        EXPERIMENTS,
        names=config.experiments,
        quick=config.quick,
        run=run,
        folder=config.folder,
    )


def _load(config: ModelOptions, run: Run, hosts: ProcessHosts | None = None) -> Loaded:
    settings = run.settings
    dtype: str = settings.dtype
    if is_measured(dtype, settings.device):
        # A resumed run must not mix number types, nor may hosts, and the choice is a measurement.
        if hosts is None or hosts.rank == 0:
            dtype = run.choose_once("dtype", fastest_cpu_dtype)
        dtype = dtype if hosts is None else hosts.share(dtype)
    loaded = load_causal_lm(
        config.model, device=settings.device, dtype=cast(DType, dtype), offline=settings.offline
    )
    run.log("loaded", model=loaded.name, revision=loaded.revision, dtype=str(loaded.model.dtype))
    return loaded


def _generation(config: AnswerConfig, run: Run) -> dict[str, Any]:
    """How `ask` and the stock model answer, alike."""
    return {
        "follow_up": config.follow_up,
        "max_new_tokens": config.max_new_tokens,
        "stopping_criteria": [Stop(run)],
    }


def _skeleton(config: ModelOptions, settings: Settings) -> tuple[Loaded, str]:
    """The model without its weights, and in words the number type it would have."""
    dtype, device = settings.dtype, settings.device
    skeleton = load_skeleton(config.model, device=device, dtype=dtype, offline=settings.offline)
    check_model(skeleton.model)
    number_type = str(skeleton.model.dtype).removeprefix("torch.")
    assumed = " is assumed; auto measures on a CPU" if is_measured(dtype, device) else ""
    return skeleton, number_type + assumed
