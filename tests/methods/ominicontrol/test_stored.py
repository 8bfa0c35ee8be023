"""Pictures and prompts kept on the disk: the same training, from files that are made once."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from embedded import open_random, opened
from torch import Tensor

from modelgraft.core.errors import ConfigError, Unavailable
from modelgraft.core.results import Result
from modelgraft.core.settings import Settings
from modelgraft.diffusion.lora_files import read_lora
from modelgraft.diffusion.pictures import write_picture
from modelgraft.diffusion.prompts import Prompts
from modelgraft.methods.ominicontrol import learning
from modelgraft.methods.ominicontrol.config import Task, TrainConfig
from modelgraft.methods.ominicontrol.data.files import (
    FileSource,
    RecordSource,
    read_pairs,
    read_subjects,
)
from modelgraft.methods.ominicontrol.pairs.reading import Counts
from modelgraft.methods.ominicontrol.sources import prompts_in
from modelgraft.methods.ominicontrol.stored import ROWS, Cache, Rows, open_cache
from modelgraft.methods.ominicontrol.train import Fresh, PromptCache, Tokeniser
from modelgraft.training.config import OptimConfig

TASKS: tuple[Task, ...] = ("edges", "grey", "blur", "fill", "subject")
NUMBER = 3


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "open_control", open_random)
    monkeypatch.setattr(learning, "_PROBES", 2)
    monkeypatch.setattr(learning, "_PROBE_STEPS", 1)


def write_album(folder: Path, number: int) -> Path:
    """Pictures with prompts, one of them too long, with other views and outlines of their own."""
    for name in ("", "subject", "edges"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place in range(number):
        drawn = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(place))
        for name, picture in zip(("", "subject", "edges"), drawn, strict=True):
            write_picture(folder / name / f"{place:03d}.png", picture)
        (folder / f"{place:03d}.txt").write_text("star " * (40 if place == 1 else place))
    return folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return write_album(tmp_path / "album", NUMBER)


def source_of(album: Path, tasks: tuple[Task, ...] = TASKS) -> FileSource:
    return FileSource(read_pairs(album, tasks), tasks, 32, 16, 4)


class Counting:
    """Embeds as the pipeline does, and dies when it is asked too often."""

    def __init__(self, pipe: Any, most: int = 10**9) -> None:
        self.inner = PromptCache(pipe, length=512, num_bytes=0)
        self.asked: list[str] = []
        self.calls, self.most = 0, most

    def take(self, texts: Sequence[str]) -> Prompts:
        self.calls += 1
        if self.calls > self.most:
            raise KeyboardInterrupt
        self.asked += texts
        return self.inner.take(texts)


def filled(
    folder: Path, source: FileSource | RecordSource, tokenise: Tokeniser, made_by: str = ""
) -> Cache:
    with opened(folder) as run:
        return open_cache(source, prompts_in(source) or [], tokenise, run, Accelerator(cpu=True),
                          made_by=made_by)  # fmt: skip


def tokeniser(most: int = 10**9) -> tuple[Tokeniser, Counting]:
    control, _ = open_random("", Settings())
    prompts = Counting(control.pipe, most)
    return Tokeniser(control, prompts), prompts


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Each file of a cache, with what changes when it is written again."""
    found = sorted((folder / "cache").rglob("*.safetensors"))
    return {one.name: (one.stat().st_ino, one.stat().st_mtime_ns) for one in found}


# -- training --------------------------------------------------------------------------------------


def learnt(folder: Path, **options: Any) -> Result:
    optim = OptimConfig(lr=1e-2, schedule="constant", batch=4, micro_batch=2, save_every=2)
    usual: dict[str, Any] = {"steps": 4, "probe_every": 0, "optim": optim, "task": TASKS[2:]}
    with opened(folder) as run:
        return learning.learn(TrainConfig(size=32, condition_size=16, **usual | options), run)


def weights(folder: Path, task: str) -> dict[str, Tensor]:
    return read_lora(folder / "artefacts" / f"{task}.safetensors", header="omini").up


def test_training_from_the_disk_gives_the_same_bits_and_goes_on_from_what_is_there(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn conditions, given ones, dropped text; stopped half-way and started again."""
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    options: dict[str, Any] = {"data": album, "drop_text": 0.5}
    learnt(tmp_path / "fresh", **options)
    learnt(tmp_path / "parts", **options, cache=True, steps=2)
    before = files_of(tmp_path / "parts")
    result = learnt(tmp_path / "parts", **options, cache=True)
    assert files_of(tmp_path / "parts") == before and len(before) == 2
    for task in TASKS[2:]:
        fresh, stored = (weights(tmp_path / name, task) for name in ("fresh", "parts"))
        assert fresh and all(torch.equal(fresh[name], stored[name]) for name in fresh)
    assert any("1 prompts are longer" in one for one in result.remarks)


def test_toys_have_no_end_that_could_be_kept() -> None:
    with pytest.raises(ConfigError, match="name their --data"):
        TrainConfig(cache=True)


# -- files -----------------------------------------------------------------------------------------


def test_neither_pictures_nor_encoders_are_needed_again(tmp_path: Path, album: Path) -> None:
    tasks: tuple[Task, ...] = ("edges", "grey", "subject")
    source = source_of(album, tasks)
    tokenise, prompts = tokeniser()
    wanted = Fresh(source, tokenise).take([2, 0, 2], 5)
    asked = len(prompts.asked)
    cache = filled(tmp_path / "run", source, tokenise)
    assert len(prompts.asked) - asked == NUMBER  # two distinct ones, and the empty one
    shutil.rmtree(album)
    pipe = tokenise.control.pipe
    pipe.vae = pipe.text_encoder = pipe.text_encoder_2 = None
    found = cache.take([2, 0, 2], 6)
    assert torch.equal(found.clean, wanted.clean) and torch.equal(found.ids, wanted.ids)
    assert all(torch.equal(*pair) for pair in zip(found.text, wanted.text, strict=True))
    assert list(found.conditions) == list(wanted.conditions) == list(tasks)
    assert all(torch.equal(found.conditions[one], wanted.conditions[one]) for one in tasks)
    assert cache.tokenise.embedded([""]).tokens.shape == wanted.text.tokens[:1].shape


def test_what_is_drawn_at_each_use_is_not_kept(tmp_path: Path, album: Path) -> None:
    source = source_of(album)
    tokenise, _ = tokeniser()
    cache = filled(tmp_path / "run", source, tokenise)
    for use in (0, 1):
        found, wanted = (one.take([1, 2], use) for one in (cache, Fresh(source, tokenise)))
        assert list(found.conditions) == list(TASKS)
        for task in TASKS:
            assert torch.equal(found.conditions[task], wanted.conditions[task]), task
    assert source.varying == ("blur", "fill")
    given = [replace(one, conditions={**one.conditions, "blur": one.target, "fill": one.target})
             for one in source.pairs]  # fmt: skip
    assert replace(source, pairs=given).varying == ()
    assert replace(source, pairs=[*given[1:], source.pairs[0]]).varying == ("blur", "fill")


def test_judged_pairs_are_kept_in_both_directions(tmp_path: Path) -> None:
    scores = ("compositeStructure", "objectConsistency", "imageQuality")
    rows = []
    for place in range(3):
        drawn = torch.rand(3, 32, 64, generator=torch.Generator().manual_seed(place))
        write_picture(tmp_path / f"{place}.png", drawn)
        said = {"item": "toy", "description_0": f"left {place}", "description_1": "right"}
        rows.append({"image": f"{place}.png", "quality_assessment": dict.fromkeys(scores, 5),
                     "description": said})  # fmt: skip
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = RecordSource(read_subjects(tmp_path, Counts()), 32, 32, 4)
    tokenise, _ = tokeniser()
    found, wanted = (
        one.take([3, 0, 5], 0)
        for one in (filled(tmp_path / "run", source, tokenise), Fresh(source, tokenise))
    )
    assert torch.equal(found.clean, wanted.clean)
    assert torch.equal(found.text.tokens, wanted.text.tokens)
    assert torch.equal(found.conditions["subject"], wanted.conditions["subject"])


def test_a_killed_run_makes_only_what_is_missing(tmp_path: Path) -> None:
    source = source_of(write_album(tmp_path / "album", ROWS + 8), ("subject",))
    whole, all_asked = tokeniser()
    wanted = filled(tmp_path / "whole", source, whole)
    first, _ = tokeniser(most=1)
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "run", source, first)
    before = files_of(tmp_path / "run")
    assert set(before) == {"text-00000.safetensors"}
    (top,) = (tmp_path / "run" / "cache").iterdir()
    (top / ".tmp-1-text-00001.safetensors").write_bytes(b"half")
    second, asked = tokeniser()
    found = filled(tmp_path / "run", source, second)
    assert asked.asked == all_asked.asked[ROWS:]
    after = files_of(tmp_path / "run")
    assert {name: after[name] for name in before} == before and len(after) == 4
    assert not list(top.glob(".tmp-*"))
    numbers = range(ROWS + 8)
    for name in ("clean", "ids"):
        assert torch.equal(getattr(found.take(numbers, 0), name),
                           getattr(wanted.take(numbers, 0), name))  # fmt: skip


def test_files_belong_to_these_pictures_prompts_sizes_and_this_model(
    tmp_path: Path, album: Path
) -> None:
    tokenise, _ = tokeniser()

    def folder(made_by: str = "", **changes: Any) -> Path:
        source = replace(source_of(album), **changes)
        return filled(tmp_path / "run", source, tokenise, made_by).rows.folder

    first = folder()
    others = [folder("another model"), folder(condition_px=32), folder(tasks=("edges",))]
    (album / "000.txt").write_text("a ring")
    others.append(folder())
    write_picture(album / "subject" / "000.png", torch.zeros(3, 32, 32))
    others.append(folder())
    assert len({first, *others}) == 6 and folder() == others[-1]


def test_processes_make_each_file_once_between_them(tmp_path: Path) -> None:
    rows = Rows(tmp_path, "text")
    made: list[list[int]] = []
    for rank in (1, 0):
        one: Any = SimpleNamespace(
            num_processes=2, process_index=rank, wait_for_everyone=lambda: None
        )
        own: list[int] = []

        def make(numbers: range, own: list[int] = own) -> dict[str, Tensor]:
            own.extend(numbers)
            return {"number": torch.tensor(list(numbers))[:, None]}

        with opened(tmp_path / f"run-{rank}") as run:
            rows.fill(3 * ROWS + 1, make, run, one)
        made.append(own)
    assert sorted(made[0] + made[1]) == list(range(3 * ROWS + 1)) and made[0] and made[1]
    asked = [3 * ROWS, 0, ROWS + 1]
    assert rows.read("number", asked).flatten().tolist() == asked


def test_a_disk_without_room_is_told_after_the_first_file(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(Unavailable, match="the cache of text needs about"):
        filled(tmp_path / "run", source_of(album), tokeniser()[0])
    assert not files_of(tmp_path / "run")
