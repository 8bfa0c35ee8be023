"""demo: every method once on its embedded model, one after the other, and one page of it all."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.cli import show
from modelgraft.cli.action import (
    Job,
    as_json,
    as_text,
    make_config,
    perform,
    report,
    show_remarks,
    stopped,
)
from modelgraft.cli.command import read
from modelgraft.cli.flags import names_in
from modelgraft.cli.parser import unparse
from modelgraft.core.attempts import differences, made_by_other_code, set_aside
from modelgraft.core.card import Card, Found, find_cards
from modelgraft.core.errors import ConfigError, Interrupted, ModelgraftError
from modelgraft.core.files import make_folder, write_atomic
from modelgraft.core.inputs import config_inputs
from modelgraft.core.lazy import load
from modelgraft.core.options import opt, options
from modelgraft.core.results import Result
from modelgraft.core.settings import Settings

_PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Run every method once on its embedded model and write one page with what came out.

    What this version finished in the folder before is not run again.
    """

    only: str | None = opt(None, "Ids of methods, separated by commas; none is all.")
    out: Path = opt(Path("runs/demo"), "The folder of the page and of its runs.")
    json: bool = opt(False, "Print one JSON object.")
    quiet: bool = opt(False, "No progress and no remarks.")
    seed: int = opt(0, "Seed of every random draw.", min=0)
    device: str = opt("auto", "auto, cpu, cuda or cuda:N.")
    offline: bool = opt(False, "Never ask a hub or a registry.")


@dataclass
class Part:
    """One action of the demo: its job and folder, then its result or what went wrong."""

    id: str
    title: str
    summary: str
    job: Job | None = None
    folder: Path | None = None
    result: Result | None = None
    problem: str = ""
    exit_code: int = 0


def command(argv: Sequence[str]) -> int:
    """`modelgraft demo`; the exit code is that of the worst part, 1 (our fault) before others."""
    given = read(argv, DemoOptions, "demo")
    if given is None:
        return 0
    parts = list(_parts(find_cards(), given))
    _prepare(given.out)
    for number, part in enumerate(parts, start=1):
        if part.job is not None:
            if not given.quiet:
                show.note(f"[{number}/{len(parts)}] {part.job.name}")
            _run(part, given)
        if not given.json:
            show.emit(_section(part))
    page = _write_page(parts, given, argv)
    if given.json:
        rows = [_row(part) for part in parts]
        show.emit_json({"page": str(page), "parts": rows})
    else:
        show.emit(str(page))
    codes = {part.exit_code for part in parts} - {0}
    return 1 if 1 in codes else max(codes, default=0)


def _prepare(out: Path) -> None:
    """Make the folder of the demo, unless it is somebody else's."""
    if os.path.isfile(out):
        raise ConfigError("out", f"--out {out}: this is a file, not a folder.")
    make_folder(out)
    if os.path.exists(out / _PAGE) and not any(out.glob("*/*/run.json")):
        raise ConfigError("out", f"--out {out}: its {_PAGE} is not that of a demo.")


def _parts(found: Found, given: DemoOptions) -> Iterator[Part]:
    wanted = names_in(given.only.replace("-", "_")) if given.only is not None else None
    for name in wanted or ():
        if name not in found.cards and name not in found.broken:
            close = difflib.get_close_matches(name, found.cards, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(found.cards)}"
            raise ConfigError("only", f"--only {name}: there is no such method; {hint}")
    for card in found.cards.values():
        if wanted is None or card.id in wanted:
            yield from _parts_of(card, given)
    for name, reason in found.broken.items():
        if wanted is None or name in wanted:
            yield Part(name, name, "", problem=f"the method cannot be read: {reason}", exit_code=1)


def _parts_of(card: Card, given: DemoOptions) -> Iterator[Part]:
    seen: dict[str, int] = {}
    for name, values in card.demo:
        seen[name] = seen.get(name, 0) + 1
        label = name if seen[name] == 1 else f"{name}-{seen[name]}"
        folder = given.out / card.id / label
        alone = len(card.demo) == 1
        part = Part(
            card.id if alone else f"{card.id}-{label}",
            card.title if alone else f"{card.title}: {label}",
            card.summary if alone else card.action(name).help,
            folder=folder,
        )
        try:
            part.job = _job(card, name, values, folder, given)
        except ModelgraftError as error:
            part.problem, part.exit_code = str(error), error.exit_code
        yield part


def _job(card: Card, name: str, values: Mapping[str, Any], folder: Path, given: DemoOptions) -> Job:
    action = card.action(name)
    config, sources = make_config(action.config, values, dict.fromkeys(values, "demo"))
    words = unparse(options(action.config), values)
    command = ("modelgraft", card.id, name, *words, f"--out={folder}", f"--seed={given.seed}")
    settings = Settings(seed=given.seed, device=given.device, offline=given.offline)
    return Job(card, action, config, sources, settings, command, config_inputs(config))


def _run(part: Part, given: DemoOptions) -> None:
    """Fill in the part's result or problem; only a person's wish to stop ends the demo."""
    assert part.job is not None and part.folder is not None
    try:
        if differences(part.folder, part.job.settings, part.job.record):
            aside = set_aside(part.folder)
            show.note(f"{part.folder} held a run with other options; it is now {aside}")
        elif made_by_other_code(part.folder):
            aside = set_aside(part.folder)
            show.note(f"{part.folder} held a run of another version; it is now {aside}")
        outcome = perform(part.job, part.folder, quiet=given.quiet)
        part.result = outcome.result
        show_remarks(part.result, quiet=given.quiet)
        if part.result.partial:
            part.problem, part.exit_code = part.result.partial, 3
        report(part.folder)
        if outcome.is_stopping:
            raise stopped()
    except Interrupted:
        raise
    except (ModelgraftError, show.Crash) as error:
        show.show_error(error)
        part.problem = str(error)
        part.exit_code = error.exit_code if isinstance(error, ModelgraftError) else 1


def _section(part: Part) -> str:
    body = as_text(part.result) if part.result else f"failed: {part.problem}"
    return f"{part.title}\n{body}\n"


def _row(part: Part) -> dict[str, Any]:
    outcome = {"id": part.id, "exit_code": part.exit_code, "problem": part.problem}
    if part.job is None or part.folder is None or part.result is None:
        return outcome
    return {**outcome, **as_json(part.job, part.folder, part.result)}


def _write_page(parts: Sequence[Part], given: DemoOptions, argv: Sequence[str]) -> Path:
    entry = load("modelgraft.evaluation.report:DemoEntry")
    entries = []
    for part in parts:
        has_run = part.folder is not None and (part.folder / "run.json").exists()
        folder = part.folder if has_run else None
        entries.append(entry(part.id, part.title, part.summary, folder, part.problem))
    page = load("modelgraft.evaluation.report:render_demo")(
        entries, page_folder=given.out, command=shlex.join(["modelgraft", "demo", *argv])
    )
    path = given.out / _PAGE
    write_atomic(path, page)
    return path
