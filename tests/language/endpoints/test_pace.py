"""Waiting, slowing down and giving up."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from random import Random

import pytest

from modelgraft.core.errors import Unavailable
from modelgraft.language.endpoints.pace import Breaker, Limiter, backoff, retry_after

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


def test_one_episode_of_429_cuts_once_and_the_next_cuts_again(by_hand):
    limiter = Limiter(64, by_hand)
    for _ in range(30):
        limiter.rate_limited()
    assert limiter.limit == pytest.approx(64 * 0.8)
    by_hand.time += 15
    limiter.rate_limited()
    assert limiter.limit == pytest.approx(64 * 0.64)
    for _ in range(100):
        by_hand.time += 15
        limiter.rate_limited()
    assert limiter.limit == 1.0


def test_a_full_round_of_answers_gives_one_call_back_up_to_the_most(by_hand):
    limiter = Limiter(10, by_hand)
    limiter.limit = 5.0
    for _ in range(5):
        limiter.answered()
    assert limiter.limit == pytest.approx(6.0, abs=0.1)
    for _ in range(500):
        limiter.answered()
    assert limiter.limit == 10.0


def test_a_server_error_cuts_nothing_and_takes_the_place_of_one_answer(by_hand):
    limiter = Limiter(10, by_hand)
    limiter.limit = 5.0
    for _ in range(3):
        limiter.troubled()
    for _ in range(3):
        limiter.answered()
    assert limiter.limit == 5.0
    limiter.answered()
    assert limiter.limit == pytest.approx(5.2)
    for _ in range(1000):  # a long outage is forgotten after one round
        limiter.troubled()
    for _ in range(11):
        limiter.answered()
    assert limiter.limit > 5.2


def steady_limit(by_hand, share: float, capacity: int) -> float:
    """The mean limit of the last half hour of an hour of calls that take a second each."""
    limiter, random, seen = Limiter(64, by_hand), Random(0), []
    for second in range(3600):
        by_hand.time += 1
        begun = int(limiter.limit)
        for place in range(begun):
            if place >= capacity or random.random() < share:
                limiter.rate_limited()
            else:
                limiter.answered()
        if second >= 1800:
            seen.append(limiter.limit)
    return sum(seen) / len(seen)


def test_stray_refusals_do_not_wear_the_limit_down(by_hand):
    assert steady_limit(by_hand, share=0.01, capacity=64) > 54
    assert steady_limit(by_hand, share=0.30, capacity=64) > 40


@pytest.mark.parametrize("capacity", [4, 16, 32])
def test_a_real_limit_is_used_in_full_and_not_overrun_by_much(by_hand, capacity):
    assert capacity <= steady_limit(by_hand, share=0.0, capacity=capacity) < 1.2 * capacity + 20


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
