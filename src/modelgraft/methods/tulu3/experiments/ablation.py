"""E2: data of one skill serves that skill (paper, ablations of the SFT mix)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array, Interval
from modelgraft.evaluation.report import Axis, Plot, Series, Table
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.config import SftConfig
from modelgraft.methods.tulu3.data import world_conversations
from modelgraft.methods.tulu3.experiments.arms import (
    SUBJECTS,
    arm,
    described,
    difference,
    is_above,
    number,
    score,
    seeds_of,
    shares,
    world_suite,
    write_rows,
)
from modelgraft.methods.tulu3.world.draft import SKILLS, Skill

FULL = "full mix"
_EPOCHS = 2.0

# Thresholds of the verdict, in points.
DROP = 30.0
CHANGE_ELSEWHERE = 10.0
TIMES_ANY_OTHER = 2.0  # the skill falls by so many times what any other one moves

# What passed [seeds, items] of each skill, by arm.
Passed = Mapping[str, Mapping[Skill, Array]]


@dataclass(frozen=True)
class Removal:
    """What leaving out the data of one skill does, in points; `elsewhere` by the other skills."""

    skill: Skill
    drop: Interval
    elsewhere: Mapping[Skill, Interval]
    mean_elsewhere: Interval

    @property
    def largest_elsewhere(self) -> tuple[Skill, Interval]:
        """The other skill that changes most, up or down."""
        return max(self.elsewhere.items(), key=lambda item: abs(item[1].value))

    @property
    def is_confirmed(self) -> bool:
        """Whether the skill falls far, and the others hardly move, on average and each."""
        is_large = self.drop.value >= DROP and is_above(self.drop)
        largest = abs(self.largest_elsewhere[1].value)
        is_alone = self.drop.value >= TIMES_ANY_OTHER * largest
        return is_large and is_alone and abs(self.mean_elsewhere.value) <= CHANGE_ELSEWHERE


def removal(passed: Passed, skill: Skill) -> Removal:
    """The arm without a skill against the full mix."""
    full, without = passed[FULL], passed[without_name(skill)]
    others = [one for one in SKILLS if one != skill]
    return Removal(
        skill,
        difference(full[skill], without[skill]),
        {one: difference(without[one], full[one]) for one in others},
        difference(
            np.concatenate([without[one] for one in others], axis=1),
            np.concatenate([full[one] for one in others], axis=1),
        ),
    )


def without_name(skill: Skill) -> str:
    """The name of the arm without a skill."""
    return f"without {skill}"


def _run(run: Run, quick: bool) -> Findings:
    num, num_items = (64, 4) if quick else (5120, 64)
    seeds = seeds_of(run, quick)
    prompts = world_suite("dev", num_items, seed=run.seed)
    base = score(run, "the base model", SUBJECTS["base"], prompts)
    arms: dict[str, tuple[Skill, ...]] = {
        FULL: (),
        **{without_name(skill): (skill,) for skill in SKILLS},
    }
    passed: dict[str, dict[Skill, Array]] = {}
    for name, without in arms.items():
        slug = f"E2-{name.replace(' ', '-')}"
        outcomes = []
        for seed in seeds:
            rows = world_conversations(num, seed=seed, without=without)
            data = write_rows(run, f"{slug}-{seed}", rows)
            config = SftConfig(data=data, model=SUBJECTS["base"], epochs=_EPOCHS)
            model = arm(run, slug, seed, "sft", config)
            outcomes.append(score(run, f"{name}, seed {seed}", model, prompts))
        passed[name] = {skill: shares(outcomes, skill) for skill in SKILLS}
    removals = [removal(passed, skill) for skill in SKILLS]
    numbers = [one for found in removals for one in _numbers(found, passed)]
    _save_matrix(run, {"base model": {s: shares([base], s) for s in SKILLS}, **passed})
    verdict = HOLDS if all(one.is_confirmed for one in removals) else DOES_NOT_HOLD
    return Findings(tuple(numbers), verdict, seeds=seeds, subject=described(run))


def _numbers(found: Removal, passed: Passed) -> list[Number]:
    label = without_name(found.skill)
    full, without = (float(passed[name][found.skill].mean()) for name in (FULL, label))
    name, largest = found.largest_elsewhere
    return [
        Number(f"{label}: {found.skill} passed", without, n=found.drop.n, unit="%", baseline=full),
        number(f"{label}: drop on {found.skill}", found.drop, unit="points", baseline=0.0),
        number(f"{label}: mean change of the other skills", found.mean_elsewhere, unit="points",
               baseline=0.0),
        number(f"{label}: largest change of another skill ({name})", largest, unit="points",
               baseline=0.0),
    ]  # fmt: skip


def _save_matrix(run: Run, passed: Passed) -> None:
    means = {
        name: [round(float(of_skill[skill].mean()), 1) for skill in SKILLS]
        for name, of_skill in passed.items()
    }
    caption = "Dev prompts passed in percent, by what the model was trained on (rows)."
    table = Table(("trained on", *SKILLS), [[name, *row] for name, row in means.items()], caption)
    table.save(run.add("table", "E2-skills.json", caption))
    plot = Plot(
        kind="heatmap",
        title="Dev prompts passed (%)",
        x=Axis("skill"),
        y=Axis("trained on"),
        series=[Series(name, list(SKILLS), row) for name, row in means.items()],
    )
    plot.save(run.add("plot", "E2-skills-plot.json", caption))


ABLATION = Experiment(
    "E2",
    "Leaving one skill out of the SFT mix costs that skill a lot and the others little.",
    "Ablations of 8B SFT: without math data GSM8K 76.2 to 64.1 and MATH 31.5 to 23.5, without "
    "safety data safety 93.1 to 74.7, other skills within about a point.",
    _run,
)
