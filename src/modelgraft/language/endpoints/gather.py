"""Many requests to one chat model: bounded, resumable, with every item accounted for."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence

from modelgraft.core.errors import InputError, Partial
from modelgraft.language.endpoints.exchange import (
    CallFailed,
    ChatModel,
    Failure,
    Outcome,
    Reply,
    Request,
)
from modelgraft.language.endpoints.pace import SYSTEM_CLOCK, Clock
from modelgraft.language.endpoints.store import CallStore, Claim

Progress = Callable[[int, int, str], None]
# Calls that wait after a failure leave their place to others, so more are begun than run at once.
_BEGUN_PER_CALL = 4
_POLL_S = 0.5
_TICK_S = 1.0
_GRACE_S = 5.0


async def complete_all(
    model: ChatModel,
    requests: Sequence[Request],
    *,
    store: CallStore | None = None,
    progress: Progress | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> list[Outcome]:
    """A `Reply` or a `Failure` for each request, in their order.

    Equal requests are asked once; give them different `sample` numbers for different draws. With a
    store, what was answered before is not asked, what another process asks is waited for, and each
    answer is on the disk before it counts. When the budget ends, the rest are failures of kind
    `budget`. `progress(done, total, text)` is called every second; what it raises ends the work
    after the calls in flight, for at most five seconds. Raises what the model raises for all calls
    (`Unavailable`, `ConfigError`); the stored answers are kept.
    """
    return await _Work(model, requests, store, clock).run(progress)


def shortfall(outcomes: Sequence[Outcome]) -> str:
    """What is missing, in one line for `Result.partial`; empty when every item has its answer."""
    failed = Counter(one.kind for one in outcomes if isinstance(one, Failure))
    if not failed:
        return ""
    kinds = ", ".join(f"{num:,} {kind}" for kind, num in failed.most_common())
    return f"{failed.total():,} of {len(outcomes):,} calls have no answer: {kinds}"


class _Work:
    def __init__(
        self,
        model: ChatModel,
        requests: Sequence[Request],
        store: CallStore | None,
        clock: Clock,
    ) -> None:
        self.model = model
        self.store = store
        self.clock = clock
        self.keys = [request.key(model.name) for request in requests]
        self.requests = dict(zip(self.keys, requests, strict=True))
        self.pending = deque(self.requests)
        self.outcomes: dict[str, Outcome] = {}
        self.used_up = ""

    async def run(self, progress: Progress | None) -> list[Outcome]:
        num = min(_BEGUN_PER_CALL * self.model.in_flight, len(self.pending))
        tasks = [asyncio.create_task(self._work()) for _ in range(num)]
        try:
            running = set(tasks)
            while running:
                done, running = await asyncio.wait(
                    running, timeout=_TICK_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
                if progress is not None:
                    await self._tell(progress, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [self.outcomes[key] for key in self.keys]

    async def _tell(self, progress: Progress, tasks: list[asyncio.Task[None]]) -> None:
        try:
            progress(len(self.outcomes), len(self.requests), self._text())
        except BaseException:  # whoever wants to stop has paid for what is in flight
            self.pending.clear()
            await asyncio.wait(tasks, timeout=_GRACE_S)
            raise

    def _text(self) -> str:
        replies = [one for one in self.outcomes.values() if isinstance(one, Reply)]
        stored = sum(reply.is_stored for reply in replies)
        failed = len(self.outcomes) - len(replies)
        return f"{len(replies) - stored:,} answered, {stored:,} from the store, {failed:,} failed"

    async def _work(self) -> None:
        while self.pending:
            key = self.pending.popleft()
            outcome = await self._settle(key)
            if outcome is None:
                self.pending.append(key)
                await self.clock.sleep(_POLL_S)
            else:
                self.outcomes[key] = outcome

    async def _settle(self, key: str) -> Outcome | None:
        """The outcome of one request; None while another process is asking it."""
        request = self.requests[key]
        if self.store is None:
            return await self._ask(request)
        found = await self.store.claim(key)
        if not isinstance(found, Claim):
            return found
        try:
            outcome = await self._ask(request)
            if isinstance(outcome, Reply):
                outcome = await self.store.save(found, self.model.name, request, outcome)
        finally:
            self.store.release(found)
        return outcome

    async def _ask(self, request: Request) -> Outcome:
        if self.used_up:
            return Failure("budget", self.used_up)
        try:
            return await self.model.complete(request)
        except Partial as error:
            self.used_up = str(error)
            return Failure("budget", self.used_up)
        except CallFailed as error:
            return Failure(error.kind, str(error))
        except InputError as error:
            return Failure("rejected", str(error))
