"""What produced a result: versions, commit and machine, without host names or paths."""

from __future__ import annotations

import functools
import os
from pathlib import Path

LIBRARIES = ("numpy", "scipy", "torch", "transformers", "accelerate", "safetensors")


@functools.cache
def versions() -> dict[str, str]:
    """The versions of Python, of this package and of the libraries a result may depend on."""
    import importlib.metadata  # 70 ms that no help page should pay
    import platform

    found = {"python": platform.python_version()}
    for name in ("modelgraft", *LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str:
    """The commit this code runs from, `+dirty` if the package was changed, else `unknown`.

    An installed copy inside somebody else's repository is not part of its commits: `unknown`.
    """
    package = Path(__file__).parents[1]
    if _git(package, "ls-files", "--error-unmatch", "core/provenance.py") is None:
        return "unknown"
    head = _git(package, "rev-parse", "--short=12", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", ".")
    return "unknown" if head is None else head + ("+dirty" if changes else "")


def _git(folder: Path, *arguments: str) -> str | None:
    import subprocess  # not on any help page's path

    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def machine() -> dict[str, str | int | float]:
    """Cores this process may use, memory in GB, and the processor's family."""
    import platform

    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        pages = 0
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        family = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        family = platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores or 1, "memory_gb": round(pages / 1e9, 1), "processor": family}
