"""Timing several ways of one job in turn, so that a load on the machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Interval, bootstrap_mean, ratio_interval

Seconds = Mapping[str, list[float]]


def raced(run: Run, name: str, ways: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Seconds of every way, round by round, each round beginning with another one.

    One round before them is not counted: it compiles, and fills caches.
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {one: [] for one in names}
    for turn in range(-1, rounds):
        run.check()
        run.progress(max(turn, 0), rounds, name)
        first = turn % len(names)
        for one in (*names[first:], *names[:first]):
            began = time.perf_counter()
            ways[one]()
            if turn >= 0:
                seconds[one].append(time.perf_counter() - began)
    return seconds


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
