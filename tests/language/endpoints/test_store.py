"""Answers on disk: kept through kills, asked once by many processes, damage and full disks told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from modelgraft.core.errors import InputError, Unavailable
from modelgraft.language.endpoints import owners, store
from modelgraft.language.endpoints.exchange import Reply
from modelgraft.language.endpoints.salvage import salvage
from modelgraft.language.endpoints.store import CallStore, Claim, shared_store_path

SLOW = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite"


def rows(path: Path, query: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def keep(calls: CallStore, request, reply: Reply) -> Reply:
    async def scene() -> Reply:
        claim = await calls.claim(request.key("m"))
        assert isinstance(claim, Claim)
        return await calls.save(claim, "m", request, reply)

    return asyncio.run(scene())


def test_what_was_saved_is_found_by_the_next_process(ask, path):
    request, reply = ask("a\ud800\x00b"), Reply(text="yes", prompt_tokens=3, cost=0.5)
    with CallStore(path) as calls:
        assert not keep(calls, request, reply).is_stored
    with CallStore(path) as calls:
        found = asyncio.run(calls.claim(request.key("m")))
        assert found == reply == calls.find(request.key("m")) and found.is_stored
        assert calls.find("other") is None and len(calls) == 1
    kept = rows(path, "SELECT model, prompt_tokens, cost, request FROM calls")
    assert kept == [("m", 3, 0.5, request.canonical("m"))]


def test_a_claim_is_for_one_until_it_is_released(ask, path):
    async def scene(calls: CallStore) -> None:
        first = await calls.claim("key")
        assert isinstance(first, Claim)
        assert await calls.claim("key") is None
        calls.release(Claim("key", "another token"))
        assert await calls.claim("key") is None
        calls.release(first)
        assert isinstance(await calls.claim("key"), Claim)

    with CallStore(path) as calls:
        asyncio.run(scene(calls))
    assert rows(path, "SELECT * FROM claims") == rows(path, "SELECT * FROM owners") == []


def test_a_claim_that_is_cancelled_while_it_is_made_is_free(path, monkeypatch):
    make = CallStore._claim

    def slowly(self, *args):
        time.sleep(0.05)
        return make(self, *args)

    async def scene(calls: CallStore) -> None:
        for delay in (0.0, 0.02, 0.06):
            claiming = asyncio.create_task(calls.claim("key"))
            await asyncio.sleep(delay)
            claiming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                calls.release(await claiming)
            again = await calls.claim("key")
            assert isinstance(again, Claim)
            calls.release(again)

    monkeypatch.setattr(CallStore, "_claim", slowly)
    with CallStore(path) as calls:
        asyncio.run(scene(calls))


def test_an_answer_is_saved_although_its_caller_is_cancelled(ask, path):
    async def scene(calls: CallStore) -> None:
        request = ask()
        claim = await calls.claim(request.key("m"))
        saving = asyncio.create_task(calls.save(claim, "m", request, Reply(text="paid")))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        calls.release(claim)
        assert (await calls.claim(request.key("m"))).text == "paid"

    with CallStore(path) as calls:
        asyncio.run(scene(calls))


def test_the_first_answer_counts_when_two_come(ask, path, monkeypatch):
    async def scene(slow: CallStore, fast: CallStore) -> None:
        request = ask()
        mine = await slow.claim(request.key("m"))
        with monkeypatch.context() as patch:  # as after a sleep longer than the lease
            patch.setattr(store, "is_alive", lambda *row, now: False)
            theirs = await fast.claim(request.key("m"))
        assert isinstance(mine, Claim) and isinstance(theirs, Claim)
        await fast.save(theirs, "m", request, Reply(text="first"))
        assert (await slow.save(mine, "m", request, Reply(text="second"))).text == "first"

    with CallStore(path) as slow, CallStore(path) as fast:
        asyncio.run(scene(slow, fast))


def test_an_owner_is_dead_after_its_lease_its_boot_or_its_process(monkeypatch):
    pid, started, boot, namespace = owners.this_process()
    assert owners.is_alive(pid, started, boot, namespace, 10.0, now=9.0)
    assert not owners.is_alive(pid, started, boot, namespace, 10.0, now=11.0)
    assert not owners.is_alive(pid, started, "another boot", namespace, 10.0, now=9.0)
    assert not owners.is_alive(pid, started - 1, boot, namespace, 10.0, now=9.0)
    # In another container the pid says nothing, so only the lease does.
    assert owners.is_alive(2**22 + 1, 5, boot, "another namespace", 10.0, now=9.0)
    assert not owners.is_alive(2**22 + 1, 5, boot, namespace, 10.0, now=9.0)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    while owners._started(child.pid):
        pass
    assert child.returncode is None, "a process that has ended is dead before anyone waits for it"
    child.wait()


def test_without_proc_the_pid_decides(monkeypatch, tmp_path):
    monkeypatch.setattr(owners, "_PROC", tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert owners._started(os.getpid()) == 1 and owners._started(child.pid) == 0


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=SLOW)])
def test_nothing_acknowledged_is_lost_in_many_kills_and_nothing_kept_is_paid_twice(
    program, path, tmp_path, kills
):
    waits = random.Random(0)
    acknowledged: list[str] = []
    calls, seen = tmp_path / "paid", 0
    kept_before: set[str] = set()
    for _ in range(kills):
        child = program("store_program.py", path, 30 * kills + 2400, calls)
        for line in child.stdout:
            acknowledged.append(line.strip())
            if waits.random() < 0.05:
                break
        child.kill()
        acknowledged += child.communicate()[0].split()
        kept = {text for (text,) in rows(path, "SELECT reply ->> 'text' FROM calls")}
        assert {f"answer {number}" for number in acknowledged} <= kept
        # What was kept at this kill is not asked by any later process.
        paid = calls.read_text().split()
        before = {number for number in paid[:seen] if f"answer {number}" in kept_before}
        assert not before & set(paid[seen:])
        seen, kept_before = len(paid), kept
    assert len(acknowledged) == len(set(acknowledged)) > 100
    repeated = sum(num - 1 for num in Counter(calls.read_text().split()).values())
    assert repeated <= kills * 12, "only calls in flight at a kill are asked again"


def test_many_processes_share_a_new_file_and_pay_for_each_call_once(program, path, tmp_path):
    calls = tmp_path / "paid"
    children = [program("store_program.py", path, 120, calls) for _ in range(4)]
    said = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * 4
    assert [lines[-1] for lines in said] == ["done"] * 4
    assert sorted(calls.read_text().split(), key=int) == [str(i) for i in range(120)]


CLAIM = """
import asyncio, sys
from pathlib import Path
from modelgraft.language.endpoints.store import CallStore

store = CallStore(Path(sys.argv[1]))
asyncio.run(store.claim("key"))
print("claimed", flush=True)
sys.stdin.read()
"""


def test_a_claim_of_a_living_process_is_waited_for_and_of_a_killed_one_taken(path):
    command = [sys.executable, "-c", CLAIM, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with CallStore(path) as calls, subprocess.Popen(command, **pipes) as child:
        assert child.stdout.readline() == b"claimed\n"
        assert asyncio.run(calls.claim("key")) is None
        os.kill(child.pid, signal.SIGSTOP)  # asleep is alive
        assert asyncio.run(calls.claim("key")) is None
        child.kill()
        while owners._started(child.pid):
            pass
        assert isinstance(asyncio.run(calls.claim("key")), Claim)


def test_a_store_is_not_used_across_a_fork(path):
    with CallStore(path) as calls:
        calls._pid += 1
        with pytest.raises(AssertionError, match="fork"):
            calls.find("key")
        calls._pid -= 1


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_store_is_named_with_a_remedy(path, content):
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"calls\.sqlite: the store of calls is damaged.*\n.*Move it"
    ):
        CallStore(path)


def test_another_database_is_refused_and_left_alone(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (x)")
        db.commit()
    with pytest.raises(InputError, match="not a store of calls"):
        CallStore(path)
    assert rows(path, "SELECT name FROM sqlite_master") == [("mine",)]


def test_pages_destroyed_while_a_process_was_killed_are_noticed_and_the_rest_is_salvaged(
    program, path, tmp_path
):
    child = program("store_program.py", path, 3000, tmp_path / "paid")
    for _ in range(120):
        child.stdout.readline()
    child.kill()
    child.wait()
    rows(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = dict(rows(path, "SELECT key, reply FROM calls"))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 3 * 4096] = os.urandom(3 * 4096)
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"), CallStore(path) as calls:
        len(calls)
    num = salvage(path, tmp_path / "fresh.sqlite")
    again = dict(rows(tmp_path / "fresh.sqlite", "SELECT key, reply FROM calls"))
    assert len(whole) / 2 < num == len(again) < len(whole)
    assert again.items() <= whole.items()
    with CallStore(tmp_path / "fresh.sqlite") as calls:
        assert len(calls) == num
    with pytest.raises(InputError, match="needs a new file"):
        salvage(path, tmp_path / "fresh.sqlite")


def test_an_answer_with_other_bytes_is_not_salvaged(ask, path, tmp_path):
    with CallStore(path) as calls:
        for text in ("a", "b", "c"):
            keep(calls, ask(text), Reply(text=text))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE calls SET reply = replace(reply, 'stop', 'step') WHERE rowid = 2")
        db.commit()
    assert salvage(path, tmp_path / "fresh.sqlite") == 2


def test_an_answer_is_on_the_disk_when_it_is_acknowledged(path):
    with CallStore(path) as calls:
        for name, expected in (("journal_mode", "wal"), ("synchronous", 2)):
            asked = calls._submit(lambda db, name=name: db.execute(f"PRAGMA {name}").fetchone())
            assert asked.result() == (expected,)


FILL = """
import asyncio, resource, signal, sys
from pathlib import Path
from modelgraft.core.errors import Unavailable
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.salvage import salvage
from modelgraft.language.endpoints.store import CallStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

async def fill(store):
    for i in range(1000):
        request = Request(messages=[{"role": "user", "content": str(i)}])
        claim = await store.claim(request.key("m"))
        await store.save(claim, "m", request, Reply(text="x" * 20_000))
        print(i, flush=True)

try:
    with CallStore(Path(sys.argv[1])) as store:
        asyncio.run(fill(store))
except Unavailable as error:
    print(error)
"""


def test_a_full_disk_is_named_and_what_was_acknowledged_is_kept(path):
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    saved = [line for line in lines if line.isdigit()]
    assert 3 < len(saved) < 1000
    told = "\n".join(lines[len(saved) :])
    assert str(path) in told and "cannot be written" in told and "Make room" in told
    with CallStore(path) as calls:
        assert len(calls) >= len(saved)


def test_a_lock_that_lasts_is_named(path, monkeypatch, ask):
    monkeypatch.setattr(store, "_BUSY_S", 0.05)
    with CallStore(path) as calls, contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another process has locked the store"):
            asyncio.run(calls.claim("key"))
        other.rollback()
        assert isinstance(asyncio.run(calls.claim("key")), Claim)


def test_one_sync_serves_all_answers_that_wait(path, ask):
    syncs = 0

    async def scene(calls: CallStore) -> None:
        claims = await asyncio.gather(*(calls.claim(ask(str(i)).key("m")) for i in range(200)))
        await asyncio.gather(
            *(
                calls.save(claim, "m", ask(str(i)), Reply(text="x"))
                for i, claim in enumerate(claims)
            )
        )

    with CallStore(path) as calls:
        commit = calls._commit

        def counting(db, jobs):
            nonlocal syncs
            syncs += 1
            commit(db, jobs)

        calls._commit = counting
        asyncio.run(scene(calls))
        assert len(calls) == 200
    assert syncs < 100


def test_the_shared_store_lies_in_the_home_of_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELGRAFT_HOME", str(tmp_path))
    assert shared_store_path() == tmp_path / "calls.sqlite"
