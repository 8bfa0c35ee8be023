"""How well an encoded context serves: likelihood of known answers, and where attention goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import use_cache
from modelgraft.nn.attention import attend
from modelgraft.nn.hooks import use_attention


@dataclass(frozen=True)
class Likelihood:
    """Teacher-forced scores of an answer: `nll` is the mean negative log-likelihood in nats per
    token, `logprobs` [t, v] are the next-token distributions it comes from."""

    nll: float
    logprobs: Tensor


@torch.no_grad()
def answer_likelihood(
    model: Any, cache: StarCache, query_ids: Tensor, answer_ids: Tensor
) -> Likelihood:
    """The likelihood of `answer_ids` [1, t] after [context | query_ids]; the cache is rewound."""
    with use_cache(model, cache):
        found = continuation_likelihood(model, cache, query_ids, answer_ids)
    cache.rewind()
    return found


@torch.no_grad()
def continuation_likelihood(
    model: Any, cache: Cache, query_ids: Tensor, answer_ids: Tensor
) -> Likelihood:
    """The likelihood of `answer_ids` [1, t] after any transformers cache and `query_ids`."""
    ids = torch.cat([query_ids, answer_ids[:, :-1]], dim=1)
    past = cache.get_seq_length()
    positions = torch.arange(past, past + ids.shape[1], device=ids.device).unsqueeze(0)
    logits = model(
        input_ids=ids,
        position_ids=positions,
        past_key_values=cache,
        logits_to_keep=answer_ids.shape[1],
    ).logits
    logprobs = logits[0].float().log_softmax(-1)
    nll = -logprobs.gather(1, answer_ids[0].unsqueeze(1)).mean()
    return Likelihood(float(nll), logprobs)


def agreement(one: Likelihood, other: Likelihood) -> tuple[float, float]:
    """Share of positions with the same likeliest token, and mean KL divergence KL(one || other)."""
    same = (one.logprobs.argmax(-1) == other.logprobs.argmax(-1)).float().mean()
    kl = (one.logprobs.exp() * (one.logprobs - other.logprobs)).sum(-1).mean()
    return float(same), float(kl)


@torch.no_grad()
def attention_profile(model: Any, cache: StarCache, query_ids: Tensor) -> Tensor:
    """Mean attention mass [n] that the query tokens put on each context position.

    Averaged over layers, heads and the tokens of `query_ids` [1, q]; the cache is rewound. The
    model runs unchanged: the mass is read off beside its attention.
    """
    profile = torch.zeros(cache.num_tokens)

    def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **kwargs: Any):
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        part = attend(query, key, value, scale=scale, causal=True)
        groups = (query.shape[0], key.shape[1], -1)
        rows = query.reshape(*groups, query.shape[-1])
        scores = rows @ key[:, :, : cache.num_tokens].transpose(-1, -2) * scale
        mass = (scores - part.lse.reshape(*groups, 1)).exp()
        profile.add_(mass.mean(dim=(0, 1, 2)).float().cpu())
        return part.output.transpose(1, 2), None

    positions = torch.arange(cache.num_tokens, cache.num_tokens + query_ids.shape[1])
    with use_attention(model, attention):
        model(
            input_ids=query_ids,
            position_ids=positions.unsqueeze(0).to(query_ids.device),
            past_key_values=cache,
            logits_to_keep=1,
        )
    cache.rewind()
    return profile / len(cache.layers)
