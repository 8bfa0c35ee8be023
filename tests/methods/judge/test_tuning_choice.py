"""Choice cross-entropy: the loss of the verdict as it is read, and training that resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from letters import Letters, make_model

from modelgraft.core.runs import Run, open_run
from modelgraft.language.adapters import adapter_tensors
from modelgraft.methods.judge.judges.local import ChoiceJudge
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.method.readout import LabelTrie
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.tuning.choice import (
    ChoiceOptions,
    attach_choice,
    choice_loss,
    choice_prompts,
    label_logprobs,
    lower_states,
    read_odds,
    swap_penalty,
    train_choice,
)
from modelgraft.methods.judge.tuning.report import read_pairs
from modelgraft.methods.judge.world.pairs import world_pairs
from modelgraft.training.config import OptimConfig

PLAIN = Asking(read_template("plain_pair"), read_rubric("overall"), "none")
TOKENIZER = Letters()
ITEMS = world_pairs(6, split="train", categories=("short_right", "json"))
OPTIONS = ChoiceOptions(
    4, 8.0, 1, 1.0, 2.0, OptimConfig(lr=1e-2, batch=4, micro_batch=2, save_every=2)
)


def test_the_penalty_is_nothing_for_opposite_odds_and_grows_with_the_slots_gain():
    first = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 5
    assert torch.equal(swap_penalty(first, -first), torch.zeros(200))
    gains = torch.tensor([0.0, 0.5, 1.0, 4.0])
    found = swap_penalty(gains + 0.3, gains - 0.3)
    assert bool((found.diff() > 0).all())
    expected = (torch.sigmoid(gains + 0.3) + torch.sigmoid(gains - 0.3) - 1) ** 2
    assert torch.allclose(found, expected, atol=1e-6)


def test_labels_of_several_tokens_are_those_of_the_trie():
    trie = LabelTrie.of({"1": [(3,), (9, 3)], "10": [(3, 2)], "no": [(4, 5, 6)]})
    logits = torch.randn(2, len(trie.prefixes), 12, generator=torch.Generator().manual_seed(1))
    logprobs = logits.log_softmax(-1)
    found = label_logprobs(trie, logprobs).exp()
    for row in range(2):
        told = {prefix: logprobs[row, place, list(trie.children[prefix])].numpy()
                for place, prefix in enumerate(trie.prefixes)}  # fmt: skip
        assert found[row].numpy() == pytest.approx(trie.probabilities(told), rel=1e-5)


def test_the_loss_is_that_of_both_orders_one_by_one():
    labels = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(2))
    wins = torch.tensor([True, False, True, True, False])
    loss, turning = choice_loss(labels, wins, 0.7)
    for pair in range(5):
        p = labels[pair].softmax(-1)
        right = (0, 1) if wins[pair] else (1, 0)
        entropy = -(p[0, right[0]].log() + p[1, right[1]].log()) / 2
        odds = [torch.log(p[order, 0] / p[order, 1]) for order in (0, 1)]
        own = (odds[0].sigmoid() + odds[1].sigmoid() - 1) ** 2
        assert float(turning[pair]) == pytest.approx(float(own), abs=1e-6)
        assert float(loss[pair]) == pytest.approx(float(entropy + 0.7 * own), abs=1e-5)


def train(run: Run, folder: Path) -> tuple[Any, Any]:
    model = make_model(layers=3)
    data = choice_prompts(model, TOKENIZER, ITEMS, PLAIN)
    lower = lower_states(folder, model, TOKENIZER, data.prompts, OPTIONS.layers, None)
    wrapped = attach_choice(model, OPTIONS, seed=0)
    train_choice(wrapped, data, lower, range(len(ITEMS)), OPTIONS, run)
    return wrapped, (data, lower)


def test_a_killed_run_goes_on_to_the_very_weights_of_an_unbroken_one(tmp_path: Path):
    with open_run(tmp_path / "whole", seed=0) as run:
        whole, _ = train(run, tmp_path / "states")

    def kill(done: int, total: int, text: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_run(tmp_path / "killed", seed=0) as run:
        run.listener = kill
        train(run, tmp_path / "states")
    with open_run(tmp_path / "killed", seed=0) as run:
        assert run.latest_checkpoint() is not None
        again, _ = train(run, tmp_path / "states")
    expected = dict(adapter_tensors(whole))
    for name, tensor in adapter_tensors(again):
        assert torch.equal(tensor, expected[name]), name


def test_training_moves_the_verdict_and_is_read_like_any_other_judge(tmp_path: Path):
    with open_run(tmp_path / "run", seed=0) as run:
        wrapped, (data, lower) = train(run, tmp_path / "states")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 6 and min(losses[-2:]) < losses[0]
    judge = ChoiceJudge(wrapped, TOKENIZER, name="")
    whole, right = read_pairs(judge, ITEMS, PLAIN)
    some = [7, 0, 11, 3]
    assert read_odds(wrapped, data, lower, some) == pytest.approx(whole[some], abs=1e-4)
    assert np.isfinite(right).all()
    base, _ = read_pairs(ChoiceJudge(make_model(layers=3), TOKENIZER, name=""), ITEMS, PLAIN)
    assert np.abs(whole - base).max() > 0.1
