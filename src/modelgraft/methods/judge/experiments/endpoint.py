"""E10: thousands of calls through rate limits, faults and kills, none of them paid for twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.core.files import make_folder, remove_folder
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.experiments.commands import (
    Served,
    compare_words,
    exports,
    served,
    start,
    write_sums,
)
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judging.judgments import Asking, pair_orders
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

SUBJECT = {"model": "scripted endpoint", "dtype": "none", "device": "cpu"}
IN_FLIGHT = 64
SLOW_S = 1.0
STORM = (
    "rate_limited=0.3,server_error=0.1,cut=0.05,renamed=0.05,slow=0.02,"
    f"retry_after_s=0.2,slow_s={SLOW_S}"
)
# Thresholds of the verdict.
OF_IDEAL, OVER_IDEAL = 0.9, 1.3
# The client it is compared with: a pool of threads that knows of no rate, and tries three times.
PEER_WORKERS, PEER_TRIES = 10, 3


@dataclass(frozen=True)
class Sizes:
    """How many pairs each part judges (twice as many calls), and how often it is killed."""

    plain: int = 960
    limited: int = 600
    storm: int = 1200
    killed: int = 800
    shared: int = 300
    peer: int = 120
    kills: int = 20


QUICK = Sizes(plain=64, limited=60, storm=60, killed=60, shared=40, peer=10, kills=1)


# -- the arms --------------------------------------------------------------------------------------


def compared(items: Path, judge: Served, out: Path, *options: object) -> dict[str, float]:
    """The numbers of a comparison by the real command, by name."""
    process = start(
        *compare_words(items, judge.url, out, "--in-flight", IN_FLIGHT, "--json", *options)
    )
    told, _ = process.communicate()
    return {one["name"]: one["value"] for one in json.loads(told)["numbers"]}


def span_s(rows: Sequence[dict[str, Any]], latency_s: float) -> float:
    """Seconds from when the first request came until the last answer left."""
    times = [row["time"] for row in rows]
    return max(times) - min(times) + latency_s


def requests_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The bodies of the calls that a comparison makes."""
    asking = Asking(read_template("pair_written"), read_rubric("overall"))
    judge = ChatJudge(lambda requests: [], name="peer")
    return [
        judge.request(asking.call(item, *order)).body("scripted")
        for item in items
        for order in pair_orders(item, "average")
    ]


def by_peer(bodies: Sequence[dict[str, Any]], url: str) -> tuple[float, int]:
    """Seconds of a thread pool without rate control, and how many calls it gave up."""
    place = url.partition("#")[0] + "/chat/completions"

    def ask(body: dict[str, Any]) -> bool:
        for _ in range(PEER_TRIES):
            request = urllib.request.Request(  # noqa: S310, the address is our own server's
                place, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with contextlib.suppress(urllib.error.URLError, ValueError, OSError):
                with urllib.request.urlopen(request) as answer:  # noqa: S310
                    json.load(answer)["choices"][0]["message"]["content"]
                    return True
        return False

    begun = time.perf_counter()
    with ThreadPoolExecutor(PEER_WORKERS) as pool:
        answered = list(pool.map(ask, bodies))
    return time.perf_counter() - begun, answered.count(False)


def _throughput(
    run: Run, name: str, num: int, num_peer: int, options: Sequence[object], rate: float
) -> tuple[list[Number], float]:
    """Calls a second beside the ideal `rate`, and those of the peer; our share of the ideal."""
    folder = run.folder / "commands" / name
    items = write_sums(folder.with_suffix(".jsonl"), num)
    latency_s = float(str(options[options.index("--latency") + 1]))
    with served(folder, items, *options) as judge:
        numbers = compared(items, judge, folder / "compare")
        rows = judge.rows()
    assert numbers["verdicts that failed"] == 0, numbers
    ours = numbers["verdicts"] / span_s(rows, latency_s) / rate
    bodies = requests_of(read_items(items, reject=None)[:num_peer])
    with served(folder.with_name(f"{name}-peer"), items, *options) as judge:
        seconds, given_up = by_peer(bodies, judge.url)
    peer = (len(bodies) - given_up) / seconds / rate
    sent = len(rows) / numbers["verdicts"]
    return [
        Number(f"part of the ideal rate, {name}", ours, n=int(numbers["verdicts"]), baseline=peer),
        Number(f"requests for each answer, {name}", sent, n=len(rows), baseline=1.0,
               better="lower"),
    ], ours  # fmt: skip


def _storm(run: Run, sizes: Sizes) -> tuple[list[Number], bool]:
    """Refusals, errors, broken and slow answers: who gets an answer, and in what time."""
    folder = run.folder / "commands" / "storm"
    latency_s = 0.5
    items = write_sums(folder.with_suffix(".jsonl"), sizes.storm)
    options = ("--latency", latency_s, "--faults", STORM, "--seed", run.seed)
    with served(folder, items, *options) as judge:
        numbers = compared(items, judge, folder / "compare")
        rows = judge.rows()
    with served(folder.with_name("calm"), items) as judge:
        compared(items, judge, folder / "calm")
    bodies = requests_of(read_items(items, reject=None)[: sizes.peer])
    with served(folder.with_name("storm-peer"), items, *options) as judge:
        seconds, given_up = by_peer(bodies, judge.url)
    peer_s = seconds / (len(bodies) * latency_s / PEER_WORKERS)
    slow_s = SLOW_S * sum(row["fault"] == "slow" for row in rows)
    ideal_s = (len(rows) * latency_s + slow_s) / IN_FLIGHT
    over = span_s(rows, latency_s) / ideal_s
    missing = int(numbers["verdicts that failed"])
    differ = exports(folder / "compare") != exports(folder / "calm")
    return [
        Number("calls without an answer, storm", 100 * missing / numbers["verdicts"],
               n=int(numbers["verdicts"]), unit="%", baseline=100 * given_up / len(bodies),
               better="lower"),
        Number("time over that of its tries at full speed, storm", over, n=len(rows),
               baseline=peer_s, better="lower"),
        Number("verdict files that differ from a calm run's", int(differ), n=2, baseline=0.0,
               better="lower"),
    ], not missing and not differ and over <= OVER_IDEAL  # fmt: skip


# -- kills -----------------------------------------------------------------------------------------


def stored_keys(path: Path) -> set[str]:
    """The requests whose answers are on the disk."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.Error):
        return {key for (key,) in db.execute("SELECT key FROM calls")}
    return set()


def killed_often(
    items: Path, judge: Served, out: Path, num_kills: int, draw: random.Random, *options: object
) -> tuple[int, int]:
    """Kill a comparison at random moments and let it end; kept answers asked again, and lost ones.

    Lost are answers that had left the server when the process that asked for them was killed.
    """
    words = compare_words(items, judge.url, out, *options)
    kept_at: list[tuple[set[str], dict[str, int]]] = []
    for _ in range(num_kills):
        asked = len(judge.rows())
        process = start(*words)
        until = time.monotonic() + 60
        # Most of a short life is start-up, so half of the moments are after the first request.
        if draw.random() < 0.5:
            while len(judge.rows()) <= asked and process.poll() is None:
                assert time.monotonic() < until, "the comparison asks nothing"
                time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.0, 2.0))
        process.kill()
        process.communicate()
        time.sleep(0.3)  # what is under way leaves the server
        kept_at.append((stored_keys(out / "calls.sqlite"), dict(judge.whole())))
    last = start(*words)
    last.communicate()
    assert last.returncode == 0, last.returncode
    paid = judge.whole()
    again = sum(paid[key] - then[key] for kept, then in kept_at for key in kept)
    return again, paid.total() - len(paid)


def _kills(run: Run, sizes: Sizes) -> tuple[list[Number], bool]:
    folder = run.folder / "commands" / "killed"
    items = write_sums(folder.with_suffix(".jsonl"), sizes.killed)
    draw = random.Random(rng_seed("judge", "kills", run.seed))
    options = ("--latency", 0.2, "--faults", "rate_limited=0.05,server_error=0.05,cut=0.05")
    with served(folder, items, *options) as judge:
        again, lost = killed_often(
            items, judge, folder / "compare", sizes.kills, draw, "--in-flight", 16
        )
    with served(folder.with_name("unbroken"), items) as judge:
        compared(items, judge, folder / "unbroken")
    differ = exports(folder / "compare") != exports(folder / "unbroken")
    num = 2 * sizes.killed
    return [
        Number("kept answers paid for again", again, n=num, baseline=0.0, better="lower"),
        Number("answers on their way at a kill, asked again", lost, n=num,
               baseline=16.0 * sizes.kills, better="lower"),
        Number("verdict files that differ from an unbroken run's", int(differ), n=2, baseline=0.0,
               better="lower"),
    ], again == 0 and not differ  # fmt: skip


def _shared(run: Run, sizes: Sizes) -> tuple[list[Number], bool]:
    """Two processes that judge the same items with one store."""
    folder = run.folder / "commands" / "shared"
    items = write_sums(folder.with_suffix(".jsonl"), sizes.shared)
    store = folder / "shared.sqlite"
    with served(folder, items, "--latency", 0.1) as judge:
        both = [
            start(*compare_words(items, judge.url, folder / name, "--store", store))
            for name in ("one", "two")
        ]
        for process in both:
            process.communicate()
        paid = judge.whole()
    twice = paid.total() - len(paid)
    digests = {hashlib.sha256(b"".join(exports(folder / name))).digest() for name in ("one", "two")}
    same = len(digests) == 1
    return [
        Number("calls that two processes with one store both paid", twice, n=len(paid),
               baseline=float(len(paid)), better="lower"),
    ], twice == 0 and same and len(paid) == 2 * sizes.shared  # fmt: skip


# -- all of it -------------------------------------------------------------------------------------


def _run(run: Run, quick: bool) -> Findings:
    sizes = QUICK if quick else Sizes()
    folder = run.folder / "commands"
    if folder.exists():
        remove_folder(folder)
    make_folder(folder)
    numbers: list[Number] = []
    held: list[bool] = []
    latency_s, rate = (0.2, 40.0) if quick else (1.0, 40.0)
    ideal = IN_FLIGHT / latency_s
    parts = (
        ("64 in flight", sizes.plain, ("--latency", latency_s), ideal),
        ("40 a second", sizes.limited, ("--latency", 0.5, "--rate", rate), rate),
    )
    for place, (name, num, options, best) in enumerate(parts):
        run.check()
        run.progress(place, 5, name)
        found, share = _throughput(run, name, num, sizes.peer, options, best)
        numbers += found
        held.append(share >= OF_IDEAL)
    for place, part in enumerate((_storm, _kills, _shared), start=2):
        run.check()
        run.progress(place, 5, part.__name__.strip("_"))
        found, holds = part(run, sizes)
        numbers += found
        held.append(holds)
    return Findings(
        tuple(numbers),
        HOLDS if all(held) else DOES_NOT_HOLD,
        seeds=(run.seed,),
        subject=SUBJECT,
    )


ENDPOINT = Experiment(
    "E10",
    "Behind an endpoint that limits, fails and is killed, calls run at nine tenths of the ideal "
    "rate or more, every item gets its verdict, and no answer that was kept is paid for again.",
    "None: users of such tools ask for it (rate limits, resume, budgets; ragas#554, #2061).",
    _run,
)
