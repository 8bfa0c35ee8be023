"""A limit on calls, tokens and money that is kept by reserving before each call."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from modelgraft.core.errors import ConfigError, Partial
from modelgraft.language.endpoints.exchange import CallFailed, Reply, Request

# Room for what a chat template adds around the text: its own system line, and marks a turn.
_FRAME_TOKENS = 64
_TURN_TOKENS = 16
# Sums of prices are rounded; a limit is not exceeded by the last bit of a sum.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens read and written; `cached` for those the endpoint reused."""

    input: float
    output: float
    cached: float | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """US dollars of one call."""
        reused = self.input if self.cached is None else self.cached
        cached_tokens = min(cached_tokens, prompt_tokens)
        fresh = prompt_tokens - cached_tokens
        total = fresh * self.input + cached_tokens * reused + completion_tokens * self.output
        return total / 1e6


def read_prices(texts: Sequence[str]) -> dict[str, Price]:
    """Prices by model name from lines such as `judge-7b=0.15/0.60`, or `.../cached` added."""
    prices = {}
    for text in texts:
        try:
            name, _, figures = text.rpartition("=")
            read, written, *cached = map(float, figures.split("/"))
            prices[name] = Price(read, written, *cached)
        except (ValueError, TypeError):
            raise ConfigError(
                "prices",
                f"{text!r} is not a price.\n"
                "  Write MODEL=INPUT/OUTPUT or MODEL=INPUT/OUTPUT/CACHED, in US dollars per "
                "million tokens.",
            ) from None
    return prices


class Spent(NamedTuple):
    """What calls have used: answered calls, tokens read and written, US dollars."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: Spent) -> Spent:
        """This without the other."""
        return Spent(*(a - b for a, b in zip(self, other, strict=True)))


class Hold:
    """What is set aside for one try; the answer turns it into what it did cost."""

    def __init__(self, most: Spent, price: Price | None) -> None:
        self.most = most
        self.used: Spent | None = None
        self._price = price

    def settle(self, reply: Reply) -> Reply:
        """The reply with its cost, which is booked; an unknown count is booked as the most."""
        read, written = reply.prompt_tokens, reply.completion_tokens
        if read is None or written is None:
            self.used = self.most
            return reply
        if self._price is None:
            self.used = Spent(1, read + written)
            return reply
        cost = self._price.cost(read, written, reply.cached_tokens)
        self.used = Spent(1, read + written, cost)
        return replace(reply, cost=cost)


class Budget:
    """Limits that no call can exceed; None is no limit.

    Before each try the most it can use is reserved: a byte of text is a token at most, and
    `max_tokens` bounds the answer. A try that failed but may have been charged is booked at that.
    A limit in dollars needs the model's price; several models may share one budget.
    """

    def __init__(
        self,
        *,
        calls: int | None = None,
        tokens: int | None = None,
        usd: float | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self.spent = Spent()
        self._limits = {"calls": calls, "tokens": tokens, "usd": usd}
        self._prices = prices or {}
        self._held = Spent()
        self._num_held = 0
        self._changed: asyncio.Future[None] | None = None

    @contextlib.asynccontextmanager
    async def hold(self, request: Request, model: str) -> AsyncGenerator[Hold]:
        """Reserve one try of `request` to `model` for the block.

        Waits while other tries hold what is missing. Raises `Partial` when the try cannot fit any
        more, and `ConfigError` when its most is not known.
        """
        hold = Hold(self._most(request, model), self._prices.get(model))
        while not self._fits(hold.most):
            if not self._num_held:
                raise Partial(self._used_up(hold.most))
            await self._change()
        self._held, self._num_held = self._held.plus(hold.most), self._num_held + 1
        try:
            yield hold
        except BaseException as error:
            # Stopped in the middle or cut off: the work may be charged although we have no answer.
            if not isinstance(error, CallFailed) or error.may_be_paid:
                hold.used = hold.most
            raise
        finally:
            self._held, self._num_held = self._held.minus(hold.most), self._num_held - 1
            self.spent = self.spent.plus(hold.used or Spent())
            if self._changed is not None:
                self._changed.set_result(None)
                self._changed = None

    def _most(self, request: Request, model: str) -> Spent:
        price = self._prices.get(model)
        if self._limits["tokens"] is None and self._limits["usd"] is None:
            return Spent(1)
        if request.max_tokens is None:
            raise ConfigError(
                "max_tokens",
                "a budget in tokens or dollars needs max_tokens on every request: "
                "without it an answer has no end.",
            )
        if price is None and self._limits["usd"] is not None:
            raise ConfigError(
                "prices",
                f"the price of {model} is not known, so a budget in dollars cannot be kept.\n"
                f"  Give it as {model}=INPUT/OUTPUT in dollars per million tokens, or limit calls "
                "or tokens instead.",
            )
        read = _most_prompt_tokens(request)
        usd = price.cost(read, request.max_tokens) if price else 0.0
        return Spent(1, read + request.max_tokens, usd)

    def _fits(self, more: Spent) -> bool:
        total = self.spent.plus(self._held).plus(more)._asdict()
        return all(
            limit is None or total[name] <= limit * (1 + _ROUNDING)
            for name, limit in self._limits.items()
        )

    async def _change(self) -> None:
        loop = asyncio.get_running_loop()
        if self._changed is None or self._changed.get_loop() is not loop:
            self._changed = loop.create_future()
        await asyncio.shield(self._changed)

    def _used_up(self, more: Spent) -> str:
        used, needed = self.spent._asdict(), more._asdict()
        parts = [
            f"{used[name]:,.6g} of {limit:,.6g} {name} used, the next call may need "
            f"{needed[name]:,.6g}"
            for name, limit in self._limits.items()
            if limit is not None
        ]
        return (
            f"the budget is used up: {'; '.join(parts)}.\n"
            "  What was answered is kept. Raise the budget and run the same command again to go on."
        )


def _most_prompt_tokens(request: Request) -> int:
    """No tokenizer makes more tokens than bytes of a text; other content counts as its JSON."""
    num = _FRAME_TOKENS
    for message in request.messages:
        content = message.get("content")
        text = content if isinstance(content, str) else json.dumps(content)
        num += _TURN_TOKENS + len(text.encode(errors="surrogatepass"))
    return num + (len(json.dumps(dict(request.extra))) if request.extra else 0)
