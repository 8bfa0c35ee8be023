"""An action: options become a config, a run folder is opened, the result is printed."""

from __future__ import annotations

import datetime
import os
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelgraft.cli import show
from modelgraft.cli.flags import ActionFlags
from modelgraft.cli.parser import parse, part
from modelgraft.core.attempts import RunRecord, finished_result
from modelgraft.core.card import Action, Card
from modelgraft.core.errors import Interrupted, MissingExtra, ModelgraftError, Unavailable
from modelgraft.core.files import DISK_FULL, disk_errors
from modelgraft.core.inputs import config_inputs
from modelgraft.core.lazy import load
from modelgraft.core.options import build, build_all, flatten, options
from modelgraft.core.recipes import Setting, preset_settings
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings


@dataclass(frozen=True)
class Job:
    """One action with everything it needs; `sources` says where each value came from."""

    card: Card
    action: Action
    config: Any
    sources: Mapping[str, str]
    settings: Settings
    command: tuple[str, ...]
    inputs: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """The two words a person types."""
        return f"{self.card.id} {self.action.name}"

    @property
    def record(self) -> RunRecord:
        """What the run folder keeps of this job."""
        return RunRecord(
            method=self.card.id,
            action=self.action.name,
            command=self.command,
            config=flatten(self.config),
            sources=self.sources,
            inputs=self.inputs,
        )


@dataclass(frozen=True)
class Outcome:
    """A result, whether it is that of an earlier run of the same job, and whether to stop now."""

    result: Result
    reused: bool = False
    is_stopping: bool = False


def command(card: Card, action: Action, argv: Sequence[str]) -> int:
    """Run METHOD ACTION with the words after it, and return the exit code."""
    own = options(action.config)
    shared = [*options(ActionFlags), *options(Settings)]
    values = parse(argv, [*own, *shared], f"modelgraft {card.id} {action.name}")
    given = {one.name: Setting(values[one.name], "flag") for one in own if one.name in values}
    preset = build(ActionFlags, {n: v for n, v in values.items() if n == "preset"}).preset
    if preset is not None:
        given = {**preset_settings(card, preset, action.name, own), **given}
    flags, settings, config, sources = make_all(action.config, given, values)
    words = ("modelgraft", card.id, action.name, *argv)
    job = Job(card, action, config, sources, settings, words)
    if flags.dry_run:
        show_estimate(job, as_json=flags.json)
        return 0
    job = replace(job, inputs=config_inputs(config))
    return run_and_show(job, flags.out or new_folder(card.id, action.name), flags)


def make_config(
    cls: type, values: Mapping[str, Any], sources: Mapping[str, str]
) -> tuple[Any, dict[str, str]]:
    """The config, and the source of every one of its values, defaults included."""
    config = build(cls, values, _places(sources))
    return config, all_sources(config, sources)


def make_all(
    cls: type, given: Mapping[str, Setting], shared: Mapping[str, Any]
) -> tuple[ActionFlags, Settings, Any, dict[str, str]]:
    """The flags and settings among `shared`, and a config with its sources from what is `given`.

    Raises one `ConfigError` with the faults of all three.
    """
    values = {name: setting.value for name, setting in given.items()}
    sources = {name: setting.source for name, setting in given.items()}
    flags, settings, config = build_all(
        [
            (ActionFlags, part(shared, ActionFlags), {}),
            (Settings, part(shared, Settings), {}),
            (cls, values, _places(sources)),
        ]
    )
    return flags, settings, config, all_sources(config, sources)


def _places(sources: Mapping[str, str]) -> dict[str, str]:
    # A flag is named by the message itself; a file and its line are not.
    return {name: source for name, source in sources.items() if source != "flag"}


def all_sources(config: Any, sources: Mapping[str, str]) -> dict[str, str]:
    """The source of every value of a config, `default` where none is given."""
    return {name: sources.get(name, "default") for name in flatten(config)}


def new_folder(method: str, action: str) -> Path:
    """A run folder that is not there yet, `runs/<date>-<method>-<action>-<4 hex digits>`."""
    today = datetime.date.today().isoformat()
    while True:
        folder = Path("runs") / f"{today}-{method}-{action}-{secrets.token_hex(2)}"
        if not folder.exists():
            return folder


def perform(job: Job, folder: Path, *, quiet: bool = False) -> Outcome:
    """Run the action in its folder; one that was finished there before is not run again.

    Raises `ModelgraftError` for what a person can mend and `Crash` for a fault of ours.
    """
    try:
        if earlier := finished_result(folder, job.settings, job.record):
            if not quiet:
                show.note(f"{folder}: finished before; this is its result")
            return Outcome(earlier, reused=True)
        with (
            open_run(folder, settings=job.settings, record=job.record) as run,
            show.progress(quiet=quiet) as run.listener,
        ):
            result = run.finish(_function(job, job.action.target)(job.config, run))
            return Outcome(result, is_stopping=run.is_stopping)
    except ModelgraftError:
        raise
    except Exception as error:
        if _is_out_of_memory(error):
            raise Unavailable(_out_of_memory(job)) from error
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            with disk_errors(folder, "the run"):
                raise
        raise show.Crash(error, show.save_traceback(error, folder)) from error


def stopped() -> Interrupted:
    """The error of work that was told to stop between two of its runs."""
    return Interrupted(
        "stopped; the runs that are done are kept.\n  Run the same command again to go on."
    )


def _function(job: Job, target: str) -> Any:
    """The function of an action; `MissingExtra` when its module needs a package not installed."""
    try:
        return load(target)
    except ModuleNotFoundError as error:
        package = (error.name or "modelgraft").partition(".")[0]
        if package == "modelgraft" or not job.card.extras:
            raise
        raise MissingExtra(
            f"{job.name}: {package} is not installed, and this needs it.\n"
            f'  Install it with: pip install "modelgraft[{",".join(job.card.extras)}]"'
        ) from None


def _is_out_of_memory(error: Exception) -> bool:
    # torch has its own class, which cannot be named without importing torch.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _out_of_memory(job: Job) -> str:
    return (
        f"{job.name}: the memory is full.\n"
        "  Take a smaller model, a smaller batch or shorter inputs, take --dtype bfloat16, or "
        "another --device;\n  --dry-run says what a run needs, where the action can tell."
    )


def report(folder: Path) -> Path:
    """Write the page of a run."""
    try:
        return load("modelgraft.evaluation.report:write_report")(folder)
    except ModelgraftError:
        raise
    except Exception as error:
        raise show.Crash(error, show.save_traceback(error, folder)) from error


def run_and_show(job: Job, folder: Path, flags: ActionFlags) -> int:
    """Run the action, print its result, write its page; the exit code says if it was fulfilled.

    Under torchrun or accelerate launch the first process alone prints and keeps the run folder.
    """
    if _rank() > 0:
        # When the first only shows an earlier result, nobody would meet this process.
        if finished_result(folder, job.settings, job.record) is None:
            with tempfile.TemporaryDirectory() as own:
                perform(job, Path(own) / "run", quiet=True)
        return 0
    result = perform(job, folder, quiet=flags.quiet).result
    if flags.json:
        show.emit_json(as_json(job, folder, result))
    else:
        show.emit(as_text(result))
    show_remarks(result, quiet=flags.quiet)
    page = report(folder)
    if not flags.quiet:
        show.note(f"run folder: {folder}\nreport: {page}")
    return 3 if result.partial else 0


def _rank() -> int:
    """The place of this process among those that torchrun or accelerate launch started, else 0."""
    numbers = [re.fullmatch(r"[0-9]{1,9}", os.environ.get(n, "")) for n in ("RANK", "WORLD_SIZE")]
    rank, size = (int(number[0]) if number else 0 for number in numbers)
    return rank if size > 1 else 0


def show_remarks(result: Result, *, quiet: bool) -> None:
    """Say on standard error what a reader must know, and what was not fulfilled."""
    for remark in () if quiet else result.remarks:
        show.note(remark)
    if result.partial:
        show.note(f"not fulfilled: {result.partial}")


def as_text(result: Result) -> str:
    """The result for a terminal: its words, then its numbers."""
    parts = [result.text, _table(result.numbers)]
    return "\n\n".join(part for part in parts if part) or "done"


def _table(numbers: Sequence[Number]) -> str:
    return load("modelgraft.evaluation.tables:text_table")(numbers) if numbers else ""


def as_json(job: Job, folder: Path, result: Result) -> dict[str, Any]:
    """The result as `--json` prints it."""
    names = {"method": job.card.id, "action": job.action.name, "run": str(folder)}
    return {**names, **result.as_dict()}


def estimate(job: Job) -> list[Number] | None:
    """What the action says it would cost; None when it cannot tell."""
    if job.action.estimate is None:
        return None
    return list(_function(job, job.action.estimate)(job.config, job.settings))


def show_estimate(job: Job, *, as_json: bool) -> None:
    """Print what the run would cost; nothing is written."""
    numbers = estimate(job)
    if as_json:
        show.emit_json(estimate_json(job, numbers))
    else:
        show.emit(estimate_text(job, numbers))


def estimate_text(job: Job, numbers: Sequence[Number] | None) -> str:
    """The estimate for a terminal."""
    no_estimate = f"{job.name}: the options can be read; this action gives no estimate"
    return _table(numbers) if numbers else no_estimate


def estimate_json(job: Job, numbers: Sequence[Number] | None) -> dict[str, Any]:
    """The estimate as `--json` prints it."""
    names = {"method": job.card.id, "action": job.action.name}
    config = {"values": flatten(job.config), "sources": dict(job.sources)}
    return {**names, "config": config, "numbers": [number.as_dict() for number in numbers or ()]}
