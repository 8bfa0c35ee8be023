"""How fast to ask an endpoint, how long to wait after a refusal, and when to give up on it."""

from __future__ import annotations

import asyncio
import email.utils
import math
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
# The pace is looked at after this time and so many calls.
_WINDOW_S = 1.0
_FEWEST = 50
# The share of refusals that is no reason to slow down: so many where a limit was seen, as many as
# strays may be where none was; beside strays, by their standard errors.
_FEW = 0.05
_STRAY = 0.25
_ERRORS = 3.0
_MOST_STRAY = 0.5
# A lower pace that leaves less than this part of the refusals was of help.
_HELPED = 0.7
_SLOWER = 0.95
# How much the pace grows in the first window without refusals, and how much more in each further.
_FASTER, _EVER_FASTER = 0.05, 1.5
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


def backoff(
    attempt: int, random: Random, asked_s: float | None = None, *, silent_s: float = math.inf
) -> float:
    """Seconds to wait after failed try `attempt` (0, 1, ...): exponential with full jitter.

    An endpoint that answers other calls is not out of order, so the wait is at most twice the
    `silent_s` seconds since it last did, or half a second. What the endpoint asks for comes on top,
    so that those it sent away together do not return together.
    """
    most = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt, max(2 * silent_s, _FIRST_WAIT_S))
    jitter = random.uniform(0, most)
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
    """At most so many calls at once, begun no faster than the endpoint lets in.

    Above a few refusals the pace becomes a little less than was let in of late. If that leaves
    fewer refusals, the limit is real: the pace then grows, slowly at first and ever faster, until
    refusals come back. If it does not, they are strays that come at any pace, and slowing down for
    them would only cost time: the old pace is taken again, and that share is put up with.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self.most = most
        self.pace = math.inf  # calls begun in a second
        self._clock = clock
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next = -math.inf
        self._begun = self._refused = 0
        self._since = clock.now()
        self._stray = _STRAY
        self._trial: tuple[float, float] | None = None  # the pace and refusals before a cut
        self._is_settling = False
        self._step = _FASTER

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(self, *exc: object) -> None:
        self.leave()

    async def enter(self, *, again: bool = False) -> None:
        """Wait until a call may begin; a further try of a call goes before new ones.

        Otherwise the unlucky calls would be the last ones of a run, with nothing beside them.
        """
        if self._busy < self.most and not self._waiting:
            self._busy += 1
        else:
            await self._wait_for_place(again)
        try:
            await self._wait_for_turn()
        except BaseException:
            self.leave()
            raise
        self._begun += 1

    async def _wait_for_place(self, again: bool) -> None:
        place = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if again else self._waiting.append)(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # the slot was handed over in the same moment
                self.leave()
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    async def _wait_for_turn(self) -> None:
        if self.pace == math.inf:
            return
        now = self._clock.now()
        turn = max(now, self._next)
        self._next = turn + 1 / self.pace
        if turn > now:
            await self._clock.sleep(turn - now)

    def leave(self) -> None:
        """Give the place to whoever waits."""
        self._busy -= 1
        while self._waiting and self._busy < self.most:
            place = self._waiting.popleft()
            if not place.done():
                self._busy += 1
                place.set_result(None)

    def answered(self) -> None:
        """Note an answer."""
        self._look()

    def rate_limited(self) -> None:
        """Note a 429."""
        self._refused += 1
        self._look()

    def _look(self) -> None:
        """At the end of a window, change the pace by what came of its calls."""
        now = self._clock.now()
        seconds = now - self._since
        # Without a refusal a slow pace need not wait for many calls to grow.
        is_clear = self.pace < math.inf and not self._refused and self._trial is None
        if seconds < _WINDOW_S or self._begun < (1 if is_clear else _FEWEST):
            return
        refused = min(self._refused / self._begun, 1.0)
        few = self._stray + _ERRORS * math.sqrt(self._stray * (1 - self._stray) / self._begun)
        let_in = max(self._begun - self._refused, 1) / seconds
        self._begun = self._refused = 0
        self._since = now
        if self._is_settling:  # these are refusals of calls from before the cut
            self._is_settling = False
            return
        trial, self._trial = self._trial, None
        if trial is not None and _HELPED * trial[1] < refused <= _MOST_STRAY:
            self.pace = trial[0]
            self._stray = max(self._stray, refused)
            return
        if trial is not None and trial[0] == math.inf:
            self._stray = few = 0.0
        if refused > max(_FEW, few):
            self._trial = self.pace, refused
            self._is_settling = True
            self.pace = _SLOWER * let_in
            self._step = _FASTER
        elif 2 * let_in > self.pace:  # else something else holds the calls back
            self._stray = min(self._stray, 0.8 * self._stray + 0.2 * refused)
            self.pace *= 1 + self._step
            self._step = min(self._step * _EVER_FASTER, 1.0)


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
