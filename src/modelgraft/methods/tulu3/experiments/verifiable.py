"""E5: rewards that a program verifies lift what they check (paper)."""

from __future__ import annotations

import numpy as np

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
    curve,
    held_out_sums,
    policy_of,
    reinforced,
    sampled,
    save_curves,
)

ITERATIONS = 100

# Threshold of the verdict, in points of held-out sampled answers.
RISE = 20.0


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run, quick)
    held_out = held_out_sums(run, quick)
    before = shares([sampled(run, "the start", SUBJECTS["sft"], held_out)] * len(seeds))
    found: list[Array] = []
    curves: dict[str, Array] = {}
    seconds = []
    for seed in seeds:
        folder = reinforced(run, "verified", seed, quick, iterations=ITERATIONS)
        curves[f"seed {seed}"] = curve(folder, "verified")
        seconds.append(float(curve(folder, "seconds_whole").sum()))
        found.append(shares([sampled(run, f"seed {seed}", policy_of(folder), held_out)])[0])
    after = np.stack(found)
    rise = difference(after, before)
    caption = "Share of sampled answers that pass, by iteration."
    save_curves(run, "E5-verified.json", "Verified answers (%)", caption, curves)
    numbers = [
        number("held-out sampled answers that pass, after", mean(after), unit="%",
               baseline=float(before.mean())),
        number("rise", rise, unit="points", baseline=0.0),
    ]  # fmt: skip
    holds = rise.value >= RISE and is_above(rise)
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
        remarks=(f"a run of {ITERATIONS} iterations took {np.mean(seconds) / 60:.1f} minutes.",),
    )


VERIFIABLE = Experiment(
    "E5",
    "From an SFT model that is right in a quarter of its sampled answers, PPO on what a verifier "
    "accepts lifts held-out problems by 20 points.",
    "Llama-3.1-8B: GSM8K 84.3 to 87.6, MATH 42.0 to 43.7, IFEval 81.1 to 82.4.",
    _run,
)
