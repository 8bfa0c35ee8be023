"""O4: two conditions at once, trained apart and together."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.experiments.arms import EDGES, Arm, Bench, open_bench, trained
from modelgraft.methods.ominicontrol.experiments.drawn import (
    arm_rows,
    base_rows,
    pictures,
    seed_rows,
)
from modelgraft.methods.ominicontrol.experiments.figures import Rows, figure

PAIRS: tuple[tuple[Task, Task], ...] = (("edges", "grey"), ("depth", "subject"))
MEASURES: dict[Task, str] = {
    "edges": "edge F1",
    "grey": "grey MSE",
    "depth": "depth MSE",
    "subject": "identity cosine",
}
SINGLE: dict[Task, Arm] = {
    "edges": EDGES,
    "grey": Arm(name="grey full r4", tasks=("grey",)),
    "depth": Arm(name="depth full r4", tasks=("depth",)),
    "subject": Arm(name="subject shifted", tasks=("subject",)),
}
# Threshold of the verdict: share of a single condition's gain that must be left, in per cent.
KEPT = 80.0


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    numbers: list[Number] = []
    shares: list[float] = []
    for pair in PAIRS:
        base = base_rows(bench, pair)
        ways = {
            "trained apart": _apart(bench, pair),
            "trained together": arm_rows(bench, Arm(name=" and ".join(pair), tasks=pair)),
        }
        for task in pair:
            single = arm_rows(bench, SINGLE[task])
            numbers.append(figure(f"{task} alone", single, MEASURES[task], base))
            for way, rows in ways.items():
                name = f"{task} with {pair[0] if task == pair[1] else pair[1]}, {way}"
                numbers.append(figure(name, rows, MEASURES[task], single))
                share = _share(rows, single, base, MEASURES[task])
                numbers.append(Number(f"{name}: share of the gain kept", share, unit="%",
                                      n=rows[MEASURES[task]].size, baseline=100.0))  # fmt: skip
                if way == "trained apart":
                    shares.append(share)
    return bench.findings(numbers, holds=min(shares) >= KEPT)


def _apart(bench: Bench, pair: tuple[Task, Task]) -> Rows:
    """Both conditions at once, by adapters that have never met."""
    both = Arm(name=f"{' and '.join(pair)} apart", tasks=pair)

    def draw(seed: int) -> Tensor:
        return pictures(bench, both, [trained(bench, SINGLE[task], seed) for task in pair])

    return seed_rows(bench, both.name, [SINGLE[task] for task in pair], pair, draw)


def _share(rows: Rows, single: Rows, base: Rows, name: str) -> float:
    """Per cent of what one condition gains over none that is left with two."""
    both, alone, none = (float(np.nanmean(one[name])) for one in (rows, single, base))
    return 100 * (both - none) / (alone - none)


SEVERAL = Experiment(
    "O4",
    "Two conditions whose adapters were trained apart are obeyed together: each keeps at least "
    "80 % of what it gains alone.",
    "Shown in pictures only; OminiControl2 joins several conditions with 5.9 times the speed.",
    _run,
)
