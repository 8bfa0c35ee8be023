"""E6: decoding with the in-place cache against stock generate with its dynamic cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, StoppingCriteriaList

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.evaluate.race import TokenClock, race_prompt
from modelgraft.methods.star_attention.evaluate.summary import number
from modelgraft.methods.star_attention.experiments.subject import DENSE, described, subject
from modelgraft.methods.star_attention.infer import generate

NUM_QUERY = 32
NEW_TOKENS = 32
AT_LEAST = {4096: 1.2}


def _run(run: Run, quick: bool) -> Findings:
    loaded = subject(run)
    rounds = 2 if quick else 11
    numbers: list[Number] = []
    for length in (512,) if quick else (4096, 8192):
        tokens = length - NUM_QUERY - NEW_TOKENS
        ids = race_prompt(loaded.tokenizer, tokens, NUM_QUERY).to(loaded.model.device)
        cache = encode_context(
            loaded.model, ids[:, :tokens], DENSE, headroom=NUM_QUERY + NEW_TOKENS
        )
        pairs = []
        for index in range(rounds + 1):
            run.check()
            run.progress(index, rounds + 1, f"decoding behind {length} tokens")
            pair = _pair(loaded.model, cache, ids, star_first=index % 2 == 0)
            pairs += [pair] if index else []  # the first round warms up
        gain = ratio_interval([dense for _, dense in pairs], [star for star, _ in pairs])
        numbers.append(
            number(f"{length}: tokens/s, in-place against dynamic cache", gain, unit="x",
                   baseline=1.0)
        )  # fmt: skip
    values = {one.name.split(":")[0]: one.value for one in numbers}
    holds = all(values.get(str(length), 0.0) >= limit for length, limit in AT_LEAST.items())
    return Findings(
        tuple(numbers), HOLDS if holds else DOES_NOT_HOLD, seeds=(run.seed,), subject=described(run)
    )


def _pair(model: Any, cache: StarCache, ids: Tensor, *, star_first: bool) -> tuple[float, float]:
    """Seconds per token with the in-place and with the dynamic cache, behind the same query."""
    seconds = {}
    for is_star in (star_first, not star_first):
        used = cache if is_star else _dynamic_copy(cache)
        clock = TokenClock()
        kwargs: dict[str, Any] = {
            "max_new_tokens": NEW_TOKENS,
            "min_new_tokens": NEW_TOKENS,
            "stopping_criteria": StoppingCriteriaList([clock]),
        }
        if is_star:
            generate(model, cache, ids, **kwargs)
        else:
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=used,
                do_sample=False,
                pad_token_id=0,
                **kwargs,
            )
        seconds[is_star] = clock.token_s
        cache.rewind()
    return seconds[True], seconds[False]


def _dynamic_copy(cache: StarCache) -> DynamicCache:
    """Stock's growing cache with the same entries."""
    copy = DynamicCache()
    for index, layer in enumerate(cache.layers):
        keys, values = layer.slice(0, cache.num_tokens)
        copy.update(keys.clone(), values.clone(), index)
    return copy


DECODING = Experiment(
    "E6",
    "Writing keys and values in place decodes faster than a cache that is copied for each token.",
    "Not measured in the paper; its code concatenates the cache at each step.",
    _run,
)
