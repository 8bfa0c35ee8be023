"""Checkpoints: whole or absent, the newest that verifies is found, and no kill loses one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelgraft.core import files
from modelgraft.core.runs import open_run

Start = Callable[..., "subprocess.Popen[str]"]
KILLS = 40


def test_the_newest_checkpoint_that_verifies_is_found(tmp_path: Path) -> None:
    with open_run(tmp_path / "r") as run:
        assert run.latest_checkpoint() is None
        for step in (1, 2, 3):
            run.save_checkpoint(step, lambda folder: save(folder, "x"))
        kept = sorted(path.name for path in (tmp_path / "r" / "checkpoints").iterdir())
        assert kept == ["step-00000002", "step-00000003"]
        (tmp_path / "r" / "checkpoints" / "step-00000003" / "model").write_text("damaged")
        found = run.latest_checkpoint()
    assert found is not None and found.name == "step-00000002"


def test_a_checkpoint_of_the_same_step_goes_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        save(folder, "half")
        raise ValueError

    with open_run(tmp_path / "r") as run:
        saved = run.save_checkpoint(1, lambda folder: save(folder, "old"))
        with pytest.raises(ValueError):
            run.save_checkpoint(1, fail)
        assert run.latest_checkpoint() == saved and (saved / "model").read_text() == "old"
        assert run.save_checkpoint(1, lambda folder: save(folder, "new")) == saved
        assert run.latest_checkpoint() == saved and (saved / "model").read_text() == "new"
        assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("old_is_there", [True, False])
def test_a_kill_while_a_checkpoint_is_replaced_keeps_the_new_one(
    tmp_path: Path, old_is_there: bool
) -> None:
    with open_run(tmp_path / "r") as run:
        final = run.save_checkpoint(1, lambda folder: save(folder, "new"))
    final.rename(final.with_name("step-00000001-fresh"))
    if old_is_there:
        with open_run(tmp_path / "other") as run:
            old = run.save_checkpoint(1, lambda folder: save(folder, "old"))
        old.rename(final)
    with open_run(tmp_path / "r") as run:
        assert run.latest_checkpoint() == final
    assert (final / "model").read_text() == "new" and list(final.parent.iterdir()) == [final]


def save(folder: Path, text: str) -> None:
    (folder / "model").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep" / "state").write_text(text)


# One process forks the writers: each is killed at a random moment, and only the kill is waited for.
KILLER = """
    import os, random, signal, sys, time
    from pathlib import Path
    from modelgraft import open_run
    from modelgraft.core.files import read_json, sha256_file
    from modelgraft.core.provenance import commit, versions

    folder, kills = Path(sys.argv[1]), int(sys.argv[2])

    def save(target, step):
        (target / "model").write_text(str(step) * 20_000)
        (target / "state").write_text(str(step))

    def work(pipe):
        with open_run(folder) as run, run.journal("calls.jsonl") as journal:
            found = run.latest_checkpoint()
            step = int((found / "state").read_text()) if found else 0
            os.write(pipe, b"0 ")
            while True:
                step += 1
                journal.append({"step": step})
                run.save_checkpoint(step, lambda target: save(target, step))
                os.write(pipe, b"%d " % step)

    versions(), commit()
    draw, acknowledged = random.Random(0), 0
    for _ in range(kills):
        receive, send = os.pipe()
        writer = os.fork()
        if writer == 0:
            work(send)
        os.close(send)
        told = os.read(receive, 2)
        time.sleep(draw.uniform(0, 0.25))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        while more := os.read(receive, 4096):
            told += more
        os.close(receive)
        acknowledged = max(acknowledged, *map(int, told.split()))
        for listed in (folder / "checkpoints").glob("step-*"):
            for name, digest in read_json(listed / "manifest.json").items():
                assert sha256_file(listed / name) == digest, listed
    print(acknowledged)
"""


def test_forty_kills_lose_no_checkpoint_and_no_row_that_was_acknowledged(
    tmp_path: Path, start: Start
) -> None:
    folder = tmp_path / "r"
    out, err = start(KILLER, str(folder), str(KILLS)).communicate()
    assert not err
    acknowledged = int(out)
    assert acknowledged >= KILLS // 2  # else every kill came before any work
    with open_run(folder) as run:
        assert run.resumed
        found = run.latest_checkpoint()
        assert found is not None and int((found / "state").read_text()) >= acknowledged
        with run.journal("calls.jsonl") as journal:
            assert {row["step"] for row in journal.rows} >= set(range(1, acknowledged + 1))
    assert not list(folder.rglob(".tmp-*"))


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    waiting: dict[str, set[int]] = {}
    fsync, rename = os.fsync, os.rename

    def note_fsync(handle: int) -> None:
        fsync(handle)
        synced.add(os.fstat(handle).st_ino)

    def note_rename(source: Path, target: Path) -> None:
        parts = [source, *source.rglob("*")]
        waiting[target.name] = {path.stat().st_ino for path in parts} - synced
        rename(source, target)
        synced.discard(target.parent.stat().st_ino)

    with open_run(tmp_path / "r") as run, monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", note_fsync)
        patch.setattr(files.os, "rename", note_rename)
        saved = run.save_checkpoint(1, lambda folder: save(folder, "x"))
        assert waiting == {saved.name: set()}
        assert saved.parent.stat().st_ino in synced


@pytest.mark.parametrize("text", ["[]", "5", "{", '{"model": 5}', '{"gone": "x"}', "1" * 5000])
def test_a_checkpoint_with_a_damaged_manifest_is_passed_over(tmp_path: Path, text: str) -> None:
    with open_run(tmp_path / "r") as run:
        older = run.save_checkpoint(1, lambda folder: save(folder, "x"))
        newer = run.save_checkpoint(2, lambda folder: save(folder, "y"))
        (newer / "manifest.json").write_text(text)
        assert run.latest_checkpoint() == older
    log = (tmp_path / "r" / "log.jsonl").read_text()
    assert '"event": "damaged checkpoint passed over", "folder": "step-00000002"' in log
