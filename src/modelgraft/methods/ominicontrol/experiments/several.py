"""O4: two conditions at once, trained apart and together."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import NOT_TESTED, Experiment, Findings
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.experiments.arms import (
    EDGES,
    Arm,
    Bench,
    open_bench,
    trained,
)
from modelgraft.methods.ominicontrol.experiments.drawn import (
    Drawing,
    arm_rows,
    base_rows,
    pictures,
    seed_rows,
)
from modelgraft.methods.ominicontrol.experiments.figures import (
    Rows,
    figure,
    gain,
    is_above,
    share_kept,
)

PAIRS: tuple[tuple[Task, Task], ...] = (("edges", "grey"), ("depth", "subject"))
MEASURES: dict[Task, str] = {
    "edges": "toy edge F1",
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
    shares, gains = [], []
    for pair in PAIRS:
        # All that is compared has the same prompts.
        same = Drawing(prompts=pair)
        base = base_rows(bench, pair)
        ways = {
            "trained apart": _apart(bench, pair),
            "trained together": arm_rows(bench, Arm(name=" and ".join(pair), tasks=pair)),
        }
        for task in pair:
            other = pair[0] if task == pair[1] else pair[1]
            measure = MEASURES[task]
            single = arm_rows(bench, SINGLE[task], same, name=f"beside {other}")
            better, interval = gain(f"{task} alone over no condition", single, base, measure)
            numbers += [figure(f"{task} alone", single, measure, base), better]
            gains.append(interval)
            for way, rows in ways.items():
                name = f"{task} with {other}, {way}"
                numbers.append(figure(name, rows, measure, single))
                numbers.append(share_kept(name, rows, single, base, measure))
                if way == "trained apart":
                    shares.append(numbers[-1].value)
    # Where one condition alone gains nothing there is nothing that two could keep.
    if not all(is_above(one) for one in gains):
        return replace(bench.findings(numbers, holds=False), verdict=NOT_TESTED)
    return bench.findings(numbers, holds=min(shares) >= KEPT)


def _apart(bench: Bench, pair: tuple[Task, Task]) -> Rows:
    """Both conditions at once, by adapters that have never met."""
    both = Arm(name=f"{' and '.join(pair)} apart", tasks=pair)

    def draw(seed: int) -> Tensor:
        return pictures(bench, both, [trained(bench, SINGLE[task], seed) for task in pair])

    return seed_rows(bench, both.name, [SINGLE[task] for task in pair], pair, draw)


SEVERAL = Experiment(
    "O4",
    "Two conditions whose adapters were trained apart are obeyed together: each keeps at least "
    "80 % of what it gains alone.",
    "Shown in pictures only; OminiControl2 joins several conditions with 5.9 times the speed.",
    _run,
)
