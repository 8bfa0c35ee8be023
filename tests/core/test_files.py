"""Files that are whole or absent, whatever fails and whenever it fails."""

from __future__ import annotations

import builtins
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core import files
from modelgraft.core.errors import ConfigError, InputError, Unavailable
from modelgraft.core.files import (
    Journal,
    Lock,
    atomic_folder,
    disk_errors,
    dump_json,
    is_leftover,
    make_folder,
    read_json,
    remove_folder,
    require_space,
    sha256_file,
    sweep_leftovers,
    write_atomic,
    write_errors,
    write_json,
)

Guard = Callable[[Path, str], AbstractContextManager[None]]
FULL = OSError(errno.ENOSPC, "No space left on device")


class FailAt:
    """Counts the calls that reach the disk and makes the one numbered `place` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
        self.place, self.count = place, 0
        monkeypatch.setattr(files.os, "fsync", self._failing(os.fsync))
        monkeypatch.setattr(files.os, "replace", self._failing(os.replace))
        monkeypatch.setattr(files.os, "rename", self._failing(os.rename))
        monkeypatch.setattr(builtins, "open", self._failing(builtins.open))

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.place:
                raise FULL
            return call(*args, **kwargs)

        return wrapped


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# open, fsync of the file, rename, fsync of the folder
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_write_that_fails_at_any_step_keeps_the_old_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        FailAt(patch, place)
        with pytest.raises(Unavailable, match=r"state\.json.*No space left.*bytes are free"):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state.json"]


def test_a_write_whose_last_sync_fails_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    with monkeypatch.context() as patch:
        FailAt(patch, 4)
        with pytest.raises(Unavailable):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_write_makes_the_folders_it_needs(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "c.json", {"x": [1, 2]})
    assert read_json(tmp_path / "a" / "b" / "c.json") == {"x": [1, 2]}


@pytest.mark.parametrize("place", range(1, 12))
def test_a_folder_that_fails_at_any_step_is_absent_or_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    final = tmp_path / "step-1"
    with monkeypatch.context() as patch:
        failing = FailAt(patch, place)
        try:
            with atomic_folder(final) as folder:
                for name in ("a", "b"):
                    with open(folder / name, "w") as handle:
                        handle.write(name)
        except (Unavailable, OSError):
            pass
    if final.exists():
        assert names(final) == ["a", "b"]
        # Renamed already: only the sync of the parent folder, the last step, can have failed.
        assert place >= failing.count
    assert names(tmp_path) in ([], ["step-1"])


def test_a_folder_whose_block_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_folder(tmp_path / "model") as folder:
        (folder / "half").write_text("half")
        raise KeyError
    assert names(tmp_path) == []


def test_a_removed_folder_is_gone(tmp_path: Path) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    remove_folder(tmp_path / "old")
    assert names(tmp_path) == []


def test_a_journal_cut_at_any_byte_keeps_every_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    rows = [{"id": i, "text": "x" * i} for i in range(3)]
    content = b"".join(dump_json(row).encode() + b"\n" for row in rows)
    for end in range(len(content) + 1):
        path.write_bytes(content[:end])
        whole = content[:end].count(b"\n")
        with Journal(path) as journal:
            assert journal.rows == rows[:whole]
            journal.append({"id": "next"})
        with Journal(path) as journal:
            assert journal.rows == [*rows[:whole], {"id": "next"}]


def test_a_journal_damaged_in_the_middle_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"id": 1}\n{"id": \n{"id": 3}\n')
    with pytest.raises(InputError, match=r"calls\.jsonl:2: .* damaged"):
        Journal(path)


def test_an_append_that_fails_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "calls.jsonl"
    with Journal(path) as journal:
        journal.append({"id": 1})
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            FailAt(patch, 1)
            with pytest.raises(Unavailable, match="the journal cannot be written"):
                journal.append({"id": 2})
        assert path.read_bytes() == before
        assert journal.rows == [{"id": 1}]
        journal.append({"id": 3})
    with Journal(path) as journal:
        assert journal.rows == [{"id": 1}, {"id": 3}]


def test_json_carries_a_lone_surrogate_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    write_json(path, {"text": "a\ud800b", "place": "caf\u00e9"})
    assert read_json(path) == {"text": "a\ud800b", "place": "caf\u00e9"}
    assert "caf\u00e9" in dump_json("caf\u00e9")
    with pytest.raises(ValueError, match="JSON"):
        dump_json(float("nan"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b": }', r"x\.json:2: not valid JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5_000, "a number that cannot be read"),
    ],
)
def test_a_broken_json_file_is_named_with_its_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_json(tmp_path / "x.json")


def test_a_missing_json_file_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; expected the state of a run"):
        read_json(tmp_path / "run.json", "the state of a run")


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_too_little_space_is_refused_with_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match=r"a checkpoint needs about 9,000,000,000,000,000 bytes"):
        require_space(tmp_path / "not" / "there", 9 * 10**15, "a checkpoint")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: Usage(free=1500))
    require_space(tmp_path, 1000, "a checkpoint")
    with pytest.raises(Unavailable, match=r"about 1,001 bytes .* but 1,500 are free"):
        require_space(tmp_path, 1001, "a checkpoint")


@dataclass(frozen=True)
class Usage:
    """What `shutil.disk_usage` says."""

    free: int


# -- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO]
)
@pytest.mark.parametrize("guard", [disk_errors, write_errors])
def test_what_a_disk_does_is_unavailable_and_names_the_place(
    tmp_path: Path, guard: Guard, number: int
) -> None:
    with pytest.raises(Unavailable) as caught, guard(tmp_path / "x", "the log"):
        raise OSError(number, os.strerror(number))
    message = str(caught.value)
    assert f"{tmp_path}/x: the log cannot be written: {os.strerror(number)}" in message
    assert "bytes are free there" in message and "--out" in message


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG])
def test_only_a_write_of_ours_takes_every_error_for_one_of_the_place(
    tmp_path: Path, number: int
) -> None:
    with pytest.raises(OSError, match="x"), disk_errors(tmp_path):
        raise OSError(number, "x")
    with pytest.raises(ConfigError, match="cannot be made: x"), write_errors(tmp_path):
        raise OSError(number, "x")


def no_places(folder: Path) -> list[Path]:
    """Paths where no file and no folder can be."""
    (folder / "file").write_text("")
    return [folder / "file" / "x", Path("/proc/nope/x"), folder / ("x" * 300) / "x"]


@pytest.mark.parametrize(
    "write",
    [
        make_folder,
        lambda path: write_atomic(path, b""),
        lambda path: Journal(path),
        lambda path: Lock(path).acquire(),
        lambda path: atomic_folder(path).__enter__(),
    ],
    ids=["folder", "file", "journal", "lock", "atomic folder"],
)
def test_every_write_names_the_place_where_nothing_can_be(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    for place in no_places(tmp_path):
        with pytest.raises(ConfigError) as caught:
            write(place)
        assert str(caught.value).startswith(str(place))


def test_a_write_to_a_folder_leaves_it_and_no_file_behind(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        write_atomic(tmp_path / "page", b"new")
    assert names(tmp_path) == ["page"]


def test_free_space_can_be_asked_of_a_place_that_cannot_be(tmp_path: Path) -> None:
    for place in no_places(tmp_path):
        with pytest.raises(Unavailable, match="a model needs about"):
            require_space(place, 9 * 10**15, "a model")


def test_only_names_that_are_made_here_are_swept(tmp_path: Path) -> None:
    for name in (".tmp-7-a", ".tmp-mine", ".tmp-", ".tmp-trash-mine", "tmp-7-a"):
        (tmp_path / name).write_text("")
    (tmp_path / ".tmp-trash-7-step" / "deep").mkdir(parents=True)
    sweep_leftovers(tmp_path)
    assert names(tmp_path) == [".tmp-", ".tmp-mine", ".tmp-trash-mine", "tmp-7-a"]
    with atomic_folder(tmp_path / "f") as folder:
        assert is_leftover(folder.name)


# -- locks -----------------------------------------------------------------------------------------


def test_asking_whether_a_lock_is_held_neither_makes_nor_takes_it(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    assert not lock.is_held() and not lock.path.exists()
    assert lock.acquire() and lock.is_held()
    lock.release()
    assert not lock.is_held() and Lock(lock.path).acquire()


def test_a_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "import sys, pathlib; from modelgraft.core.files import Lock\n"
        "lock = Lock(pathlib.Path(sys.argv[1])); print(lock.acquire(), flush=True)\n"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[2])},
    )
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    lock = Lock(path)
    assert not lock.acquire()
    assert lock.holder() == str(holder.pid)
    holder.kill()
    holder.communicate()
    assert lock.acquire()
    assert path.read_text() == str(os.getpid())
    lock.release()


def test_the_strict_reader_and_the_writer_agree(tmp_path: Path) -> None:
    value = {"n": None, "b": True, "i": 2**70, "f": 1e-300, "l": [[], {}], "s": "\u2028\n\t"}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == json.loads(json.dumps(value))
