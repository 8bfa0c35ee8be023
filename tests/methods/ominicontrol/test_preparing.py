"""Conditions of pictures, in the layout that training reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from embedded import opened
from PIL import Image

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Result
from modelgraft.diffusion.conditions import edges
from modelgraft.diffusion.pictures import read_picture
from modelgraft.methods.ominicontrol import actions
from modelgraft.methods.ominicontrol.config import ConditionsConfig
from modelgraft.methods.ominicontrol.data.files import read_pairs


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("wide", (90, 60)), ("tall", (60, 90))):
        Image.linear_gradient("L").resize(size).save(folder / f"{name}.jpg")
    return folder


def prepare(folder: Path, config: ConditionsConfig) -> Result:
    with opened(folder) as run:
        return run.finish(actions.conditions(config, run))


def test_what_is_written_is_what_training_reads(photos: Path, tmp_path: Path) -> None:
    config = ConditionsConfig(picture=(photos,), task=("edges", "grey"), size=48)
    found = prepare(tmp_path / "run", config)
    folder = tmp_path / "run" / "artefacts" / "pictures"
    pairs = read_pairs(folder, ("edges", "grey"))
    assert [one.target.stem for one in pairs] == ["tall", "wide"]
    for pair in pairs:
        target = read_picture(pair.target)
        assert target.shape[1:] in [(48, 32), (32, 48)]
        assert (read_picture(pair.conditions["edges"]) == edges(target[None])[0]).all()
    assert {one.name: one.value for one in found.numbers}["conditions"] == 4
    assert found.artefacts[-1].kind == "grid"


def test_equal_seeds_give_equal_files(photos: Path, tmp_path: Path) -> None:
    config = ConditionsConfig(picture=(photos / "wide.jpg",), task=("fill", "blur"), size=48)
    first, second = (prepare(tmp_path / name, config).artefacts for name in ("a", "b"))
    assert [one.sha256 for one in first] == [one.sha256 for one in second]


def test_without_pictures_photographs_stand_in(tmp_path: Path) -> None:
    found = prepare(tmp_path / "run", ConditionsConfig(task=("edges",), size=64))
    assert found.numbers[0].value == 4
    assert any("astronaut" in one.path for one in found.artefacts)


def test_without_photographs_toy_scenes_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = prepare(tmp_path / "run", ConditionsConfig(task=("edges",)))
    assert any("toy0" in one.path for one in found.artefacts)


def test_what_cannot_be_prepared_is_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="subject"):
        prepare(tmp_path / "a", ConditionsConfig(picture=(photos,), task=("subject",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no picture"):
        prepare(tmp_path / "b", ConditionsConfig(picture=(tmp_path / "empty",)))
    (photos / "wide.png").write_bytes((photos / "wide.jpg").read_bytes())
    with pytest.raises(InputError, match="two pictures are called wide"):
        prepare(tmp_path / "c", ConditionsConfig(picture=(photos,)))
