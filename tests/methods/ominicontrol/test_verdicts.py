"""What experiments conclude from their numbers: claims that hold, that do not, and ties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Array, Interval
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, NOT_TESTED
from modelgraft.methods.ominicontrol.evaluate import IS_BETTER_LOW
from modelgraft.methods.ominicontrol.experiments import (
    ablation,
    captions,
    control,
    data,
    dial,
    figures,
    places,
    several,
    speed,
    tokens,
)
from modelgraft.methods.ominicontrol.experiments.arms import Bench

SEEDS, SCENES = 3, 12
DRAWS = np.random.default_rng(0)
NOISE = DRAWS.normal(size=(SEEDS, SCENES))
APART = np.where((np.arange(SEEDS)[:, None] + np.arange(SCENES)) % 2, 3.0, -3.0)
"""Added to one of two equal arms it makes a tie: on average nothing, and an interval over 0."""


class Arm(NamedTuple):
    """How good an arm is on average, and whether it scatters beside the others."""

    level: float
    scatters: bool = False


class Rows(dict[str, Array]):
    """Any measure [seeds, scenes] of an arm; scenes that are hard are so for all arms."""

    def __init__(self, arm: Arm) -> None:
        own = DRAWS.normal(size=NOISE.shape, scale=0.02)
        own += NOISE + arm.scatters * APART
        self.good = arm.level + own - own.mean()

    def __bool__(self) -> bool:
        return True

    def __missing__(self, measure: str) -> Array:
        return 50 - self.good if measure in IS_BETTER_LOW else self.good


TIE = Arm(1.0, scatters=True)
Levels = Mapping[str, Arm | float]


@pytest.fixture
def conclude(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The verdict of an experiment, with rows by the name of their arm and other parts replaced."""
    none: Any = None
    bench: Any = Bench(none, none, none, none, np.arange(SCENES), False, {})
    bench.conditions = lambda tasks: {"edges": torch.rand(2, 3, 32, 32)}
    bench.prompts = lambda tasks: [""] * 2
    bench.scenes = type("Scenes", (), {"targets": torch.zeros(2, 3, 32, 32)})

    def run(module: Any, experiment: Any, levels: Levels, **parts: Any) -> str:
        def rows(name: str) -> Rows:
            level = levels.get(name, levels.get("else", 0.0))
            return Rows(level if isinstance(level, Arm) else Arm(level))

        replaced = {
            "open_bench": lambda run, quick: bench,
            "arm_rows": lambda bench, arm, drawing=None, name="": rows(
                f"{drawing.strengths[0]:g}" if module is dial else arm.name
            ),
            "seed_rows": lambda bench, name, *rest: rows(name),
            "base_rows": lambda bench, tasks: rows("base"),
            "ceiling_rows": lambda bench, tasks: rows("ceiling"),
            "trained": lambda bench, arm, seed: Path(arm.name),
            "loss_gain": lambda name, ours, theirs: [],
            # No verdict looks at these, and they take most of the time.
            "figure": lambda name, *rest: Number(name, 0.0),
            "ceilings": lambda rows, measures: [],
            "texts": lambda name, rows, baseline: [],
            **parts,
        }
        for name, part in replaced.items():
            monkeypatch.setattr(module, name, part, raising=name in parts)
        return experiment.run(none, False).verdict

    return run


PLACED = {"edges full r4": 2, "edges shifted": 1, "subject shared": 1, "subject shifted": 2}
NEEDED = {"edges double only": 0, "edges no norm": 1, "edges no qk": 1, "edges no v": 2}
RISING = {"0": 1, "0.1": 1, "0.25": 1.2, "0.5": 1.5, "1": 2, "2": 1, "4": 0}
CONTROLLED = {"else": 3, "base": 1}
TOGETHER = {"else": 2, "base": 0, "apart": 1.8}
FEWER = {"edges full r4": 1, "base": 0, "edges compact": 0.9, "edges dropped": 0.9}
TAUGHT = {"base": 0, "subject on identical pairs": 0, "else": 1}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, HOLDS),
        ({"edges shifted": 3}, DOES_NOT_HOLD),
        ({"subject shared": 3}, DOES_NOT_HOLD),
        ({"edges full r4": TIE}, DOES_NOT_HOLD),
        ({"subject shifted": TIE}, DOES_NOT_HOLD),
    ],
)
def test_places(conclude: Any, change: Levels, verdict: str) -> None:
    assert conclude(places, places.PLACES, {**PLACED, **change}) == verdict


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, HOLDS),
        ({"edges no v": 0.5}, DOES_NOT_HOLD),
        ({"edges double only": 1.5}, DOES_NOT_HOLD),
        ({"edges no v": TIE}, DOES_NOT_HOLD),
    ],
)
def test_ablation(conclude: Any, change: Levels, verdict: str) -> None:
    assert conclude(ablation, ablation.ABLATION, {**NEEDED, **change}) == verdict


@pytest.mark.parametrize(
    ("change", "away", "verdict"),
    [
        ({}, (0.0, 0.1), HOLDS),
        ({"0.1": 0.996}, (0.0, 0.1), HOLDS),
        ({"0.1": 0.9}, (0.0, 0.1), DOES_NOT_HOLD),
        ({}, (1e-4, 0.1), DOES_NOT_HOLD),
        ({}, (0.0, 1e-4), DOES_NOT_HOLD),
        ({"0.25": 1, "0.5": 1, "1": TIE}, (0.0, 0.1), DOES_NOT_HOLD),
    ],
)
def test_dial(conclude: Any, change: Levels, away: tuple[float, float], verdict: str) -> None:
    found = dict(zip(("main", "image"), away, strict=True))
    parts = {"_from_base": lambda bench, scope: found[scope]}
    assert conclude(dial, dial.DIAL, {**RISING, **change}, **parts) == verdict


@pytest.mark.parametrize(
    ("change", "share", "loss", "verdict"),
    [
        ({}, 0.77, 0.01, HOLDS),
        ({"edges full r1": 1.9}, 0.77, 0.01, DOES_NOT_HOLD),
        ({}, 1.01, 0.01, DOES_NOT_HOLD),
        ({}, 0.77, -0.01, DOES_NOT_HOLD),
        ({}, 0.77, None, DOES_NOT_HOLD),
        ({"blur full r1": TIE}, 0.77, 0.01, DOES_NOT_HOLD),
    ],
)
def test_control(
    conclude: Any, change: Levels, share: float, loss: float | None, verdict: str
) -> None:
    parts = {
        "_sizes": lambda bench: [Number("share of full r1 in the weights", share)],
        "_edges": lambda *rest: [],
        "loss_gain": lambda *rest: [Number("first", -1, -1, -1), Number("last", 0.1, loss, 0.2)],
    }
    assert conclude(control, control.CONTROL, {**CONTROLLED, **change}, **parts) == verdict


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, HOLDS),
        ({"apart": 1.5}, DOES_NOT_HOLD),
        ({"grey full r4": Arm(0.1, scatters=True)}, NOT_TESTED),
    ],
)
def test_several(conclude: Any, change: Levels, verdict: str) -> None:
    parts = {"_apart": lambda bench, pair: Rows(Arm({**TOGETHER, **change}["apart"]))}
    assert conclude(several, several.SEVERAL, {**TOGETHER, **change}, **parts) == verdict


@pytest.mark.parametrize(
    ("change", "is_exact", "verdict"),
    [
        ({}, True, HOLDS),
        ({}, False, DOES_NOT_HOLD),
        ({"edges compact": 0.7}, True, DOES_NOT_HOLD),
        ({"edges dropped": 0.7}, True, DOES_NOT_HOLD),
        ({"edges full r4": TIE, "base": 0.9}, True, DOES_NOT_HOLD),
    ],
)
def test_tokens(conclude: Any, change: Levels, is_exact: bool, verdict: str) -> None:
    parts = {"_filling": lambda bench: ([], is_exact)}
    assert conclude(tokens, tokens.TOKENS, {**FEWER, **change}, **parts) == verdict


@pytest.mark.parametrize(
    ("change", "kept", "verdict"),
    [
        ({}, data.LEAST, HOLDS),
        ({}, data.LEAST - 1, NOT_TESTED),
        ({"subject on identical pairs": 2}, data.LEAST, DOES_NOT_HOLD),
        ({"subject on made pairs": -1}, data.LEAST, DOES_NOT_HOLD),
        ({"subject shifted": Arm(0.1, scatters=True)}, data.LEAST, DOES_NOT_HOLD),
    ],
)
def test_data(conclude: Any, change: Levels, kept: int, verdict: str) -> None:
    parts = {"_make_pairs": lambda bench, quick: [Number("made: pairs kept", kept)]}
    assert conclude(data, data.DATA, {**TAUGHT, **change}, **parts) == verdict


@pytest.mark.parametrize(
    ("shape", "same", "verdict"),
    [(1.0, 60.0, HOLDS), (0.8, 50.0, HOLDS), (0.7, 60.0, DOES_NOT_HOLD),
     (1.0, 49.0, DOES_NOT_HOLD)],
)  # fmt: skip
def test_captions(conclude: Any, shape: float, same: float, verdict: str) -> None:
    """A gate is met where its threshold is."""
    right = {name: np.ones(10) for name in captions._FACTORS}
    right["shape"] = (np.arange(10) < 10 * shape).astype(float)
    parts = {
        "_pictures": lambda *rest: torch.zeros(2, 3, 32, 32),
        "sampling_of": lambda bench: None,
        "text_accuracy": lambda *rest: right,
        "_same_subject": lambda bench, quick: [Number("same subject", same)],
    }
    assert conclude(captions, captions.CAPTIONS, {}, **parts) == verdict


@pytest.mark.parametrize(
    ("cached", "steps", "holds"),
    [(1.0, 16, True), (2.0, 16, False), (2.5, 16, False), (0.6, 28, True), (1.0, 28, False)],
)
def test_speed(cached: float, steps: int, holds: bool) -> None:
    """Joint takes 2.5, no condition 0.5; 16 steps are judged by time, 28 by what is saved."""
    seconds = {"joint": 2.5, "branch": 2.5, "masked": 2.5, "no condition": 0.5, "stock": 0.5,
               "cached": cached}  # fmt: skip
    rounds = {way: [value] * 3 for way, value in seconds.items()}
    assert speed._figures("one", rounds, 1, steps)[1] == [holds]


def test_one_seed_is_judged_by_its_mean_and_several_by_the_whole_interval() -> None:
    assert figures.is_above(Interval(0.1, None, None, 1))
    assert not figures.is_above(Interval(0.0, None, None, 1))
    assert figures.is_above(Interval(0.1, 0.01, 0.2, 3))
    assert not figures.is_above(Interval(0.1, 0.0, 0.2, 3))
    assert not figures.is_above(Interval(0.1, -0.1, 0.3, 3))


def test_a_lower_loss_is_a_gain_of_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {"our": {0: 0.1, 1: 0.2, 2: 0.3}, "their": {0: 0.4, 1: 0.51, 2: 0.59}}
    monkeypatch.setattr(
        figures, "losses",
        lambda path: [1.0] * 100 + [ends[path.parent.name][int(path.name)]] * 100,
    )  # fmt: skip
    ours, theirs = ([Path(arm, str(seed)) for seed in range(3)] for arm in ends)
    first, last = figures.loss_gain("x", ours, theirs)
    assert (first.value, last.value) == pytest.approx((0.0, 0.3)) and last.n == 3
    assert last.low is not None and last.high is not None and 0 < last.low < 0.3 < last.high


def test_the_share_kept_has_an_interval_over_seeds_and_none_of_one() -> None:
    base, single, both = Rows(Arm(0)), Rows(Arm(1)), Rows(Arm(0.5))
    found = figures.share_kept("x", both, single, base, "edge F1")
    assert found.value == pytest.approx(50) and found.low is not None and found.high is not None
    assert 45 < found.low < 50 < found.high < 55
    one = [{"edge F1": rows["edge F1"][:1]} for rows in (both, single, base)]
    assert figures.share_kept("x", *one, "edge F1").low is None
