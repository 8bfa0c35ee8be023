"""E5a: how far a policy goes from its reference, by the weight of the distance (paper)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.experiments.arms import described, seeds_of
from modelgraft.methods.tulu3.experiments.sums import (
    BETA,
    PLAIN,
    curve,
    last,
    reinforced,
    save_curves,
)

BETAS = (0.1, BETA, 0.03, 0.01)


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run, quick)
    distance: dict[float, list[float]] = {beta: [] for beta in BETAS}
    curves: dict[str, Array] = {}
    for beta in BETAS:
        for seed in seeds if beta == BETA else seeds[:1]:
            name = PLAIN if beta == BETA else f"beta-{beta:g}"
            folder = reinforced(run, name, seed, quick, beta=beta)
            distance[beta].append(last(folder, "kl"))
            curves.setdefault(f"beta {beta:g}", curve(folder, "verified"))
    kl = {beta: float(np.mean(values)) for beta, values in distance.items()}
    caption = "Share of sampled answers that pass, by iteration, for each beta."
    save_curves(run, "E5a-verified.json", "Verified answers (%)", caption, curves)
    grows = [kl[low] >= kl[high] for high, low in pairwise(BETAS)]
    numbers = [
        *(
            Number(f"distance of an answer to the reference at beta {beta:g}", value,
                   n=len(distance[beta]), unit="nats", baseline=kl[BETAS[0]], better="lower")
            for beta, value in kl.items()
        ),
        Number("steps down in beta after which the distance was larger", sum(grows), n=len(grows),
               baseline=float(len(grows))),
    ]  # fmt: skip
    return Findings(
        tuple(numbers),
        HOLDS if all(grows) else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
    )


DISTANCES = Experiment(
    "E5a",
    "The lower beta is, the further from its reference the policy ends.",
    "A lower beta gives more KL and a lower average; shown as curves of 8B runs.",
    _run,
)
