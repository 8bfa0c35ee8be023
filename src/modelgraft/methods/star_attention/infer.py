"""Ask questions about a context that is encoded once (Star Attention, phase 2)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.language.chat import chat_frame, encode, split_chat
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import Report, encode_context, use_cache
from modelgraft.methods.star_attention.adapter.hosts import Hosts, ProcessHosts
from modelgraft.methods.star_attention.adapter.support import check_length
from modelgraft.methods.star_attention.config import StarConfig

MAX_NEW_TOKENS = 64
_LAUNCHED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


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
    hosts: ProcessHosts | None = None,
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
    budget = generate_kwargs.setdefault("max_new_tokens", MAX_NEW_TOKENS)
    rounds = [len(prompt.query_ids) + budget for prompt in prompts]
    headroom = sum(rounds) + 8 * len(rounds) if follow_up else max(rounds)
    if not prompts[0].context_ids:  # no document, and no chat markup either
        return [dense_answer(model, tokenizer, "", text, **generate_kwargs) for text in questions]
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
    """Answers from an encoded context; without `follow_up` each starts from the context alone.

    Whatever the cache held behind its context is forgotten, before and after, also when it raises.
    """
    frame = chat_frame(tokenizer)
    generate_kwargs.setdefault("max_new_tokens", MAX_NEW_TOKENS)
    cache.rewind()
    past = cache.context_ids
    answers = []
    try:
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
    finally:
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
    defaults = {"attention_mask": torch.ones_like(ids), "pad_token_id": _pad_token(model)}
    output = model.generate(ids, **{"do_sample": False, **defaults, **generate_kwargs})
    made = output[0, ids.shape[1] :].tolist()
    text = tokenizer.decode(made, skip_special_tokens=True)
    seconds = time.perf_counter() - start
    return Answer(question, text.strip(), tuple(made), len(prompt.query_ids), seconds)


def generate(model: Any, cache: StarCache, input_ids: Tensor, **generate_kwargs: Any) -> Tensor:
    """The model's own `generate` on [context | query] ids [b, t] with the encoded context.

    Greedy unless told otherwise. Several queries over one context are rows of a batch, padded
    between context and query and masked there. With several hosts every process calls it, and all
    choose from the query host's scores with its random numbers. Beam search and assisted decoding
    need a cache in one place, so they are refused with several hosts.
    """
    kwargs: dict[str, Any] = dict(generate_kwargs)
    config = kwargs.get("generation_config")
    if config is None:
        config = model.generation_config
        kwargs = {"do_sample": False, "pad_token_id": _pad_token(model), **kwargs}
    kwargs.setdefault("attention_mask", torch.ones_like(input_ids))
    _check_prompt(cache, input_ids, kwargs["attention_mask"])
    new_tokens = kwargs.get("max_new_tokens", config.max_new_tokens) or 0
    length = input_ids.shape[1] + new_tokens
    check_length(model, length, allow_extrapolation=cache.allow_extrapolation)
    lookup = kwargs.get("prompt_lookup_num_tokens", config.prompt_lookup_num_tokens)
    is_assisted = bool(lookup) or kwargs.get("assistant_model") is not None
    if cache.hosts is not None:
        beams = kwargs.get("num_beams", config.num_beams) or 1
        if is_assisted or beams > 1:
            raise InputError("beam search and assisted decoding need one host.")
        _stay_in_step(model, cache.hosts, config, kwargs)
    # Stock assisted decoding would feed again what a cache holds already, so it is left out.
    start = cache.get_seq_length() if is_assisted else 0
    unmasked = bool(kwargs["attention_mask"].all())
    with use_cache(model, cache, unmasked=unmasked):
        output = model.generate(input_ids[:, start:], past_key_values=cache, **kwargs)
    return torch.cat([input_ids[:, :start], output], dim=1) if start else output


def _check_prompt(cache: StarCache, input_ids: Tensor, attention_mask: Tensor) -> None:
    known = cache.context_ids
    opening = input_ids[:, : cache.num_tokens].to(known.device)
    if not torch.equal(opening, known.repeat_interleave(len(opening) // len(known), dim=0)):
        raise InputError(
            "input_ids do not begin with the encoded context.\n"
            "  Give [context | query], or encode this context."
        )
    if input_ids.shape[1] <= cache.get_seq_length():
        raise InputError(
            f"the query is empty: input_ids have {input_ids.shape[1]} tokens and the cache holds "
            f"{cache.get_seq_length()}.\n  Append the query's tokens, or rewind the cache."
        )
    covered = attention_mask if cache.hosts is not None else attention_mask[:, : cache.num_tokens]
    if not covered.all():
        raise InputError(
            "attention_mask hides tokens of the encoded context"
            + (", or of a query on several hosts" if cache.hosts is not None else "")
            + ".\n  All of them were encoded and are attended to: encode a context without padding."
        )


def _stay_in_step(model: Any, hosts: Hosts, config: Any, kwargs: dict[str, Any]) -> None:
    """Have every host choose the query host's tokens."""
    from transformers import LogitsProcessorList

    custom = kwargs.get("logits_processor") or []
    samples = bool(kwargs.get("do_sample", config.do_sample))
    own = _ScoresOfQueryHost(hosts, samples=samples)
    kwargs["logits_processor"] = LogitsProcessorList([*custom, own])
    if samples:
        on_gpu = model.device.type == "cuda"
        state = torch.cuda.get_rng_state(model.device) if on_gpu else torch.get_rng_state()
        state = state.to(model.device)
        hosts.broadcast(state, hosts.size - 1)
        if on_gpu:
            torch.cuda.set_rng_state(state.cpu(), model.device)
        else:
            torch.set_rng_state(state)


class _ScoresOfQueryHost:
    """Makes every host choose the query host's token: no rounding and no end of text parts them.

    A greedy choice is sent as one token id per sequence, after which the scores name that token
    alone; sampling needs the whole row of scores.
    """

    def __init__(self, hosts: Hosts, *, samples: bool) -> None:
        self.hosts, self.samples = hosts, samples

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.samples:
            self.hosts.broadcast(scores, self.hosts.size - 1)
            return scores
        token = scores.argmax(dim=-1, keepdim=True)
        self.hosts.broadcast(token, self.hosts.size - 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, token, 0.0)


def open_hosts() -> ProcessHosts | None:
    """The processes that torchrun or accelerate launch started, or None when there is one.

    On GPUs each process takes the one of its local rank; call it before a model is loaded.
    """
    import torch.distributed as dist

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    if not dist.is_initialized():
        missing = [name for name in _LAUNCHED if name not in os.environ]
        if missing:
            raise ConfigError(
                "",
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set: "
                "the other processes cannot be found.\n  Start with torchrun --nproc-per-node N or "
                "accelerate launch, or unset WORLD_SIZE.",
            )
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return ProcessHosts()


def _checked(questions: Sequence[str]) -> Sequence[str]:
    if isinstance(questions, str):
        raise TypeError("questions is a list of texts, not one text")
    if not questions:
        raise InputError("questions: there is none; ask something.")
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
