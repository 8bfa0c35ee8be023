"""Ask questions about a context that is encoded once (Star Attention, phase 2)."""

from __future__ import annotations

import atexit
import copy
import datetime
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.language.chat import chat_frame, encode, split_chat
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import Report, encode_context, use_cache
from modelgraft.methods.star_attention.adapter.hosts import Hosts, ProcessHosts
from modelgraft.methods.star_attention.adapter.identity import ids_hash
from modelgraft.methods.star_attention.adapter.support import check_length
from modelgraft.methods.star_attention.config import StarConfig

MAX_NEW_TOKENS = 64
_LIMITS = ("max_new_tokens", "max_length")
_LAUNCHED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
# A host may wait for one that has more to encode; one that is gone is noticed at once.
_TIMEOUT = datetime.timedelta(minutes=30)


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

    `generate_kwargs` go to the model's own `generate`; unless they say otherwise, decoding is
    greedy and an answer has at most 64 tokens. With `follow_up` each question sees the earlier
    ones and their answers, else each starts from the encoding alone. Raises `InputError` for what
    has no single text as its outcome.

    >>> answers = star_generate(model, tokenizer, text, ["Who wrote it?"])  # doctest: +SKIP
    """
    _refuse_several(model, generate_kwargs)
    prompts = [
        split_chat(tokenizer, [{"role": "user", "content": question}], document=document)
        for question in _checked(questions)
    ]
    if not prompts[0].context_ids:  # no document, and no chat markup either
        if follow_up and len(prompts) > 1:
            raise InputError(
                "follow_up: there is no document, and this tokenizer has neither a chat template "
                "nor a BOS token,\n  so there is nothing that several questions could share. Ask "
                "them one by one."
            )
        return [dense_answer(model, tokenizer, "", text, **generate_kwargs) for text in questions]
    num_context = len(prompts[0].context_ids)
    rounds = []
    for prompt in prompts:
        length = num_context + len(prompt.query_ids)
        new_tokens = _num_new_tokens(model, length, _with_defaults(model, generate_kwargs))
        check_length(model, length + new_tokens, allow_extrapolation=allow_extrapolation)
        rounds.append(len(prompt.query_ids) + new_tokens)
    cache = encode_context(
        model,
        torch.tensor([prompts[0].context_ids], device=_input_device(model)),
        config,
        headroom=sum(rounds) + 8 * len(rounds) if follow_up else max(rounds),
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
    """Answers from one encoded context; without `follow_up` each starts from the context alone.

    `generate_kwargs` as in `star_generate`. Whatever the cache held behind its context is
    forgotten, before and after, also when it raises.
    """
    _refuse_several(model, generate_kwargs)
    if len(cache.context_ids) > 1:
        raise InputError(
            f"the cache holds {len(cache.context_ids)} contexts, and a question is about one.\n"
            "  Encode them one by one, or call infer.generate with token ids."
        )
    frame = chat_frame(tokenizer)
    end = _setting(model, generate_kwargs, "eos_token_id")
    cache.rewind()
    past = cache.context_ids
    answers = []
    try:
        for number, question in enumerate(_checked(questions)):
            opening = frame.between if follow_up and number else ""
            ids = encode(tokenizer, opening, markup=True) if opening else []
            ids += encode(tokenizer, question) + encode(tokenizer, frame.suffix, markup=True)
            query = torch.tensor([ids], device=past.device)
            start = time.perf_counter()
            full = torch.cat([past, query], dim=1)
            output = generate(model, cache, full, **generate_kwargs)
            made = output[0, full.shape[1] :].tolist()
            text = tokenizer.decode(made, skip_special_tokens=True)
            seconds = time.perf_counter() - start
            answers.append(Answer(question, text.strip(), tuple(made), len(ids), seconds))
            if follow_up:
                is_ended = made[-1] in (end if isinstance(end, list) else [end])
                past = output[:, :-1] if is_ended else output
            else:
                cache.rewind()
    finally:
        cache.rewind()
    return answers


def dense_answer(
    model: Any, tokenizer: Any, document: str, question: str, **generate_kwargs: Any
) -> Answer:
    """The stock model's answer to the same prompt, document and question read in one go."""
    _refuse_several(model, generate_kwargs)
    messages = [{"role": "user", "content": question}]
    prompt = split_chat(tokenizer, messages, document=document)
    ids = torch.tensor([[*prompt.context_ids, *prompt.query_ids]], device=_input_device(model))
    kwargs = {"attention_mask": torch.ones_like(ids), **_with_defaults(model, generate_kwargs)}
    start = time.perf_counter()
    output = model.generate(ids, **kwargs)
    made = output[0, ids.shape[1] :].tolist()
    text = tokenizer.decode(made, skip_special_tokens=True)
    seconds = time.perf_counter() - start
    return Answer(question, text.strip(), tuple(made), len(prompt.query_ids), seconds)


def generate(model: Any, cache: StarCache, input_ids: Tensor, **generate_kwargs: Any) -> Tensor:
    """The model's own `generate` on [context | query] ids [b, t] with the encoded context.

    Greedy and at most 64 new tokens, unless the call or its `generation_config` says otherwise.
    Several queries over one context are rows of a batch, padded between context and query and
    masked there. With several hosts every process calls it with the same arguments; all choose
    from the query host's scores with its random numbers, and stop when a stopping criterion of any
    of them says so. Beam search and assisted decoding need a cache in one place, so they are
    refused with several hosts.
    """
    kwargs = _with_defaults(model, generate_kwargs)
    kwargs.setdefault("attention_mask", torch.ones_like(input_ids))
    if cache.hosts is not None:
        cache.hosts.check_same(_described(input_ids[:, cache.num_tokens :], kwargs))
    _check_prompt(cache, input_ids, kwargs["attention_mask"])
    new_tokens = _num_new_tokens(model, input_ids.shape[1], kwargs)
    length = input_ids.shape[1] + new_tokens
    check_length(model, length, allow_extrapolation=cache.allow_extrapolation)
    lookup = _setting(model, kwargs, "prompt_lookup_num_tokens")
    is_assisted = bool(lookup) or kwargs.get("assistant_model") is not None
    if _setting(model, kwargs, "use_cache") is False:
        raise InputError("use_cache=False would leave the encoded context out; take it away.")
    if kind := _setting(model, kwargs, "cache_implementation"):
        raise InputError(
            f"cache_implementation={kind!r}: the encoded context is the cache; set None."
        )
    if is_assisted and _setting(model, kwargs, "return_dict_in_generate"):
        raise InputError("return_dict_in_generate is not possible with assisted decoding.")
    if cache.hosts is not None:
        if is_assisted or (_setting(model, kwargs, "num_beams") or 1) > 1:
            raise InputError("beam search and assisted decoding need one host.")
        _stay_in_step(model, cache.hosts, kwargs)
    # Stock assisted decoding would feed again what a cache holds already, so it is left out.
    start = cache.get_seq_length() if is_assisted else 0
    if start:
        kwargs["max_new_tokens"] = new_tokens  # a limit of the whole length would miss that part
    with use_cache(model, cache):
        output = model.generate(input_ids[:, start:], past_key_values=cache, **kwargs)
    return torch.cat([input_ids[:, :start], output], dim=1) if start else output


def _with_defaults(model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` for `generate`, made greedy and limited where it says nothing about that."""
    kwargs = dict(given)
    config: Any = kwargs.get("generation_config")
    if config is None:
        kwargs = {"do_sample": False, "pad_token_id": _pad_token(model), **kwargs}
    if all(kwargs.get(name) is None and getattr(config, name, None) is None for name in _LIMITS):
        if config is None:
            kwargs["max_new_tokens"] = MAX_NEW_TOKENS
        else:  # transformers wants settings in one place, and the caller's object stays as it is
            config = copy.deepcopy(config)
            config.max_new_tokens = MAX_NEW_TOKENS
            kwargs["generation_config"] = config
    return kwargs


def _setting(model: Any, kwargs: Mapping[str, Any], name: str) -> Any:
    """The value that `generate` uses: the call's own, else of its config, else of the model's."""
    if name in kwargs:
        return kwargs[name]
    for config in (kwargs.get("generation_config"), model.generation_config):
        if getattr(config, name, None) is not None:
            return getattr(config, name)
    return None


def _num_new_tokens(model: Any, num_prompt: int, kwargs: Mapping[str, Any]) -> int:
    """How many tokens `generate` may add to a prompt, given one of `_LIMITS`."""
    new_tokens = _setting(model, kwargs, "max_new_tokens")
    if new_tokens is None:
        new_tokens = _setting(model, kwargs, "max_length") - num_prompt
    if new_tokens < 1:
        limits = ", ".join(f"{name}={_setting(model, kwargs, name)}" for name in _LIMITS)
        raise InputError(
            f"{limits} leaves no room for an answer behind {num_prompt} tokens of context and "
            "query.\n  Give max_new_tokens of at least 1."
        )
    return new_tokens


def _refuse_several(model: Any, kwargs: Mapping[str, Any]) -> None:
    """Raise `InputError` for settings whose outcome is not one sequence of tokens."""
    for name, single in (("num_return_sequences", 1), ("return_dict_in_generate", False)):
        value = _setting(model, kwargs, name)
        if value not in (None, single):
            raise InputError(
                f"{name}={value}: an answer here is one text.\n  Leave it out, or call "
                "infer.generate with token ids."
            )


def _described(query_ids: Tensor, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What all hosts must be given alike: the query, and every setting that is a plain value."""
    plain = (bool, int, float, str, type(None))
    config = kwargs.get("generation_config")
    return {
        "the query": ids_hash(query_ids)[:12],
        "generation_config": config.to_json_string() if config is not None else None,
        "eos_token_id": str(kwargs.get("eos_token_id")),
        **{name: value for name, value in kwargs.items() if isinstance(value, plain)},
    }


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
    # Our own attention of several hosts and of the streaming baseline takes no mask.
    ours = "several hosts" if cache.hosts is not None else "the streaming pattern"
    is_ours = cache.hosts is not None or cache.plan.config.pattern == "streaming"
    if not attention_mask[:, : None if is_ours else cache.num_tokens].all():
        raise InputError(
            "attention_mask hides tokens of the encoded context"
            + (f", or of a query with {ours}" if is_ours else "")
            + ".\n  All of them are attended to: encode a context without padding"
            + (", and ask one query at a time." if is_ours else ".")
        )


def _stay_in_step(model: Any, hosts: Hosts, kwargs: dict[str, Any]) -> None:
    """Have every host choose the query host's tokens and stop when any other does."""
    from transformers import LogitsProcessorList, MaxTimeCriteria, StoppingCriteriaList

    samples = bool(_setting(model, kwargs, "do_sample"))
    processors = [*(kwargs.get("logits_processor") or [])]
    processors.append(_ScoresOfQueryHost(hosts, samples=samples))
    kwargs["logits_processor"] = LogitsProcessorList(processors)
    criteria = StoppingCriteriaList(kwargs.get("stopping_criteria") or [])
    seconds = _setting(model, kwargs, "max_time")
    if seconds is not None:  # the hosts' clocks differ
        criteria.append(MaxTimeCriteria(seconds))
        kwargs["max_time"] = None
    kwargs["stopping_criteria"] = StoppingCriteriaList([_StopOfAnyHost(hosts, criteria)])
    if samples:
        on_gpu = model.device.type == "cuda"
        state = torch.cuda.get_rng_state(model.device) if on_gpu else torch.get_rng_state()
        state = state.to(model.device)
        hosts.broadcast(state, hosts.size - 1)
        if on_gpu:
            torch.cuda.set_rng_state(state.cpu(), model.device)
        else:
            torch.set_rng_state(state)


class _StopOfAnyHost:
    """Stops a sequence on every host when the criteria of one host do, or when one of them raises.

    A host that stopped alone would leave the others waiting for its part of the next token.
    """

    def __init__(self, hosts: Hosts, criteria: Any) -> None:
        self.hosts, self.criteria = hosts, criteria

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        own = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        try:
            own = self.criteria(input_ids, scores, **kwargs)
        finally:
            stops = self.hosts.any(own)
        return stops


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

    On GPUs each process takes the one of its local rank; call it before a model is loaded. The
    group that it opens waits for a silent process for half an hour, and is closed at exit.
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
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=_TIMEOUT)
        atexit.register(_close_group)
    return ProcessHosts()


def _close_group() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


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


def _input_device(model: Any) -> torch.device:
    """Where token ids go; offloaded weights are nowhere, and their hooks move the ids along."""
    return torch.device("cpu") if model.device.type == "meta" else model.device
