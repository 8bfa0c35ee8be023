"""How fast to ask an endpoint, how long to wait after a refusal, and when to give up on it."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Protocol

from modelgraft.core.errors import Unavailable

TRIES = 8
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
# An endpoint that asks for a longer pause is asked again after this one.
_LONGEST_ASKED_S = 600.0
_CUT = 0.8
_COOLDOWN_S = 15.0
_IN_A_ROW = 20
_REST_S = 60.0


class Clock(Protocol):
    """Time as the endpoints see it, so that tests can run it faster."""

    def now(self) -> float:
        """Seconds from a fixed point; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        ...


class SystemClock:
    """The real time."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for this many seconds."""
        await asyncio.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


def backoff(attempt: int, random: Random, asked_s: float | None = None) -> float:
    """Seconds to wait after failed try `attempt` (0, 1, ...): exponential with full jitter.

    What the endpoint asks for comes on top, so that those it sent away together do not return
    together.
    """
    jitter = random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))
    return jitter + (asked_s or 0.0)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a Retry-After header asks for, at most 600; None without a usable one.

    A date is compared with the answer's own Date header, so a clock that is wrong on either side
    does not matter; `now` (seconds since 1970) serves where there is none.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        until = _timestamp(value)
        since = _timestamp(headers.get("date", ""))
        if until is None:
            return None
        seconds = until - (now if since is None else since)
    if seconds != seconds:  # NaN is a number to float()
        return None
    return min(max(seconds, 0.0), _LONGEST_ASKED_S)


def _timestamp(date: str) -> float | None:
    parts = email.utils.parsedate_tz(date)
    try:
        return None if parts is None else float(email.utils.mktime_tz(parts))
    except (ValueError, OverflowError):
        return None


class Limiter:
    """At most so many calls at once; fewer after the endpoint says it is too fast.

    A 429 cuts the number to 0.8 of it, once in 15 seconds; a full round of answers gives one call
    back, and a server error cuts nothing but takes the place of one answer in that round. So both
    a real limit and a constant share of stray refusals lead to a steady number, not to one call.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self.most = most
        self.limit = float(most)
        self._clock = clock
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._last_cut = -_COOLDOWN_S
        self._num_errors = 0

    async def __aenter__(self) -> None:
        if self._busy < int(self.limit) and not self._waiting:
            self._busy += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # the slot was handed over in the same moment
                self._leave()
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._busy -= 1
        while self._waiting and self._busy < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self._busy += 1
                place.set_result(None)

    def answered(self) -> None:
        """Note an answer."""
        if self._num_errors:
            self._num_errors -= 1
        else:
            self.limit = min(self.limit + 1 / self.limit, self.most)

    def rate_limited(self) -> None:
        """Note a 429."""
        now = self._clock.now()
        if now - self._last_cut >= _COOLDOWN_S:
            self._last_cut = now
            self.limit = max(self.limit * _CUT, 1.0)

    def troubled(self) -> None:
        """Note a server error or a time-out."""
        self._num_errors = min(self._num_errors + 1, self.most)


class Breaker:
    """Refuses further calls after 20 failures in a row, for a minute; then it lets one try again.

    With many calls at once 20 of them fail within milliseconds when a server restarts, so the row
    must also have lasted `spread_s` seconds.
    """

    def __init__(self, place: str, clock: Clock, *, spread_s: float) -> None:
        self._place = place
        self._clock = clock
        self._spread_s = spread_s
        self._row = 0
        self._since = 0.0
        self._last = ""
        self._open_until = float("-inf")

    def check(self) -> None:
        """Raise `Unavailable` while the endpoint counts as gone."""
        if self._clock.now() < self._open_until:
            raise Unavailable(
                f"{self._place}: {_IN_A_ROW} calls failed in a row; the last: {self._last}\n"
                "  What was answered is kept. When the endpoint is well again, run the same "
                "command again to go on."
            )

    def answered(self) -> None:
        """Note that the endpoint does its work."""
        self._row = 0

    def failed(self, message: str) -> None:
        """Note a failure; raises `Unavailable` when it fills the row."""
        now = self._clock.now()
        if self._row == 0:
            self._since = now
        self._row += 1
        self._last = message
        if self._row >= _IN_A_ROW and now - self._since >= self._spread_s:
            self._row = 0
            self._open_until = now + _REST_S
        self.check()
