"""Answers about one document, beside those of the stock model, and what both took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from modelgraft.core.errors import ModelgraftError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.report import Turn, save_trace
from modelgraft.language.chat import chat_frame, encode, is_seamless, split_chat
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.adapter.files import load_cache, save_cache
from modelgraft.methods.star_attention.adapter.hosts import ProcessHosts
from modelgraft.methods.star_attention.config import AnswerConfig
from modelgraft.methods.star_attention.infer import Answer

_SEAM_CHARACTERS = 200  # tokens do not reach further back than this


class Stop:
    """Ends generation when someone asked the run to stop, and raises nothing inside the model."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """True for every row once the run is stopping."""
        size = (len(input_ids),)
        return torch.full(size, self.run.is_stopping, device=input_ids.device)


def context_tokens(tokenizer: Any, document: str) -> tuple[int, ...]:
    """What is encoded before any question: the chat markup and the document."""
    asked = [{"role": "user", "content": ""}]
    return split_chat(tokenizer, asked, document=document).context_ids


def log_seams(tokenizer: Any, document: str, questions: Sequence[str], run: Run) -> None:
    """Note in the log each question that would be tokenised otherwise beside the document."""
    end = document[-_SEAM_CHARACTERS:] + "\n\n"
    for question in questions:
        if not is_seamless(tokenizer, end, question):
            run.log("seam", note="document and question would be tokenised otherwise together")


def encode_or_load(
    model: Any,
    tokenizer: Any,
    document: str,
    config: AnswerConfig,
    run: Run,
    hosts: ProcessHosts | None,
) -> tuple[StarCache, float | None]:
    """The document encoded now with the seconds it took, or read from `config.cache` and None."""
    ids = context_tokens(tokenizer, document)
    context = torch.tensor([ids], device=model.device)
    if config.cache is not None and config.cache.exists():
        cache = load_cache(
            model,
            config.cache,
            context_ids=context,
            config=config.star,
            tokenizer=tokenizer,
            allow_extrapolation=config.allow_extrapolation,
        )
        return cache, None

    def report(done: int, total: int, text: str) -> None:
        run.check()
        run.progress(done, total, text)

    longest = max(len(encode(tokenizer, question)) for question in config.question)
    rounds = len(config.question) if config.follow_up else 1
    start = time.perf_counter()
    cache = encode_context(
        model,
        context,
        config.star,
        headroom=rounds * (longest + config.max_new_tokens + 32),
        hosts=hosts,
        allow_extrapolation=config.allow_extrapolation,
        report=report,
    )
    seconds = time.perf_counter() - start
    run.log("encoded", tokens=cache.num_tokens, seconds=round(seconds, 3))
    if config.cache is not None:
        try:
            save_cache(cache, model, config.cache, tokenizer=tokenizer)
        except ModelgraftError:
            if not config.cache.exists():
                raise
            run.log("cache", note=f"another run saved {config.cache} meanwhile; it is kept")
    return cache, seconds


def stock_answers(
    model: Any,
    tokenizer: Any,
    document: str,
    questions: Sequence[str],
    run: Run,
    *,
    follow_up: bool = False,
    **generate_kwargs: Any,
) -> list[Answer]:
    """The answers of the stock model, which reads the document anew for each question.

    With `follow_up` it also reads the questions before and its own answers to them, in the tokens
    that `ask` keeps in its cache.
    """
    frame = chat_frame(tokenizer)
    suffix = encode(tokenizer, frame.suffix, markup=True)
    turn = encode(tokenizer, frame.between, markup=True)
    past = list(context_tokens(tokenizer, document))
    answers: list[Answer] = []
    for number, question in enumerate(questions):
        run.progress(number, len(questions), "the stock model answers too")
        query = [*(turn if follow_up and number else ()), *encode(tokenizer, question), *suffix]
        start = time.perf_counter()
        made = _generate(model, [*past, *query], **generate_kwargs)
        text = tokenizer.decode(made, skip_special_tokens=True).strip()
        seconds = time.perf_counter() - start
        run.check()  # an answer that was cut short is none
        answers.append(Answer(question, text, tuple(made), len(query), seconds))
        if follow_up:
            past += [*query, *_without_end(model, made)]
    return answers


def _generate(model: Any, ids: Sequence[int], **generate_kwargs: Any) -> list[int]:
    prompt = torch.tensor([ids], device=model.device)
    pad = model.generation_config.pad_token_id
    output = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        pad_token_id=pad if pad is not None else 0,  # one row has no padding
        do_sample=False,
        **generate_kwargs,
    )
    return output[0, len(ids) :].tolist()


def _without_end(model: Any, made: list[int]) -> list[int]:
    """An answer's tokens without the one that ends it; the chat markup ends the turn."""
    end = model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    return made[:-1] if made and made[-1] in ends else made


def answer_result(
    tokenizer: Any,
    cache: StarCache,
    answers: Sequence[Answer],
    stock: Sequence[Answer],
    encode_s: float | None,
    run: Run,
) -> Result:
    """Words, trace and times; `stock` is empty when the stock model was not asked."""
    _save_turns(cache.plan.config.pattern, answers, stock, run)
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
        seconds = None if encode_s is None else encode_s + answer_s
        numbers += _stock_numbers(answers, stock, seconds)
    if cache.plan.is_dense:
        remarks += ("This plan is dense attention: fewer than three blocks gain nothing.",)
    if not tokenizer.chat_template:
        remarks += ("The tokenizer has no chat template: plain text with Answer: was used.",)
    lines = [f"{one.question}\n  {one.text}" for one in answers]
    return Result(tuple(numbers), text="\n".join(lines), remarks=remarks)


def _save_turns(pattern: str, answers: Sequence[Answer], stock: Sequence[Answer], run: Run) -> None:
    ours = "star attention" if pattern == "star" else pattern
    turns = []
    for number, one in enumerate(answers):
        turns += [Turn("question", one.question), Turn(ours, one.text, one.seconds)]
        if stock:
            turns.append(Turn("stock model", stock[number].text, stock[number].seconds))
    save_trace(run.add("trace", "answers.jsonl", "Questions and answers."), turns)


def _stock_numbers(
    answers: Sequence[Answer], stock: Sequence[Answer], seconds: float | None
) -> list[Number]:
    """How ours compare with the stock model's; `seconds` is None when the encoding was at hand."""
    same = sum(a.text == b.text for a, b in zip(answers, stock, strict=True))
    found = [Number("same words as the stock model", same, n=len(stock), unit="answers")]
    if seconds is not None:
        gain = sum(one.seconds for one in stock) / seconds
        name = (
            "all answers, times faster than the stock model reading the document for each question"
        )
        found.append(Number(name, gain, n=len(stock), unit="x", baseline=1.0))
    return found
