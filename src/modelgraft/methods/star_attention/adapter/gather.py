"""Bringing a shared context to one host, for short contexts and many decoded tokens."""

from __future__ import annotations

import torch

from modelgraft.core.errors import ConfigError
from modelgraft.methods.star_attention.adapter.cache import StarCache, StarLayer
from modelgraft.methods.star_attention.adapter.hosts import ProcessHosts


def gather_cache(cache: StarCache) -> StarCache | None:
    """The whole cache on the query host, None on the others (our alternative to phase 2).

    Every process calls it once after encoding. The query host then generates alone, without any
    exchange per token: worth it when the context is short beside what is generated, and its
    memory holds all n entries. Raises `ConfigError` when the context is not shared.
    """
    hosts = cache.hosts
    if not isinstance(hosts, ProcessHosts):
        raise ConfigError(
            "", "this context lies in one process already; nothing is to be gathered."
        )
    target = hosts.size - 1
    own = sum(len(block) for block in cache.plan.of_host(hosts.rank))
    # The query host may hold no entries, and so not know of what heads and number type they are.
    forms = hosts.exchange([_form(layer) for layer in cache.layers] if own else None)
    if hosts.rank != target:
        for layer in cache.layers:
            for states in layer.slice(0, own) if own else ():
                hosts.send(states.contiguous(), target)
        return None
    lengths = [sum(len(b) for b in cache.plan.of_host(host)) for host in range(hosts.size)]
    batch = len(cache.context_ids)
    layers = []
    for layer, form in zip(cache.layers, forms[0], strict=True):
        device = layer.device if own else cache.context_ids.device
        whole = StarLayer(batch, cache.num_tokens + cache.headroom)
        start = 0
        for host, length in enumerate(lengths):
            if host == target:
                pair = layer.slice(0, own) if own else ()
            else:
                pair = tuple(
                    torch.empty((batch, heads, length, size), dtype=dtype, device=device)
                    for heads, size, dtype in form
                )
                for states in pair if length else ():
                    hosts.receive(states, host)
            if length:
                whole.write(start, *pair)
            start += length
        layers.append(whole)
    return StarCache(
        layers,
        cache.context_ids,
        cache.plan,
        headroom=cache.headroom,
        kernel=cache.kernel,
        has_moving_rope=cache.has_moving_rope,
        allow_extrapolation=cache.allow_extrapolation,
    )


def _form(layer: StarLayer) -> list[tuple[int, int, torch.dtype]]:
    """Heads, head size and number type of a layer's keys and of its values."""
    return [(t.shape[1], t.shape[3], t.dtype) for t in layer.slice(0, 0)]
