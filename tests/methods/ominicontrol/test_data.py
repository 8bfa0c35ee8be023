"""Pictures with conditions: of the toy world, and of files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from modelgraft.core.errors import InputError
from modelgraft.diffusion.conditions import SMALL_TASKS, tasks_for
from modelgraft.diffusion.pictures import resize, write_picture
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.files import (
    FileSource,
    RecordSource,
    read_pairs,
    read_subjects,
)
from modelgraft.methods.ominicontrol.data.toys import (
    ToySource,
    conditions_of,
    draw_scenes,
    prompts_of,
)
from modelgraft.methods.ominicontrol.pairs.reading import Counts
from modelgraft.methods.ominicontrol.train import numbers_of

TASKS = ("edges", "depth", "grey", "blur", "fill", "subject")


def test_toy_conditions_have_the_size_asked_for_and_depend_on_number_and_use_alone() -> None:
    source = ToySource(TASKS, seed=0, condition_px=16)
    together, alone = source.take([4, 9], 3), source.take([9], 3)
    for task in TASKS:
        assert together.conditions[task].shape == (2, 3, 16, 16)
        assert torch.equal(together.conditions[task][1], alone.conditions[task][0])
    assert together.prompts[1] == alone.prompts[0]
    again = source.take([9], 4)
    assert torch.equal(alone.targets, again.targets)
    assert not torch.equal(alone.conditions["fill"], again.conditions["fill"])


def test_the_depth_of_a_toy_scene_is_the_worlds() -> None:
    scenes = draw_scenes(range(3), seed=0, split="train")
    found = conditions_of(scenes, ("depth",), range(3), use=0)["depth"]
    assert torch.equal(found[:, 0], torch.from_numpy(scenes.seen.depth))


def test_a_reference_shows_the_same_subject_in_another_setting() -> None:
    scenes = draw_scenes(range(50), seed=0, split="held-out")
    own, other = scenes.placings, scenes.reference_placings
    same = (own.background == other.background) & (own.position == other.position)
    assert same.mean() < 0.1
    prompts = prompts_of(scenes, range(50), says="setting")
    assert not any("striped" in one for one in prompts)
    assert any(" red " in one for one in prompts_of(scenes, range(50), says="all"))


def test_captions_leave_to_the_conditions_what_those_tell() -> None:
    def words(*tasks: Task) -> set[str]:
        return {word for one in ToySource(tasks, seed=0).take(range(60), 0).prompts
                for word in one.replace(",", "").split()}  # fmt: skip

    placed, looks = {"upright", "tilted", "centre", "side"}, {"striped", "ringed"}
    assert looks <= words("edges", "grey") and not placed & words("edges", "grey")
    assert placed <= words("subject") and not looks & words("subject")
    assert not (placed | looks) & words("depth", "subject")


def test_identical_references_are_the_targets_themselves() -> None:
    shown = ToySource(("subject",), seed=0, reference="identical").take(range(3), 0)
    assert torch.equal(shown.conditions["subject"], shown.targets)
    moved = ToySource(("subject",), seed=0, reference="augmented").take(range(3), 0)
    assert not torch.equal(moved.conditions["subject"], moved.targets)


def test_what_outputs_are_measured_by_is_blurred_as_outputs_are() -> None:
    shown = ToySource(("blur",), seed=0, is_training=False).take(range(8), 0)
    again = SMALL_TASKS["blur"].condition(shown.targets)
    assert torch.equal(shown.conditions["blur"], again)
    trained = ToySource(("blur",), seed=0).take(range(8), 0).conditions["blur"]
    assert not torch.allclose(trained, again, atol=1e-3)


def test_every_picture_comes_once_before_any_comes_again() -> None:
    class Ten:
        total = 10

    seen = [number for step in range(5) for number in numbers_of(Ten(), step, 4, seed=1)]
    assert sorted(seen[:10]) == list(range(10)) and sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert numbers_of(Ten(), 1, 4, seed=1) == seen[4:8]


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in range(3):
        picture = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(place))
        write_picture(tmp_path / f"{place}.png", picture)
        (tmp_path / f"{place}.txt").write_text(f"picture {place}\n")
    return tmp_path


def test_conditions_are_made_from_pictures_without_any(folder: Path) -> None:
    pairs = read_pairs(folder, ("edges",))
    source = FileSource(pairs, ("edges",), 32, 32, 4)
    shown = source.take([0, 2], 0)
    assert shown.prompts == ["picture 0", "picture 2"] and source.total == 3
    assert shown.targets.shape == (2, 3, 32, 32)
    own = SMALL_TASKS["edges"].condition(shown.targets)
    assert torch.equal(shown.conditions["edges"], own)


def test_conditions_of_a_folder_are_taken_as_they_are(folder: Path) -> None:
    (folder / "edges").mkdir()
    for place in range(3):
        write_picture(folder / "edges" / f"{place}.png", torch.full((3, 40, 60), place / 2))
    shown = FileSource(read_pairs(folder, ("edges",)), ("edges",), 32, 16, 4).take([1], 0)
    assert torch.allclose(shown.conditions["edges"], torch.full((1, 3, 16, 16), 0.5), atol=0.01)


def test_a_picture_without_its_condition_is_left_out_and_told(folder: Path) -> None:
    (folder / "edges").mkdir()
    write_picture(folder / "edges" / "0.png", torch.zeros(3, 40, 60))
    told: list[str] = []
    kept = read_pairs(folder, ("edges",), lambda *row: told.append(" ".join(map(str, row))))
    assert [one.target.name for one in kept] == ["0.png"]
    assert len(told) == 2 and "edges/1.png is missing" in told[0]
    with pytest.raises(InputError, match=r"edges/1\.png is missing"):
        read_pairs(folder, ("edges",))


def test_rows_name_files_below_their_own_folder(folder: Path) -> None:
    rows = [
        {"target": "0.png", "prompt": "a", "conditions": {"subject": "1.png"}},
        {"target": "../0.png", "prompt": "b", "conditions": {"subject": "1.png"}},
        {"target": "2.png", "prompt": "c"},
        {"target": "9.png", "prompt": "d", "conditions": {"subject": "1.png"}},
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told: list[str] = []
    kept = read_pairs(path, ("subject",), lambda *row: told.append(row[3]))
    assert [one.prompt for one in kept] == ["a"]
    assert ["outside" in told[0], "another view" in told[1], "no file" in told[2]] == [True] * 3


def test_pictures_that_headers_show_to_be_none_or_of_another_aspect_are_left_out(
    folder: Path,
) -> None:
    (folder / "edges").mkdir()
    sizes = {"0": (40, 40), "1": (27, 40), "2": (40, 60), "3": (40, 60)}
    for name, size in sizes.items():
        write_picture(folder / "edges" / f"{name}.png", torch.zeros(3, *size))
    (folder / "2.png").write_bytes(b"\x89PNG no more")
    (folder / "3.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "edges" / "3.png").write_bytes(b"")
    told: list[str] = []
    kept = read_pairs(folder, ("edges",), lambda *row: told.append(row[3]))
    assert [one.target.name for one in kept] == ["1.png"]  # 27 x 40 is 40 x 60 rounded
    for place, words in enumerate((r"0.png.*40 x 40.*60 x 40", "2.png: not a", "edges/3.png: not")):
        assert re.search(words, told[place]) and "\n" not in told[place]
    with pytest.raises(InputError, match=r"0\.png.*40 x 40.*60 x 40"):
        read_pairs(folder, ("edges",))
    rows = [{"target": f"{name}.png", "prompt": "a", "conditions": {"edges": f"edges/{name}.png"}}
            for name in "0123"]  # fmt: skip
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(read_pairs(path, ("edges",), lambda *row: None)) == 1


def test_a_subject_may_have_another_aspect_than_its_target(folder: Path) -> None:
    (folder / "subject").mkdir()
    for place in range(3):
        write_picture(folder / "subject" / f"{place}.png", torch.zeros(3, 50, 20))
    assert len(read_pairs(folder, ("subject",))) == 3


@pytest.mark.parametrize(("output", "side"), [(32, 16), (256, 128)])
def test_compact_conditions_are_found_at_the_targets_size(
    folder: Path, output: int, side: int
) -> None:
    source = FileSource(read_pairs(folder, ("edges",)), ("edges",), output, side, 4)
    shown = source.take([1], 0)
    whole = tasks_for(output)["edges"].condition(shown.targets)
    assert torch.equal(shown.conditions["edges"], resize(whole, (side, side)))


def test_judged_pairs_are_read_with_what_became_of_the_others(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", torch.zeros(3, 32, 64))
    scores = ("compositeStructure", "objectConsistency", "imageQuality")
    said = {"item": "a", "description_0": "b", "description_1": "c"}
    rows = [{"image": "a.png", "quality_assessment": dict.fromkeys(scores, score),
             "description": said} for score in (5, 4, 5)]  # fmt: skip
    rows.append({"image": "a.png", "description": said})
    path, counts = tmp_path / "records.jsonl", Counts()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = RecordSource(read_subjects(tmp_path, counts), 32, 32, 4)
    assert found.total == 4 and found.take([3], 0).targets.shape == (1, 3, 32, 32)
    assert counts == Counts(kept=2, below=1, unscored=1)
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(InputError, match="1 are below the threshold, 0 without"):
        read_subjects(path, Counts())


def test_a_folder_without_pictures_or_none_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture in this folder"):
        read_pairs(tmp_path, ("edges",))
    with pytest.raises(InputError, match="no such file or folder"):
        read_pairs(tmp_path / "missing", ("edges",))


def test_labels_are_found_again() -> None:
    scenes = draw_scenes(range(20), seed=0, split="held-out")
    assert len(np.unique(scenes.subjects.shape)) > 3
