"""Bringing a shared context to one host, for short contexts and many decoded tokens."""

from __future__ import annotations

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
    if hosts.rank != target:
        for layer in cache.layers:
            for states in layer.slice(0, own):
                if own:
                    hosts.send(states.contiguous(), target)
        return None
    lengths = [sum(len(b) for b in cache.plan.of_host(host)) for host in range(hosts.size)]
    layers = []
    for layer in cache.layers:
        keys, values = layer.slice(0, own)
        size = (keys.shape[0], keys.shape[1], cache.num_tokens + cache.headroom, keys.shape[3])
        whole = StarLayer(keys.new_empty(size), values.new_empty(size))
        start = 0
        for host, length in enumerate(lengths):
            pair = (keys, values)
            if host != target:
                place = (*size[:2], length, size[3])
                pair = (keys.new_empty(place), values.new_empty(place))
                for states in pair if length else ():
                    hosts.receive(states, host)
            whole.write(start, *pair)
            start += length
        layers.append(whole)
    return StarCache(
        layers,
        cache.context_ids,
        cache.plan,
        headroom=cache.headroom,
        allow_extrapolation=cache.allow_extrapolation,
    )
