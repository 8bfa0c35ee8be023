"""What actions would take, told from sizes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.results import Number
from modelgraft.core.settings import Settings
from modelgraft.diffusion.load import load_flux
from modelgraft.methods.ominicontrol import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    GenerateConfig,
    PairsConfig,
    TrainConfig,
)
from modelgraft.methods.ominicontrol.estimates import (
    cost_table,
    estimate_generate,
    estimate_pairs,
    estimate_train,
)
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import toy_items

SETTINGS = Settings(device="cpu")


def values(numbers: list[Number] | tuple[Number, ...]) -> dict[str, Any]:
    return {one.name: one.value for one in numbers}


def test_the_weights_to_train_are_those_that_an_adapter_has() -> None:
    control = OminiControl(load_flux("tiny:flux", device="cpu").pipe)
    control.attach("edges", AdapterInfo(task="edges"), rank=3, modules="norm_qk")
    added = sum(one.numel() for one in control.parameters("edges"))
    found = values(estimate_train(TrainConfig(rank=3, modules="norm_qk", steps=7), SETTINGS))
    assert found["weights trained"] == added
    assert found["pictures seen"] == 7 * 32
    both = TrainConfig(rank=3, modules="norm_qk", task=("edges", "grey"))
    assert values(estimate_train(both, SETTINGS))["weights trained"] == 2 * added


def test_work_grows_with_steps_and_conditions() -> None:
    def work(**options: Any) -> dict[str, Any]:
        return values(estimate_generate(GenerateConfig(prompt=("a",), **options), SETTINGS))

    one = work(condition=(Path("a.png"),), adapter=("a",))
    two = work(condition=(Path("a.png"),) * 2, adapter=("a",) * 2)
    none = work()
    cached, joint = (f"operations of a picture, {way}" for way in ("cached", "joint"))
    assert none[cached] == none[joint] < one[cached] < one[joint] < two[joint]
    assert two["cache of the conditions"] == 2 * one["cache of the conditions"] > 0
    assert work(compare=True)["pictures"] == 4 == 4 * none["pictures"]
    assert work(steps=32)[joint] == pytest.approx(2 * none[joint])


def test_pairs_are_counted_as_they_will_be_drawn() -> None:
    found = values(estimate_pairs(PairsConfig(toys=2, seeds=3, looks=2), SETTINGS))
    prompts = len(pair_prompts(list(toy_items(2, seed=0))))
    assert found["prompts"] == prompts
    assert found["pictures"] == 3 * prompts and found["looks of the judge"] == 6 * prompts


def test_the_table_of_costs_takes_the_model_s_own_sizes() -> None:
    found = cost_table(CostConfig(conditions=(0, 1)), SETTINGS)
    own = cost_table(CostConfig(conditions=(0, 1), size=32, text_length=24, steps=16), SETTINGS)
    assert found == own and found.numbers[0].value == 1 < found.numbers[1].value
