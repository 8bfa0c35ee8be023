"""Memory: what is free, what would not fit, and the most that was used."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator
from pathlib import Path

import psutil
import torch

from modelgraft.core.errors import ConfigError

_SHARE = 0.9
_CGROUP = Path("/sys/fs/cgroup")


def check_memory(needed: int, device: torch.device, *, what: str, advice: str) -> None:
    """Raise `ConfigError` when `needed` bytes exceed nine tenths of what is free on `device`.

    `what` would need them; `advice` names the options to lower.
    """
    free = free_memory(device)
    if needed > _SHARE * free:
        raise ConfigError(
            "",
            f"{what} would need about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on "
            f"{device}.\n  {advice}",
        )


def free_memory(device: torch.device) -> int:
    """Bytes that could be allocated on `device` now without swapping.

    A container's own limit (cgroup version 2) counts where it is the lower one.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    free = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return min(free, limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no such limit, or the word max
        return free


def resident_bytes() -> int:
    """Memory of this process in RAM now; 0 where it cannot be read."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(one.split()[1]) * 1024 for one in lines if one.startswith("VmRSS:")), 0)


@contextlib.contextmanager
def peak_memory(device: torch.device) -> Generator[list[int]]:
    """A list that holds, after the block, the highest memory in bytes that was used inside it.

    On CUDA this is what torch allocated; on Linux CPUs the resident set of the process, whose
    high-water mark is reset first. It stays empty where neither can be read.
    """
    found: list[int] = []
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found.append(torch.cuda.max_memory_allocated(device))
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        yield found
        return
    yield found
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            found.append(int(line.split()[1]) * 1024)
