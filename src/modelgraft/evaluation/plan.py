"""The options of `modelgraft METHOD reproduce`, the same for every method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelgraft.core.options import opt


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Which experiments to run, and where their records go."""

    experiments: tuple[str, ...] = opt(
        (), "Experiments to run, such as E1 E2; all of them when none is named.", positional=True
    )
    quick: bool = opt(False, "Smoke pass: the smallest sizes, and no record is written.")
    folder: Path = opt(Path("reproduction"), "Folder of the records, one JSON per experiment.")
