"""O8: which modules need the adapter, and in which blocks the condition must be seen."""

from __future__ import annotations

from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.experiments.arms import EDGES, Arm, open_bench
from modelgraft.methods.ominicontrol.experiments.drawn import arm_rows, base_rows
from modelgraft.methods.ominicontrol.experiments.figures import figure, gain, is_above

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

CLAIMED = (
    ("norms", "single blocks"), ("q and k", "single blocks"), ("v", "single blocks"),
    ("v", "norms"), ("v", "q and k"),
)  # fmt: skip
"""What costs less, and what it costs less than."""


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    base, full = base_rows(bench, EDGES.tasks), arm_rows(bench, EDGES)
    numbers = [figure("everything", full, "toy edge F1", base)]
    rows = {name: arm_rows(bench, arm) for name, arm in WITHOUT.items()}
    for name, own in rows.items():
        numbers.append(figure(f"without {name}", own, "toy edge F1", base))
        numbers.append(gain(f"everything over none in {name}", full, own, "toy edge F1")[0])
    found = [
        gain(f"without {better} over without {worse}", rows[better], rows[worse], "toy edge F1")
        for better, worse in CLAIMED
    ]
    numbers += [number for number, _ in found]
    return bench.findings(numbers, holds=all(is_above(interval) for _, interval in found))


ABLATION = Experiment(
    "O8",
    "A condition that is seen in the double blocks alone is obeyed least; of the modules, norms, "
    "queries and keys need the adapter more than values do.",
    "Early blocks only: F1 .23 against .38; leaving out norms or q and k hurts most, v least.",
    _run,
)
