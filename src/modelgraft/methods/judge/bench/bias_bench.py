"""EvalBiasBench (Park et al. 2024): pairs of a good answer and one that a bias would prefer.

file  {name of the bias: [{"instruction", "response1", "response2", "label": "1"}]}

The good answer always stands first, so nothing measured in one order alone means anything here.
"""

from __future__ import annotations

from pathlib import Path

from modelgraft.core.rows import Reject, Row, text_of
from modelgraft.methods.judge.bench.fields import answers, choice_of
from modelgraft.methods.judge.bench.files import GROUP, read_groups
from modelgraft.methods.judge.data import Item


def read_bias_bench(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of biasbench.json; the group is the bias, the id the place in the file."""
    return read_groups(path, _item, reject=reject, key=lambda item: item.id)


def _item(row: Row, place: int) -> Item:
    bias = text_of(row, GROUP)
    return Item(
        f"{bias}-{place + 1}",
        text_of(row, "instruction"),
        answers(row, ("response1", "response2")),
        label=choice_of(row, "label", {"1": "a", "2": "b", 1: "a", 2: "b"}),
        group=bias,
    )
