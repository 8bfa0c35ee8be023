"""Every card on this machine keeps the contract that command line, forms and docs rely on."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import modelgraft.methods
from modelgraft.cli.flags import ActionFlags
from modelgraft.cli.main import COMMANDS, main
from modelgraft.cli.packages import requirements
from modelgraft.cli.parser import parse, unparse
from modelgraft.core.card import Action, Card, find_cards
from modelgraft.core.lazy import load
from modelgraft.core.options import Option, build, flatten, options
from modelgraft.core.settings import Settings

CARDS = find_cards().cards
ACTIONS = [(card, action) for card in CARDS.values() for action in card.actions]
SHARED = [*options(ActionFlags), *options(Settings)]
HEADINGS = [
    "What it does",
    "When to use it, when not",
    "Try it in a minute",
    "Your own model",
    "Claims: paper against ours",
    "Cost",
    "Limits",
    "Where it is in the code",
    "Licence and citation",
]

# As where an extra was not installed: its packages cannot be imported.
WITHOUT_PACKAGES = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

names, words = json.loads(sys.argv[1])
sys.meta_path.insert(0, Missing())
from modelgraft.cli.main import main
sys.exit(main(words))
"""

each_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
each_action = pytest.mark.parametrize(
    ("card", "action"), ACTIONS, ids=[f"{card.id}-{action.name}" for card, action in ACTIONS]
)


def some_value(option: Option) -> Any:
    """A value that the option takes, the smallest where there is a range."""
    if option.choices:
        value: Any = option.choices[0]
    elif option.kind in ("int", "float", "number"):
        value = 1 if option.min is None else option.min
    else:
        value = "something"
    return (value,) if option.multiple else value


def smallest(action: Action) -> Any:
    """The action's config from its defaults and some value for what is needed."""
    needed = [option for option in options(action.config) if option.required]
    return build(action.config, {option.name: some_value(option) for option in needed})


def num_places(function: Callable[..., Any]) -> int:
    return len(inspect.signature(function).parameters)


def test_no_card_is_broken() -> None:
    assert find_cards().broken == {}


def test_every_method_that_is_explained_has_a_card() -> None:
    """One without a README is still being built, and nothing offers it."""
    (folder,) = map(Path, modelgraft.methods.__path__)
    names = {path.name for path in folder.iterdir() if (path / "README.md").exists()}
    assert names <= CARDS.keys()


@each_card
def test_a_card_says_what_it_is(card: Card) -> None:
    assert card.title and card.summary.endswith(".") and "\n" not in card.summary
    assert card.paper.startswith("arXiv ")
    assert card.id not in COMMANDS
    names = [action.name for action in card.actions]
    assert len(names) == len(set(names))
    assert "reproduce" in names


@each_action
def test_an_action_leads_to_a_function_of_config_and_run(card: Card, action: Action) -> None:
    assert action.help.endswith(".")
    assert action.name.isidentifier() and action.name.islower()
    assert num_places(load(action.target)) == 2
    if action.estimate is not None:
        assert num_places(load(action.estimate)) == 2


@each_action
def test_a_config_survives_being_written_and_read(card: Card, action: Action) -> None:
    config = smallest(action)
    assert build(action.config, flatten(config)) == config


@each_action
def test_a_config_survives_the_command_line(card: Card, action: Action) -> None:
    config = smallest(action)
    known = options(action.config)
    given = {name: value for name, value in flatten(config).items() if value not in ([], "")}
    assert build(action.config, parse(unparse(known, given), known, "modelgraft")) == config


@each_action
def test_every_option_is_explained_and_none_hides_a_shared_flag(card: Card, action: Action) -> None:
    own = options(action.config)
    for option in own:
        assert len(option.help) > 1 and option.help.endswith("."), option.flag
    flags = [option.flag for option in [*own, *SHARED]]
    assert sorted(flags) == sorted(set(flags))


@each_card
def test_presets_name_options_that_exist_and_values_that_fit(card: Card) -> None:
    known = {option.name for action in card.actions for option in options(action.config)}
    for name, given in card.presets.items():
        shared = {key for key, value in given.items() if not isinstance(value, Mapping)}
        assert shared <= known, f"preset {name}: {shared - known}"
        scoped = given.keys() - shared
        assert scoped <= {action.name for action in card.actions}, f"preset {name}: {scoped}"
        for action in card.actions:
            own = options(action.config)
            values = card.preset(name, action.name)
            alone = given.get(action.name, {})
            if isinstance(alone, Mapping):
                assert alone.keys() <= {one.name for one in own}, f"{name}: {action.name}"
            needed = {one.name: some_value(one) for one in own if one.required}
            fitting = {one.name: values[one.name] for one in own if one.name in values}
            build(action.config, needed | fitting)


@each_card
def test_the_demo_runs_actions_that_exist_with_options_that_fit(card: Card) -> None:
    for name, values in card.demo:
        build(card.action(name).config, values)


@each_card
def test_the_readme_has_the_headings_every_method_has(card: Card) -> None:
    (folder,) = map(Path, modelgraft.methods.__path__)
    lines = (folder / card.id / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# {card.title}")
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == HEADINGS
    assert f"<!-- reproduction:{card.id} -->" in lines


@each_action
def test_a_wrong_option_is_a_mistake_of_the_person(
    card: Card, action: Action, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([card.id, action.name, "--no-such-option", "1"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "--no-such-option" in err and "Traceback" not in err


@each_action
def test_help_names_every_option(
    card: Card, action: Action, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([card.id, action.name, "--help-all"]) == 0
    page = capsys.readouterr().out
    for option in [*options(action.config), *SHARED]:
        assert (option.name.upper() if option.positional else option.flag) in page


@each_card
def test_without_its_extra_a_method_says_what_to_install(card: Card, tmp_path: Path) -> None:
    names = [name for extra in card.extras for name in requirements()[extra]]
    # Training needs them always; drawing with a small model may do without.
    action = next((one for one in card.actions if one.name == "train"), card.actions[0])
    needed = {one.name: some_value(one) for one in options(action.config) if one.required}
    words = [card.id, action.name, *unparse(options(action.config), needed)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES, json.dumps([names, words])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert 'pip install "modelgraft[' in done.stderr
