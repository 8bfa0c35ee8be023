"""Answers on disk: asked once by whichever process comes first, kept through a kill.

One SQLite file serves any number of runs and processes. An answer is on the disk before it is
used. Who asks first claims the request, and others wait for that answer; the claim of a process
that died is free at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from modelgraft.core.errors import InputError, ModelgraftError, Unavailable
from modelgraft.core.files import Lock, disk_errors
from modelgraft.core.store import home
from modelgraft.language.endpoints.exchange import Reply, Request, sha256_text
from modelgraft.language.endpoints.owners import is_alive, this_process

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]

VERSION = 1
_BUSY_S = 30.0
_LEASE_S = 120.0
_RENEW_S = 20.0
_SCHEMA = """
CREATE TABLE calls (
    key TEXT PRIMARY KEY, request TEXT, reply TEXT, reply_sha256 TEXT, model TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL, seconds REAL, saved TEXT
);
CREATE TABLE owners (
    id TEXT PRIMARY KEY, pid INTEGER, started INTEGER, boot TEXT, namespace TEXT, expires REAL
);
CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT, token TEXT);
"""
INSERT = "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DISK = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True)
class Claim:
    """The right to ask one request, until it is saved or released."""

    key: str
    token: str


def shared_store_path() -> Path:
    """The store that all runs of this user share."""
    return home() / "calls.sqlite"


class CallStore:
    """The answers in one file. Open it in each process that uses it; it is a context manager.

    Raises `Unavailable` when the disk is full or the file stays locked for 30 seconds, and
    `InputError` when the file is damaged or is no store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._id = secrets.token_hex(8)
        self._pid = os.getpid()
        self._jobs: queue.SimpleQueue[tuple[Job, Future[Any]] | None] = queue.SimpleQueue()
        ready: Future[None] = Future()
        # The thread must not keep a process alive that forgot to close the store.
        self._writer = threading.Thread(target=self._write, args=(ready,), daemon=True)
        self._writer.start()
        ready.result()

    def __enter__(self) -> CallStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the claims and close the file."""
        self._jobs.put(None)
        self._writer.join()

    async def claim(self, key: str) -> Reply | Claim | None:
        """The stored answer; or the right to ask; or None while somebody else is asking."""
        token = secrets.token_hex(8)
        asking = self._submit(lambda db: self._claim(db, key, token))
        try:
            found = await asyncio.wrap_future(asking)
        except asyncio.CancelledError:
            self.release(Claim(key, token))
            raise
        return self._reply(key, found) if isinstance(found, str) else found

    async def save(self, claim: Claim, model: str, request: Request, reply: Reply) -> Reply:
        """Keep the answer and end the claim; on return it is on the disk.

        The answer that counts is given back: an earlier one, if this process was thought dead.
        """
        answer = json.dumps(reply.as_dict(), allow_nan=False)
        row = (
            claim.key,
            request.canonical(model),
            answer,
            sha256_text(answer),
            request.model or model,
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.cost,
            reply.seconds,
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        saving = self._submit(lambda db: self._save(db, claim, row))
        # It was paid for: whoever cancels the caller, it is saved.
        kept = await asyncio.shield(asyncio.wrap_future(saving))
        return reply if kept is None else self._reply(claim.key, kept)

    def release(self, claim: Claim) -> None:
        """End a claim without an answer; returns at once."""
        self._submit(lambda db: _forget(db, claim))

    def find(self, key: str) -> Reply | None:
        """The stored answer to the request with this key."""
        found = self._submit(lambda db: _stored(db, key)).result()
        return None if found is None else self._reply(key, found)

    def __len__(self) -> int:
        """How many answers are stored."""
        counting = self._submit(lambda db: db.execute("SELECT count(*) FROM calls").fetchone()[0])
        return counting.result()

    # -- what runs in the writer's thread ------------------------------------------------------

    def _claim(self, db: sqlite3.Connection, key: str, token: str) -> str | Claim | None:
        if found := _stored(db, key):
            return found
        held = db.execute(
            "SELECT pid, started, boot, namespace, expires FROM claims JOIN owners ON owner = id "
            "WHERE key = ?",
            (key,),
        ).fetchone()
        if held is not None and is_alive(*held, now=time.monotonic()):
            return None
        db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (key, self._id, token))
        return Claim(key, token)

    def _save(self, db: sqlite3.Connection, claim: Claim, row: tuple[Any, ...]) -> str | None:
        earlier = _stored(db, claim.key)
        if earlier is None:
            db.execute(INSERT, row)
        _forget(db, claim)
        return earlier

    def _write(self, ready: Future[None]) -> None:
        try:
            with disk_errors(self.path, "the call store"), self._errors():
                db = self._open()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        renewed = time.monotonic()
        is_open = True
        while is_open:
            jobs, is_open = self._next_jobs()
            if time.monotonic() - renewed > _RENEW_S:
                renewed = time.monotonic()
                jobs.insert(0, (self._renew, Future()))  # a claim counts only with its owner
            if jobs:
                self._commit(db, jobs)
        self._commit(db, [(self._leave, Future())])
        db.close()

    def _next_jobs(self) -> tuple[list[tuple[Job, Future[Any]]], bool]:
        """All jobs that wait, so that one sync serves them; False with them after the last."""
        jobs: list[tuple[Job, Future[Any]]] = []
        with contextlib.suppress(queue.Empty):
            job = self._jobs.get(timeout=_RENEW_S)
            while job is not None:
                jobs.append(job)
                job = self._jobs.get_nowait()
            return jobs, False
        return jobs, True

    def _commit(self, db: sqlite3.Connection, jobs: list[tuple[Job, Future[Any]]]) -> None:
        wanted = [(job, done) for job, done in jobs if done.set_running_or_notify_cancel()]
        try:
            with self._errors(), transaction(db):
                values = [job(db) for job, _ in wanted]
        except BaseException as error:
            for _, done in wanted:
                done.set_exception(error)
            return
        for (_, done), value in zip(wanted, values, strict=True):
            done.set_result(value)

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.path.with_name(f"{self.path.name}.lock"))
        lock.acquire(wait=True)  # two processes cannot switch a new file to WAL at once
        try:
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            self._prepare(db)
        finally:
            lock.release()
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise InputError(
                f"{self.path}: this file system cannot share a store between processes.\n"
                "  Put it on a local disk."
            )
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if version == 0 and not tables:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION or "calls" not in tables:
            raise InputError(f"{self.path}: this is not a store of calls that this version reads.")
        with transaction(db):
            was_killed = self._sweep(db)
            self._renew(db)
        if was_killed:
            (state,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise self._damaged(state)

    def _sweep(self, db: sqlite3.Connection) -> bool:
        """Forget the owners that are dead; True when there was one."""
        rows = db.execute("SELECT id, pid, started, boot, namespace, expires FROM owners")
        dead = [
            (row[0],) for row in rows.fetchall() if not is_alive(*row[1:], now=time.monotonic())
        ]
        db.executemany("DELETE FROM owners WHERE id = ?", dead)
        db.executemany("DELETE FROM claims WHERE owner = ?", dead)
        return bool(dead)

    def _renew(self, db: sqlite3.Connection) -> None:
        row = (self._id, *this_process(), time.monotonic() + _LEASE_S)
        db.execute("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?, ?, ?)", row)

    def _leave(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM claims WHERE owner = ?", (self._id,))
        db.execute("DELETE FROM owners WHERE id = ?", (self._id,))

    # -- both threads --------------------------------------------------------------------------

    def _submit(self, job: Callable[[sqlite3.Connection], T]) -> Future[T]:
        assert os.getpid() == self._pid, "a store cannot be used across a fork; open it anew"
        assert self._writer.is_alive(), "the store is closed"
        done: Future[T] = Future()
        self._jobs.put((job, done))
        return done

    def _reply(self, key: str, text: str) -> Reply:
        try:
            return Reply.from_dict(json.loads(text))
        except (ValueError, KeyError, TypeError):
            raise self._damaged(f"the answer {key[:12]} cannot be read") from None

    @contextlib.contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # a misuse of ours has none
        if code in _DISK:
            return Unavailable(
                f"{self.path}: the store of calls cannot be written: {error}.\n"
                "  Every answer acknowledged before is kept. Make room, or choose another place, "
                "and run the same command again."
            )
        if code in _LOCKED:
            return Unavailable(
                f"{self.path}: another process has locked the store for {_BUSY_S:g} s.\n"
                "  Stop that process, or wait for it, and run the same command again."
            )
        return self._damaged(str(error)) if code in _DAMAGED else error

    def _damaged(self, how: str) -> ModelgraftError:
        return InputError(
            f"{self.path}: the store of calls is damaged: {how}.\n"
            "  Move it away to start a new one; what can still be read of it, "
            "modelgraft.language.endpoints.salvage copies."
        )


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """Everything in the block, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _stored(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT reply FROM calls WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _forget(db: sqlite3.Connection, claim: Claim) -> None:
    db.execute("DELETE FROM claims WHERE key = ? AND token = ?", (claim.key, claim.token))
