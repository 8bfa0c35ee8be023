"""run: the steps of a recipe one after the other, or a saved config once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelgraft.cli import action as actions
from modelgraft.cli import show
from modelgraft.cli.command import read
from modelgraft.cli.flags import ActionFlags, wanted_help
from modelgraft.cli.parser import parse, take
from modelgraft.core.card import Action, Card, find_card
from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.inputs import config_inputs, input_hashes
from modelgraft.core.markup import Document, read_document
from modelgraft.core.options import Option, build, opt, options
from modelgraft.core.recipes import (
    Recipe,
    Resolved,
    Setting,
    Step,
    check_references,
    preset_settings,
    read_recipe,
    resolve,
)
from modelgraft.core.runs import differences, set_aside
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
    flags = take(given, ActionFlags)
    kept = {one: data[one] for one in ("seed", "dtype") if one in data}
    settings = take({**kept, **given}, Settings)
    merged = {one: Setting(value, document.where(("values", one))) for one, value in values.items()}
    if flags.preset is not None:
        raise ConfigError(
            "preset", "--preset: a saved config holds every value; change single ones"
        )
    merged |= {one.name: Setting(given[one.name], "flag") for one in own if one.name in given}
    config, sources = actions.make_config(
        action.config,
        {one: setting.value for one, setting in merged.items()},
        {one: setting.source for one, setting in merged.items()},
    )
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
    flags = take(given, RunOptions)
    settings = _settings(recipe, given)
    plan = [Planned(*one, _merge(*one, flags.preset, given)) for one in found]
    out = flags.out or Path("runs") / recipe.name
    folders = {step.id: out / step.id for step in recipe.steps}
    _check_all(plan, folders)
    chosen = [plan[i] for i in _chosen([step.id for step in recipe.steps], flags)]
    words = ("modelgraft", "run", *argv)
    rows: list[dict[str, Any]] = []
    code = 0
    for planned in chosen:
        row, code = _run_step(planned, folders, settings, words, flags)
        rows.append(row)
        if code:
            show.note(f"{planned.step.id} is not fulfilled; no later step was run")
            break
    if flags.json:
        show.emit_json({"name": recipe.name, "folder": str(out), "steps": rows})
    return code


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


def _settings(recipe: Recipe, given: Mapping[str, Any]) -> Settings:
    if recipe.seed is None or "seed" in given:
        return take(dict(given), Settings)
    names = {option.name for option in options(Settings)}
    values = {name: value for name, value in given.items() if name in names}
    return build(Settings, {"seed": recipe.seed.value, **values}, {"seed": recipe.seed.source})


def _merge(
    step: Step, card: Card, action: Action, preset: str | None, given: Mapping[str, Any]
) -> dict[str, Setting]:
    """Preset, recipe and flags in the order of their strength."""
    own = options(action.config)
    name, source = (preset, "") if preset is not None else (step.preset, step.source)
    merged = preset_settings(card, name, own, source) if name else {}
    merged |= step.config
    for option in own:
        flag = f"{step.id}.{option.name}"
        if flag in given:
            merged[option.name] = Setting(given[flag], "flag")
    return merged


def _check_all(plan: Sequence[Planned], folders: Mapping[str, Path]) -> None:
    """Build every config before the first step runs; one error lists the faults of all steps."""
    faults = []
    for planned in plan:
        try:
            _configured(planned, folders)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("", "\n".join(faults))


def _configured(
    planned: Planned, folders: Mapping[str, Path]
) -> tuple[Resolved, Any, dict[str, str]]:
    resolved = resolve(planned.settings, options(planned.action.config), folders)
    try:
        return resolved, *actions.make_config(
            planned.action.config, resolved.values, resolved.sources
        )
    except ConfigError as error:
        faults = str(error).replace("\n", "\n  ")
        raise ConfigError(
            "", f"{planned.step.source}: step {planned.step.id}\n  {faults}"
        ) from None


def _chosen(ids: Sequence[str], flags: RunOptions) -> list[int]:
    """The places of the steps that --only and --from leave."""
    only = flags.only.split(",") if flags.only is not None else list(ids)
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
) -> tuple[dict[str, Any], int]:
    step, folder = planned.step, folders[planned.step.id]
    resolved, config, sources = _configured(planned, folders)
    job = actions.Job(planned.card, planned.action, config, sources, settings, words)
    if flags.dry_run:
        return _estimate_step(step, job, resolved, flags), 0
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
    return row, 3 if result.partial else 0


def _estimate_step(
    step: Step, job: actions.Job, resolved: Resolved, flags: RunOptions
) -> dict[str, Any]:
    missing = [str(path) for path in resolved.references if not path.exists()]
    numbers = None if missing else actions.estimate(job)
    if not flags.json:
        text = actions.estimate_text(job, numbers)
        if missing:
            text = f"known when there is {', '.join(missing)}"
        show.emit(f"{step.id}: {job.name}\n{text}\n")
    return {"id": step.id, "waits_for": missing, **actions.estimate_json(job, numbers)}
