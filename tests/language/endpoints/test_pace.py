"""Waiting, slowing down and giving up."""

from __future__ import annotations

import asyncio
import math
from email.utils import formatdate
from random import Random

import pytest

from modelgraft.core.errors import Unavailable
from modelgraft.language.endpoints.pace import (
    Breaker,
    Limiter,
    SystemClock,
    backoff,
    retry_after,
)

NOW = 1_700_000_000.0


def test_waits_are_spread_over_the_whole_range_that_doubles_up_to_a_minute():
    random = Random(0)
    for attempt, most in enumerate([0.5, 1, 2, 4, 8, 16, 32, 60, 60]):
        waits = [backoff(attempt, random) for _ in range(2000)]
        assert 0 <= min(waits) < 0.02 * most and 0.98 * most < max(waits) <= most
        assert sum(waits) / len(waits) == pytest.approx(most / 2, rel=0.05)


def test_what_the_endpoint_asks_for_is_waited_in_full_and_spread():
    random = Random(0)
    waits = [backoff(0, random, 7.0) for _ in range(100)]
    assert min(waits) >= 7 and len(set(waits)) == 100


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "1e9"}, 600.0),
        ({"retry-after": formatdate(NOW + 20, usegmt=True)}, 20.0),
        ({"retry-after": formatdate(NOW - 20, usegmt=True)}, 0.0),
        # The server's clock is a day ahead; only the difference of its own dates counts.
        (
            {
                "retry-after": formatdate(NOW + 86_405, usegmt=True),
                "date": formatdate(NOW + 86_400, usegmt=True),
            },
            5.0,
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Fri, 99 Foo 99999 99:99:99 GMT"}, None),
        ({}, None),
    ],
)
def test_both_forms_of_retry_after_are_read_and_nonsense_is_not(headers, expected):
    assert retry_after(headers, NOW) == expected


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time leaps to the next timer as soon as nothing else is to be done."""

    leapt = 0.0

    def time(self) -> float:
        return self.leapt

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.leapt += max(0.0, self._scheduled[0]._when - self.time())
        super()._run_once()


class Endpoint:
    """An endpoint that lets in so many calls a second, or at once, and refuses strays besides."""

    def __init__(self, *, rate: float = math.inf, capacity: int = 1000, stray: float = 0.0) -> None:
        self.rate, self.capacity, self.stray = rate, capacity, stray
        self.random = Random(0)
        self.left, self.since, self.busy = 1.0, 0.0, 0

    def lets_in(self, now: float) -> bool:
        self.left = min(max(self.rate / 10, 1.0), self.left + (now - self.since) * self.rate)
        self.since = now
        if self.busy >= self.capacity or self.left < 1:
            return False
        self.left -= 1
        return True


LATENCY_S = 0.5


def traffic(endpoint: Endpoint, *, seconds: float = 60.0, most: int = 64, then=None):
    """Calls begun and answered a second in the latter half of this time, or after `then`."""
    seen: list[tuple[float, str]] = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        clock = SystemClock()
        clock.now = loop.time
        limiter = Limiter(most, clock)

        async def call(again: bool) -> bool:
            await limiter.enter(again=again)
            try:
                seen.append((loop.time(), "begun"))
                if not endpoint.lets_in(loop.time()):
                    limiter.rate_limited()
                    return False
                endpoint.busy += 1
                await asyncio.sleep(LATENCY_S)
                endpoint.busy -= 1
                if endpoint.random.random() < endpoint.stray:
                    limiter.rate_limited()
                    return False
            finally:
                limiter.leave()
            limiter.answered()
            seen.append((loop.time(), "answered"))
            return True

        async def items() -> None:
            while loop.time() < end:
                again = False
                while not await call(again):
                    again = True
                    await asyncio.sleep(endpoint.random.uniform(0, 0.5))

        start = loop.time()
        end = start + seconds
        if then is not None:
            loop.call_at(start + seconds / 2, then)
        await asyncio.gather(*(items() for _ in range(4 * most)))
        late = [what for when, what in seen if start + seconds / 2 <= when < end]
        found.extend(late.count(what) / (seconds / 2) for what in ("begun", "answered"))

    found: list[float] = []
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(scene())
    return found


@pytest.mark.parametrize("rate", [20, 40, 100])
def test_a_real_rate_is_used_in_full_and_not_overrun_by_much(rate):
    begun, answered = traffic(Endpoint(rate=rate))
    assert answered > 0.92 * rate and begun < 1.2 * rate


@pytest.mark.parametrize("capacity", [4, 16, 32])
def test_a_limit_of_calls_at_once_is_found_as_a_rate(capacity):
    begun, answered = traffic(Endpoint(capacity=capacity), seconds=120)
    assert answered > 0.8 * capacity / LATENCY_S and begun < 1.5 * capacity / LATENCY_S


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_stray_refusals_do_not_wear_the_pace_down(share):
    _, answered = traffic(Endpoint(stray=share))
    assert answered > 0.9 * (1 - share) * 64 / LATENCY_S


def test_strays_beside_a_real_rate_hide_neither():
    begun, answered = traffic(Endpoint(rate=40, stray=0.2), seconds=120)
    assert answered > 0.8 * 0.8 * 40 and begun < 1.6 * 40


def test_a_limit_that_is_lifted_is_forgotten():
    endpoint = Endpoint(rate=40)
    _, answered = traffic(endpoint, seconds=120, then=lambda: setattr(endpoint, "rate", math.inf))
    assert answered > 80


def test_a_pace_far_below_the_limit_finds_it_within_half_a_minute():
    endpoint = Endpoint(rate=5)
    _, answered = traffic(endpoint, then=lambda: setattr(endpoint, "rate", 40))
    assert answered > 0.5 * 40


def test_an_endpoint_that_answers_others_is_asked_again_soon():
    waits = [backoff(7, Random(seed), silent_s=0.1) for seed in range(200)]
    assert 0.45 < max(waits) <= 0.5
    longer = [backoff(7, Random(seed), silent_s=10.0) for seed in range(200)]
    assert 18 < max(longer) <= 20.0


def test_never_more_than_the_limit_at_once_and_first_come_first_served(by_hand):
    limiter = Limiter(3, by_hand)
    order, busy, most = [], 0, 0

    async def one(i: int) -> None:
        nonlocal busy, most
        async with limiter:
            order.append(i)
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1

    async def everyone() -> None:
        await asyncio.gather(*(one(i) for i in range(20)))

    asyncio.run(everyone())
    assert order == list(range(20)) and most == 3


def test_a_further_try_goes_before_new_calls(by_hand):
    limiter, order = Limiter(1, by_hand), []

    async def one(name: str, again: bool) -> None:
        await limiter.enter(again=again)
        order.append(name)
        await asyncio.sleep(0)
        limiter.leave()

    async def everyone() -> None:
        names = (("a", False), ("b", False), ("c", False), ("b again", True))
        await asyncio.gather(*(one(*name) for name in names))

    asyncio.run(everyone())
    assert order == ["a", "b again", "b", "c"]


@pytest.mark.parametrize("rounds", range(4))
def test_cancelled_waiters_lose_no_place(by_hand, rounds):
    limiter = Limiter(1, by_hand)

    async def hold() -> None:
        async with limiter:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def scene() -> None:
        tasks = [asyncio.create_task(hold()) for _ in range(4)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(hold(), 5)

    asyncio.run(scene())


def test_twenty_failures_in_a_row_open_the_breaker_and_a_minute_closes_it(by_hand):
    breaker = Breaker("there", by_hand, spread_s=0)
    for _ in range(19):
        breaker.failed("no connection")
    breaker.answered()
    for _ in range(19):
        breaker.failed("no connection")
    breaker.check()
    with pytest.raises(Unavailable, match=r"there: 20 calls failed in a row.*no connection"):
        breaker.failed("no connection")
    with pytest.raises(Unavailable):
        breaker.check()
    by_hand.time += 60
    breaker.check()
    breaker.failed("one more")


def test_a_restart_of_the_server_within_seconds_does_not_open_it(by_hand):
    breaker = Breaker("there", by_hand, spread_s=10)
    for _ in range(64):
        breaker.failed("no connection")
    by_hand.time += 10
    with pytest.raises(Unavailable):
        breaker.failed("no connection")
