"""Star against stock dense attention on the same prompt, in one process, taking turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, StoppingCriteria, StoppingCriteriaList

from modelgraft.language.chat import encode
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.infer import generate
from modelgraft.methods.star_attention.world.haystacks import essay
from modelgraft.nn.memory import peak_memory


@dataclass(frozen=True)
class Lap:
    """One timed run: seconds until the first token, seconds per later token, peak bytes."""

    prefill_s: float
    token_s: float
    peak_bytes: int | None

    def total_s(self, num_tokens: int) -> float:
        """Seconds for prefill and `num_tokens` tokens."""
        return self.prefill_s + self.token_s * (num_tokens - 1)


class TokenClock(StoppingCriteria):
    """Notes when each token is there; never stops anything."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @property
    def token_s(self) -> float:
        """Seconds per token after the first, which is the prompt's."""
        return (self.times[-1] - self.times[0]) / max(1, len(self.times) - 1)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def race_lap(
    model: Any,
    input_ids: Tensor,
    num_query: int,
    config: StarConfig | None,
    new_tokens: int,
    *,
    allow_extrapolation: bool = False,
) -> Lap:
    """Generate exactly `new_tokens` after `input_ids` [1, n + num_query] and time it.

    With a config the first n tokens are encoded by Star Attention; None is the stock model's
    `generate` with its own dynamic cache.
    """
    return timed_run(
        model,
        input_ids,
        num_query,
        config,
        new_tokens,
        allow_extrapolation=allow_extrapolation,
    ).lap


@dataclass(frozen=True)
class TimedRun:
    """A lap, the ids [1, t] it produced, and its cache, holding context, query and answer."""

    lap: Lap
    ids: Tensor
    cache: Cache


def timed_run(
    model: Any,
    input_ids: Tensor,
    num_query: int,
    config: StarConfig | None,
    new_tokens: int,
    *,
    allow_extrapolation: bool = False,
) -> TimedRun:
    """A lap as `race_lap` times it, with what it produced."""
    clock = TokenClock()
    kwargs: dict[str, Any] = {
        "max_new_tokens": new_tokens,
        "min_new_tokens": new_tokens,
        "stopping_criteria": StoppingCriteriaList([clock]),
    }
    cache: Cache
    with peak_memory(model.device) as peak:
        start = time.perf_counter()
        if config is None:
            cache = DynamicCache(config=model.config)
            pad = model.generation_config.pad_token_id
            output = model.generate(
                input_ids,
                attention_mask=torch.ones_like(input_ids),
                past_key_values=cache,
                do_sample=False,
                pad_token_id=pad if pad is not None else 0,
                **kwargs,
            )
        else:
            context = input_ids[:, : input_ids.shape[1] - num_query]
            headroom = num_query + new_tokens
            cache = encode_context(
                model,
                context,
                config,
                headroom=headroom,
                allow_extrapolation=allow_extrapolation,
            )
            output = generate(model, cache, input_ids, **kwargs)
    lap = Lap(clock.times[0] - start, clock.token_s, peak[0] if peak else None)
    return TimedRun(lap, output[:, input_ids.shape[1] :], cache)


def alternate(arms: dict[str, Callable[[], Lap]], repeats: int) -> dict[str, list[Lap]]:
    """Every arm `repeats` times, in turn and in alternating order, so drift hits all alike."""
    laps: dict[str, list[Lap]] = {name: [] for name in arms}
    for lap in range(repeats):
        names = list(arms) if lap % 2 == 0 else list(reversed(arms))
        for name in names:
            laps[name].append(arms[name]())
    return laps


def race_prompt(tokenizer: Any, num_tokens: int, num_query: int) -> Tensor:
    """Token ids [1, num_tokens + num_query] of running prose; enough of it for any length."""
    text = " ".join(essay())
    ids = encode(tokenizer, text)
    repeats = -(-(num_tokens + num_query) // len(ids))
    return torch.tensor([(ids * repeats)[: num_tokens + num_query]])
