"""A transformers model and tokenizer on this machine as a chat model."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import InputError, Unavailable
from modelgraft.core.lazy import need
from modelgraft.core.seeds import rng_seed
from modelgraft.language.chat import split_chat
from modelgraft.language.endpoints.exchange import CallFailed, Reply, Request, TokenLogprob

# The length of an answer whose request sets no limit.
MAX_NEW_TOKENS = 1024


class LocalModel:
    """A `ChatModel` that generates in batches with the model's own `generate`.

    Each request draws from its own random numbers, seeded by its key, so a sampled answer does not
    depend on what shares its batch (but for ties within rounding). A request without temperature
    or top_p gets 1, one without max_tokens 1,024. Log-probabilities are the model's own, before
    temperature. Its name for the store is `name` with the model's fingerprint, so the answers of
    other weights are never taken for its own.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, batch_size: int = 8) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self._name = f"{name}@{fingerprint(model, tokenizer)}"
        self._waiting: deque[tuple[_Row, asyncio.Future[Reply]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The name given to it and its fingerprint."""
        return self._name

    @property
    def in_flight(self) -> int:
        """The batch size."""
        return self.batch_size

    async def __aenter__(self) -> LocalModel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to close; all models open and close alike."""

    async def complete(self, request: Request) -> Reply:
        """The answer (`ChatModel.complete`). `InputError` for turns the template does not take."""
        done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        row = _Row(request, self._prompt_ids(request), self.tokenizer, self._ends(), self._name)
        self._waiting.append((row, done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        await asyncio.sleep(0)  # those who ask in the same moment share a batch
        while self._waiting:
            num = min(self.batch_size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(num)]
            try:
                replies = await asyncio.to_thread(self._generate, batch)
            except Exception as error:  # handed to those who wait for the answers
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for (_, done), reply in zip(batch, replies, strict=True):
                if not done.done():
                    done.set_result(reply)

    def _prompt_ids(self, request: Request) -> list[int]:
        if request.model not in ("", self._name) or request.extra:
            raise InputError(
                f"{self._name}: a local model is no other model and takes no further fields; "
                f"the request has model={request.model!r}, extra={sorted(request.extra)}."
            )
        if not all(isinstance(message.get("content"), str) for message in request.messages):
            raise InputError(f"{self._name}: a local model takes messages of text only.")
        prompt = split_chat(self.tokenizer, request.messages)
        ids = [*prompt.context_ids, *prompt.query_ids]
        room = getattr(self.model.config, "max_position_embeddings", None)
        needed = len(ids) + (request.max_tokens or MAX_NEW_TOKENS)
        if room is not None and needed > room:
            raise CallFailed(
                "too_long",
                f"{self._name}: {len(ids):,} tokens and an answer of up to "
                f"{needed - len(ids):,} do not fit its context of {room:,}.",
            )
        return ids

    def _ends(self) -> frozenset[int]:
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return frozenset(one for one in (*ends, self.tokenizer.eos_token_id) if one is not None)

    def _generate(self, batch: Sequence[tuple[_Row, asyncio.Future[Reply]]]) -> list[Reply]:
        start = time.perf_counter()
        rows = [row for row, _ in batch]

        def is_wanted() -> bool:
            return not all(done.cancelled() for _, done in batch)

        try:
            generate(self.model, rows, is_wanted)
        except torch.OutOfMemoryError:
            raise Unavailable(
                f"{self._name}: {len(rows)} answers at once do not fit in the memory.\n"
                "  Use a smaller batch_size, a smaller max_tokens, or shorter prompts."
            ) from None
        seconds = (time.perf_counter() - start) / len(rows)
        return [row.reply(seconds) for row in rows]


@dataclass
class _Row:
    """One answer while it is written."""

    request: Request
    prompt_ids: list[int]
    tokenizer: Any
    ends: frozenset[int]
    name: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    finish: str = ""

    def __post_init__(self) -> None:
        seed = rng_seed("sample", self.request.key(self.name))
        self.random = torch.Generator().manual_seed(seed)
        # A token holds a byte at least, so a stop string lies within this many.
        self.tail = max((len(stop.encode()) for stop in self.request.stop), default=0) + 8

    def take(self, scores: Tensor) -> int:
        """The next token for these scores [vocabulary], noted unless the answer is finished."""
        token = choose(scores, self.request.temperature, self.request.top_p, self.random)
        if self.finish:
            return token
        if token in self.ends:
            self.finish = "stop"
            return token
        self.ids.append(token)
        if self.request.top_logprobs is not None:
            logprobs = scores.log_softmax(-1)
            top = logprobs.topk(self.request.top_logprobs)
            likeliest = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
            self.logprobs.append((logprobs[token].item(), likeliest))
        if self.request.stop and self._stops(self._text(self.ids[-self.tail :])):
            self.finish = "stop"
        elif len(self.ids) >= (self.request.max_tokens or MAX_NEW_TOKENS):
            self.finish = "length"
        return token

    def reply(self, seconds: float) -> Reply:
        """The answer so far, without what begins at a stop string."""
        text = self._text(self.ids)
        if places := self._stops(text):
            text = text[: min(places)]
        return Reply(
            text=text,
            finish_reason=self.finish,
            logprobs=self._logprobs(text),
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=len(self.ids),
            model=self.name,
            seconds=round(seconds, 6),
        )

    def _logprobs(self, text: str) -> tuple[TokenLogprob, ...] | None:
        """Those of the tokens that make up the text."""
        if self.request.top_logprobs is None:
            return None
        num = 0
        while len(self._text(self.ids[:num])) < len(text):
            num += 1
        if len(text) == len(self._text(self.ids)):
            num = len(self.ids)  # the last tokens may show nothing
        entries = zip(self.ids[:num], self.logprobs[:num], strict=True)
        return tuple(self._token(token, *entry) for token, entry in entries)

    def _stops(self, text: str) -> list[int]:
        return [place for stop in self.request.stop if (place := text.find(stop)) >= 0]

    def _text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _token(self, token: int, logprob: float, top: list[tuple[int, float]]) -> TokenLogprob:
        named = tuple((self.tokenizer.decode([other]), value) for other, value in top)
        return TokenLogprob(self.tokenizer.decode([token]), logprob, None, named)


def fingerprint(model: Any, tokenizer: Any) -> str:
    """12 hexadecimal digits that change with the weights, their number type or the chat template.

    Of each tensor the first and last 32 values count: training moves all of a model, and hashing
    all of it would take longer than loading it.
    """
    digest = hashlib.sha256(repr(tokenizer.chat_template).encode())
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().flatten()
        ends = torch.cat([flat[:32], flat[-32:]]).double().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(ends.numpy().tobytes())
    return digest.hexdigest()[:12]


def choose(
    scores: Tensor, temperature: float | None, top_p: float | None, random: torch.Generator
) -> int:
    """A token id drawn from softmax(scores / temperature) cut to its nucleus of mass `top_p`.

    `scores` [vocabulary] are float32; temperature 0 takes the likeliest. Draws by the Gumbel
    maximum: log p + g with g = -log(exponential noise), whose argmax has the distribution p.
    """
    if temperature == 0:
        return int(scores.argmax())
    logprobs = (scores.double() / (1.0 if temperature is None else temperature)).log_softmax(-1)
    if top_p is not None and top_p < 1:
        ordered, places = logprobs.sort(descending=True, stable=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        logprobs[places[before >= top_p]] = -torch.inf
    noise = torch.empty_like(logprobs).exponential_(generator=random)
    return int((logprobs - noise.log()).argmax())


def generate(model: Any, rows: Sequence[_Row], is_wanted: Callable[[], bool]) -> None:
    """Write all answers, each until it is finished, or until nobody wants them any more."""
    transformers = need("transformers", extra="hf")

    def take(_: Tensor, scores: Tensor) -> Tensor:
        chosen = [row.take(one) for row, one in zip(rows, scores.float().cpu(), strict=True)]
        only = torch.full_like(scores, -torch.inf)
        return only.scatter_(1, torch.tensor(chosen, device=scores.device)[:, None], 0.0)

    def is_done(ids: Tensor, _: Any, **__: Any) -> Tensor:
        wanted = is_wanted()
        done = [bool(row.finish) or not wanted for row in rows]
        return torch.tensor(done, device=ids.device)

    longest = max(len(row.prompt_ids) for row in rows)
    # Padding lies on the left, where the mask hides it; any token serves.
    padded = [[0] * (longest - len(row.prompt_ids)) + row.prompt_ids for row in rows]
    mask = [[0] * (longest - len(row.prompt_ids)) + [1] * len(row.prompt_ids) for row in rows]
    config = transformers.GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=max(row.request.max_tokens or MAX_NEW_TOKENS for row in rows),
        eos_token_id=sorted(rows[0].ends),
        pad_token_id=0,
    )
    with torch.inference_mode():
        model.generate(
            torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=config,
            logits_processor=[take],
            stopping_criteria=[is_done],
        )
