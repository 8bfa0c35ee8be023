"""All stages from one file, each a run of its own that resumes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from modelgraft.core.attempts import RunRecord
from modelgraft.core.card import Action, find_card
from modelgraft.core.errors import ConfigError, InputError, Interrupted
from modelgraft.core.inputs import config_inputs, input_hashes
from modelgraft.core.lazy import load
from modelgraft.core.nested import moved, nested_run
from modelgraft.core.options import build, flatten, options
from modelgraft.core.processes import refuse_processes
from modelgraft.core.recipes import (
    Recipe,
    Setting,
    Step,
    check_configs,
    check_references,
    configured,
    preset_settings,
    read_recipe,
)
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.methods.tulu3.config import PipelineConfig

RECIPE = Path(__file__).parent / "recipes" / "tiny.yaml"
_METHOD = "tulu3"
# The run folder of a pipeline that is not run: nothing lies below a device.
_NOWHERE = Path(os.devnull)


@dataclass(frozen=True)
class _Stage:
    """A step of the recipe with its action, the settings of that, and its run folder."""

    step: Step
    action: Action
    settings: Mapping[str, Setting]
    folder: Path


def pipeline(config: PipelineConfig, run: Run) -> Result:
    """Run every step of the recipe in its own folder below this run; the last one's result.

    Steps that were finished before with the same config and inputs are not run again; one whose
    inputs changed is set aside and run anew. Every config is built before the first step starts.
    The recipe's seed counts unless --seed names another than 0.
    """
    refuse_processes("pipeline", "only training shares it")
    stages, settings = _plan(config, run.folder, run.settings)
    folders = {stage.step.id: stage.folder for stage in stages}
    result, is_stopping = Result(), False
    for number, stage in enumerate(stages):
        run.check()
        if is_stopping:  # the signal came when the step before had done its work
            raise Interrupted(
                f"{run.folder}: stopped before {stage.step.id}; what is done is kept.\n"
                "  Run the same command again to go on."
            )
        run.progress(number, len(stages), stage.step.id)
        result, is_stopping = _run(stage, folders, settings, run)
        if result.partial:
            return replace(result, partial=f"{stage.step.id}: {result.partial}")
    run.progress(len(stages), len(stages), "all steps")
    return result


def estimate_pipeline(config: PipelineConfig, settings: Settings) -> list[Number]:
    """What every step would cost, if it needs nothing that an earlier one writes.

    Of another step this says how many such files it needs.
    """
    stages, own = _plan(config, _NOWHERE, settings)
    folders = {stage.step.id: stage.folder for stage in stages}
    numbers = []
    for stage in stages:
        resolved, step = configured(stage.step, stage.settings, stage.action.config, folders)
        found: list[Number] = []
        if resolved.references:
            found = [Number("not known before earlier steps wrote files", len(resolved.references))]
        elif stage.action.estimate is not None:
            found = load(stage.action.estimate)(step, own)
        numbers += [replace(one, name=f"{stage.step.id}: {one.name}") for one in found]
    return numbers


def _plan(
    config: PipelineConfig, folder: Path, settings: Settings
) -> tuple[list[_Stage], Settings]:
    """The steps of the recipe below a run folder, every config checked, and their settings."""
    recipe = read_recipe(config.recipe or RECIPE)
    stages = [_stage(step, folder / "steps" / step.id) for step in recipe.steps]
    if config.model is not None:
        stages = with_base(stages, config.model)
    folders = {stage.step.id: stage.folder for stage in stages}
    check_configs(((one.step, one.settings, one.action.config) for one in stages), folders)
    return stages, _settings(recipe, settings)


def with_base(stages: Sequence[_Stage], model: str) -> list[_Stage]:
    """The stages with `model` wherever the recipe names the model that it begins with.

    That is the model of the first step that names one. Raises `ConfigError` when none does.
    """
    named = [stage.settings["model"].value for stage in stages if "model" in stage.settings]
    if not named:
        raise ConfigError("model", "--model: no step of the recipe names a model to replace.")
    # What a recipe says of paths and references is not meant for a word of the command line.
    given = os.path.abspath(model) if model.startswith(("./", "../")) else model
    given = f"@{given}" if given.startswith("@") else given

    def changed(setting: Setting) -> Setting:
        value = setting.value
        if isinstance(value, list):
            value = [given if one == named[0] else one for one in value]
        elif value == named[0]:
            value = given
        return setting if value == setting.value else replace(setting, value=value)

    return [
        replace(stage, settings={name: changed(one) for name, one in stage.settings.items()})
        for stage in stages
    ]


def _stage(step: Step, folder: Path) -> _Stage:
    where = f"{step.source}: step {step.id}"
    if step.method != _METHOD or step.action == "pipeline":
        raise InputError(
            f"{where}: {step.method} {step.action} is no stage of Tulu 3.\n"
            "  modelgraft run takes recipes of any method."
        )
    card = find_card(_METHOD)
    try:
        action = card.action(step.action)
    except ConfigError as error:
        raise ConfigError("", f"{where}: {error}") from None
    own = options(action.config)
    preset = step.preset
    settings = preset_settings(card, preset, action.name, own, step.source) if preset else {}
    return _Stage(step, action, {**settings, **step.config}, folder)


def _settings(recipe: Recipe, settings: Settings) -> Settings:
    """The settings of the steps."""
    if recipe.seed is None or settings.seed:
        return settings
    values = {**asdict(settings), "seed": recipe.seed.value}
    return build(Settings, values, {"seed": recipe.seed.source})


def _run(
    stage: _Stage, folders: Mapping[str, Path], settings: Settings, pipeline_run: Run
) -> tuple[Result, bool]:
    """The result of a step, and whether somebody asked to stop meanwhile."""
    resolved, config = configured(stage.step, stage.settings, stage.action.config, folders)
    check_references(resolved)
    record = RunRecord(
        method=_METHOD,
        action=stage.action.name,
        command=pipeline_run.record.command,
        config=flatten(config),
        sources=resolved.sources,
        inputs={**config_inputs(config), **input_hashes(resolved.inputs)},
    )
    target = load(stage.action.target)
    result, is_stopping = nested_run(
        pipeline_run, stage.folder, settings, record, lambda run: target(config, run)
    )
    return moved(result, f"steps/{stage.step.id}"), is_stopping
