"""Checks in processes of their own that end in bounded time, whatever a model wrote.

    with Pool(workers=4, limit_s=5) as pool:
        verdicts = pool.check_all([Case("math", response, truth) for ...])
        pool.counts["timeouts"], pool.error_share

A worker is a fresh Python that speaks JSON over pipes: no pickle, no fork of a process that holds a
model, no guard needed in the caller's script. It is started when first needed, killed when a check
exceeds the limit, and started again for the next one. All methods may be called from any thread.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from modelgraft.core.errors import InputError, MissingExtra, Unavailable
from modelgraft.language.verify.verdict import Case, Verdict

# Longer responses are not checked: no answer is that long, and every rule would take its time.
MAX_CHARS = 1_000_000
_START_S = 120.0  # imports on a busy machine; a check's own limit starts behind them
_MODULE = "modelgraft.language.verify.worker"
_RAISED = {kind.__name__: kind for kind in (InputError, MissingExtra, Unavailable)}
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Pool:
    """Worker processes for checks; a context manager, which ends them.

    `limit_s` is the time one check may take, without the imports before it. `custom` adds verifiers
    by name, each as "package.module:function" with f(response, truth, **options) -> Verdict.
    """

    def __init__(
        self, *, workers: int = 2, limit_s: float = 5.0, custom: Mapping[str, str] | None = None
    ) -> None:
        assert workers > 0 and limit_s > 0
        self.counts = {"checked": 0, "errors": 0, "timeouts": 0}
        self._limit_s = limit_s
        self._custom = dict(custom or {})
        self._num_workers = workers
        # The last one used comes first, so that no more are started than are needed at once.
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(_Worker())
        self._lock = threading.Lock()

    def check(self, case: Case) -> Verdict:
        """The verdict on one case; an exception or the time limit gives one with `is_error`.

        Errors that concern the caller are raised: `InputError` (unknown verifier, unusable truth),
        `MissingExtra`, `Unavailable` (no process can be started).
        """
        if len(case.response) > MAX_CHARS:
            num = len(case.response)
            return self._count(
                Verdict.of(False, f"{num} characters; more than {MAX_CHARS} are not checked")
            )
        request = {
            "verifier": case.verifier,
            "target": self._custom.get(case.verifier),
            "response": case.response,
            "truth": case.truth,
            "options": dict(case.options),
            "limit_s": self._limit_s,
        }
        worker = self._idle.get()
        try:
            return self._ask(worker, request)
        except BaseException:
            worker.kill()  # its answer may still be on the way, and would be taken for the next one
            raise
        finally:
            self._idle.put(worker)

    def check_all(self, cases: Iterable[Case]) -> list[Verdict]:
        """The verdicts in the order of the cases, checked by all workers at once."""
        with concurrent.futures.ThreadPoolExecutor(self._num_workers) as threads:
            return list(threads.map(self.check, cases))

    @property
    def error_share(self) -> float:
        """The share of checks that came to no end, time limit included; 0 before the first."""
        return self.counts["errors"] / max(1, self.counts["checked"])

    def close(self) -> None:
        """End the processes when their checks are done; a later check would start them again."""
        workers = [self._idle.get() for _ in range(self._num_workers)]
        for worker in workers:
            worker.kill()
            self._idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, worker: _Worker, request: dict[str, Any]) -> Verdict:
        try:
            answer = worker.ask(request)
        except TimeoutError:
            worker.kill()
            reason = f"no verdict within {self._limit_s:g} s"
            return self._count(Verdict(False, 0.0, reason, is_error=True), is_timeout=True)
        except EOFError:
            worker.kill()
            reason = "the checking process ended, as when memory runs out"
            return self._count(Verdict(False, 0.0, reason, is_error=True))
        if "raise" in answer:
            raise _RAISED.get(answer["raise"], InputError)(answer["message"])
        if "error" in answer:
            return self._count(Verdict(False, 0.0, answer["error"], is_error=True))
        return self._count(Verdict(answer["passed"], answer["score"], answer["detail"]))

    def _count(self, verdict: Verdict, *, is_timeout: bool = False) -> Verdict:
        with self._lock:
            self.counts["checked"] += 1
            self.counts["errors"] += verdict.is_error
            self.counts["timeouts"] += is_timeout
        return verdict


class _Worker:
    """One process, or none until the next request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The last line that answers; `TimeoutError` behind the limit, `EOFError` at its death."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            data = json.dumps(request).encode() + b"\n"
            while data:
                data = data[os.write(self._process.stdin.fileno(), data) :]
            first = self._read(_START_S)
        except (BrokenPipeError, EOFError, TimeoutError):
            code = self._process.poll()
            raise Unavailable(
                f"the process that checks answers did not start (exit code {code}).\n"
                f"  See why with: {sys.executable} -P -m {_MODULE} < /dev/null"
            ) from None
        return first if "raise" in first else self._read(request["limit_s"])

    def kill(self) -> None:
        """End the process, if there is one."""
        process, self._process, self._unread = self._process, None, b""
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _start(self) -> None:
        self.kill()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **_THREADS},
            start_new_session=True,  # Ctrl-C is for the caller, which then ends us
        )

    def _read(self, limit_s: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        end = time.monotonic() + limit_s
        while b"\n" not in self._unread:
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise EOFError
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)
