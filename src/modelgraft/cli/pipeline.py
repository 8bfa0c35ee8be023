"""run: the steps of a recipe one after the other, or a saved config once more."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelgraft.cli import action as actions
from modelgraft.cli import show
from modelgraft.cli.command import read
from modelgraft.cli.flags import ActionFlags, names_in, wanted_help
from modelgraft.cli.parser import parse, part
from modelgraft.core.attempts import differences, set_aside
from modelgraft.core.card import Action, Card, find_card
from modelgraft.core.errors import ConfigError, InputError, ModelgraftError
from modelgraft.core.inputs import config_inputs, input_hashes
from modelgraft.core.markup import Document, read_document
from modelgraft.core.options import Option, build_all, opt, options
from modelgraft.core.recipes import (
    Recipe,
    Resolved,
    Setting,
    Step,
    check_configs,
    check_references,
    configured,
    preset_settings,
    read_recipe,
)
from modelgraft.core.settings import Settings

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class RunOptions(ActionFlags):
    """Run the steps of a recipe, or an action again from the config.json of its run folder.

    Any option can be overridden: --STEP.option VALUE for a recipe, --option VALUE for a config.
    A step that was finished in the folder before with the same config and inputs is not run again.
    """

    file: Path = opt(help="A recipe (.yaml, .toml, .json) or a config.json.", positional=True)
    only: str | None = opt(None, "Ids of the steps to run, separated by commas.")
    from_: str | None = opt(None, "Id of the first step to run.")


@dataclass(frozen=True)
class Planned:
    """A step with its action found and its settings merged."""

    step: Step
    card: Card
    action: Action
    settings: Mapping[str, Setting]


def command(argv: Sequence[str]) -> int:
    """`modelgraft run FILE`."""
    if wanted_help(argv) or not argv:
        read(argv, RunOptions, "run")
        return 0
    if argv[0].startswith("-"):
        raise ConfigError("", "modelgraft run: the file comes first, then its options.")
    path = Path(argv[0])
    if path.suffix.lower() in _PICTURES:
        raise InputError(
            f"{path}: repeating a run from a picture is not built yet.\n"
            "  Give the config.json of the run folder the picture lies in."
        )
    document = read_document(path)
    if "values" in document.data and "steps" not in document.data:
        return _run_config(document, argv)
    return _run_recipe(read_recipe(path), argv)


# -- a saved config --------------------------------------------------------------------------------


def _run_config(document: Document, argv: Sequence[str]) -> int:
    data = document.data
    method, name, values = data.get("method"), data.get("action"), data.get("values")
    if not isinstance(method, str) or not isinstance(name, str) or not isinstance(values, dict):
        raise InputError(f"{document.path}: method, action and values are needed in a config.")
    card = find_card(method)
    action = card.action(name)
    own = [replace(option, positional=False) for option in options(action.config)]
    shared = [*options(ActionFlags), *options(Settings)]
    given = parse(argv[1:], [*own, *shared], f"modelgraft run {document.path}")
    if "preset" in given:
        raise ConfigError(
            "preset", "--preset: a saved config holds every value; change single ones"
        )
    merged = {one: Setting(value, document.where(("values", one))) for one, value in values.items()}
    merged |= {one.name: Setting(given[one.name], "flag") for one in own if one.name in given}
    kept = {one: data[one] for one in ("seed", "dtype") if one in data}
    flags, settings, config, sources = actions.make_all(action.config, merged, {**kept, **given})
    job = actions.Job(card, action, config, sources, settings, ("modelgraft", "run", *argv))
    if flags.dry_run:
        actions.show_estimate(job, as_json=flags.json)
        return 0
    job = replace(job, inputs=config_inputs(config))
    return actions.run_and_show(job, flags.out or actions.new_folder(card.id, name), flags)


# -- a recipe --------------------------------------------------------------------------------------


def _run_recipe(recipe: Recipe, argv: Sequence[str]) -> int:
    found = [(step, *_find(step)) for step in recipe.steps]
    own = [option for step, _, action in found for option in _step_options(step, action)]
    shared = [*options(RunOptions), *options(Settings)]
    given = parse(argv, [*own, *shared], f"modelgraft run {recipe.path}")
    flags, settings = _flags_and_settings(recipe, given)
    plan = [Planned(*one, _merge(*one, flags.preset, given)) for one in found]
    out = flags.out or Path("runs") / recipe.name
    folders = {step.id: out / step.id for step in recipe.steps}
    check_configs(((p.step, p.settings, p.action.config) for p in plan), folders)
    chosen = [plan[i] for i in _chosen([step.id for step in recipe.steps], flags)]
    words = ("modelgraft", "run", *argv)
    rows: list[dict[str, Any]] = []
    try:
        return _run_steps(chosen, folders, settings, words, flags, rows)
    finally:  # what was done before a step failed is told all the same
        if flags.json:
            show.emit_json({"name": recipe.name, "folder": str(out), "steps": rows})


def _run_steps(
    chosen: Sequence[Planned],
    folders: Mapping[str, Path],
    settings: Settings,
    words: tuple[str, ...],
    flags: RunOptions,
    rows: list[dict[str, Any]],
) -> int:
    """Run the chosen steps in order, with a row for each; the exit code is that of the last."""
    is_stopping = False
    for planned in chosen:
        if is_stopping:
            raise actions.stopped()
        id = planned.step.id
        try:
            row, outcome = _run_step(planned, folders, settings, words, flags)
        except (ModelgraftError, show.Crash) as error:
            rows.append({"id": id, "run": str(folders[id]), "problem": str(error)})
            raise
        rows.append(row)
        if outcome is not None and outcome.result.partial:
            show.note(f"{id} is not fulfilled; no later step was run")
            return 3
        is_stopping = outcome is not None and outcome.is_stopping
    return 0


def _find(step: Step) -> tuple[Card, Action]:
    try:
        card = find_card(step.method)
        return card, card.action(step.action)
    except ConfigError as error:
        raise ConfigError("", f"{step.source}: step {step.id}: {error}") from None


def _step_options(step: Step, action: Action) -> list[Option]:
    """The options of a step as flags, `--sft.optim.lr`."""
    return [
        replace(option, name=f"{step.id}.{option.name}", positional=False)
        for option in options(action.config)
    ]


def _flags_and_settings(recipe: Recipe, given: Mapping[str, Any]) -> tuple[RunOptions, Settings]:
    settings, sources = part(given, Settings), {}
    if recipe.seed is not None and "seed" not in settings:
        settings["seed"], sources["seed"] = recipe.seed.value, recipe.seed.source
    flags, built = build_all(
        [(RunOptions, part(given, RunOptions), {}), (Settings, settings, sources)]
    )
    return flags, built


def _merge(
    step: Step, card: Card, action: Action, preset: str | None, given: Mapping[str, Any]
) -> dict[str, Setting]:
    """Preset, recipe and flags in the order of their strength."""
    own = options(action.config)
    name, source = (preset, "") if preset is not None else (step.preset, step.source)
    merged = preset_settings(card, name, action.name, own, source) if name else {}
    merged |= step.config
    for option in own:
        flag = f"{step.id}.{option.name}"
        if flag in given:
            merged[option.name] = Setting(given[flag], "flag")
    return merged


def _chosen(ids: Sequence[str], flags: RunOptions) -> list[int]:
    """The places of the steps that --only and --from leave."""
    only = names_in(flags.only) if flags.only is not None else list(ids)
    first = flags.from_ if flags.from_ is not None else ids[0]
    for flag, names in (("--only", only), ("--from", [first])):
        for name in names:
            if name not in ids:
                message = f"{flag} {name}: there is no such step; there are: {', '.join(ids)}"
                raise ConfigError("", message)
    return [place for place in range(ids.index(first), len(ids)) if ids[place] in only]


def _run_step(
    planned: Planned,
    folders: Mapping[str, Path],
    settings: Settings,
    words: tuple[str, ...],
    flags: RunOptions,
) -> tuple[dict[str, Any], actions.Outcome | None]:
    step, folder = planned.step, folders[planned.step.id]
    resolved, config = configured(step, planned.settings, planned.action.config, folders)
    sources = actions.all_sources(config, resolved.sources)
    job = actions.Job(planned.card, planned.action, config, sources, settings, words)
    if flags.dry_run:
        return _estimate_step(step, job, resolved, flags), None
    check_references(resolved)
    # What an earlier step wrote counts by its content alone, folders included.
    inputs = {**config_inputs(config), **input_hashes(resolved.inputs)}
    job = replace(job, inputs=inputs)
    if changed := differences(folder, settings, job.record):
        aside = set_aside(folder)
        show.note(f"{step.id}: running again ({'; '.join(changed)}); the old run is now {aside}")
    outcome = actions.perform(job, folder, quiet=flags.quiet)
    result = outcome.result
    actions.report(folder)
    if not flags.json:
        show.emit(f"{step.id}: {job.name}\n{actions.as_text(result)}\n")
    actions.show_remarks(result, quiet=flags.quiet)
    if not flags.quiet:
        show.note(f"run folder: {folder}")
    row = {"id": step.id, "reused": outcome.reused, **actions.as_json(job, folder, result)}
    return row, outcome


def _estimate_step(
    step: Step, job: actions.Job, resolved: Resolved, flags: RunOptions
) -> dict[str, Any]:
    missing = [str(path) for path in resolved.references if not os.path.exists(path)]
    numbers = None if missing else actions.estimate(job)
    if not flags.json:
        text = actions.estimate_text(job, numbers)
        if missing:
            text = f"known when there is {', '.join(missing)}"
        show.emit(f"{step.id}: {job.name}\n{text}\n")
    return {"id": step.id, "waits_for": missing, **actions.estimate_json(job, numbers)}
