"""O8: which modules need the adapter, and in which blocks the condition must be seen."""

from __future__ import annotations

import numpy as np

from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.experiments.arms import EDGES, Arm, open_bench
from modelgraft.methods.ominicontrol.experiments.drawn import arm_rows, base_rows
from modelgraft.methods.ominicontrol.experiments.figures import figure, gain

_DOUBLE, _SINGLE = r"transformer_blocks\.\d+", r"single_transformer_blocks\.\d+"
_NORMS = rf"{_DOUBLE}\.norm1\.linear|{_SINGLE}\.norm\.linear"
_QK = rf"({_DOUBLE}|{_SINGLE})\.attn\.to_[qk]"
_V = rf"({_DOUBLE}|{_SINGLE})\.attn\.to_v"
_REST = rf"x_embedder|{_DOUBLE}\.(attn\.to_out\.0|ff\.net\.2)|{_SINGLE}\.(proj_mlp|proj_out)"
WITHOUT = {
    "norms": Arm(name="edges no norm", tasks=("edges",), modules=f"{_QK}|{_V}|{_REST}"),
    "q and k": Arm(name="edges no qk", tasks=("edges",), modules=f"{_NORMS}|{_V}|{_REST}"),
    "v": Arm(name="edges no v", tasks=("edges",), modules=f"{_NORMS}|{_QK}|{_REST}"),
    "single blocks": Arm(name="edges double only", tasks=("edges",), blocks=(0, 2)),
}


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    base, full = base_rows(bench, EDGES.tasks), arm_rows(bench, EDGES)
    numbers = [figure("everything", full, "edge F1", base)]
    lost = {}
    for name, arm in WITHOUT.items():
        rows = arm_rows(bench, arm)
        numbers.append(figure(f"without {name}", rows, "edge F1", base))
        numbers.append(gain(f"everything over none in {name}", full, rows, "edge F1")[0])
        lost[name] = float(np.mean(full["edge F1"]) - np.mean(rows["edge F1"]))
    worst = max(lost, key=lambda name: lost[name])
    holds = worst == "single blocks" and lost["v"] <= min(lost["norms"], lost["q and k"])
    return bench.findings(numbers, holds=holds)


ABLATION = Experiment(
    "O8",
    "A condition that is seen in the double blocks alone is obeyed least; of the modules, norms, "
    "queries and keys need the adapter more than values do.",
    "Early blocks only: F1 .23 against .38; leaving out norms or q and k hurts most, v least.",
    _run,
)
