"""What the experiments on verifiable rewards share: PPO on word sums, from the SFT model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.methods.tulu3.adapter.models import MODEL
from modelgraft.methods.tulu3.config import PpoConfig, RewardConfig, RlvrConfig, RlvrOptim
from modelgraft.methods.tulu3.data import Prompt, world_pairs, world_prompts
from modelgraft.methods.tulu3.evaluate.suites import Outcome
from modelgraft.methods.tulu3.experiments.arms import (
    SUBJECTS,
    arm,
    finished_run,
    score,
    write_rows,
)
from modelgraft.methods.tulu3.train.curves import recorded
from modelgraft.methods.tulu3.world.draft import Skill

BETA = 0.05
ITERATIONS = 50
EPISODES_EACH = 64
# The arm that all of them compare with: pure rewards, the critic from the policy's trunk.
PLAIN = "plain"
_SAMPLES = 4


def reinforced(
    run: Run,
    name: str,
    seed: int,
    quick: bool,
    *,
    skill: Skill = "sums",
    iterations: int = ITERATIONS,
    beta: float = BETA,
    ppo: PpoConfig = PpoConfig(critic="policy"),  # noqa: B008
    **options: Any,
) -> Path:
    """The folder of a finished run of PPO on prompts of a skill; its final weights count.

    Nothing is looked at on the way. `options` are further fields of the config.
    """
    iterations, num_prompts = (2, 64) if quick else (iterations, 2048)
    prompts = world_prompts(num_prompts, split="train", seed=seed, skills=(skill,))
    config = RlvrConfig(
        data=write_rows(run, f"{skill}-{seed}", prompts),
        model=SUBJECTS["sft"],
        beta=beta,
        episodes=iterations * EPISODES_EACH,
        eval_every=0,
        ppo=ppo,
        optim=RlvrOptim(batch=EPISODES_EACH, micro_batch=EPISODES_EACH),
        **options,
    )
    return finished_run(run, name, seed, "rlvr", config)


def reward_model(run: Run, seed: int, quick: bool) -> Path:
    """The folder of a reward model that has learned right sums from wrong ones."""
    pairs = world_pairs(64 if quick else 1024, seed=seed, skills=("sums",))
    config = RewardConfig(data=write_rows(run, f"sums-pairs-{seed}", pairs), model=SUBJECTS["sft"])
    return arm(run, "reward-model", seed, "reward", config)


def held_out_sums(run: Run, quick: bool) -> list[Prompt]:
    """Sums whose numbers and words no training prompt holds together."""
    return world_prompts(8 if quick else 128, split="dev", seed=run.seed, skills=("sums",))


def sampled(run: Run, label: str, model: str | Path, prompts: list[Prompt]) -> list[Outcome]:
    """Several sampled answers to each prompt, judged."""
    return score(run, label, model, prompts, samples=_SAMPLES, temperature=1.0)


def policy_of(folder: Path) -> Path:
    """The model that a run of `reinforced` saved."""
    return folder / "artefacts" / MODEL


def curve(folder: Path, name: str) -> Array:
    """What was recorded of every iteration, [iterations]."""
    return np.array(recorded(folder, name))


def last(folder: Path, name: str) -> float:
    """The mean of the last tenth of the iterations."""
    values = curve(folder, name)
    return float(values[-max(1, len(values) // 10) :].mean())


def save_curves(run: Run, file: str, title: str, caption: str, curves: Mapping[str, Array]) -> None:
    """A plot of shares by iteration, one line each."""
    series = [
        Series(name, list(range(1, len(values) + 1)), (100 * values).tolist())
        for name, values in curves.items()
    ]
    plot = Plot("line", title, Axis("iteration"), Axis("%"), series)
    plot.save(run.add("plot", file, caption))
