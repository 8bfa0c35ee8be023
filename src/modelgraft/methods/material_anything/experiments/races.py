"""Timing several ways of one job in turn, so that a load on the machine slows all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Interval, bootstrap_mean, ratio_interval

Seconds = Mapping[str, list[float]]
_ROUND_S = 0.05
_MOST_CALLS = 50


def raced(run: Run, name: str, ways: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Seconds of a call of every way, round by round, each round beginning with another one.

    A way is called so often in a round that this takes a twentieth of a second, as a disturbance
    would otherwise be longer than the job. Calls before the first round are not counted: they
    compile, and fill caches.
    """
    names = list(ways)
    for one in names:
        ways[one]()
    calls = {one: _calls(ways[one]) for one in names}
    seconds: dict[str, list[float]] = {one: [] for one in names}
    for turn in range(rounds):
        run.check()
        run.progress(turn, rounds, name)
        first = turn % len(names)
        for one in (*names[first:], *names[:first]):
            seconds[one].append(_seconds(ways[one], calls[one]))
    return seconds


def _calls(work: Callable[[], object]) -> int:
    return min(_MOST_CALLS, math.ceil(_ROUND_S / max(_seconds(work, 1), 1e-6)))


def _seconds(work: Callable[[], object], calls: int) -> float:
    """Of one call, the mean."""
    began = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - began) / calls


def taken(name: str, seconds: list[float], peer: list[float] | None = None) -> Number:
    """Milliseconds of one way, beside those of a peer."""
    found = bootstrap_mean([1000 * one for one in seconds])
    baseline = None if peer is None else 1000 * sum(peer) / len(peer)
    return Number(name, *found, "ms", baseline=baseline, better="lower")


def times_faster(name: str, peer: list[float], ours: list[float]) -> tuple[Number, Interval]:
    """How many times longer the peer takes."""
    found = ratio_interval(peer, ours)
    return Number(name, *found, "x", baseline=1.0), found


def times_longer(name: str, more: list[float], less: list[float]) -> tuple[Number, Interval]:
    """How many times longer more work takes."""
    found = ratio_interval(more, less)
    return Number(name, *found, "x", baseline=1.0, better="lower"), found
