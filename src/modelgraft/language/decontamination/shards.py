"""A train set in shards, scanned by several processes; the result depends on neither."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from modelgraft.core.errors import InputError, Unavailable
from modelgraft.core.files import dump_json
from modelgraft.language.decontamination.index import EvalIndex
from modelgraft.language.decontamination.matching import Document, scan
from modelgraft.language.decontamination.overlaps import Scan, merge

Shard = TypeVar("Shard")
Reader = Callable[[Shard], Iterable[Document]]


def scan_shards(
    index: EvalIndex, shards: Sequence[Shard], read: Reader[Shard], *, processes: int = 1
) -> Scan:
    """The scan of all shards together, the same for any cut and any number of processes.

    `read(shard)` gives the documents, (row id, text), of one shard: a file name, a range, a list.
    With several processes (spawned) it must be a function of a module, and the shards values that
    can be sent there. Machines can share a set too: each scans its shards and keeps `as_dict()`;
    `merge` joins them.

    An `InputError` that `read` raises arrives here; `Unavailable` when a process dies.
    """
    parts = [shards[start::processes] for start in range(min(processes, len(shards)))]
    if len(parts) < 2:
        return _scan_part(index, shards, read)
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, BaseProcess] = {}
    try:
        for _ in parts:
            ours, theirs = context.Pipe()
            worker = context.Process(target=_work, args=(theirs,), daemon=True)
            worker.start()
            workers[ours] = worker
            # Only the worker holds this end now, so its death is seen at the other one.
            theirs.close()
        return merge(_gather(list(workers), [(index, part, read) for part in parts]))
    finally:
        for worker in workers.values():
            worker.terminate()
            worker.join()


def _gather(workers: list[Connection], tasks: Sequence[Any]) -> Iterator[Scan]:
    """The scans of all workers, as they end; the first that fails is told at once."""
    try:
        for worker, task in zip(workers, tasks, strict=True):
            worker.send(task)
        while workers:
            for worker in wait(workers):
                assert isinstance(worker, Connection)
                answer = json.loads(worker.recv_bytes())
                if "error" in answer:
                    raise InputError(answer["error"])
                yield Scan.from_dict(answer["scan"])
                workers.remove(worker)
    except (EOFError, ConnectionError):
        raise Unavailable(
            "a process that scanned shards of the train set ended before its work was done.\n"
            "  What it said, if anything, stands above. A script that uses processes needs "
            '`if __name__ == "__main__":` around its work; a process the system stopped most often '
            "lacked memory: take fewer."
        ) from None


def _scan_part(index: EvalIndex, shards: Iterable[Shard], read: Reader[Shard]) -> Scan:
    return scan(index, (document for shard in shards for document in read(shard)))


def _work(caller: Connection) -> None:
    # An interruption reaches every process; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        answer = {"scan": _scan_part(*caller.recv()).as_dict()}
    except InputError as error:
        answer = {"error": str(error)}
    caller.send_bytes(dump_json(answer).encode())
