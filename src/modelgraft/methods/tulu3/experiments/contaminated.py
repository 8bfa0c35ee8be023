"""E3b: dev prompts in the training set inflate the dev score alone; decontamination undoes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from modelgraft.core.results import Number
from modelgraft.core.rows import read_rows
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array, Interval
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.tulu3.config import DecontaminateConfig, SftConfig
from modelgraft.methods.tulu3.data import Conversation
from modelgraft.methods.tulu3.evaluate.suites import Kind, Outcome
from modelgraft.methods.tulu3.experiments.arms import (
    SUBJECTS,
    arm,
    described,
    difference,
    finished_run,
    is_above,
    mean,
    number,
    score,
    seeds_of,
    shares,
    world_suite,
    write_rows,
)
from modelgraft.methods.tulu3.world.tasks import Task, stream, suite

CLEAN, PLANTED, SIFTED = "clean", "contaminated", "decontaminated"
ARMS = (CLEAN, PLANTED, SIFTED)
KINDS: tuple[Kind, Kind] = ("dev", "unseen")
COPIES = 4
_EPOCHS = 2.0
_PLANT = "planted"

# Thresholds of the verdict: points, and how far the gap may stay from the clean one, as a share
# of what contamination widens it by.
WIDER = 10.0
UNSEEN_CHANGE = 5.0
LEFT = 0.5

# What passed [seeds, items] of each suite, by arm; both suites have as many items.
Passed = Mapping[str, Mapping[Kind, Array]]


@dataclass(frozen=True)
class Effects:
    """Changes against the clean arm, in points; the gap is that of dev above unseen.

    wider: of the gap, by contamination; left: of the gap, after decontamination.
    """

    dev: Interval
    unseen: Interval
    wider: Interval
    left: Interval

    @property
    def is_confirmed(self) -> bool:
        """Whether contamination lifts dev alone, and decontamination takes that back."""
        return (
            self.wider.value >= WIDER
            and is_above(self.wider)
            and is_above(self.dev)
            and abs(self.unseen.value) <= UNSEEN_CHANGE
            and abs(self.left.value) <= LEFT * self.wider.value
        )


def effects(passed: Passed) -> Effects:
    """What the three arms say about planted prompts."""
    # Items of the two suites are paired in their order: independent ones, as many in both.
    gaps = {name: passed[name]["dev"] - passed[name]["unseen"] for name in ARMS}
    dev, unseen = (difference(passed[PLANTED][kind], passed[CLEAN][kind]) for kind in KINDS)
    wider, left = (difference(gaps[name], gaps[CLEAN]) for name in (PLANTED, SIFTED))
    return Effects(dev, unseen, wider, left)


def _run(run: Run, quick: bool) -> Findings:
    num, num_items = (48, 2) if quick else (1280, 32)
    seeds = seeds_of(run, quick)
    suites = {kind: world_suite(kind, num_items, seed=run.seed) for kind in KINDS}
    tests = write_rows(run, "dev", suites["dev"])
    unseen = write_rows(run, "unseen", suites["unseen"])
    planted = _planted(num_items, run.seed)
    outcomes: dict[str, dict[Kind, list[list[Outcome]]]] = {
        name: {kind: [] for kind in KINDS} for name in ARMS
    }
    sifted = []
    for seed in seeds:
        files = _files(run, num, planted, seed)
        files[SIFTED] = _decontaminate(run, files[PLANTED], tests, unseen, seed)
        sifted.append(_sifted(files))
        for name in ARMS:
            model = arm(run, f"E3b-{name}", seed, "sft", _config(files[name], num + len(planted)))
            for kind in KINDS:
                outcomes[name][kind].append(
                    score(run, f"{name}, seed {seed}, {kind}", model, suites[kind])
                )
    passed = {
        name: {kind: shares(found) for kind, found in of_kind.items()}
        for name, of_kind in outcomes.items()
    }
    found = effects(passed)
    numbers = [*_numbers(passed, found), *_sifting_numbers(sifted, len(planted), num)]
    _draw(run, passed)
    verdict = HOLDS if found.is_confirmed else DOES_NOT_HOLD
    return Findings(tuple(numbers), verdict, seeds=seeds, subject=described(run))


# -- training sets ---------------------------------------------------------------------------------


def _conversation(task: Task, name: str) -> Conversation:
    return Conversation(name, tuple(task.messages(task.answer)), task.source)


def _planted(num_items: int, seed: int) -> list[Conversation]:
    """The dev prompts with their answers, each some times."""
    return [
        _conversation(task, f"{_PLANT}-{copy}-{task.id}")
        for copy in range(COPIES)
        for task in suite("dev", num_items, seed=seed)
    ]


def _files(run: Run, num: int, planted: Sequence[Conversation], seed: int) -> dict[str, Path]:
    """As many rows clean and contaminated; where one has a plant the other has a further task."""
    tasks = [
        _conversation(task, task.id)
        for task in islice(stream("train", seed=seed), num + len(planted))
    ]
    return {
        CLEAN: write_rows(run, f"E3b-clean-{seed}", tasks),
        PLANTED: write_rows(run, f"E3b-contaminated-{seed}", [*tasks[:num], *planted]),
    }


def _config(data: Path, num: int) -> SftConfig:
    """As many steps on every file as `num` rows take, up to one: fewer rows are not less work."""
    return SftConfig(data=data, model=SUBJECTS["base"], epochs=_EPOCHS * num / len(_ids(data)))


def _ids(data: Path) -> list[str]:
    return read_rows(data, lambda row, _: str(row["id"]), reject=None)


def _decontaminate(run: Run, train: Path, dev: Path, unseen: Path, seed: int) -> Path:
    config = DecontaminateConfig(train=(train,), dev=(dev,), unseen=(unseen,))
    folder = finished_run(run, "E3b-decontamination", seed, "decontaminate", config)
    return folder / "artefacts" / "clean" / train.name


def _sifted(files: Mapping[str, Path]) -> tuple[int, int]:
    """How many planted and how many other rows decontamination left."""
    ids = _ids(files[SIFTED])
    num_planted = sum(one.startswith(_PLANT) for one in ids)
    return num_planted, len(ids) - num_planted


# -- what is told ----------------------------------------------------------------------------------


def _numbers(passed: Passed, found: Effects) -> list[Number]:
    clean = passed[CLEAN]
    numbers = [
        number(f"{name}: {kind} passed", mean(passed[name][kind]), unit="%",
               baseline=float(clean[kind].mean()))
        for name in ARMS
        for kind in KINDS
    ]  # fmt: skip
    gaps = {
        name: float(passed[name]["dev"].mean() - passed[name]["unseen"].mean()) for name in ARMS
    }
    numbers += [
        Number(f"{name}: dev above unseen", gap, n=clean["dev"].size, unit="points",
               baseline=gaps[CLEAN], better="lower")
        for name, gap in gaps.items()
    ]  # fmt: skip
    changes = {
        "dev, contaminated against clean": found.dev,
        "unseen, contaminated against clean": found.unseen,
        "dev above unseen, contaminated against clean": found.wider,
        "dev above unseen, decontaminated against clean": found.left,
    }
    return numbers + [
        number(name, change, unit="points", baseline=0.0, better="lower")
        for name, change in changes.items()
    ]


def _sifting_numbers(
    sifted: Sequence[tuple[int, int]], num_planted: int, num_others: int
) -> list[Number]:
    total = len(sifted)
    found = 1 - sum(left for left, _ in sifted) / (total * num_planted)
    lost = 1 - sum(left for _, left in sifted) / (total * num_others)
    return [
        Number("planted rows that were removed", 100 * found, n=total * num_planted, unit="%"),
        Number("other rows that were removed", 100 * lost, n=total * num_others, unit="%",
               better="lower"),
    ]  # fmt: skip


def _draw(run: Run, passed: Passed) -> None:
    plot = Plot(
        kind="bar",
        title="Prompts passed, by the training set",
        x=Axis("training set"),
        y=Axis("passed (%)", low=0, high=100),
        series=[
            Series(kind, list(ARMS), [float(passed[name][kind].mean()) for name in ARMS])
            for kind in KINDS
        ],
    )
    caption = f"Contaminated: every dev prompt stands {COPIES} times in the training set."
    plot.save(run.add("plot", "E3b-contaminated.json", caption))


CONTAMINATED = Experiment(
    "E3b",
    "Dev prompts planted in the training set lift the dev score and not the unseen one; after "
    "decontamination the gap is as without them.",
    "The paper counts such overlaps in public sets: Evol-CodeAlpaca holds 70.7 % of HumanEval, "
    "NuminaMath-TIR 18.2 % of MATH.",
    _run,
)
