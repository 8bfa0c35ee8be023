"""E5: rewards that a program verifies lift what they check (paper, section 6)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.config import PpoConfig, RlvrConfig, RlvrOptim
from modelgraft.methods.tulu3.data import Prompt, world_prompts
from modelgraft.methods.tulu3.evaluate.suites import Outcome
from modelgraft.methods.tulu3.experiments.arms import (
    SUBJECTS,
    described,
    difference,
    finished_run,
    is_above,
    mean,
    number,
    score,
    seeds_of,
    shares,
    write_rows,
)
from modelgraft.methods.tulu3.train.curves import recorded

BETA = 0.05
BETAS = (0.1, 0.05, 0.03, 0.01)
EPISODES_EACH = 64
SAMPLES = 4

# Thresholds of the verdict: points of held-out sampled answers, and that distance falls with beta.
RISE = 20.0


def _run(run: Run, quick: bool) -> Findings:
    iterations, num_prompts, num_items = (2, 64, 8) if quick else (50, 2048, 128)
    seeds = seeds_of(run, quick)
    held_out = world_prompts(num_items, split="dev", seed=run.seed, skills=("sums",))
    start = _sampled(run, "the start", SUBJECTS["sft"], held_out)
    before = shares([start] * len(seeds))
    after: list[Array] = []
    distance: dict[float, list[float]] = {beta: [] for beta in BETAS}
    curves: dict[float, list[float]] = {}
    for beta in BETAS:
        for seed in seeds if beta == BETA else seeds[:1]:
            prompts = world_prompts(num_prompts, split="train", seed=seed, skills=("sums",))
            data = write_rows(run, f"E5-{seed}", prompts)
            config = sums_config(data, beta=beta, iterations=iterations)
            folder = finished_run(run, f"E5-beta-{beta:g}", seed, "rlvr", config)
            distance[beta].append(_last(folder, "kl"))
            curves.setdefault(beta, recorded(folder, "verified"))
            if beta == BETA:
                model = folder / "artefacts" / "model"
                after.append(shares([_sampled(run, f"seed {seed}", model, held_out)])[0])
    rise = difference(np.stack(after), before)
    kl = {beta: float(np.mean(values)) for beta, values in distance.items()}
    _save_curves(run, curves)
    numbers = [
        number("held-out sampled answers that pass, after", mean(np.stack(after)), unit="%",
               baseline=float(before.mean())),
        number("rise", rise, unit="points", baseline=0.0),
        *(
            Number(f"distance of an answer to the reference at beta {beta:g}", value,
                   n=len(distance[beta]), unit="nats", baseline=kl[BETAS[0]], better="lower")
            for beta, value in kl.items()
        ),
    ]  # fmt: skip
    falls = all(kl[low] >= kl[high] for high, low in pairwise(BETAS))
    holds = rise.value >= RISE and is_above(rise) and falls
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
        remarks=() if falls else ("a lower beta did not always end further from the reference.",),
    )


def sums_config(data: Path, *, beta: float, iterations: int) -> RlvrConfig:
    """PPO on word sums: the final weights count, so nothing is looked at on the way."""
    return RlvrConfig(
        data=data,
        model=SUBJECTS["sft"],
        beta=beta,
        episodes=iterations * EPISODES_EACH,
        eval_every=0,
        ppo=PpoConfig(critic="policy"),
        optim=RlvrOptim(batch=EPISODES_EACH, micro_batch=EPISODES_EACH),
    )


def _sampled(run: Run, label: str, model: str | Path, prompts: list[Prompt]) -> list[Outcome]:
    return score(run, label, model, prompts, samples=SAMPLES, temperature=1.0)


def _last(folder: Path, name: str) -> float:
    """The mean of the last tenth of what was recorded."""
    values = recorded(folder, name)
    return float(np.mean(values[-max(1, len(values) // 10) :]))


def _save_curves(run: Run, curves: dict[float, list[float]]) -> None:
    caption = "Share of sampled answers that pass, by iteration, for each beta."
    series = [
        Series(f"beta {beta:g}", list(range(1, len(values) + 1)), [100 * one for one in values])
        for beta, values in curves.items()
    ]
    plot = Plot("line", "Verified answers (%)", Axis("iteration"), Axis("%"), series)
    plot.save(run.add("plot", "E5-verified.json", caption))


VERIFIABLE = Experiment(
    "E5",
    "PPO on what a verifier accepts lifts held-out problems by 20 points, and a lower beta lets "
    "the policy go further from its start.",
    "Llama-3.1-8B: GSM8K 84.3 to 87.6, MATH 42.0 to 43.7, IFEval 81.1 to 82.4; a lower beta gives "
    "more KL.",
    _run,
)
