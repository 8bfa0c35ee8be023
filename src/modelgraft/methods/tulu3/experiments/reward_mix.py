"""E5c: the verifier's reward alone, or with a reward model's score beside it (paper)."""

from __future__ import annotations

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
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
    PLAIN,
    held_out_sums,
    policy_of,
    reinforced,
    reward_model,
    sampled,
)

WEIGHT = 1.0


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run, quick)
    held_out = held_out_sums(run, quick)
    start = shares([sampled(run, "the start", SUBJECTS["sft"], held_out)])
    found: dict[str, list[Array]] = {"verifier alone": [], "with the reward model": []}
    for seed in seeds:
        scorer = str(reward_model(run, seed, quick))
        folders = (
            reinforced(run, PLAIN, seed, quick),
            reinforced(run, "mixed", seed, quick, reward_model=scorer, reward_weight=WEIGHT),
        )
        for (name, of_seeds), folder in zip(found.items(), folders, strict=True):
            answers = sampled(run, f"{name}, seed {seed}", policy_of(folder), held_out)
            of_seeds.append(shares([answers])[0])
    alone, mixed = (np.stack(values) for values in found.values())
    gap = difference(alone, mixed)
    numbers = [
        *(
            number(f"{name}: held-out sampled answers that pass", mean(np.stack(values)), unit="%",
                   baseline=float(start.mean()))
            for name, values in found.items()
        ),
        *(
            Number(f"{name}: spread over seeds", float(np.stack(values).mean(axis=1).std()),
                   n=len(seeds), unit="points", better="lower")
            for name, values in found.items()
        ),
        number("verifier alone above with the reward model", gap, unit="points", baseline=0.0),
    ]  # fmt: skip
    return Findings(
        tuple(numbers),
        HOLDS if is_above(gap) else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
    )


REWARD_MIX = Experiment(
    "E5c",
    "Paying what the verifier accepts does better than paying a reward model's score beside it.",
    "Adding the reward model's score to the verifiable reward gives noisier and worse scores; "
    "shown as curves.",
    _run,
)
