"""Our training against TRL's: what is compared, what the verdict rests on, and the race itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from nano import make_model, save_model

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.core.runs import Run, open_run
from modelgraft.evaluation.reproduction import NOT_TESTED
from modelgraft.language.packing import IGNORED, Sample, collate
from modelgraft.methods.tulu3.config import SftOptim
from modelgraft.methods.tulu3.experiments import arms
from modelgraft.methods.tulu3.experiments.trl_steps import (
    ANY_AT_MOST,
    DPO,
    PEER,
    SFT,
    SIDES,
    TRL_STEPS,
    Stage,
    criteria,
    loss_gaps,
    preference,
    race,
    race_numbers,
    supervised,
    weight_gaps,
)
from modelgraft.methods.tulu3.experiments.trl_trainers import Peer, Trained, weights_of
from modelgraft.methods.tulu3.tiny import build_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model, saved as the embedded ones are."""
    return save_model(tmp_path_factory.mktemp("subject"), layers=2)


@pytest.fixture
def run(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for stage in arms.SUBJECTS:
        monkeypatch.setitem(arms.SUBJECTS, stage, folder)
    with open_run(tmp_path, seed=0) as run:
        yield run


def trained(losses: list[float], times: list[float], weights: Sequence[float] = (0,)) -> Trained:
    return Trained(losses, times, {"w": torch.tensor(weights)})


def test_without_trl_nothing_is_tested_and_the_remark_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "trl", None)
    found = TRL_STEPS.run(run, True)
    assert found.verdict == NOT_TESTED and not found.numbers
    assert "pip install trl" in found.remarks[0]


def test_the_time_of_a_step_leaves_out_the_first_one():
    assert trained([1.0] * 4, [10.0, 11.0, 12.0, 16.0]).step_s == 2.0


def test_differences_are_relative_to_the_other_training():
    ours, other = trained([1.0, 3.0], [0, 1], (5.0, 3.0)), trained([1.0, 2.0], [0, 1], (4.0, 3.0))
    assert loss_gaps(ours, other).tolist() == [0.0, 0.5]
    assert weight_gaps(ours, other, {"w": torch.zeros(2)}) == pytest.approx((1 / 4, 1 / 5))


def test_trainings_race_in_turn_from_the_same_weights_and_the_first_round_is_not_counted(run: Run):
    started = []

    def train(name: str) -> Any:
        def go(model: Any) -> Trained:
            started.append((name, float(model.weight.detach().sum())))
            torch.nn.init.ones_(model.weight)
            return Trained([1.0, 1.0], [0.0, {SFT: 1.0, PEER: 3.0}[name]], weights_of(model))

        return go

    start = torch.nn.Linear(2, 1, bias=False)
    stage = Stage(start, {SFT: train(SFT), PEER: train(PEER)}, train(SFT))
    rounds = race(run, stage, 2)
    assert [name for name, _ in started] == [PEER, SFT, SFT, PEER, PEER, SFT]
    assert {weight for _, weight in started} == {float(start.weight.detach().sum())}
    numbers = race_numbers(SFT, rounds, rounds[0][SFT], weights_of(start))
    values = {one.name: one.value for one in numbers}
    assert values[f"{SFT}: times as fast as TRL"] == 3.0
    assert values[f"{SFT}: largest relative difference of a loss"] == 0.0


def measured(**changed: float) -> list[Number]:
    """Numbers as they come out when everything is reached, some of them changed."""
    values = {
        f"{stage}: {name}": value
        for stage in (SFT, DPO)
        for name, value in {
            "relative difference of the first loss": 9e-6,
            "largest relative difference of a loss": 9e-5,
            "times as fast as TRL": 0.91,
        }.items()
    }
    assert set(changed) <= set(values)
    return [Number(name, value) for name, value in {**values, **changed}.items()]


def test_each_threshold_is_told_apart_and_a_missing_number_meets_none():
    assert all(is_met for is_met, _ in criteria(measured()))
    for one in measured():
        worse = 0.89 if one.value > 0.5 else 1.2 * one.value
        judged = criteria(measured(**{one.name: worse}))
        assert [text.startswith(one.name) for is_met, text in judged if not is_met] == [True]
    assert not any(is_met for is_met, _ in criteria([]))


@pytest.mark.parametrize("make", [supervised, preference])
def test_whole_batches_and_micro_batches_of_ours_differ_by_rounding(run: Run, make: Any):
    stage = make(run, 2, 8)
    [ours] = [train for name, train in stage.racers.items() if name in (SFT, DPO)]
    results = [train(make_model(layers=2)) for train in (ours, stage.uncut)]
    assert len(results[0].losses) == len(results[0].times) == 2
    assert loss_gaps(*results).max() < 1e-5


@pytest.mark.peer
def test_a_quick_pass_takes_the_steps_of_trl(run: Run):
    pytest.importorskip("trl")
    found = TRL_STEPS.run(run, True)
    values = {one.name: one.value for one in found.numbers}
    for name in (SFT, DPO, SIDES):
        assert values[f"{name}: largest relative difference of a loss"] < ANY_AT_MOST
        assert values[f"{name}: times as fast as TRL"] > 0
    assert found.subject["trl"] and found.seeds == (0,)


@pytest.mark.peer
@pytest.mark.parametrize("place", ["ids", "labels"])
def test_trl_does_not_train_on_other_tokens_than_ours(place: str):
    pytest.importorskip("trl")
    rows = [Sample([5, 6, 7, 8], [IGNORED, IGNORED, 7, 8]), Sample([5, 9, 8], [IGNORED, 9, 8])]
    tokenizer = build_tokenizer()
    batch = collate([[row] for row in rows], pad_id=tokenizer.pad_token_id)
    columns = {"input_ids": [row.ids for row in rows], "labels": [row.labels for row in rows]}
    peer = Peer(SFT, tokenizer, SftOptim(batch=2, micro_batch=2), columns, {}, [batch])
    assert len(peer.train(make_model()).losses) == 1
    getattr(batch, place)[0, -1] += 1
    with pytest.raises(InputError, match="0 hold the tokens and labels of our 1"):
        peer.train(make_model())
