"""Pictures to learn from and to measure by: which they are, how large, and kept apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from embedded import open_random, opened

from modelgraft.core.errors import ConfigError
from modelgraft.core.settings import Settings
from modelgraft.diffusion.latents import grid_ids
from modelgraft.diffusion.pictures import write_picture
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.data.files import FileSource, Pair, RecordSource
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.method.positions import condition_ids
from modelgraft.methods.ominicontrol.opening import Sizes
from modelgraft.methods.ominicontrol.pairs.records import PairRecord, Quality
from modelgraft.methods.ominicontrol.sources import (
    LEAST,
    counts_of,
    names_of,
    open_source,
    prompts_in,
    sizes_under,
    split,
)

SIZES = Sizes(32, 32, 4)


def files(number: int, *, again: int = 0) -> FileSource:
    """So many targets, the first `again` of them twice."""
    places = [*range(number), *range(again)]
    pairs = [Pair(Path(f"{place}.png"), f"prompt {place}", {}) for place in places]
    return FileSource(pairs, ("edges",), 32, 32, 4)


def records(number: int) -> RecordSource:
    found = [
        PairRecord(str(place), Path(f"{place}.png"), "", Quality(5, 5, 5), "toy", "toys",
                   (f"left {place}", f"right {place}"))
        for place in range(number)
    ]  # fmt: skip
    return RecordSource(found, 32, 32, 4)


# -- held out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [0, LEAST])
def test_probes_are_not_learnt_from_where_there_are_enough(again: int) -> None:
    source = files(LEAST, again=again)
    found = split(source, 16, seed=3)
    assert isinstance(found.probes, FileSource) and isinstance(found.training, FileSource)
    probes = {one.target for one in found.probes.pairs}
    training = {one.target for one in found.training.pairs}
    assert len(found.numbers) == len(probes) == 16 == len(found.probes.pairs)
    assert not probes & training and len(probes | training) == LEAST
    assert not found.remark and not found.probes.is_training and found.training.is_training
    assert split(source, 16, seed=3) == found and split(source, 16, seed=4) != found


def test_a_judged_pair_is_held_out_in_both_directions() -> None:
    found = split(records(LEAST // 2), 16, seed=0)
    assert isinstance(found.probes, RecordSource) and isinstance(found.training, RecordSource)
    assert len(found.probes.records) == 8 and found.numbers == range(16)
    ids = [{one.id for one in part.records} for part in (found.probes, found.training)]
    assert not ids[0] & ids[1] and len(ids[1]) == LEAST // 2 - 8


def test_few_pictures_are_learnt_from_and_measured_and_that_is_said() -> None:
    for source in (files(LEAST - 1), records(LEAST // 2 - 1), files(5)):
        found = split(source, 16, seed=0)
        assert found.training == source and "also learnt from" in found.remark
        assert found.numbers == range(min(16, source.total))


def test_toys_are_measured_by_combinations_that_training_never_shows() -> None:
    found = split(ToySource(("edges",), seed=0), 16, seed=0)
    assert isinstance(found.probes, ToySource) and isinstance(found.training, ToySource)
    assert (found.training.split, found.probes.split) == ("train", "held-out")
    assert not found.probes.is_training and not found.remark


# -- names and prompts -----------------------------------------------------------------------------


def test_pictures_and_prompts_are_called_by_what_they_come_from() -> None:
    assert names_of(files(3), [2, 0]) == ["2.png", "0.png"]
    assert names_of(records(2), [1, 2]) == ["0 right", "1 left"]
    assert names_of(ToySource(("edges",), seed=0), [7]) == ["scene 7"]
    assert prompts_in(files(2)) == ["prompt 0", "prompt 1"]
    assert prompts_in(records(1)) == ["left 0", "right 0"]
    assert prompts_in(ToySource(("edges",), seed=0)) is None


def test_judged_pairs_are_known_by_their_records(tmp_path: Path) -> None:
    row = {
        "image": "a.png",
        "quality_assessment": dict.fromkeys(
            ("compositeStructure", "objectConsistency", "imageQuality"), 5
        ),
        "description": {"item": "a toy", "description_0": "left", "description_1": "right",
                        "category": "toys"},
    }  # fmt: skip
    (tmp_path / "records.jsonl").write_text(json.dumps(row) + "\n")
    write_picture(tmp_path / "a.png", torch.rand(3, 528, 1056))
    with opened(tmp_path / "run") as run:
        found = open_source(tmp_path, ("subject",), SIZES, run)
        with pytest.raises(ConfigError, match="judged pairs show subjects alone"):
            open_source(tmp_path, ("edges",), SIZES, run)
    assert isinstance(found, RecordSource) and found.total == 2
    assert {one.name: one.value for one in counts_of(found)}["pairs used"] == 1
    assert not counts_of(files(1))
    official, centred = (
        replace(found, size_px=512, condition_px=512, crop=crop).take([0], 0).conditions["subject"]
        for crop in ("official", "centred")
    )
    assert torch.equal(official[..., 8:], centred[..., :-8])


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "size", "condition"),
    [
        (AdapterInfo(task="edges", condition_px=32), 64, 64),
        (AdapterInfo(task="edges", condition_px=16, scale=2.0), 64, 32),
        (AdapterInfo(task="edges", condition_px=16, scale=2.0), None, 16),
        (AdapterInfo(task="subject", condition_px=32), 64, 32),
        (AdapterInfo(task="subject", condition_px=64), 32, 64),
        (AdapterInfo(task="subject"), 64, 64),
    ],
)
def test_a_condition_over_the_output_covers_it_at_every_size(
    info: AdapterInfo, size: int | None, condition: int
) -> None:
    sizes = sizes_under(open_random("", Settings())[0].pipe, size, info)
    assert (sizes.output, sizes.condition) == (size or 32, condition)
    if info.task == "edges":
        side, whole = sizes.condition // 4, sizes.output // 4
        found = condition_ids(side, side, delta=info.delta, scale=info.scale)
        assert torch.equal(found.mean(dim=0), grid_ids(whole, whole).mean(dim=0))


def test_a_size_at_which_a_compact_condition_has_no_whole_tokens_is_refused() -> None:
    pipe = open_random("", Settings())[0].pipe
    info = AdapterInfo(task="edges", condition_px=16, scale=2.0)
    with pytest.raises(ConfigError, match=r"size 36: .* 2 times smaller"):
        sizes_under(pipe, 36, info)
    with pytest.raises(ConfigError, match="size 30: a multiple of 4"):
        sizes_under(pipe, 30, info)
