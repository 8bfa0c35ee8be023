"""Rubrics: what is asked of a judge, in versioned files that people edit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import dump_json, write_json
from modelgraft.core.markup import read_document
from modelgraft.core.options import build, flatten, opt

Need = Literal["reference", "context"]
_FORMAT = "1"


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """A criterion with its scale.

    `labels` are what the judge chooses from, `values` their numbers (1, 2, ... if there are none)
    and `levels` what each means. `needs` says what of an item has to be there.
    """

    name: str = opt(help="Its name.")
    version: str = opt("1", "Changes with every change of the text.")
    question: str = opt(help="What is asked of a candidate.")
    labels: tuple[str, ...] = opt(("1", "2", "3", "4", "5"), "What the judge chooses from.")
    values: tuple[float, ...] = opt((), "The labels' numbers; none is 1, 2, and so on.")
    levels: tuple[str, ...] = opt((), "What each label means, in their order.")
    better: Literal["higher", "lower"] = opt("higher", "Which end of the scale is the good one.")
    needs: tuple[Need, ...] = opt((), "What of an item has to be there: reference, context.")
    steps: tuple[str, ...] = opt((), "How to go about it, step by step.")
    rules: tuple[str, ...] = opt((), "What to mind in comparing two candidates.")
    weight: float = opt(1.0, "Its weight beside other rubrics.", min=0)

    def __post_init__(self) -> None:
        num = len(self.labels)
        if num < 2 or len(set(self.labels)) < num:
            raise ConfigError(
                "labels", f"labels {', '.join(self.labels)}: two or more, all different."
            )
        for name, given in (("values", self.values), ("levels", self.levels)):
            if given and len(given) != num:
                raise ConfigError(name, f"{name}: {len(given)} for {num} labels; one for each.")

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values of the labels."""
        return self.values or tuple(float(place + 1) for place in range(len(self.labels)))

    @property
    def key(self) -> str:
        """12 hexadecimal digits that change with any of its texts."""
        return hashlib.sha256(dump_json(flatten(self)).encode()).hexdigest()[:12]


def read_rubric(name: str) -> Rubric:
    """A shipped rubric by its name, or that of a file (.yaml, .toml, .json).

    Raises `InputError` for a name that is neither, and `ConfigError` naming file and line for a
    file with a wrong field.
    """
    path = Path(name).expanduser()
    if not path.suffix:
        path = _shipped() / f"{name}.yaml"
        if not path.exists():
            raise InputError(
                f"rubric {name!r}: there is none of this name; there are "
                f"{', '.join(shipped_rubrics())}.\n  Or name a file that ends in .yaml."
            )
    document = read_document(path)
    values = dict(document.data)
    if (found := values.pop("format", None)) != _FORMAT:
        raise InputError(f"{document.where(('format',))}: format {found}: {_FORMAT} is known.")
    sources = {key: document.where((key,)) for key in values}
    return build(Rubric, values, sources)


def write_rubric(path: Path, rubric: Rubric) -> None:
    """Write it as a file that `read_rubric` reads."""
    write_json(path, {"format": _FORMAT, **flatten(rubric)})


def shipped_rubrics() -> list[str]:
    """The names of the rubrics that come with the package."""
    return sorted(path.stem for path in _shipped().glob("*.yaml"))


def _shipped() -> Path:
    return Path(__file__).parent / "rubrics"
