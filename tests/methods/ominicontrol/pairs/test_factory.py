"""The whole line: what is written can be read, counts add up, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.evaluation.intervals import wilson
from modelgraft.methods.ominicontrol.pairs.drawing import Drawing
from modelgraft.methods.ominicontrol.pairs.factory import Factory, make_pairs
from modelgraft.methods.ominicontrol.pairs.judging import Judge, Judging
from modelgraft.methods.ominicontrol.pairs.prompts.items import PairPrompt, pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import toy_items
from modelgraft.methods.ominicontrol.pairs.reading import Counts, read_records
from modelgraft.methods.ominicontrol.pairs.records import Quality, both_directions

SMALL = Factory(drawing=Drawing(height=32, steps=2, seeds=2), judging=Judging(looks=2))
PROMPTS = pair_prompts(list(toy_items(1, seed=0)))[:3]


def strict(picture: Tensor, prompt: PairPrompt) -> Quality:
    """A judge that dislikes the second prompt."""
    return Quality(5, 3 if prompt == PROMPTS[1] else 5, 5)


def same(picture: Tensor, prompt: PairPrompt) -> Quality:
    return Quality(5, 5, 5)


def make(pipe: Any, folder: Path, judge: Judge, factory: Factory = SMALL) -> Result:
    with open_run(folder, seed=7) as run:
        return run.finish(make_pairs(pipe, PROMPTS, judge, factory, run))


def values(result: Result) -> dict[str, float]:
    return {number.name: number.value for number in result.numbers}


@pytest.fixture
def made(pipe, tmp_path) -> tuple[Path, Result]:
    """One finished run."""
    return tmp_path / "run", make(pipe, tmp_path / "run", strict)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "artefacts/records.jsonl").open()]


def test_all_judged_pairs_are_written_and_the_good_ones_read_back(made):
    folder, result = made
    counts = Counts()
    kept = list(read_records(folder / "artefacts", counts=counts))
    assert counts == Counts(kept=4, below=2)
    assert values(result)["pairs kept"] == 4 and values(result)["pairs refused"] == 2
    written = rows(folder)
    assert [one.id for one in kept] == [
        row["id"] for row in written if row["quality_assessment"]["objectConsistency"] == 5
    ]
    left, right = both_directions(kept[0])
    assert left.target.shape == (3, 32, 32)
    assert (left.caption, right.caption) == kept[0].captions


def test_records_say_how_they_were_made(made):
    folder, _ = made
    for place, row in enumerate(rows(folder)):
        prompt = PROMPTS[place // 2]
        assert (row["prompt"], row["seed"]) == (prompt.text, place % 2)
        assert row["description"] == {
            "item": prompt.item,
            "description_0": f"{prompt.subject}, {prompt.left}",
            "description_1": f"{prompt.subject}, {prompt.right}",
            "category": prompt.category,
            "description_valid": True,
        }
        with Image.open(folder / "artefacts" / row["image"]) as image:
            assert image.size == (64, 32)
        good = row["quality_assessment"]["objectConsistency"] == 5
        assert row["looks"] == ([[5, 5, 5]] * 2 if good else [[5, 3, 5]])
        assert -1 <= row["similarity"] <= 1


def test_the_numbers_add_up_with_their_intervals(made):
    folder, result = made
    found = {number.name: number for number in result.numbers}
    num_kept = found["pairs kept"].value
    assert (found["prompts"].value, found["pairs made"].value, found["pairs judged"].value) == (
        3,
        6,
        6,
    )
    share, low, high, n = wilson(num_kept, 6)
    for name in ("share kept", "share that passes objectConsistency"):
        number = found[name]
        assert (number.value, number.low, number.high, number.n) == (share, low, high, n)
    assert found["share that passes imageQuality"].value == 1
    counts = json.loads((folder / "artefacts/counts.json").read_text())
    assert counts["seed"] == 7 and counts["settings"]["drawing"]["seeds"] == 2
    assert counts["numbers"] == [number.as_dict() for number in result.numbers]
    assert counts["versions"] and not result.partial
    assert [one.path for one in result.artefacts] == [
        "artefacts/records.jsonl",
        "artefacts/counts.json",
    ]


def test_a_second_run_does_nothing_again_and_writes_the_same_bytes(made):
    folder, first = made
    before = {path: path.read_bytes() for path in (folder / "artefacts").rglob("*.*")}

    def nobody(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("asked again")

    again = make(nobody, folder, nobody)
    assert values(again) == values(first)
    assert {path: path.read_bytes() for path in (folder / "artefacts").rglob("*.*")} == before


def test_pictures_without_an_answer_have_no_record_and_make_the_result_partial(pipe, tmp_path):
    def shy(picture: Tensor, prompt: PairPrompt) -> Quality | None:
        return None if prompt == PROMPTS[0] else Quality(5, 5, 5)

    result = make(pipe, tmp_path / "run", shy)
    assert "no answer for 2 pictures" in result.partial and len(rows(tmp_path / "run")) == 4
    assert values(result)["pairs judged"] == values(result)["pairs kept"] == 4
    assert values(result)["share kept"] == 1
    assert not make(pipe, tmp_path / "run", same).partial
    assert len(rows(tmp_path / "run")) == 6


def test_a_run_that_keeps_nothing_says_so(pipe, tmp_path):
    result = make(pipe, tmp_path / "run", lambda picture, prompt: Quality(0, 0, 0))
    assert "no pair was good enough" in result.partial
    assert values(result)["share kept"] == 0 and len(rows(tmp_path / "run")) == 6


def test_kept_pairs_with_nearly_identical_views_are_reported(pipe, tmp_path):
    class Doubling:
        """Draws the left view twice."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            output = pipe(*args, **kwargs)
            image = output.images[0]
            image.paste(image.crop((0, 0, 32, 32)), (32, 0))
            return output

    result = make(Doubling(), tmp_path / "twice", same)
    assert values(result)["kept with nearly identical views"] == 1
    assert any("6 of 6 kept pairs have nearly identical views" in one for one in result.remarks)
    plain = make(pipe, tmp_path / "plain", same)
    assert values(plain)["kept with nearly identical views"] == 0 and not plain.remarks


def test_no_prompts_are_an_error(pipe, tmp_path):
    with open_run(tmp_path / "run", seed=0) as run, pytest.raises(InputError, match="no prompts"):
        make_pairs(pipe, [], same, SMALL, run)
