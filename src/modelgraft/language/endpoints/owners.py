"""Whether the process that wrote a row is still at work."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> tuple[int, int, str, str]:
    """What tells this process from all others: pid, start time, boot of the machine, namespace.

    A pid alone is used again by the system, and means another process in another container.
    """
    pid = os.getpid()
    return pid, _started(pid), *_surroundings()


def is_alive(
    pid: int, started: int, boot: str, namespace: str, expires: float, *, now: float
) -> bool:
    """Whether the process of such a row may still be at work; `now` is the monotonic clock.

    It is dead after a restart of the machine, after its lease, and when this process can see that
    no process has its pid and start time.
    """
    here = _surroundings()
    if boot != here[0] or expires < now:
        return False
    return namespace != here[1] or _started(pid) == started


@functools.cache
def _surroundings() -> tuple[str, str]:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return boot, os.readlink(_PROC / "self/ns/pid")
    except OSError:  # not Linux: the lease decides alone, beside the pid
        return "", socket.gethostname()


def _started(pid: int) -> int:
    """The start time of a running process in ticks since boot, 1 where unknown; 0 without one."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except FileNotFoundError:
        if (_PROC / "self").exists():
            return 0
    except ProcessLookupError:
        return 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return 0
    except PermissionError:
        pass
    return 1
