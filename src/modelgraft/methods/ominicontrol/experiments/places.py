"""O2: where a condition's tokens stand."""

from __future__ import annotations

from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.experiments.arms import EDGES, Arm, open_bench, trained
from modelgraft.methods.ominicontrol.experiments.drawn import arm_rows, base_rows, ceiling_rows
from modelgraft.methods.ominicontrol.experiments.figures import (
    ceilings,
    figure,
    gain,
    is_above,
    loss_gain,
)

_LEFT = (0.0, -8.0)
ALIGNED = {
    "shared": EDGES,
    "shifted": Arm(name="edges shifted", tasks=("edges",), delta=_LEFT),
}
SUBJECT = {
    "shared": Arm(name="subject shared", tasks=("subject",), delta=(0.0, 0.0)),
    "shifted": Arm(name="subject shifted", tasks=("subject",)),
}


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    edges = {name: arm_rows(bench, arm) for name, arm in ALIGNED.items()}
    subject = {name: arm_rows(bench, arm) for name, arm in SUBJECT.items()}
    bases = {"edges": base_rows(bench, ("edges",)), "subject": base_rows(bench, ("subject",))}
    numbers = []
    for name in ("shared", "shifted"):
        for measure in ("toy edge F1", "edge F1", "edge F1 within 1 px"):
            numbers.append(figure(f"edges {name}", edges[name], measure, bases["edges"]))
        for measure in ("identity cosine", "identity at 1", "position leak", "text"):
            numbers.append(figure(f"subject {name}", subject[name], measure, bases["subject"]))
    for_edges = gain("edges shared over shifted", edges["shared"], edges["shifted"], "toy edge F1")
    for_identity = gain(
        "subject shifted over shared", subject["shifted"], subject["shared"], "identity cosine"
    )
    for_leak = gain(
        "subject shifted over shared", subject["shifted"], subject["shared"], "position leak"
    )
    found = [for_edges, for_identity, for_leak]
    numbers += [number for number, _ in found]
    numbers += ceilings(
        ceiling_rows(bench, ("subject",)), ("identity cosine", "identity at 1", "text")
    )
    for name, (ours, theirs) in {
        "edges shared over shifted": (ALIGNED["shared"], ALIGNED["shifted"]),
        "subject shifted over shared": (SUBJECT["shifted"], SUBJECT["shared"]),
    }.items():
        folders = [[trained(bench, arm, seed) for seed in bench.seeds] for arm in (ours, theirs)]
        numbers += loss_gain(name, folders[0], folders[1])
    holds = all(is_above(interval) for _, interval in found)
    return bench.findings(numbers, holds=holds)


PLACES = Experiment(
    "O2",
    "Edges are kept better when their tokens share the places of the output, a subject is kept "
    "better and its place leaks less when they stand beside it.",
    "Shifted places train faster and end better for subjects (15,000 iterations each, by eye); "
    "aligned tasks share places.",
    _run,
)
