"""E5: rewards that a program verifies lift what they check (paper, section 6)."""

from __future__ import annotations

from itertools import pairwise

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
    BETA,
    curve,
    held_out_sums,
    last,
    policy_of,
    reinforced,
    sampled,
    save_curves,
)

BETAS = (0.1, BETA, 0.03, 0.01)
ITERATIONS = 100

# Thresholds of the verdict: points of held-out sampled answers, and that distance falls with beta.
RISE = 20.0


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run, quick)
    held_out = held_out_sums(run, quick)
    before = shares([sampled(run, "the start", SUBJECTS["sft"], held_out)] * len(seeds))
    after: list[Array] = []
    distance: dict[float, list[float]] = {beta: [] for beta in BETAS}
    curves: dict[str, Array] = {}
    for beta in BETAS:
        for seed in seeds if beta == BETA else seeds[:1]:
            folder = reinforced(
                run, f"beta-{beta:g}", seed, quick, beta=beta, iterations=ITERATIONS
            )
            distance[beta].append(last(folder, "kl"))
            curves.setdefault(f"beta {beta:g}", curve(folder, "verified"))
            if beta == BETA:
                answers = sampled(run, f"seed {seed}", policy_of(folder), held_out)
                after.append(shares([answers])[0])
    rise = difference(np.stack(after), before)
    kl = {beta: float(np.mean(values)) for beta, values in distance.items()}
    caption = "Share of sampled answers that pass, by iteration, for each beta."
    save_curves(run, "E5-verified.json", "Verified answers (%)", caption, curves)
    numbers = [
        number("held-out sampled answers that pass, after", mean(np.stack(after)), unit="%",
               baseline=float(before.mean())),
        number("rise", rise, unit="points", baseline=0.0),
        *(
            Number(f"distance of an answer to the reference at beta {beta:g}", value,
                   n=len(distance[beta]), unit="nats", baseline=kl[BETAS[0]], better="lower")
            for beta, value in kl.items()
        ),
        Number("steps down in beta after which the distance grew",
               sum(kl[low] >= kl[high] for high, low in pairwise(BETAS)), n=len(BETAS) - 1,
               baseline=float(len(BETAS) - 1)),
    ]  # fmt: skip
    falls = all(kl[low] >= kl[high] for high, low in pairwise(BETAS))
    holds = rise.value >= RISE and is_above(rise) and falls
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
    )


VERIFIABLE = Experiment(
    "E5",
    "From an SFT model that is right in a quarter of its sampled answers, PPO on what a verifier "
    "accepts lifts held-out problems by 20 points, and a lower beta ends further from the start.",
    "Llama-3.1-8B: GSM8K 84.3 to 87.6, MATH 42.0 to 43.7, IFEval 81.1 to 82.4; a lower beta gives "
    "more KL.",
    _run,
)
