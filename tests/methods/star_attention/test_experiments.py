"""Verdicts: each falls when what it claims is not so, and holds otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from modelgraft.core.results import Number
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.star_attention.evaluate.race import Lap
from modelgraft.methods.star_attention.evaluate.ruler import Prediction
from modelgraft.methods.star_attention.evaluate.summary import race_numbers
from modelgraft.methods.star_attention.experiments import EXPERIMENTS, lengths, retrieval

NUM = 6
# What E1 must find to hold: mean NLL by arm, and the arms that miss half of the needles.
NLLS = {
    "dense": 0.10, "star": 0.12, "no anchor": 0.40, "constant": 1.70, "anchor 64": 0.15,
    "previous": 0.13, "shuffled": 0.14, "random": 0.20, "streaming": 2.60,
}  # fmt: skip
MISSES = ("no anchor", "constant")


def found(arm: str, task: str, nll: float, *, misses: bool = False) -> list[Prediction]:
    return [
        Prediction(arm, task, index, "", nll, float(not misses or index % 2 == 0))
        for index in range(NUM)
    ]


def verdict(**changed: float) -> bool:
    nlls = {**NLLS, **{name.replace("_", " "): nll for name, nll in changed.items()}}
    essay = {
        arm: found(arm, retrieval.ESSAY, nll, misses=arm in MISSES) for arm, nll in nlls.items()
    }
    others = [
        one
        for task in retrieval.TASKS
        if task != retrieval.ESSAY
        for arm in ("dense", "star")
        for one in found(arm, task, nlls[arm])
    ]
    everything: list[Prediction] = [one for each in essay.values() for one in each] + others
    return retrieval._holds(everything, essay, NUM)


def test_retrieval_holds_when_star_is_near_dense_and_the_anchor_is_needed():
    assert verdict()


@pytest.mark.parametrize(
    "changed",
    [
        {"star": 0.40},  # no longer near dense
        {"no_anchor": 0.15},  # no worse than star: nothing needed the anchor
        {"constant": 0.45},  # a constant anchor serves as well
        {"previous": 0.60},  # the order of the anchors is another
        {"random": 0.05},
    ],
)
def test_retrieval_does_not_hold_otherwise(changed):
    assert not verdict(**changed)


def test_retrieval_does_not_hold_when_star_misses_what_dense_finds():
    essay = {arm: found(arm, retrieval.ESSAY, nll, misses=arm in MISSES)
             for arm, nll in NLLS.items()}  # fmt: skip
    tasks = [one for task in retrieval.TASKS for arm in ("dense", "star")
             for one in found(arm, task, NLLS[arm], misses=arm == "star")]  # fmt: skip
    assert not retrieval._holds(tasks, essay, NUM)


def timed(**changed: float) -> list[Number]:
    """Numbers of E2 as they come out when everything is reached, some of them changed."""
    values = {
        "4096, m=8: prefill time, star/dense": 0.85,
        "4096, m=8: peak memory, star/dense": 0.9,
        "8192, m=8: prefill time, star/dense": 0.65,
        "8192, m=8: peak memory, star/dense": 0.8,
        "8192, m=8: end to end with 64 tokens, times faster": 1.6,
    }
    assert set(changed) <= set(values)
    return [Number(name, value) for name, value in {**values, **changed}.items()]


def test_each_criterion_of_the_lengths_is_told_apart():
    assert all(is_met for is_met, _ in lengths._criteria(timed()))
    for one in timed():
        worse = 0.5 if "faster" in one.name else 1.5
        criteria = lengths._criteria(timed(**{one.name: worse}))
        assert [text.startswith(one.name) for is_met, text in criteria if not is_met] == [True]


def test_a_criterion_without_its_number_is_not_met():
    assert not any(is_met for is_met, _ in lengths._criteria([]))


def laps(prefill_s: float, token_s: float, peak: int) -> list[Lap]:
    return [Lap(prefill_s, token_s, peak)] * 3


def test_ratios_of_a_race_point_the_right_way():
    numbers = race_numbers("n", {"dense": laps(10, 0.2, 100), "star": laps(5, 0.1, 80)}, 51)
    values: Sequence[float] = [one.value for one in numbers]
    assert values == pytest.approx([0.5, 2.0, 2.0, 0.8])
    assert [one.better for one in numbers] == ["lower", "higher", "higher", "lower"]


def test_the_experiments_of_the_specification_are_there():
    names = [one.id for one in EXPERIMENTS]
    assert names == [f"E{number}" for number in range(1, 8)]
    assert replace(ReproduceConfig(), experiments=tuple(names)).experiments == tuple(names)
