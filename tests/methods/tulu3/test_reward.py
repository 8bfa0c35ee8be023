"""The reward model: it learns what is preferred, on whole answers, whatever the cut of a batch."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rlvr_job import policy
from torch.nn.functional import logsigmoid

from modelgraft.core.errors import InputError, Interrupted
from modelgraft.core.results import Number
from modelgraft.core.runs import open_run
from modelgraft.language.score_heads import with_score_head
from modelgraft.methods.tulu3.config import PairOptim, RewardConfig
from modelgraft.methods.tulu3.data import Pair, world_pairs
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train.pairs import collate_pairs, tokenise_pairs
from modelgraft.methods.tulu3.train.reward import pair_accuracy, pair_loss, train_reward

TOKENIZER = build_tokenizer()
CONFIG = RewardConfig(
    epochs=3,
    held_out=0.25,
    optim=PairOptim(lr=3e-3, batch=8, micro_batch=8, save_every=2, schedule="constant"),
)


def pairs(num: int = 64) -> list[Pair]:
    """The answer with a z in it is preferred."""
    prompt = ({"role": "user", "content": "say"},)
    made = []
    for number in range(num):
        word = "abcdefgh"[number % 8] * (1 + number % 5)
        made.append(Pair(f"p{number}", prompt, f"{word}z", f"{word}y", "letters"))
    return made


def model(**options: Any) -> Any:
    return with_score_head(policy(layers=1, **options), seed=1)


def start(folder: Path, made: Any, config: RewardConfig = CONFIG, **options: Any) -> list[Number]:
    given = options.pop("pairs", None) or pairs()
    with open_run(folder, seed=1) as run:
        if (stop_at := options.pop("stop_at", None)) is not None:
            record = run.metric

            def metric(step: int, **values: float) -> None:
                record(step, **values)
                if step == stop_at:
                    signal.raise_signal(signal.SIGTERM)

            run.metric = metric
        return train_reward(made, TOKENIZER, given, config, run)


def number(found: list[Number], name: str) -> Number:
    return next(one for one in found if one.name == name)


def distance(one: Any, other: Any) -> float:
    rows = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in rows)


def test_the_loss_is_that_of_the_stock_classifiers_scores(tmp_path):
    made = model()
    with open_run(tmp_path / "run") as run:
        samples = tokenise_pairs(TOKENIZER, pairs(5), CONFIG, run)
    batch = collate_pairs(samples, pad_id=TOKENIZER.pad_token_id, device="cpu")
    chosen, rejected = (made(input_ids=side.ids).logits[:, 0] for side in batch[:2])
    loss = pair_loss(made, batch)
    assert loss.count == 5
    expected = -logsigmoid(chosen - rejected).sum()
    assert torch.allclose(loss.total, expected, rtol=1e-5)
    assert loss.values["accuracy"] == float((chosen > rejected).float().mean())


def test_it_learns_what_is_preferred_and_says_so_of_pairs_it_did_not_see(tmp_path):
    made = model()
    with torch.no_grad():
        made.score.weight.neg_()  # as drawn, it happens to prefer what it should
    found = start(tmp_path / "run", made)
    accuracy = number(found, "held-out accuracy")
    assert number(found, "pairs").value == 48 and accuracy.n == 16
    assert accuracy.value == 1.0 and accuracy.low is not None and accuracy.low > 0.75
    assert accuracy.baseline is not None and accuracy.baseline < 1.0


def test_answers_that_do_not_end_within_the_length_are_left_out_and_counted(tmp_path):
    long = [
        replace(one, rejected="y" * 99) if place % 4 == 0 else one
        for place, one in enumerate(pairs())
    ]
    config = replace(CONFIG, max_length=60, epochs=0.1)
    found = start(tmp_path / "run", model(), config, pairs=long)
    assert number(found, "pairs left out").value == 16
    assert number(found, "pairs").value == 36  # three quarters of those that are left
    assert "pairs left out" in (tmp_path / "run" / "log.jsonl").read_text()
    with pytest.raises(InputError, match=r"16 of 64 pairs .*beyond 60 tokens"):
        start(tmp_path / "raise", model(), replace(config, on_error="raise"), pairs=long)
    with pytest.raises(InputError, match="of 64 pairs have an answer that ends beyond 29"):
        start(tmp_path / "none", model(), replace(config, max_length=29), pairs=long)


def test_the_cut_into_micro_batches_does_not_change_the_model(tmp_path):
    whole, cut = model(dtype=torch.float64), model(dtype=torch.float64)
    start(tmp_path / "whole", whole)
    start(tmp_path / "cut", cut, replace(CONFIG, optim=replace(CONFIG.optim, micro_batch=3)))
    assert distance(whole, cut) < 1e-9


def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path):
    unbroken, resumed = model(), model()
    expected = start(tmp_path / "unbroken", unbroken)
    with pytest.raises(Interrupted):
        start(tmp_path / "broken", model(), stop_at=4)
    assert start(tmp_path / "broken", resumed) == expected
    assert distance(unbroken, resumed) == 0


def test_pairs_of_the_world_can_be_learned_from(tmp_path):
    config = replace(CONFIG, epochs=0.5, held_out=0.5)
    found = start(tmp_path / "run", model(), config, pairs=world_pairs(32, seed=0))
    assert number(found, "held-out accuracy").n == 16


def test_an_untrained_head_that_says_the_same_of_both_sides_is_right_of_none(tmp_path):
    made = model()
    torch.nn.init.zeros_(made.score.weight)
    with open_run(tmp_path / "run") as run:
        samples = tokenise_pairs(TOKENIZER, pairs(5), CONFIG, run)
    assert pair_accuracy(made, samples, pad_id=TOKENIZER.pad_token_id).value == 0
