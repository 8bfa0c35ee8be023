"""Names of adapters: files with any name, shipped ones, and files on the hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from random_flux import make_pipe
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import ConfigError, InputError, Unavailable
from modelgraft.core.hub import Layout, Snapshot
from modelgraft.methods.ominicontrol.adapter import finding
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.finding import find_adapter, told_info
from modelgraft.methods.ominicontrol.adapter.info import PUBLISHED, AdapterInfo

INFO = AdapterInfo(task="edges", condition_px=32, base="black-forest-labs/FLUX.1-dev")
HUB = "Yuanshi/OminiControl:omini/subject_512.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def file(pipe: Any, tmp_path: Path) -> Path:
    control = OminiControl(pipe)
    control.attach("edges", INFO)
    control.save("edges", tmp_path / "edges.safetensors")
    control.detach()
    return tmp_path / "edges.safetensors"


# -- names on the transformer ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("my edges (v2)", "my_edges_v2"),
        ("a.b", "a_b"),
        ("b\u00f6se-1", "b\u00f6se-1"),
        ("()", "adapter"),
    ],
)
def test_any_name_of_a_file_makes_a_name_of_an_adapter(
    pipe: Any, file: Path, stem: str, name: str
) -> None:
    path = shutil.copy(file, file.with_name(f"{stem}.safetensors"))
    control = OminiControl(pipe)
    assert control.load(path) == name
    assert control.parameters(name)


def test_two_files_of_one_name_are_two_adapters(pipe: Any, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "edges.safetensors"
    other.parent.mkdir()
    save_file({key: one + 1 for key, one in load_file(file).items()}, other)
    control = OminiControl(pipe)
    names = [control.load_as(one, INFO) for one in (file, other, file)]
    assert names == ["edges", "edges_2", "edges_3"]
    first, second, third = (control.parameters(name) for name in names)
    assert all(torch.equal(a + 1, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, third, strict=True))
    with pytest.raises(ConfigError, match="has an adapter 'edges' already"):
        control.load_as(other, INFO, "edges")


@pytest.mark.parametrize(
    ("base", "model", "is_told"),
    [
        ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell", True),
        ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-dev@abc/d", False),
        ("black-forest-labs/FLUX.1-dev", "/models/FLUX.1-dev/", False),
        ("tiny:flux", "tiny:flux", False),
        ("tiny:flux", "/models/FLUX.1-dev", True),
        ("", "anything", False),
        ("tiny:flux", None, False),
    ],
)
def test_a_base_of_another_name_is_told_and_no_error(
    parts: Any, file: Path, base: str, model: str | None, is_told: bool
) -> None:
    pipe: Any = make_pipe(parts)
    if model is not None:
        pipe.register_to_config(_name_or_path=model)
    told: list[str] = []
    OminiControl(pipe).load_as(file, replace(INFO, base=base), report=told.append)
    assert bool(told) == is_told
    assert all(base in text and str(model) in text for text in told)


# -- where files lie -------------------------------------------------------------------------------


def test_paths_stay_and_shipped_names_that_are_none_are_refused(file: Path) -> None:
    assert find_adapter(str(file)) == file
    assert find_adapter("none.safetensors") == Path("none.safetensors")
    with pytest.raises(ConfigError, match="adapter tiny:nothing: not shipped"):
        find_adapter("tiny:nothing")


def hub_of(folder: Path, asked: list[Any]) -> Callable[..., Snapshot]:
    """A hub whose one repository is a folder on this machine."""

    def fetch(
        repository: str, revision: str, layout: Layout, *, offline: bool, report: Any
    ) -> Snapshot:
        names = [str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()]
        small, weights = layout.choose(names)
        asked.append((repository, revision, small, weights))
        assert small == [layout.entry] and layout.has_weights(folder) == bool(weights)
        return Snapshot(folder, COMMIT)

    return fetch


@pytest.mark.parametrize("revision", ["", "v1/beta"])
def test_a_file_on_the_hub_is_the_only_one_fetched_and_known_by_its_name(
    pipe: Any, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    folder, asked = tmp_path / COMMIT, []
    (folder / "omini").mkdir(parents=True)
    (folder / ".gitattributes").write_text("")
    for name in ("omini/subject_512", "omini/subject_1024_beta"):
        save_file(load_file(file), folder / f"{name}.safetensors")
    monkeypatch.setattr(finding, "fetch_snapshot", hub_of(folder, asked))
    name = HUB.replace(":", f"@{revision}:") if revision else HUB
    path = find_adapter(name)
    assert path == folder / "omini/subject_512.safetensors"
    assert asked == [("Yuanshi/OminiControl", revision, [".gitattributes"],
                      ["omini/subject_512.safetensors"])]  # fmt: skip
    control = OminiControl(pipe)
    assert control.infos[control.load(path)] == PUBLISHED["omini/subject_512"]


def test_a_file_that_was_fetched_before_is_found_offline(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    repository = cache / "models--Yuanshi--OminiControl"
    snapshot = repository / "snapshots" / COMMIT
    with pytest.raises(Unavailable, match=r"(?s)Yuanshi/OminiControl: .*offline.*a file on this"):
        find_adapter(HUB, offline=True)
    (snapshot / "omini").mkdir(parents=True)
    (snapshot / ".gitattributes").write_text("")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    with pytest.raises(Unavailable, match="offline"):
        find_adapter(HUB, offline=True)
    shutil.copy(file, snapshot / "omini" / "subject_512.safetensors")
    for name in (HUB, HUB.replace(":", f"@{COMMIT}:")):
        assert find_adapter(name, offline=True) == snapshot / "omini/subject_512.safetensors"


def test_what_is_known_without_fetching_is_told(file: Path) -> None:
    assert told_info(str(file)) == INFO
    assert told_info(HUB) == PUBLISHED["omini/subject_512"]
    assert told_info("somebody/else:adapter.safetensors") is None
    bare = file.parent / "experimental" / "canny.safetensors"
    bare.parent.mkdir()
    save_file(load_file(file), bare)
    assert told_info(str(bare)) == PUBLISHED["experimental/canny"]
    with pytest.raises(InputError, match="no such file"):
        told_info("none.safetensors")
