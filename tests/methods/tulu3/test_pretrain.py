"""The base model made anew: rows by number and seed, a falling loss, and files of a stock Llama."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nano
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from modelgraft.core.errors import Interrupted
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.methods.tulu3.config import PretrainConfig, PretrainOptim
from modelgraft.methods.tulu3.pretrain import pretrain, row
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.world.documents import document
from modelgraft.methods.tulu3.world.tasks import CONTEXT

TOKENIZER = build_tokenizer()
CONFIG = PretrainConfig(
    size="nano", steps=6, optim=PretrainOptim(batch=4, micro_batch=4, save_every=2, warmup=0.0)
)


def start(folder: Path, config: PretrainConfig = CONFIG, *, stop_at: int | None = None) -> Result:
    with open_run(folder, settings=Settings(seed=1)) as run:
        if stop_at is not None:
            nano.stop_in(run, stop_at)
        return pretrain(config, run)


def test_a_row_is_documents_one_after_the_other_as_long_as_the_context():
    for number in range(30):
        ids = row(TOKENIZER, number, seed=2)
        assert len(ids) == CONTEXT
        texts = [document(16 * number + place, seed=2) for place in range(16)]
        assert "<eos>".join([*texts, ""]).startswith(TOKENIZER.decode(ids))
        assert ids == row(TOKENIZER, number, seed=2) != row(TOKENIZER, number, seed=3)
    assert len({tuple(row(TOKENIZER, number, seed=2)) for number in range(30)}) == 30


def test_a_few_steps_lower_the_loss_and_the_files_load_as_a_stock_llama_in_float16(tmp_path):
    result = start(tmp_path / "run")
    [loss] = [one for one in result.numbers if one.name.startswith("loss")]
    assert loss.baseline is not None and loss.value < loss.baseline - 0.5
    assert nano.number(result, "tokens") == 6 * 4 * CONTEXT
    folder = tmp_path / "run" / "artefacts" / "model"
    assert {one.dtype for one in load_file(folder / "model.safetensors").values()} == {
        torch.float16
    }
    model = LlamaForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float16
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    trained = load_file(tmp_path / "run/checkpoints/step-00000006/model.safetensors")
    for name, one in model.state_dict().items():
        if name in trained:
            assert torch.equal(one, trained[name].half())


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_the_cut_into_micro_batches_changes_only_the_rounding(tmp_path, micro_batch):
    config = replace(CONFIG, steps=2)
    cut = replace(config, optim=replace(CONFIG.optim, micro_batch=micro_batch))
    losses: list[Any] = []
    for name, one in (("whole", config), ("cut", cut)):
        start(tmp_path / name, one)
        rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in rows])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path):
    unbroken = start(tmp_path / "unbroken")
    with pytest.raises(Interrupted):
        start(tmp_path / "broken", stop_at=2)
    assert start(tmp_path / "broken") == unbroken
    assert nano.distance(nano.saved(tmp_path / "unbroken"), nano.saved(tmp_path / "broken")) == 0
