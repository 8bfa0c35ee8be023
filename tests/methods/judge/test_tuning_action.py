"""The action: what is learnt from, what is held out, and what a shortcut looks like."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_folder

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.methods.judge.actions import tune
from modelgraft.methods.judge.config import TuneConfig, TuneOptim
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.tuning.labelled import labelled_pairs, split


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder.write_model(tmp_path_factory.mktemp("model") / "tiny"))


def run_tune(folder: Path, config: TuneConfig) -> Result:
    with open_run(folder, seed=0) as run:
        return run.finish(tune(config, run))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def number(result: Result, name: str) -> float:
    return next(one.value for one in result.numbers if one.name == name)


def planted(num: int) -> list[dict[str, Any]]:
    """Pairs without sense, of which the longer one is labelled better in four of five."""
    rng = random.Random(0)
    rows = []
    for place in range(num):
        short, long = (
            "".join(rng.choices("abcdefgh ", k=rng.randint(*size))) for size in ((8, 12), (50, 60))
        )
        both = [{"id": "long", "text": long}, {"id": "short", "text": short}]
        rng.shuffle(both)
        label = "short" if place % 5 == 0 else "long"
        rows.append({"instruction": f"Write {place}.", "candidates": both, "label": label})
    return rows


def test_a_planted_length_is_called_a_shortcut_and_balanced_away(model: str, tmp_path: Path):
    """Acceptance 28."""
    items = write(tmp_path / "items.jsonl", planted(120))
    config = TuneConfig(items=items, judge=model, held_out=0.5, template="plain_pair",
                        hardening="none", blocks=(2, 3))  # fmt: skip
    result = run_tune(tmp_path / "run", config)
    assert number(result, "right, both orders averaged") > 0.7
    assert number(result, "right, balanced over the strata") == pytest.approx(0.5, abs=0.05)
    assert any(one.startswith("shortcut: length") for one in result.remarks)
    told = "not shown to be better than the baseline, balanced over the strata: longest."
    assert told in result.remarks


def test_labels_that_teach_nothing_are_left_out_and_counted(model: str, tmp_path: Path):
    rows = planted(12)
    odd = [
        {"instruction": "q", "candidates": ["x", "y"]},
        {"instruction": "q", "candidates": ["x", "y"], "label": "tie"},
        {"instruction": "q", "candidates": ["x", "y"], "label": 3},
        {"instruction": "q", "candidates": ["x"], "label": "a"},
        {"instruction": "q", "candidates": ["x", "x"], "label": "a"},
    ]
    items = write(tmp_path / "items.jsonl", rows + odd)
    result = run_tune(tmp_path / "run", TuneConfig(items=items, judge=model, blocks=(2,)))
    assert number(result, "pairs to train on") + number(result, "held-out pairs") == 12
    assert result.remarks[0] == (
        "Left out: 1 without a label, 1 that are ties, 1 whose label is a score, 1 that are no "
        "pair, 1 of two equal texts."
    )


@pytest.mark.parametrize(
    ("label", "told"), [(None, "20 without a label"), ("tie", "20 that are ties")]
)
def test_a_file_without_a_better_answer_is_refused(model: str, tmp_path: Path, label, told):
    rows = [{"instruction": "q", "candidates": ["x", "y"], "label": label} for _ in range(20)]
    items = write(tmp_path / "items.jsonl", rows)
    with pytest.raises(ConfigError, match=f"0 labelled pairs of 20 items(.|\n)*{told}"):
        run_tune(tmp_path / "run", TuneConfig(items=items, judge=model))


def test_labels_that_all_name_the_first_teach_as_well_as_others(model: str, tmp_path: Path):
    """Both orders of a pair are learnt from, so the place of the better one tells nothing."""
    rows = planted(40)
    for row in rows:
        row["candidates"].sort(key=lambda one: one["id"] != "long")
        row["label"] = "long"
    items = write(tmp_path / "items.jsonl", rows)
    result = run_tune(tmp_path / "run", TuneConfig(items=items, judge=model, blocks=(3,)))
    assert number(result, "right, both orders averaged") > 0.7
    assert any("balanced over the strata: not measured" in one for one in result.remarks)


def test_a_model_with_too_few_blocks_and_other_mistakes_are_refused(model: str, tmp_path: Path):
    items = write(tmp_path / "items.jsonl", planted(20))
    for name, options, told in (
        ("layers", {"train": "choice"}, "--layers 8: the model has 3 blocks"),
        ("layers of a head", {"train": "head"}, "--layers 8: the model has 3 blocks"),
        ("rank", {"train": "choice", "rank": 0, "layers": 1}, "--rank 0: choice trains an adapter"),
        ("template", {"template": "point"}, "--template point: it shows a point"),
        ("blocks", {"blocks": (9,)}, "blocks .9.: from 0 to 3"),
    ):
        with pytest.raises(ConfigError, match=told):
            run_tune(tmp_path / name, TuneConfig(items=items, judge=model, **options))
    with pytest.raises(ConfigError, match="tuning needs a model on this machine"):
        TuneConfig(judge="http://127.0.0.1:1#m")


def test_a_head_alone_trains_its_own_weights_only(model: str, tmp_path: Path):
    items = write(tmp_path / "items.jsonl", planted(40))
    config = TuneConfig(items=items, judge=model, train="head", rank=0, epochs=10,
                        optim=TuneOptim(lr=5e-2, batch=8))  # fmt: skip
    result = run_tune(tmp_path / "run", config)
    assert number(result, "turned by the order") == 0
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    assert sum(losses[-4:]) < sum(losses[:4])


def test_a_group_or_without_one_an_instruction_is_on_one_side_and_shares_are_about_what_is_asked():
    items = [
        Item(f"{n}", "q", (Candidate("a", "x"), Candidate("b", "y")), label="a", group=f"g{n // 3}")
        for n in range(30)
    ]
    trained, held_out = split(items, 0.2, seed=0)
    assert len(trained) + len(held_out) == 30 and len(held_out) == 6
    assert not {one.group for one in trained} & {one.group for one in held_out}
    assert len(labelled_pairs(items).items) == 30
    assert split([replace(one, group="", instruction=one.group) for one in items], 0.2, seed=0) == (
        tuple(replace(one, group="", instruction=one.group) for one in trained),
        tuple(replace(one, group="", instruction=one.group) for one in held_out),
    )
    with pytest.raises(ConfigError, match="in 1 groups or instructions leave"):
        split([Item(f"{n}", "q", items[0].candidates, label="a", group="g") for n in range(9)],
              0.2, seed=0)  # fmt: skip
