"""E5b: what the critic of PPO starts from (paper)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.adapter.scores import CriticStart
from modelgraft.methods.tulu3.config import PpoConfig
from modelgraft.methods.tulu3.experiments.arms import (
    described,
    difference,
    is_above,
    mean,
    number,
    seeds_of,
)
from modelgraft.methods.tulu3.experiments.sums import (
    PLAIN,
    curve,
    reinforced,
    reward_model,
    save_curves,
)

STARTS: tuple[CriticStart, ...] = ("reward", "policy", "scratch")
EARLY = 10  # iterations


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run, quick)
    foreseen: dict[str, Array] = {}
    verified: dict[str, Array] = {}
    for start in STARTS:
        folders = [_folder(run, start, seed, quick) for seed in seeds]
        foreseen[start], verified[start] = (
            100 * np.stack([curve(folder, name) for folder in folders])
            for name in ("explained_variance", "verified")
        )
    early = {start: values[:, :EARLY] for start, values in foreseen.items()}
    numbers = []
    for start in STARTS:
        numbers += [
            number(f"{start}: variance of returns foreseen, first {EARLY} iterations",
                   mean(early[start]), unit="%", baseline=float(early["scratch"].mean())),
            number(f"{start}: answers that pass, first {EARLY} iterations",
                   mean(verified[start][:, :EARLY]), unit="%",
                   baseline=float(verified["scratch"][:, :EARLY].mean())),
            number(f"{start}: answers that pass, all iterations", mean(verified[start]), unit="%",
                   baseline=float(verified["scratch"].mean())),
        ]  # fmt: skip
    gaps = {
        (better, worse): difference(early[better], early[worse])
        for better, worse in (("reward", "policy"), ("policy", "scratch"))
    }
    numbers += [
        number(f"{better} above {worse}: variance foreseen early", gap, unit="points", baseline=0.0)
        for (better, worse), gap in gaps.items()
    ]
    curves = {start: values.mean(axis=0) / 100 for start, values in foreseen.items()}
    caption = "Share of the variance of returns that the critic foresaw, by what it starts from."
    save_curves(run, "E5b-foreseen.json", "Variance foreseen (%)", caption, curves)
    return Findings(
        tuple(numbers),
        HOLDS if all(map(is_above, gaps.values())) else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
    )


def _folder(run: Run, start: CriticStart, seed: int, quick: bool) -> Path:
    if start == "policy":
        return reinforced(run, PLAIN, seed, quick)
    scorer = str(reward_model(run, seed, quick)) if start == "reward" else ""
    ppo = PpoConfig(critic=start)
    return reinforced(run, f"critic-{start}", seed, quick, ppo=ppo, reward_model=scorer)


CRITICS = Experiment(
    "E5b",
    "A critic that starts from a reward model foresees returns earlier than one from the policy's "
    "trunk, and that one earlier than one from random weights.",
    "GSM8K from an 8B DPO model, beta .1 to .001: a critic from the general reward model gives the "
    "best GSM8K score and the best average, against one from the DPO policy; no third start.",
    _run,
)
