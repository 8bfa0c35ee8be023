"""Batched rollouts from a stock causal language model: many prompts, one random stream for each.

Letters: b rows, v vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.core.seeds import rng_seed
from modelgraft.language.cache import Arriving, RowCache
from modelgraft.language.logprobs import causal_lm
from modelgraft.nn.modes import eval_mode

FinishedBy = Literal["stop_token", "stop_string", "length"]

# Prompts are read in slices of about this many tokens: enough to keep a device busy, and few
# enough that their activations stay small (and, on a CPU, near its cache).
_SLICE_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn and when a rollout ends.

    `temperature` 0 takes the likeliest token. `top_p` keeps the smallest set of the likeliest
    tokens whose probability reaches it. A rollout ends after a token of `stop_ids`, after the
    token that completes one of `stop_strings`, or after `max_new_tokens`.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(
                "max_new_tokens", f"max_new_tokens: {self.max_new_tokens}; at least 1"
            )
        if not self.temperature >= 0:
            raise ConfigError(
                "temperature", f"temperature: {self.temperature}; 0 or more is needed"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError("top_p", f"top_p: {self.top_p}; more than 0 and at most 1 is needed")


@dataclass(frozen=True)
class Rollout:
    """What the model wrote after one prompt: `ids`, what ended it included.

    `logprobs` are those of the ids in nats, at the sampling temperature (1 if that is 0) over the
    whole vocabulary, whatever `top_p` was.
    """

    ids: list[int]
    logprobs: list[float]
    finished_by: FinishedBy


def generate_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seeds: Sequence[int] = (),
    tokenizer: Any = None,
    batch_size: int = 64,
) -> list[Rollout]:
    """A rollout for every prompt (token ids), in their order, `batch_size` rows at a time.

    Prompts of similar length go together, equal ones are read once, and rows that have ended leave
    the batch. Every item draws from the stream of its own seed, so batch size, order and the other
    prompts change nothing beyond rounding; at temperature 0 the ids are those of stock `generate`.
    `seeds` are needed unless the temperature is 0, `tokenizer` for stop strings only. No gradients
    are kept, and the model's mode is left as it was.

    Raises `InputError` for a prompt that is empty or leaves no room for `max_new_tokens`,
    `UnsupportedModel` for a model that cannot do this or gives logits that are no numbers.
    """
    model = causal_lm(model)
    _check(model, prompts, sampling, seeds, tokenizer)
    order = sorted(range(len(prompts)), key=lambda item: (len(prompts[item]), *prompts[item]))
    rollouts: dict[int, Rollout] = {}
    with torch.no_grad(), eval_mode(model):
        for start in range(0, len(order), batch_size):
            items = order[start : start + batch_size]
            rows = _Rows(model, [tuple(prompts[item]) for item in items], sampling, tokenizer)
            if sampling.temperature:
                rows.seed([seeds[item] for item in items])
            rollouts.update(zip(items, rows.run(), strict=True))
    return [rollouts[item] for item in range(len(prompts))]


def choose(
    logits: Tensor, draws: Tensor | None, *, temperature: float, top_p: float
) -> tuple[Tensor, Tensor]:
    """Next tokens [b] and their log-probabilities [b] from logits [b, v].

    `draws` [b] in [0, 1) say which token of the cumulative distribution; None takes the likeliest.
    """
    scaled = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    if draws is None:
        tokens = scaled.argmax(dim=-1)
    else:
        scaled = scaled / temperature
        tokens = _inverse_cdf(scaled.softmax(dim=-1, dtype=torch.float64), draws, top_p)
    logprobs = scaled.log_softmax(dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return tokens, logprobs


def _inverse_cdf(probabilities: Tensor, draws: Tensor, top_p: float) -> Tensor:
    order = None
    if top_p < 1:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(before >= top_p, 0.0)
    reached = probabilities.cumsum(dim=-1)
    # Strictly below the last value, so that rounding never selects beyond the end.
    target = draws.unsqueeze(-1) * reached[:, -1:] * (1 - 2**-50)
    places = torch.searchsorted(reached, target, right=True)
    places = places.clamp_(max=reached.shape[-1] - 1)  # reached only by what is not a number
    return (places if order is None else order.gather(-1, places)).squeeze(-1)


class _Rows:
    """The prompts of one batch and what has been written after them; ended rows are let go.

    All prompts end at the same slot of the cache, so a row's positions are its slots less its
    `offset`, and what every layer sees of the distance between two tokens is right.
    """

    def __init__(
        self, model: Any, prompts: Sequence[tuple[int, ...]], sampling: Sampling, tokenizer: Any
    ) -> None:
        self.model, self.sampling, self.tokenizer = model, sampling, tokenizer
        self.accepted = inspect.signature(model.forward).parameters.keys()
        device, limit = model.device, sampling.max_new_tokens
        lengths = [len(prompt) for prompt in prompts]
        self.width = max(lengths)
        capacity = self.width + limit
        num = len(prompts)
        # The last token of each prompt is read by the first step of the loop.
        self.cache = RowCache(model, num_rows=num, width=self.width - 1, capacity=capacity)
        self._read(prompts)
        self.tokens = torch.tensor([prompt[-1] for prompt in prompts], device=device)
        self.offset = self.width - torch.tensor(lengths, device=device)
        self.visible: Tensor | None = None
        if min(lengths) < self.width:
            slots = torch.arange(capacity, device=device)
            self.visible = slots >= self.offset.unsqueeze(-1)
        self.draws: Tensor | None = None
        self.rows = torch.arange(num, device=device)
        self.stop_ids = torch.tensor(sampling.stop_ids, dtype=torch.int64, device=device)
        self.ids = torch.zeros((num, limit), dtype=torch.int64, device=device)
        self.logprobs = torch.zeros((num, limit), dtype=torch.float64, device=device)
        self.finished: list[tuple[int, FinishedBy]] = [(limit, "length")] * num

    def seed(self, seeds: Sequence[int]) -> None:
        """Draw what every row will need, each from the stream of its seed."""
        draws = [
            torch.rand(
                self.sampling.max_new_tokens,
                generator=torch.Generator().manual_seed(rng_seed("rollout", seed)),
                dtype=torch.float64,
            )
            for seed in seeds
        ]
        self.draws = torch.stack(draws).to(self.model.device)

    def _read(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Put all prompts but their last tokens into the cache, equal ones read once."""
        optional = {"logits_to_keep": 1} if "logits_to_keep" in self.accepted else {}
        first_row = 0
        for group in _slices(prompts):
            lengths = [len(prompt) - 1 for prompt, _ in group]
            copies = [number for _, number in group]
            if lengths[-1]:
                ids = torch.zeros((len(group), lengths[-1]), dtype=torch.int64)
                for row, (prompt, _) in enumerate(group):
                    ids[row, : lengths[row]] = torch.tensor(prompt[:-1])
                self.cache.expect(Arriving(first_row, lengths, copies))
                self.model(
                    input_ids=ids.to(self.model.device),
                    past_key_values=self.cache,
                    use_cache=True,
                    **optional,
                )
            first_row += sum(copies)
        self.cache.begin()

    def run(self) -> list[Rollout]:
        """Write until every row has ended."""
        for step in range(self.sampling.max_new_tokens):
            draws = None if self.draws is None else self.draws[:, step]
            self.tokens, logprobs = choose(
                self._logits(self.width + step),
                draws,
                temperature=self.sampling.temperature,
                top_p=self.sampling.top_p,
            )
            self.ids[self.rows, step] = self.tokens
            self.logprobs[self.rows, step] = logprobs.to(self.logprobs.dtype)
            if not self._drop_ended(step + 1):
                break
        return self._rollouts()

    def _logits(self, length: int) -> Tensor:
        """Logits [b, v] after the current tokens, the last of `length` slots."""
        optional: dict[str, Tensor] = {}
        if "position_ids" in self.accepted:
            optional["position_ids"] = (length - 1 - self.offset).unsqueeze(-1)
        return self.model(
            input_ids=self.tokens.unsqueeze(-1),
            attention_mask=None if self.visible is None else self.visible[:, :length],
            past_key_values=self.cache,
            use_cache=True,
            **optional,
        ).logits[:, -1]

    def _drop_ended(self, length: int) -> int:
        """Let go of rows that end with `length` new tokens; how many go on."""
        ended = torch.isin(self.tokens, self.stop_ids)
        reasons: dict[int, FinishedBy] = dict.fromkeys(self.rows[ended].tolist(), "stop_token")
        if self.sampling.stop_strings:
            for place, row in enumerate(self.rows.tolist()):
                if row not in reasons and self._says_stop(row, length):
                    reasons[row] = "stop_string"
                    ended[place] = True
        if not reasons:
            return len(self.rows)
        for row, reason in reasons.items():
            self.finished[row] = (length, reason)
        going_on = len(self.rows) - len(reasons)
        # The last rows that go on move to the places of those among the first that have ended.
        targets = ended[:going_on].nonzero().squeeze(-1)
        sources = going_on + (~ended[going_on:]).nonzero().squeeze(-1)
        self.cache.move(sources, targets, going_on)
        kept = torch.arange(going_on, device=self.rows.device)
        kept[targets] = sources
        self.rows, self.tokens, self.offset = (
            state[kept] for state in (self.rows, self.tokens, self.offset)
        )
        self.visible = None if self.visible is None else self.visible[kept]
        self.draws = None if self.draws is None else self.draws[kept]
        return going_on

    def _says_stop(self, row: int, length: int) -> bool:
        strings = self.sampling.stop_strings
        # Every token but the last few is too far back: each stands for a byte or more.
        window = max(len(text.encode()) for text in strings)
        tail = self.tokenizer.decode(self.ids[row, max(0, length - window) : length])
        return any(text in tail for text in strings)

    def _rollouts(self) -> list[Rollout]:
        if not torch.isfinite(self.logprobs).all():
            raise UnsupportedModel(
                f"{type(self.model).__name__} in {self.model.dtype}: its logits are not all finite "
                "numbers.\n  Check its weights, or load it in float32 or bfloat16."
            )
        rollouts = []
        for (length, reason), ids, logprobs in zip(
            self.finished, self.ids.tolist(), self.logprobs.tolist(), strict=True
        ):
            rollouts.append(Rollout(ids[:length], logprobs[:length], reason))
        return rollouts


def _slices(prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[tuple[int, ...], int]]]:
    """Sorted prompts with their number of copies, cut into slices that are read at once."""
    slices: list[list[tuple[tuple[int, ...], int]]] = []
    for prompt, copies in groupby(prompts):
        if not slices or (len(slices[-1]) + 1) * len(prompt) > _SLICE_TOKENS:
            slices.append([])
        slices[-1].append((prompt, len(list(copies))))
    return slices


def _check(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seeds: Sequence[int],
    tokenizer: Any,
) -> None:
    if sampling.temperature and len(seeds) != len(prompts):
        raise ConfigError("seeds", f"seeds: {len(seeds)} for {len(prompts)} prompts; one for each")
    if sampling.stop_strings and tokenizer is None:
        raise ConfigError(
            "tokenizer", "tokenizer: none, but stop strings are found in decoded text"
        )
    if model.config.is_encoder_decoder:
        raise UnsupportedModel(f"{type(model).__name__}: an encoder-decoder model has no rollouts.")
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for item, prompt in enumerate(prompts):
        if not len(prompt):
            raise InputError(f"prompt {item}: it is empty; a rollout needs a token to go on from.")
        if limit is not None and len(prompt) + sampling.max_new_tokens > limit:
            raise InputError(
                f"prompt {item}: {len(prompt):,} tokens and {sampling.max_new_tokens:,} new ones "
                f"are more than the {limit:,} positions of the model.\n"
                "  Shorten the prompt or lower max_new_tokens."
            )
