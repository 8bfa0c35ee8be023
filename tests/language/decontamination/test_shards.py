"""Shards and processes: the same scan for any cut, and no worker left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelgraft.core.errors import InputError, Unavailable
from modelgraft.core.files import read_json
from modelgraft.language.decontamination.index import EvalIndex, Evaluation
from modelgraft.language.decontamination.matching import Document, scan
from modelgraft.language.decontamination.overlaps import Scan, merge
from modelgraft.language.decontamination.shards import scan_shards


def make_world() -> tuple[EvalIndex, list[Document]]:
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randrange(500)}" for _ in range(30)) for _ in range(40)]
    tests = {str(number): text for number, text in enumerate(texts)}
    documents = []
    for number in range(600):
        tokens = rng.choice(texts).split()
        documents.append((f"r{number // 2}\ud800", " ".join(tokens[: rng.randrange(30)])))
    return EvalIndex.build([Evaluation.of("e", tests)]), documents


@pytest.fixture(scope="module")
def world() -> tuple[EvalIndex, list[Document]]:
    return make_world()


def test_any_cut_into_shards_gives_the_same_scan(world: tuple[EvalIndex, list[Document]]) -> None:
    index, documents = world
    whole = scan(index, documents)
    assert 50 < len(whole.rows) < 300
    for num_shards in (1, 2, 60):
        shards = [documents[start::num_shards] for start in range(num_shards)]
        assert scan_shards(index, shards, iter) == whole
        parts = [
            Scan.from_dict(json.loads(json.dumps(scan(index, one).as_dict()))) for one in shards
        ]
        assert merge(reversed(parts)) == whole


def test_any_number_of_processes_gives_the_same_scan(
    world: tuple[EvalIndex, list[Document]], tmp_path: Path
) -> None:
    index, documents = world
    shards = []
    for start in range(5):
        shards.append(tmp_path / f"{start}.json")
        shards[-1].write_text(json.dumps(documents[start::5]))
    whole = scan(index, documents)
    for processes in (1, 3):
        assert scan_shards(index, shards, read_json, processes=processes) == whole
    assert not multiprocessing.active_children()


def test_no_shards_are_an_empty_scan(world: tuple[EvalIndex, list[Document]]) -> None:
    assert scan_shards(world[0], [], iter, processes=4) == Scan()


def test_what_a_reader_says_of_a_shard_arrives_here(
    world: tuple[EvalIndex, list[Document]], tmp_path: Path
) -> None:
    shards = [tmp_path / "one.json", tmp_path / "two.json"]
    shards[0].write_text("[]")
    with pytest.raises(InputError, match=r"two\.json: no such file"):
        scan_shards(world[0], shards, read_json, processes=2)
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_seen_at_once_and_the_others_are_ended(
    world: tuple[EvalIndex, list[Document]], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Unavailable, match="ended before its work was done"):
        scan_shards(world[0], [1, 2], os._exit, processes=2)
    # One sleeps for longer than any test may take; the other is asked to sleep backwards.
    with pytest.raises(Unavailable, match="ended before its work was done"):
        scan_shards(world[0], [10_000, -1], time.sleep, processes=2)
    assert "sleep length must be non-negative" in capfd.readouterr().err
    assert not multiprocessing.active_children()


UNGUARDED = """
from modelgraft.language.decontamination import EvalIndex, Evaluation, scan_shards

text = " ".join(map(str, range(20_000)))
index = EvalIndex.build([Evaluation.of("e", {"t": text})])
print(scan_shards(index, [[("r", text)], []], iter, processes=2).rows.keys())
"""


def test_a_script_that_would_start_itself_again_is_told_instead_of_waiting(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Unavailable" in done.stderr and 'if __name__ == "__main__"' in done.stderr
