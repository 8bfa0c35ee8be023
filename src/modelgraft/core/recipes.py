"""Recipes: a pipeline of actions in one file.

    format: 1
    name: tulu3-tiny
    seed: 0
    extends: [presets/tiny]
    steps:
      - id: sft
        action: tulu3 sft
        config: {model: tiny, data: chats.jsonl, optim.lr: 1e-4}
      - id: dpo
        action: tulu3 dpo
        config: {model: "@sft/model", data: pairs.jsonl}

Order of strength: default < preset < extends < recipe < flag; every value keeps its source.
Paths are relative to the file they stand in: those of options that hold paths, and text that
starts with `./` or `../`. `@step/name` is a file or an artefact of an earlier step's run folder,
and `@@` begins a text that starts with an at sign.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelgraft.core.card import Card
from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.markup import SUFFIXES, Document, Place, read_document
from modelgraft.core.options import Option, build, options

_MAX_FAULTS = 10
_MAX_FILES = 50
_TOP = ("format", "name", "seed", "extends", "steps")
_STEP = ("id", "action", "preset", "config")
_ID = re.compile(r"[a-z][a-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFERENCE = re.compile(r"@([a-z][a-z0-9_]*)(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """One value as a recipe, a flag or a preset gives it."""

    value: Any
    source: str
    folder: Path | None = None  # what its paths are relative to; None: the working folder


@dataclass(frozen=True)
class Step:
    """One action of a recipe."""

    id: str
    method: str
    action: str
    source: str
    preset: str = ""
    config: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A recipe with everything it extends already merged in."""

    path: Path
    name: str
    steps: tuple[Step, ...]
    seed: Setting | None = None


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML, TOML or JSON file.

    Raises one `InputError` that lists every fault with its file and line, at most ten.
    """
    merged = _Merged()
    merged.read(path, ())
    steps = tuple(merged.finished_steps())
    if not merged.faults and not steps:
        merged.fault(f"{path}:1", "there are no steps; add steps: with an id and an action")
    if merged.faults:
        lines = merged.faults[:_MAX_FAULTS]
        if len(merged.faults) > _MAX_FAULTS:
            lines.append(f"... and {len(merged.faults) - _MAX_FAULTS} more")
        raise InputError("\n".join(lines))
    return Recipe(path, merged.name or path.stem, steps, merged.seed)


class _Merged:
    """What has been read so far; a later file wins over an earlier one."""

    def __init__(self) -> None:
        self.name = ""
        self.seed: Setting | None = None
        self.steps: dict[str, Step] = {}
        self.faults: list[str] = []
        self.num_files = 0

    def fault(self, where: str, message: str) -> None:
        self.faults.append(f"{where}: {message}")

    def read(self, path: Path, parents: tuple[Path, ...]) -> None:
        """Merge in what this file extends, then the file itself."""
        document = read_document(path)
        self.num_files += 1
        if self.num_files > _MAX_FILES:
            raise InputError(f"{path}: more than {_MAX_FILES} files are read; extend fewer.")
        data = document.data
        self._check_names(document, data, _TOP, ())
        if data.get("format") != "1":
            came = f"format {data['format']!r} is not known" if "format" in data else "no format"
            self.fault(document.where(("format",)), f"{came}; this version reads format: 1")
        chain = (*parents, path.resolve())
        for other in self._extended(document):
            if other.resolve() in chain:
                self.fault(document.where(("extends",)), f"{other} extends itself in a circle")
            else:
                self.read(other, chain)
        self._take_name_and_seed(document)
        self._take_steps(document)

    def _check_names(
        self, document: Document, data: Mapping[str, Any], known: Sequence[str], place: Place
    ) -> None:
        for name in data:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
                self.fault(document.where((*place, name)), f"{name!r} is not known here; {hint}")

    def _extended(self, document: Document) -> Iterator[Path]:
        names = document.data.get("extends", [])
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.fault(document.where(("extends",)), "extends: a list of files is needed")
            return
        for index, name in enumerate(names):
            path = Path(os.path.normpath(document.path.parent / name))
            tried = [f"{path}{suffix}" for suffix in ("", *SUFFIXES)]
            found = next(filter(os.path.isfile, tried), None)
            if found is None:
                where = document.where(("extends", index))
                self.fault(where, f"extends {name}: there is no file {path} (.yaml, .toml, .json)")
            else:
                yield Path(found)

    def _take_name_and_seed(self, document: Document) -> None:
        name, seed = document.data.get("name"), document.data.get("seed")
        if "name" in document.data:
            if isinstance(name, str) and _NAME.fullmatch(name):
                self.name = name
            else:
                where = document.where(("name",))
                self.fault(where, f"name: {name!r} must be letters, digits, dots and dashes")
        if "seed" in document.data:
            self.seed = Setting(seed, document.where(("seed",)))

    def _take_steps(self, document: Document) -> None:
        steps = document.data.get("steps", [])
        if not isinstance(steps, list):
            self.fault(document.where(("steps",)), "steps: a list is needed")
            return
        seen: set[str] = set()
        for index, data in enumerate(steps):
            place: Place = ("steps", index)
            if not isinstance(data, dict):
                self.fault(document.where(place), "a step is a mapping with an id and an action")
                continue
            self._check_names(document, data, _STEP, place)
            step = self._step(document, data, place)
            if step is None:
                continue
            if step.id in seen:
                self.fault(step.source, f"there are two steps with the id {step.id}")
            seen.add(step.id)
            self.steps[step.id] = _later_wins(self.steps.get(step.id), step)

    def _step(self, document: Document, data: dict[str, Any], place: Place) -> Step | None:
        where = document.where((*place, "id"))
        id = data.get("id")
        if not isinstance(id, str) or not _ID.fullmatch(id):
            came = f"id {id!r}" if "id" in data else "a step without an id"
            self.fault(where, f"{came}: small letters, digits and _ are needed, a letter first")
            return None
        method, action = _words(data.get("action"))
        if "action" in data and not action:
            message = f"action {data['action']!r}: METHOD ACTION is needed, such as tulu3 sft"
            self.fault(document.where((*place, "action")), message)
        preset = data.get("preset", "")
        config = data.get("config", {})
        if not isinstance(preset, str) or not isinstance(config, dict):
            self.fault(where, "preset is a name, and config a mapping of options to values")
            return None
        settings = dict(self._settings(document, config, (*place, "config"), ""))
        return Step(id, method, action, where, preset, settings)

    def _settings(
        self, document: Document, config: dict[str, Any], place: Place, prefix: str
    ) -> Iterator[tuple[str, Setting]]:
        """The options of a config whose names may be dotted (`optim.lr`) or nested."""
        seen: set[str] = set()
        for name, value in config.items():
            here = (*place, name)
            full = prefix + name.replace("-", "_")
            if isinstance(value, dict):
                inner = list(self._settings(document, value, here, f"{full}."))
            else:
                setting = Setting(value, document.where(here), document.path.parent)
                inner = [(full, setting)]
                if isinstance(value, list) and any(isinstance(p, list | dict) for p in value):
                    self.fault(setting.source, f"{full}: a list holds plain values only")
            for option, setting in inner:
                if option in seen:
                    self.fault(setting.source, f"{option} is given twice")
                seen.add(option)
                yield option, setting

    def finished_steps(self) -> Iterator[Step]:
        """The merged steps, with faults for what only shows when all files are read."""
        earlier: list[str] = []
        for step in self.steps.values():
            if not step.action:
                self.fault(step.source, f"step {step.id} has no action; add action: METHOD ACTION")
            for name, setting in step.config.items():
                self._check_references(name, setting, earlier)
            earlier.append(step.id)
            yield step

    def _check_references(self, name: str, setting: Setting, earlier: Sequence[str]) -> None:
        known = f"earlier: {', '.join(earlier)}" if earlier else "there is none"
        for text in _texts(setting.value):
            match = _reference(text)
            if match and match[1] not in earlier:
                message = f"{name}: {text!r} is not a file of an earlier step ({known})"
                self.fault(setting.source, f"{message}; write @@ for a plain at sign")


def _words(action: Any) -> tuple[str, str]:
    words = action.replace("-", "_").split() if isinstance(action, str) else []
    return (words[0], words[1]) if len(words) == 2 else ("", "")


def _later_wins(before: Step | None, step: Step) -> Step:
    if before is None:
        return step
    return replace(
        step,
        method=step.method or before.method,
        action=step.action or before.action,
        preset=step.preset or before.preset,
        config={**before.config, **step.config},
    )


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else [value]
    return [part for part in parts if isinstance(part, str)]


def _reference(text: str) -> re.Match[str] | None:
    return None if text.startswith("@@") else _REFERENCE.fullmatch(text)


def preset_settings(
    card: Card, preset: str, action: str, options: Sequence[Option], source: str = ""
) -> dict[str, Setting]:
    """The values of a card's preset that the action, which has these options, can take.

    `ConfigError` when the card has no preset of this name; `source` says who asked for it.
    """
    if preset not in card.presets:
        close = difflib.get_close_matches(preset, card.presets, n=1)
        known = ", ".join(card.presets) or "none"
        hint = f"did you mean {close[0]}?" if close else f"there are: {known}"
        where = f"{source}: " if source else "--"
        raise ConfigError(
            "preset", f"{where}preset {preset!r}: {card.id} has no such preset; {hint}"
        )
    values = card.preset(preset, action)
    names = [option.name for option in options if option.name in values]
    return {name: Setting(values[name], f"preset {preset}") for name in names}


# -- from settings to the values of an action -----------------------------------------------------


@dataclass
class Resolved:
    """Option values ready for `build`, and the files and folders they name.

    `references` maps the files of earlier steps to the place in the recipe that asks for them.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    inputs: list[Path] = field(default_factory=list)
    references: dict[Path, str] = field(default_factory=dict)


def resolve(
    settings: Mapping[str, Setting], options: Sequence[Option], runs: Mapping[str, Path]
) -> Resolved:
    """Settings with paths made whole and references replaced by files of earlier run folders.

    `runs` maps each earlier step to its run folder; a reference that leads out of that folder is a
    `ConfigError`. Whether the file is there only shows when the earlier step has run, see
    `check_references`.
    """
    known = {option.name: option for option in options}
    resolved = Resolved()
    for name, setting in settings.items():
        option = known.get(name)
        value = setting.value
        if option is not None and option.kind in ("str", "path"):
            if option.multiple and isinstance(value, str):
                value = option.parts(value)
            if isinstance(value, list):
                value = [_whole(part, option, setting, runs, resolved) for part in value]
            else:
                value = _whole(value, option, setting, runs, resolved)
        resolved.values[name] = value
        resolved.sources[name] = setting.source
    return resolved


def _whole(
    text: Any, option: Option, setting: Setting, runs: Mapping[str, Path], resolved: Resolved
) -> Any:
    """One text with its path made whole, noted in `resolved` when it is one."""
    if not isinstance(text, str):
        return text
    if setting.folder is not None and text.startswith("@@"):
        return text[1:]
    match = _reference(text) if setting.folder is not None else None
    if match is not None:
        where = f"{setting.source}: {option.name}: {text!r}"
        path = _inside(runs[match[1]], match[2] or "", where)
        resolved.references[path] = where
    elif option.kind == "path" and text.lower() not in ("", "none", "null"):
        path = Path(os.path.normpath((setting.folder or Path()) / text))
    elif setting.folder is not None and text.startswith(("./", "../")):
        path = Path(os.path.normpath(setting.folder / text))
    else:
        return text
    resolved.inputs.append(path)
    return str(path)


def _inside(folder: Path, relative: str, where: str) -> Path:
    """`relative` in a run folder or, failing that, in its artefacts; never outside."""
    for path in (folder / relative, folder / "artefacts" / relative):
        if "\x00" in relative or not _lies_in(path, folder):
            raise ConfigError(
                "",
                f"{where} leads out of the run folder {folder}.\n"
                "  A reference names a file or an artefact of an earlier step.",
            )
        if os.path.exists(path):
            return path
    return folder / relative


def _lies_in(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def check_references(resolved: Resolved) -> None:
    """Raise `InputError` when a file that an earlier step should have written is not there."""
    for path, where in resolved.references.items():
        if not os.path.exists(path):
            raise InputError(
                f"{where}: there is no {path}.\n"
                "  Look into that run folder for the right name, or run the earlier step again."
            )


def configured(
    step: Step, settings: Mapping[str, Setting], cls: type, runs: Mapping[str, Path]
) -> tuple[Resolved, Any]:
    """The values that the settings of a step give, and the config of class `cls` made of them.

    Raises `ConfigError` that begins with the step's place in the recipe.
    """
    resolved = resolve(settings, options(cls), runs)
    # A flag is named by the message itself; a file and its line are not.
    places = {name: source for name, source in resolved.sources.items() if source != "flag"}
    try:
        return resolved, build(cls, resolved.values, places)
    except ConfigError as error:
        faults = str(error).replace("\n", "\n  ")
        raise ConfigError("", f"{step.source}: step {step.id}\n  {faults}") from None


def check_configs(
    steps: Iterable[tuple[Step, Mapping[str, Setting], type]], runs: Mapping[str, Path]
) -> None:
    """Build every config before the first step runs; one error lists the faults of all steps."""
    faults = []
    for step, settings, cls in steps:
        try:
            configured(step, settings, cls, runs)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("", "\n".join(faults))
