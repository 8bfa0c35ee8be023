"""A run inside a run: a step of a pipeline, an arm of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from modelgraft.core.attempts import RunRecord, differences, finished_result, set_aside
from modelgraft.core.results import Result
from modelgraft.core.runs import Run, open_run
from modelgraft.core.settings import Settings


def nested_run(
    parent: Run, folder: Path, settings: Settings, record: RunRecord, work: Callable[[Run], Result]
) -> tuple[Result, bool]:
    """What `work` came to as a run of its own in `folder`, and whether it was told to stop.

    The folder lies below that of `parent`, whose listener hears of the progress. A run that was
    finished there before is not run again, one that was not goes on, and one of another config or
    of other inputs is set aside. `--resume` speaks of the parent's folder alone.
    """
    settings = replace(settings, resume="auto")
    if changed := differences(folder, settings, record):
        aside = set_aside(folder)
        parent.log("runs again", folder=folder.name, changed=changed, old=str(aside))
    if earlier := finished_result(folder, settings, record):
        return earlier, False
    with open_run(folder, settings=settings, record=record) as run:
        run.listener = parent.listener
        result = run.finish(work(run))
    return result, run.is_stopping


def moved(result: Result, place: str) -> Result:
    """The result of a run in the folder `place` with its files named from the parent's folder."""
    artefacts = [replace(one, path=f"{place}/{one.path}") for one in result.artefacts]
    return replace(result, artefacts=tuple(artefacts))
