"""E5d: what an almost free policy gives up for what is verified (paper)."""

from __future__ import annotations

import re

import numpy as np

from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.data import world_prompt
from modelgraft.methods.tulu3.evaluate.suites import Outcome
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
from modelgraft.methods.tulu3.experiments.sums import BETA, policy_of, reinforced, sampled
from modelgraft.methods.tulu3.world.checks import content_share
from modelgraft.methods.tulu3.world.tasks import Task, suite

FREE = 0.001
BETAS = (FREE, BETA)
ITERATIONS = 40


def _run(run: Run, quick: bool) -> Findings:
    seeds = seeds_of(run, quick)
    found = suite("dev", 4 if quick else 96, seed=run.seed)
    tasks = [task for task in found if task.skill == "instructions"]
    prompts = [world_prompt(task) for task in tasks]
    start = _measures(tasks, [sampled(run, "the start", SUBJECTS["sft"], prompts)] * len(seeds))
    numbers = []
    gaps = {}
    for beta in BETAS:
        answers = []
        for seed in seeds:
            folder = reinforced(
                run, f"instructions-{beta:g}", seed, quick,
                skill="instructions", iterations=ITERATIONS, beta=beta,
            )  # fmt: skip
            answers.append(sampled(run, f"beta {beta:g}, seed {seed}", policy_of(folder), prompts))
        for name, values in _measures(tasks, answers).items():
            unit, baseline = _UNITS[name], float(start[name].mean())
            gaps[name, beta] = gap = difference(values, start[name])
            numbers += [
                number(f"beta {beta:g}: {name}", mean(values), unit=unit, baseline=baseline),
                number(f"beta {beta:g}: {name}, above the start", gap,
                       unit="points" if unit == "%" else unit, baseline=0.0),
            ]  # fmt: skip
    lost = [gaps[_CONTENT, beta] for beta in BETAS]
    is_lost = all((one.value if one.high is None else one.high) < 0 for one in lost)
    holds = is_lost and all(is_above(gaps[_PASSED, beta]) for beta in BETAS)
    return Findings(
        tuple(numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=seeds,
        subject=described(run, "sft"),
    )


_PASSED, _CONTENT, _LENGTH = "constraints kept", "content said", "length"
_UNITS = {_PASSED: "%", _CONTENT: "%", _LENGTH: "characters"}


def _measures(tasks: list[Task], of_seeds: list[list[Outcome]]) -> dict[str, Array]:
    """Each measure [seeds, items] of the answers: means over those of an item."""
    content = [
        [
            100 * float(np.mean([content_share(task, answer) for answer in outcome.answers]))
            for task, outcome in zip(tasks, outcomes, strict=True)
        ]
        for outcomes in of_seeds
    ]
    length = [
        [float(np.mean([len(re.sub(r"\s+", " ", one)) for one in outcome.answers]))
         for outcome in outcomes]
        for outcomes in of_seeds
    ]  # fmt: skip
    return {_PASSED: shares(of_seeds), _CONTENT: np.array(content), _LENGTH: np.array(length)}


OVER_OPTIMISATION = Experiment(
    "E5d",
    "Paid for constraints alone, the policy keeps more of them and says less of what it was asked "
    "to say, with the usual penalty for distance as with almost none.",
    "Prompts with constraints at beta .01: answers collapse to what the constraints ask for; an "
    "example is shown, no figures.",
    _run,
)
