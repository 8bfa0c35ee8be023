"""The verdicts of a finished run, given again without asking anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.core.files import read_json
from modelgraft.core.options import build, options
from modelgraft.methods.judge.config import JudgeOptions
from modelgraft.methods.judge.exports.files import read_verdicts
from modelgraft.methods.judge.judges.calls import Call, Verdict

IDENTITY = "judge.json"


class RecordedJudge:
    """Gives the verdicts in a run folder. Calls that were not made there raise `InputError`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self._name = folder, name
        path = folder / "artefacts" / "verdicts.jsonl"
        if not path.is_file():
            raise InputError(
                f"{folder}: this run has no verdicts.\n"
                "  Name the folder of a finished run of compare."
            )
        found = read_verdicts(path, reject=None)
        self.verdicts = {(one.item, one.order, one.sample): one for one in found}

    @property
    def name(self) -> str:
        """The name of the judge that gave them."""
        return self._name

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """The verdict of each call."""
        found = [self.verdicts.get((one.item.id, one.order, one.sample)) for one in calls]
        if None in found:
            call = calls[found.index(None)]
            raise InputError(
                f"{self.folder}: there is no verdict on item {call.item.id} in the order "
                f"{call.order} ({found.count(None)} of {len(calls)} are missing).\n"
                "  Judge these items in both orders: compare --swap average."
            )
        return [one for one in found if one is not None]


def recorded_options(folder: Path, items: Path | None, seed: int) -> JudgeOptions:
    """Who judged in a run and what; `items` replace its own, for labels that came later.

    Raises `InputError` when the run drew its items with another seed than this one.
    """
    config = read_json(folder / "config.json", "the config of a run")
    values = config["values"]
    known = {option.name for option in options(JudgeOptions)}
    found = build(JudgeOptions, {name: one for name, one in values.items() if name in known})
    if items is not None:
        return replace(found, items=items, num=None)
    if found.items is None and config["seed"] != seed:
        raise InputError(
            f"{folder}: it judged the embedded world of seed {config['seed']}.\n"
            f"  Give --seed {config['seed']}, so that its items are drawn again."
        )
    return found
