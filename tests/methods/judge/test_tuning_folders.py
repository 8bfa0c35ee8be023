"""Folders of tuned judges: stock files, equal scores when they come back, asked as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import tiny_folder
import torch
import transformers

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.inputs import config_inputs
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.methods.judge.actions import compare, score, select, tune
from modelgraft.methods.judge.config import (
    CompareConfig,
    ScoreConfig,
    SelectConfig,
    TuneConfig,
    TuneOptim,
)
from modelgraft.methods.judge.judges.local import ChoiceJudge
from modelgraft.methods.judge.judges.reward import answer_ids
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.tuning.folders import read_judge
from modelgraft.methods.judge.tuning.report import read_pairs
from modelgraft.methods.judge.world.pairs import world_pairs

OPTIM = TuneOptim(lr=1e-2, batch=8, micro_batch=4)
ITEMS = world_pairs(10, split="train", categories=("short_right", "json"))
KINDS = ("probe", "choice", "head")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, items and a judge of each kind, tuned on them."""
    top = tmp_path_factory.mktemp("tuned")
    tiny_folder.write_model(top / "model")
    rows = [
        {
            "id": one.id,
            "instruction": one.instruction,
            "candidates": [{"id": c.id, "text": c.text} for c in one.candidates],
            "label": one.label,
        }
        for one in ITEMS
    ]
    (top / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind in KINDS:
        run_tune(top, kind)
    return top


def run_tune(top: Path, kind: Any, **options: Any) -> Result:
    config = TuneConfig(items=top / "items.jsonl", judge=str(top / "model"), train=kind, layers=1,
                        rank=4, epochs=2, optim=OPTIM, template="plain_pair", hardening="none",
                        **options)  # fmt: skip
    with open_run(top / kind, seed=0) as run:
        return run.finish(tune(config, run))


def judged(action: Any, config: Any, folder: Path) -> list[dict[str, Any]]:
    with open_run(folder, seed=0) as run:
        run.finish(action(config, run))
    path = folder / "artefacts" / "verdicts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(place: Path, kind: str, **options: Any) -> CompareConfig:
    folder = place / kind / "artefacts" / "judge"
    return CompareConfig(items=place / "items.jsonl", judge=str(folder), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_says_what_it_is_and_what_it_is_worth(place: Path, kind):
    folder = place / kind / "artefacts" / "judge"
    found = read_judge(folder)
    assert (found.kind, found.model, found.dtype) == (kind, str(place / "model"), "float32")
    assert found.asking.template.name == "plain_pair" and found.asking.hardening == "none"
    assert found.asking.template.user.count("\n") > 4
    told = json.loads((folder / "eval.json").read_text())
    names = {one["name"] for one in told["numbers"]}
    assert {"right, likelihood", "right, longest", "right, first slot", "right, untuned"} <= names
    card = (folder / "README.md").read_text()
    assert "| likelihood " in card and "| longest " in card and "| first slot " in card


def test_an_adapter_reloaded_by_peft_gives_equal_scores(place: Path, tmp_path: Path):
    """Acceptance 28."""
    folder = place / "choice" / "artefacts" / "judge"
    assert {"adapter_model.safetensors", "adapter_config.json"} <= set(names_of(folder))
    rows = judged(compare, asked(place, "choice"), tmp_path / "run")
    base = transformers.AutoModelForCausalLM.from_pretrained(place / "model")
    stock = peft.PeftModel.from_pretrained(base, folder)
    asking = read_judge(folder).asking
    judge = ChoiceJudge(stock, tiny_folder.make_tokenizer(), name="")
    odds, _ = read_pairs(judge, ITEMS, asking)
    ours = [np.subtract(*np.log(row["probabilities"])) for row in rows]
    assert np.array(ours).reshape(-1, 2) == pytest.approx(odds, abs=1e-5)
    plain, _ = read_pairs(
        ChoiceJudge(tiny_folder.make_model(), tiny_folder.make_tokenizer(), name=""), ITEMS, asking
    )
    assert np.abs(plain - odds).max() > 0.01


def names_of(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def test_a_head_reloaded_by_transformers_gives_equal_scores(place: Path, tmp_path: Path):
    """Acceptance 28; points and pairs are of the same scores."""
    folder = place / "head" / "artefacts" / "judge"
    stock = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert stock.config.num_labels == 1
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        expected = [
            float(stock(torch.tensor([answer_ids(tokenizer, item.instruction, c.text)])).logits)
            for item in ITEMS
            for c in item.candidates
        ]
    config = ScoreConfig(items=place / "items.jsonl", judge=str(folder))
    rows = judged(score, config, tmp_path / "points")
    assert [row["score"] for row in rows] == pytest.approx(expected, abs=1e-5)
    pairs = judged(compare, asked(place, "head"), tmp_path / "pairs")
    gaps = [expected[at] - expected[at + 1] for at in range(0, len(expected), 2)]
    assert [row["score"] for row in pairs[::2]] == pytest.approx(gaps, abs=1e-5)
    assert [row["score"] for row in pairs[1::2]] == pytest.approx([-one for one in gaps], abs=1e-5)


def test_a_probe_comes_back_with_equal_scores(place: Path, tmp_path: Path):
    """The held-out accuracy that was told is what the folder's judge has."""
    rows = judged(compare, asked(place, "probe"), tmp_path / "run")
    again = judged(compare, asked(place, "probe"), tmp_path / "again")
    assert [row["score"] for row in rows] == [row["score"] for row in again]
    config = SelectConfig(**vars(asked_select(place)))
    with open_run(tmp_path / "select", seed=0) as run:
        result = run.finish(select(config, run))
    assert any(one.name == "verdicts" and one.value > 0 for one in result.numbers)


def asked_select(place: Path) -> SelectConfig:
    folder = place / "probe" / "artefacts" / "judge"
    return SelectConfig(items=place / "items.jsonl", judge=str(folder))


def test_a_tuned_judge_is_asked_as_it_was_tuned(place: Path, tmp_path: Path):
    same = asked(place, "choice", template="plain_pair", hardening="none")
    assert judged(compare, same, tmp_path / "same")
    for number, (options, told) in enumerate((
        ({"template": "pair"}, "--template pair: the judge in .* tuned with another one"),
        ({"rubric": "helpfulness"}, "--rubric helpfulness: .* another one .overall"),
        ({"hardening": "mark"}, "--hardening mark: .* another one .none"),
        ({"read": "likelihood"}, "--read likelihood: .* kind choice"),
    )):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            judged(compare, asked(place, "choice", **options), tmp_path / f"{number}")
    config = ScoreConfig(items=place / "items.jsonl", judge=asked(place, "choice").judge)
    with pytest.raises(ConfigError, match="tuned on a pair, and a point is judged"):
        judged(score, config, tmp_path / "point")
    with pytest.raises(ConfigError, match="it is asked by none"):
        judged(compare, asked(place, "head", template="pair"), tmp_path / "head")


@pytest.mark.parametrize("kind", ["probe", "choice"])
def test_another_base_or_another_tokenizer_is_refused(place: Path, tmp_path: Path, kind):
    model, kept = place / "model", tmp_path / "kept"
    model.rename(kept)
    try:
        tiny_folder.write_model(model, seed=1)
        with pytest.raises(ConfigError, match=r"was tuned on .* with the fingerprint"):
            judged(compare, asked(place, kind), tmp_path / "other")
        tiny_folder.make_model().save_pretrained(model)
        tiny_folder.make_tokenizer(swapped=True).save_pretrained(model)
        with pytest.raises(ConfigError, match="into other tokens than when it was tuned"):
            judged(compare, asked(place, kind), tmp_path / "cut")
    finally:
        model.rename(tmp_path / "wrong")
        kept.rename(model)


def test_a_folder_with_a_fault_names_it(place: Path, tmp_path: Path):
    folder = place / "choice" / "artefacts" / "judge"
    weights = folder / "adapter_model.safetensors"
    weights.rename(tmp_path / "weights")
    with pytest.raises(InputError, match="no whole adapter"):
        judged(compare, asked(place, "choice"), tmp_path / "run")
    (tmp_path / "weights").rename(weights)
    broken = tmp_path / "broken"
    broken.mkdir()
    text = (folder / "judge.yaml").read_text()
    (broken / "judge.yaml").write_text(text.replace("kind: choice", "kind: guess"))
    with pytest.raises(InputError, match=r"judge.yaml:2: kind: one of probe, choice, head"):
        read_judge(broken)
    (broken / "judge.yaml").write_text(text.replace("format: '1'", "format: '7'"))
    with pytest.raises(InputError, match="format 7: 1 is known"):
        read_judge(broken)


@pytest.mark.parametrize("kind", KINDS)
def test_a_judge_that_was_tuned_anew_is_another_input(place: Path, tmp_path: Path, kind):
    """So the result of an old judge is never shown for the new one in its place."""
    shutil.copytree(place / kind / "artefacts" / "judge", tmp_path / "judge")
    config = CompareConfig(items=place / "items.jsonl", judge=str(tmp_path / "judge"))
    before = config_inputs(config)
    assert str(tmp_path / "judge") in before
    path = tmp_path / "judge" / "judge.yaml"
    path.write_text(path.read_text().replace("fingerprint: ", "fingerprint: f"))
    assert config_inputs(config) != before


def test_asking_survives_its_file(place: Path):
    found = read_judge(place / "choice" / "artefacts" / "judge").asking
    assert isinstance(found, Asking)
    assert found.template.labels == ("A", "B") and found.rubric.name == "overall"
