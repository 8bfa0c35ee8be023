"""Real commands for proofs: a served judge, and what judges it, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modelgraft
from modelgraft.core.errors import Unavailable
from modelgraft.core.files import dump_json, write_atomic

_STOP_S = 20.0


def start(*words: object, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """A `modelgraft` command that runs on; its standard output can be read."""
    source = str(Path(modelgraft.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "modelgraft", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


@dataclass(frozen=True)
class Served:
    """A judge that is being served: `url` as `--judge` takes it, and what it was asked."""

    url: str
    log: Path
    process: subprocess.Popen[str]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each request so far; one that is being written is left out."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def whole(self) -> Counter[str]:
        """How often each request was answered whole, which is what is paid for."""
        return Counter(row["key"] for row in self.rows() if row["whole"])


@contextlib.contextmanager
def served(folder: Path, *options: object) -> Generator[Served]:
    """A judge served by `judge serve` with these options, stopped at the end.

    Raises `Unavailable` when it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "requests.jsonl"
    log.unlink(missing_ok=True)
    words = ("judge", "serve", *options, "--log", log, "--out", folder / "run", "--quiet")
    process = start(*words, "--resume", "never")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise Unavailable(f"{folder}: the scripted judge did not start.")
        yield Served(url, log, process)
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> int:
    """End a command as Ctrl-C does, and at last by force; its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.communicate()
    return process.returncode


def compare_words(items: Path, url: str, out: Path, *options: object) -> tuple[object, ...]:
    """The words of a comparison of these items by the served judge."""
    return ("judge", "compare", items, "--judge", url, "--out", out, *options)


def write_sums(path: Path, num: int) -> Path:
    """So many pairs, all different: a sum and a wrong one, the right one first in every other."""
    rows = []
    for place in range(num):
        first, second = 100 + place, 7 + place % 90
        right, wrong = (f"It is {first + second + off}." for off in (0, 10))
        candidates = [{"id": "right", "text": right}, {"id": "wrong", "text": wrong}]
        rows.append(
            {
                "id": f"sum-{place}",
                "instruction": f"What is {first} plus {second}?",
                "candidates": candidates[:: 1 if place % 2 else -1],
                "label": "right",
            }
        )
    write_atomic(path, "".join(dump_json(row) + "\n" for row in rows))
    return path


def exports(run: Path, names: Sequence[str] = ("judgments", "verdicts")) -> list[bytes]:
    """The files that a comparison left."""
    return [(run / "artefacts" / f"{name}.jsonl").read_bytes() for name in names]
