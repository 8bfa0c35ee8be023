"""E6: sampling in a second process while the policy trains (paper)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.config import PpoConfig
from modelgraft.methods.tulu3.experiments.arms import (
    SUBJECTS,
    described,
    difference,
    is_above,
    mean,
    number,
    seeds_of,
    shares,
)
from modelgraft.methods.tulu3.experiments.sums import (
    curve,
    held_out_sums,
    policy_of,
    reinforced,
    sampled,
)

ITERATIONS = 30
_IN_TURN, _MEANWHILE = "0", "1"
# With the default of four passes, sampling takes a fifth of an iteration: too little to hide.
_ONE_PASS = PpoConfig(critic="policy", passes=1)

# Threshold of the verdict: seconds of an iteration in turn, against meanwhile.
FASTER = 1.3
# Points that held-out answers may lie below those in turn, with the whole interval.
MARGIN = 5.0


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run, quick)
    held_out = held_out_sums(run, quick)
    start = shares([sampled(run, "the start", SUBJECTS["sft"], held_out)])
    folders: dict[str, list[Path]] = {_IN_TURN: [], _MEANWHILE: []}
    for seed in seeds:  # seed by seed, so that both meet the same state of the machine
        for lag, done in folders.items():
            folder = reinforced(
                run, f"lag-{lag}", seed, quick, iterations=ITERATIONS, ppo=_ONE_PASS, lag=lag
            )
            done.append(folder)
    passed = {
        lag: shares([sampled(run, f"lag {lag}", policy_of(one), held_out) for one in done])
        for lag, done in folders.items()
    }
    # The first iteration starts the process, and samples twice with a lag.
    seconds = {
        lag: np.concatenate([curve(one, "seconds_whole")[1:] for one in done])
        for lag, done in folders.items()
    }
    gain = ratio_interval(seconds[_IN_TURN].tolist(), seconds[_MEANWHILE].tolist())
    gap = difference(passed[_MEANWHILE], passed[_IN_TURN])
    sampling, rest = _parts(folders[_IN_TURN])
    numbers = [
        number("time of an iteration, in turn against with a lag of 1", gain, unit="x",
               baseline=1.0),
        Number("sampling against all else, in turn", sampling / rest, unit="x",
               n=len(seconds[_IN_TURN])),
        *(
            number(f"lag {lag}: held-out sampled answers that pass", mean(values), unit="%",
                   baseline=float(start.mean()))
            for lag, values in passed.items()
        ),
        number("with a lag above in turn", gap, unit="points", baseline=0.0),
    ]  # fmt: skip
    is_same = is_above(gap, -MARGIN)
    return Findings(
        tuple(numbers),
        HOLDS if gain.value >= FASTER and is_same else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
    )


def _parts(folders: list[Path]) -> tuple[float, float]:
    """The mean seconds of an iteration that sampling takes, and those of all else."""
    whole, sampling = (
        float(np.mean([curve(one, name)[1:].mean() for one in folders]))
        for name in ("seconds_whole", "seconds_sampling")
    )
    return sampling, whole - sampling


LAGGING = Experiment(
    "E6",
    "On one machine, with one pass over each batch, sampling in a second process while the policy "
    "trains makes an iteration 1.3 times as fast and ends no more than 5 points lower.",
    "Answers come from a dedicated inference engine with the weights of the second-latest update; "
    "no comparison with sampling in turn is given.",
    _run,
)
