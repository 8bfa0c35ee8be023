"""Ask questions about a context that is encoded once (Star Attention, phase 2)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.language.chat import chat_frame, encode, split_chat
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import Report, encode_context, use_cache
from modelgraft.methods.star_attention.adapter.hosts import Hosts, ProcessHosts
from modelgraft.methods.star_attention.config import StarConfig


@dataclass(frozen=True)
class Answer:
    """One answer: its text and token ids, and the seconds that query and generation took."""

    question: str
    text: str
    ids: tuple[int, ...]
    num_query_tokens: int
    seconds: float


def star_generate(
    model: Any,
    tokenizer: Any,
    document: str,
    questions: Sequence[str],
    config: StarConfig | None = None,
    *,
    follow_up: bool = False,
    hosts: Hosts | None = None,
    report: Report | None = None,
    allow_extrapolation: bool = False,
    **generate_kwargs: Any,
) -> list[Answer]:
    """Answers to `questions` about `document`, which is encoded once.

    `generate_kwargs` go to the model's own `generate`; without any, decoding is greedy. With
    `follow_up` each question sees the earlier ones and their answers, else each starts from the
    encoding alone.

    >>> answers = star_generate(model, tokenizer, text, ["Who wrote it?"])  # doctest: +SKIP
    """
    prompts = [
        split_chat(tokenizer, [{"role": "user", "content": question}], document=document)
        for question in _checked(questions)
    ]
    budget = generate_kwargs.setdefault("max_new_tokens", 64)
    rounds = [len(prompt.query_ids) + budget for prompt in prompts]
    headroom = sum(rounds) + 8 * len(rounds) if follow_up else max(rounds)
    context = torch.tensor([prompts[0].context_ids], device=model.device)
    cache = encode_context(
        model,
        context,
        config,
        headroom=headroom,
        hosts=hosts,
        report=report,
        allow_extrapolation=allow_extrapolation,
    )
    return ask(model, tokenizer, cache, questions, follow_up=follow_up, **generate_kwargs)


def ask(
    model: Any,
    tokenizer: Any,
    cache: StarCache,
    questions: Sequence[str],
    *,
    follow_up: bool = False,
    **generate_kwargs: Any,
) -> list[Answer]:
    """Answers from an encoded context; without `follow_up` the cache is rewound after each."""
    frame = chat_frame(tokenizer)
    past = cache.context_ids
    answers = []
    for number, question in enumerate(_checked(questions)):
        opening = frame.between if follow_up and number else ""
        ids = encode(tokenizer, opening, markup=True) if opening else []
        ids += encode(tokenizer, question) + encode(tokenizer, frame.suffix, markup=True)
        query = torch.tensor([ids], device=model.device)
        start = time.perf_counter()
        full = torch.cat([past, query], dim=1)
        output = generate(model, cache, full, **generate_kwargs)
        made = output[0, full.shape[1] :].tolist()
        text = tokenizer.decode(made, skip_special_tokens=True)
        seconds = time.perf_counter() - start
        answers.append(Answer(question, text.strip(), tuple(made), len(ids), seconds))
        if follow_up:
            past = output[:, :-1] if _ended(model, made) else output
        else:
            cache.rewind()
    if follow_up:
        cache.rewind()
    return answers


def dense_answer(
    model: Any, tokenizer: Any, document: str, question: str, **generate_kwargs: Any
) -> Answer:
    """The stock model's answer to the same prompt, document and question read in one go."""
    messages = [{"role": "user", "content": question}]
    prompt = split_chat(tokenizer, messages, document=document)
    ids = torch.tensor([[*prompt.context_ids, *prompt.query_ids]], device=model.device)
    start = time.perf_counter()
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        pad_token_id=_pad_token(model),
        **{"do_sample": False, **generate_kwargs},
    )
    made = output[0, ids.shape[1] :].tolist()
    text = tokenizer.decode(made, skip_special_tokens=True)
    seconds = time.perf_counter() - start
    return Answer(question, text.strip(), tuple(made), len(prompt.query_ids), seconds)


def generate(model: Any, cache: StarCache, input_ids: Tensor, **generate_kwargs: Any) -> Tensor:
    """The model's own `generate` on [context | query] ids [b, t] with the encoded context.

    Greedy unless told otherwise. With several hosts every process calls it, and each token is the
    query host's. Beam search needs a cache in one place, so it is refused with several hosts.
    """
    from transformers import StoppingCriteriaList

    kwargs: dict[str, Any] = {"do_sample": False, **generate_kwargs}
    if cache.hosts is not None:
        if kwargs.get("num_beams", 1) > 1 or kwargs.get("assistant_model") is not None:
            raise InputError("beam search and assisted decoding need one host.")
        criteria = [*(kwargs.get("stopping_criteria") or []), _TokensOfQueryHost(cache.hosts)]
        # First in the list: what the other criteria see is already the query host's token.
        kwargs["stopping_criteria"] = StoppingCriteriaList(criteria[-1:] + criteria[:-1])
    with use_cache(model, cache):
        return model.generate(
            input_ids,
            attention_mask=torch.ones_like(input_ids),
            past_key_values=cache,
            pad_token_id=_pad_token(model),
            **kwargs,
        )


class _TokensOfQueryHost:
    """Replaces the token just chosen by the query host's, so sampling stays in step."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        token = input_ids[:, -1].contiguous()
        self.hosts.broadcast(token, self.hosts.size - 1)
        input_ids[:, -1] = token
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def open_hosts() -> ProcessHosts | None:
    """The processes that torchrun or accelerate launch started, or None when there is one."""
    import os

    import torch.distributed as dist

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return ProcessHosts()


def _checked(questions: Sequence[str]) -> Sequence[str]:
    if isinstance(questions, str):
        raise TypeError("questions is a list of texts, not one text")
    for number, question in enumerate(questions, start=1):
        if not question.strip():
            raise InputError(f"question {number} is empty; ask something.")
    return questions


def _pad_token(model: Any) -> int | None:
    config = model.generation_config
    if config.pad_token_id is not None:
        return config.pad_token_id
    end = config.eos_token_id
    return end[0] if isinstance(end, list) else end


def _ended(model: Any, made: list[int]) -> bool:
    end = model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    return bool(made) and made[-1] in ends
