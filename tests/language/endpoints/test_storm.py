"""A storm of faults and two kills: every item is accounted for, and nothing kept is paid twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelgraft.language.endpoints.exchange import Request
from modelgraft.language.endpoints.gather import complete_all
from modelgraft.language.endpoints.http import Endpoint, HttpModel
from modelgraft.language.endpoints.rules import echo
from modelgraft.language.endpoints.scripted import Faults, ScriptedServer

STORM = Faults(
    rate_limited=0.3, server_error=0.1, dropped=0.05, slow=0.03, cut=0.02, empty=0.01, slow_s=1.0
)
SLOW = [pytest.mark.slow, pytest.mark.timeout(3600)]


def stored(path: Path) -> set[str]:
    """The keys of the answers that are on the disk."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.Error):
        return {key for (key,) in db.execute("SELECT key FROM calls")}
    return set()


@pytest.mark.parametrize("num", [300, pytest.param(2000, marks=SLOW)])
def test_a_storm_with_two_kills_loses_no_item_and_repeats_no_kept_call(program, tmp_path, num):
    path = tmp_path / "calls.sqlite"
    keys = [
        Request(messages=[{"role": "user", "content": f"item {i}"}]).key("echo") for i in range(num)
    ]
    at_kills = []
    with ScriptedServer(echo, faults=STORM, latency_s=0.02, seed=7) as server:
        for enough in (num // 3, 2 * num // 3):
            child = program("ask_program.py", f"{server.url}#echo", path, num)
            while len(stored(path)) < enough:
                assert child.poll() is None, "the program ended before it was killed"
                time.sleep(0.01)
            child.kill()
            child.communicate()
            answered = {key: num for key, (_, num) in server.counts().items()}
            at_kills.append((stored(path), answered))
        last = program("ask_program.py", f"{server.url}#echo", path, num)
        outcomes = json.loads(last.communicate(timeout=1000)[0])
        counts = server.counts()
    assert last.returncode == 0 and len(outcomes) == num
    failed = [one for one in outcomes if isinstance(one, dict)]
    assert len(failed) < num * 0.05 and all(one["failure"] for one in failed)
    answers = [f"item {i}" for i in range(num)]
    assert all(
        isinstance(one, dict) or one == text for one, text in zip(outcomes, answers, strict=True)
    )
    assert set(counts) == set(keys)
    for kept, answered in at_kills:
        assert kept and all(counts[key][1] == answered[key] for key in kept)
    # Only calls whose answer was under way when the process was killed are repeated.
    repeated = sum(max(num - 1, 0) for _, num in counts.values())
    assert repeated <= 2 * 16


def test_two_processes_share_one_store_and_ask_each_question_once(program, tmp_path):
    path = tmp_path / "calls.sqlite"
    with ScriptedServer(echo, latency_s=0.02) as server:
        words = ("ask_program.py", f"{server.url}#echo", path, 150)
        children = [program(*words), program(*words)]
        outcomes = [json.loads(child.communicate(timeout=1000)[0]) for child in children]
        counts = server.counts()
    assert outcomes == [[f"item {i}" for i in range(150)]] * 2
    assert set(counts.values()) == {(1, 1)} and len(counts) == 150


@pytest.mark.slow
def test_sixty_four_calls_in_flight_come_near_the_ideal_rate():
    """The figure is printed; on a busy machine it says more about the machine."""
    latency_s, in_flight, num = 1.0, 64, 960
    program = [sys.executable, "-m", "modelgraft.language.endpoints.scripted"]
    requests = [Request(messages=[{"role": "user", "content": str(i)}]) for i in range(num)]

    async def ask(url: str) -> float:
        async with HttpModel(Endpoint(url=url, in_flight=in_flight)) as model:
            start = time.perf_counter()
            outcomes = await complete_all(model, requests)
        assert [one.text for one in outcomes] == [str(i) for i in range(num)]
        return time.perf_counter() - start

    with subprocess.Popen(
        [*program, "--latency", str(latency_s)], stdout=subprocess.PIPE, text=True
    ) as server:
        seconds = asyncio.run(ask(f"{server.stdout.readline().strip()}#m"))
        server.kill()
    ratio = num * latency_s / in_flight / seconds
    print(f"{num} calls of {latency_s} s in {seconds:.1f} s: {ratio:.2f} of the ideal rate")
    assert ratio > 0.3
