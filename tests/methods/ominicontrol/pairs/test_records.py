"""Rows of the published schema: good ones become records, others say what is wrong."""

from __future__ import annotations

import copy
import io
import itertools
import random

import pytest
import torch
from pair_rows import encoded, row
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.core.rows import BadRow
from modelgraft.methods.ominicontrol.pairs.records import (
    PairRecord,
    Quality,
    Unscored,
    both_directions,
    parse_record,
)

PICTURE = {"bytes": encoded(), "path": "a.png"}


def record(**others) -> PairRecord:
    return parse_record(row(PICTURE, **others), "a", None)


def test_a_pair_passes_exactly_when_all_three_scores_reach_the_threshold():
    for threshold in (5, 4, 0):
        for scores in itertools.product(range(6), repeat=3):
            named = parse_record(row(PICTURE, scores), "a", None).quality
            assert named.passes(threshold) is all(score >= threshold for score in scores)


def test_scores_keep_their_published_names():
    quality = parse_record(row(PICTURE, (1, 2, 3)), "a", None).quality
    assert quality == Quality(composition=1, consistency=2, image=3)
    assert quality.as_row() == row(PICTURE, (1, 2, 3))["quality_assessment"]


def test_a_pair_is_used_in_both_directions_with_the_caption_of_the_target():
    red, blue = (
        torch.tensor(one).view(3, 1, 1).expand(3, 32, 32) for one in ([1.0, 0, 0], [0, 0, 1.0])
    )
    first, second = both_directions(record())
    assert torch.equal(first.target, red) and torch.equal(first.reference, blue)
    assert torch.equal(second.target, blue) and torch.equal(second.reference, red)
    assert (first.caption, second.caption) == ("this item on a stove", "this item on grass")
    assert first.item == second.item == "kettle"


@pytest.mark.parametrize("missing", [None, {}, dict.fromkeys(("compositeStructure", "x"))])
def test_a_row_without_scores_is_told_from_a_malformed_one(missing):
    with pytest.raises(Unscored, match="quality_assessment"):
        parse_record({**row(PICTURE), "quality_assessment": missing}, "a", None)


BROKEN = {
    "score too high": ("quality_assessment.imageQuality", 6, "whole number from 0 to 5"),
    "negative score": ("quality_assessment.imageQuality", -1, "whole number from 0 to 5"),
    "score between": ("quality_assessment.objectConsistency", 4.5, "whole number from 0 to 5"),
    "score not a number": ("quality_assessment.objectConsistency", float("nan"), "whole number"),
    "score as text": ("quality_assessment.compositeStructure", "5", "whole number from 0 to 5"),
    "score as truth": ("quality_assessment.compositeStructure", True, "whole number from 0 to 5"),
    "score missing": ("quality_assessment.compositeStructure", ..., "compositeStructure"),
    "scores as a list": ("quality_assessment", [5, 5, 5], "is not an object"),
    "no description": ("description", ..., '"description" is missing'),
    "description as text": ("description", "a kettle", "is not an object"),
    "no left caption": ("description.description_0", None, "description_0"),
    "empty right caption": ("description.description_1", " ", '"description_1" is empty'),
    "valid as text": ("description.description_valid", "yes", "neither true nor false"),
    "no picture": ("image", ..., '"image" is missing'),
    "picture as a path": ("image", "a.png", "no embedded picture"),
    "picture without bytes": ("image.bytes", None, "no embedded picture"),
    "description as bytes": ("description", b"\xff", "is not an object"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_rows_name_the_field(name):
    path, value, told = BROKEN[name]
    broken = copy.deepcopy(row(PICTURE))
    *parents, last = path.split(".")
    inside = broken
    for parent in parents:
        inside = inside[parent]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    with pytest.raises(BadRow, match=told) as error:
        parse_record(broken, "a", None)
    assert not isinstance(error.value, Unscored)


def test_other_fields_and_whole_numbers_as_fractions_are_no_fault():
    assert record(raw_json="{}").quality == Quality(5, 5, 5)
    assert parse_record(row(PICTURE, (5.0, 5.0, 4.0)), "a", None).quality == Quality(5, 5, 4)


@pytest.mark.parametrize("name", ["../out.png", "/etc/hostname", "none.png", "inside"])
def test_pictures_outside_of_the_folder_or_missing_are_refused(tmp_path, name):
    folder = tmp_path / "set"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "out.png").write_bytes(encoded())
    with pytest.raises(BadRow, match='"image"'):
        parse_record(row(name), "a", folder)


def test_transparent_and_grey_pictures_become_rgb_on_white():
    content = io.BytesIO()
    Image.new("LA", (64, 32), (0, 0)).save(content, format="PNG")
    picture = PairRecord("a", content.getvalue(), "", Quality(5, 5, 5), "", "", ("", "")).picture()
    assert picture.shape == (3, 32, 64) and bool((picture == 1).all())


def test_broken_embedded_pictures_raise_our_error_and_nothing_else():
    good, draw = encoded(), random.Random(0)
    contents = [good[: draw.randrange(len(good))] for _ in range(30)]
    for _ in range(60):
        broken = bytearray(good)
        for _ in range(8):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        contents.append(bytes(broken))
    failed = 0
    for content in contents:
        try:
            PairRecord("pair 7", content, "", Quality(5, 5, 5), "", "", ("", "")).picture()
        except InputError as error:
            failed += 1
            assert "pair 7" in str(error)
    assert failed > 50


@pytest.mark.parametrize("content", [encoded(size=(32, 32)), encoded()[:20], b"GIF89a", b"no"])
def test_a_picture_whose_header_shows_that_it_is_no_pair_makes_the_row_bad(content, tmp_path):
    told = "32 x 32 pixels" if content == encoded(size=(32, 32)) else "picture"
    with pytest.raises(BadRow, match=f'"image".*{told}'):
        parse_record(row({"bytes": content, "path": None}), "pair 9", None)
    (tmp_path / "one.png").write_bytes(content)
    with pytest.raises(BadRow, match=rf'"image".*one\.png.*{told}|"image".*{told}'):
        parse_record(row("one.png"), "pair 9", tmp_path)
