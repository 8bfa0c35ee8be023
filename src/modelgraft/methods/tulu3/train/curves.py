"""What a training run recorded of itself, steps of resumed attempts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from modelgraft.core.results import Number

_SHARE = 0.1


def recorded(folder: Path, name: str) -> list[float]:
    """The values called `name` in the run's metrics, by step; a later attempt's count."""
    path = folder / "metrics.jsonl"
    found: dict[int, float] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:  # a kill tore the line
            continue
        if name in row:
            found[row["step"]] = row[name]
    return [found[step] for step in sorted(found)]


def first_and_last(
    folder: Path,
    name: str,
    *,
    unit: str = "nats/token",
    better: Literal["higher", "lower"] = "lower",
) -> list[Number]:
    """The mean of the last tenth of the steps, with that of the first tenth as its baseline."""
    values = recorded(folder, name)
    if not values:
        return []
    size = max(1, round(_SHARE * len(values)))
    first, last = sum(values[:size]) / size, sum(values[-size:]) / size
    words = name.replace("_", " ")
    return [
        Number(f"{words}, last tenth of the steps", last, n=size, unit=unit, baseline=first,
               better=better)
    ]  # fmt: skip
