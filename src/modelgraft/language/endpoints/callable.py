"""Any Python function as a chat model, so that an SDK object or a program can answer."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from modelgraft.core.errors import ModelgraftError
from modelgraft.language.endpoints.budget import Budget
from modelgraft.language.endpoints.exchange import CallFailed, Reply, Request
from modelgraft.language.endpoints.pace import SYSTEM_CLOCK, Breaker, Clock, Limiter

Answer = Callable[[Request], str | Reply | Awaitable[str | Reply]]
_MAX_DETAIL = 300


class CallableModel:
    """A `ChatModel` whose answers come from `function(request)`: a text or a whole `Reply`.

    The function may be async. A sync one runs in a thread, one call at a time unless `in_flight`
    says that it may run in several at once. It is not retried: an SDK has its own retries. What it
    raises is the failure of this item, and after 20 failures in a row the model is `Unavailable`.
    """

    def __init__(
        self,
        function: Answer,
        *,
        name: str,
        in_flight: int = 1,
        budget: Budget | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._function = function
        self._name = name
        self._in_flight = in_flight
        self.budget = budget or Budget()
        self._breaker = Breaker(name, clock, spread_s=0.0)
        self._threads = ThreadPoolExecutor(in_flight, "modelgraft-callable")
        self._limiter = Limiter(in_flight, clock)

    @property
    def name(self) -> str:
        """The name given to it."""
        return self._name

    @property
    def in_flight(self) -> int:
        """How many calls run at once."""
        return self._in_flight

    async def __aenter__(self) -> CallableModel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def complete(self, request: Request) -> Reply:
        """What the function answers (`ChatModel.complete`)."""
        async with self._limiter:
            self._breaker.check()
            async with self.budget.hold(request, request.model or self._name) as hold:
                start = time.perf_counter()
                try:
                    answer = await self._answer(request)
                except ModelgraftError:
                    raise
                # The user's function may raise anything; one bad item never ends a run.
                except Exception as error:
                    told = f"{self._name}: {type(error).__name__}: {str(error)[:_MAX_DETAIL]}"
                    self._breaker.failed(told)
                    raise CallFailed("error", told, may_be_paid=True) from error
                self._breaker.answered()
                reply = hold.settle(answer)
        return replace(reply, seconds=round(time.perf_counter() - start, 6))

    async def _answer(self, request: Request) -> Reply:
        if inspect.iscoroutinefunction(self._function):
            answer = await self._function(request)
        else:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, self._function, request)
            if inspect.isawaitable(answer):  # a plain function that hands on a coroutine
                answer = await answer
        if isinstance(answer, str):
            return Reply(text=answer, model=self._name)
        if not isinstance(answer, Reply):
            raise TypeError(f"the function must return text or a Reply, not {type(answer)}")
        return answer
