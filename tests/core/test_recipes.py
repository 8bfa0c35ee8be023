"""Recipes: who wins, where every value comes from, and what an earlier step left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.card import Card
from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.inputs import input_hashes
from modelgraft.core.options import build, opt, options
from modelgraft.core.recipes import (
    Recipe,
    Resolved,
    Setting,
    check_references,
    preset_settings,
    read_recipe,
    resolve,
)


@dataclass(frozen=True, kw_only=True)
class Optim:
    lr: float = opt(1e-4, "Learning rate.", min=0)


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    data: Path = opt(help="Rows.")
    model: str = opt("tiny", "A model.")
    rank: int = opt(4, "Rank.")
    half: bool = opt(False, "Half precision.")
    ends: tuple[int, ...] = opt((), "Ends.")
    files: tuple[Path, ...] = opt((), "Files.")
    question: tuple[str, ...] = opt((), "Questions.")
    optim: Optim = Optim()


OPTIONS = options(SftConfig)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(text: str) -> Recipe:
    return read_recipe(write("recipe.yaml", text))


def fault(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value)


def resolved(config: str, runs: dict[str, Path] | None = None) -> Resolved:
    steps = "".join(f"  - {{id: {id}, action: m a}}\n" for id in runs or {})
    recipe = read(f"format: 1\nsteps:\n{steps}  - {{id: last, action: m a, config: {config}}}\n")
    return resolve(recipe.steps[-1].config, OPTIONS, runs or {})


WHOLE = """\
format: 1
name: tulu3-tiny
seed: 3
steps:
  - id: sft
    action: tulu3 sft
    config: {model: tiny, data: chats.jsonl, optim.lr: 1e-4}
  - id: dpo
    action: tulu3 dpo
    config:
      model: "@sft/model"
      optim:
        lr: 2e-5
"""


def test_a_recipe_is_read_with_the_line_of_every_value(work: Path) -> None:
    recipe = read(WHOLE)
    assert recipe.name == "tulu3-tiny"
    assert recipe.seed == Setting("3", "recipe.yaml:3")
    assert [(s.id, s.method, s.action) for s in recipe.steps] == [
        ("sft", "tulu3", "sft"),
        ("dpo", "tulu3", "dpo"),
    ]
    assert recipe.steps[0].config["optim.lr"] == Setting("1e-4", "recipe.yaml:7", Path("."))
    assert recipe.steps[1].config["optim.lr"].source == "recipe.yaml:13"


def test_toml_and_json_hold_the_same_recipe(work: Path) -> None:
    toml = """
format = 1
name = "tulu3-tiny"
seed = 3
[[steps]]
id = "sft"
action = "tulu3 sft"
config = {model = "tiny", data = "chats.jsonl", optim.lr = 1e-4}
[[steps]]
id = "dpo"
action = "tulu3 dpo"
[steps.config]
model = "@sft/model"
optim.lr = 2e-5
"""
    json = """
{"format": 1, "name": "tulu3-tiny", "seed": 3, "steps": [
  {"id": "sft", "action": "tulu3 sft",
   "config": {"model": "tiny", "data": "chats.jsonl", "optim.lr": 1e-4}},
  {"id": "dpo", "action": "tulu3 dpo",
   "config": {"model": "@sft/model", "optim": {"lr": 2e-5}}}]}
"""
    expected = read(WHOLE)
    for name, text in (("recipe.toml", toml), ("recipe.json", json)):
        recipe = read_recipe(write(name, text))
        assert recipe.seed is not None and expected.seed is not None
        assert (recipe.name, recipe.seed.value) == (expected.name, expected.seed.value)
        for step, other in zip(recipe.steps, expected.steps, strict=True):
            assert {k: v.value for k, v in step.config.items()} == {
                k: v.value for k, v in other.config.items()
            }
            assert all(value.source.startswith(f"{name}:") for value in step.config.values())


def test_a_recipe_without_a_name_is_called_like_its_file(work: Path) -> None:
    assert read("format: 1\nsteps: [{id: a, action: m a}]\n").name == "recipe"


# -- extends ---------------------------------------------------------------------------------------


def test_the_later_file_wins_value_by_value_and_keeps_its_source(work: Path) -> None:
    write(
        "presets/small.yaml",
        "format: 1\nseed: 1\nname: small\nsteps:\n"
        "  - {id: sft, action: m sft, config: {rank: 1, half: true, data: d}}\n",
    )
    write("presets/long.toml", "format = 1\n[[steps]]\nid = 'sft'\nconfig = {rank = 2}\n")
    recipe = read(
        "format: 1\nextends: [presets/small, presets/long]\nsteps:\n"
        "  - {id: sft, config: {half: false}}\n  - {id: more, action: m a}\n"
    )
    config = recipe.steps[0].config
    assert {name: (one.value, one.source) for name, one in config.items()} == {
        "rank": ("2", "presets/long.toml:4"),
        "half": ("false", "recipe.yaml:4"),
        "data": ("d", "presets/small.yaml:5"),
    }
    assert (recipe.name, recipe.seed.value if recipe.seed else None) == ("small", "1")
    assert [step.id for step in recipe.steps] == ["sft", "more"]


def test_a_circle_of_files_is_an_error_that_names_the_line(work: Path) -> None:
    write("a.yaml", "format: 1\nextends: b\n")
    write("b.yaml", "format: 1\n\nextends: [recipe.yaml]\n")
    assert "b.yaml:3: recipe.yaml extends itself in a circle" in fault("format: 1\nextends: a\n")
    assert "in a circle" in fault("format: 1\nextends: recipe\n")


def test_a_tower_of_files_that_doubles_at_each_level_is_cut(work: Path) -> None:
    for level in range(40):
        write(f"f{level}.yaml", f"format: 1\nextends: [f{level + 1}, f{level + 1}]\n")
    write("f40.yaml", "format: 1\n")
    begin = time.process_time()
    assert "more than 50 files" in fault("format: 1\nextends: [f0]\n")
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("name", ["missing", ".", "..", "", "'a\\0b'", '"a\\0b"', "x" * 5000])
def test_a_file_that_cannot_be_extended_is_named(work: Path, name: str) -> None:
    assert "recipe.yaml:2: extends" in fault(f"format: 1\nextends: [{name or chr(39) * 2}]\n")


# -- faults ----------------------------------------------------------------------------------------


def test_all_faults_of_all_files_are_listed_together_with_their_lines(work: Path) -> None:
    write("other.yaml", "format: 2\nsteps: 5\n")
    assert fault(
        "format: 1\nextends: other\nnmae: x\nseed: 1\nsteps:\n"
        "  - {id: A, action: m a}\n"
        "  - {id: b, action: m}\n"
        "  - {action: m a}\n"
        "  - 7\n"
        "  - {id: c, action: m a, configs: {}}\n"
        "  - {id: b, action: m a, config: {x: 1, x_: {y: [[1]]}}}\n"
    ).splitlines() == [
        "recipe.yaml:3: 'nmae' is not known here; did you mean name?",
        "other.yaml:1: format '2' is not known; this version reads format: 1",
        "other.yaml:2: steps: a list is needed",
        "recipe.yaml:6: id 'A': small letters, digits and _ are needed, a letter first",
        "recipe.yaml:7: action 'm': METHOD ACTION is needed, such as tulu3 sft",
        "recipe.yaml:8: a step without an id: small letters, digits and _ are needed, "
        "a letter first",
        "recipe.yaml:9: a step is a mapping with an id and an action",
        "recipe.yaml:10: 'configs' is not known here; did you mean config?",
        "recipe.yaml:11: x_.y: a list holds plain values only",
        "recipe.yaml:11: there are two steps with the id b",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipe.yaml:1: no format; this version reads format: 1"),
        ("format: 1\n", "recipe.yaml:1: there are no steps"),
        ("format: 1\nsteps: [{id: a}]\n", "recipe.yaml:2: step a has no action"),
        ("format: 1\nname: ../x\nsteps: [{id: a, action: m a}]\n", "recipe.yaml:2: name: '../x'"),
        ("format: 1\nsteps: [{id: ../a, action: m a}]\n", "recipe.yaml:2: id '../a'"),
        (
            "format: 1\nsteps:\n- {id: a, action: m a, config: {x: 1, x: 2}}\n",
            "recipe.yaml:3: 'x' is given twice",
        ),
        (
            "format: 1\nsteps:\n- {id: a, action: m a, config: {o.lr: 1, o: {lr: 2}}}\n",
            "recipe.yaml:3: o.lr is given twice",
        ),
        ("format: 1\nsteps: [{id: a, action: m a, config: 3}]\n", "recipe.yaml:2: preset is"),
        ("format: 1\nextends: {a: b}\n", "recipe.yaml:2: extends: a list of files"),
        ("format: 1\nsteps: &x []\n", "recipe.yaml:2: anchors"),
    ],
)
def test_a_broken_recipe_says_where_and_what(work: Path, text: str, message: str) -> None:
    assert message in fault(text)


# -- references and paths --------------------------------------------------------------------------


def test_a_reference_is_a_file_or_an_artefact_of_an_earlier_step(work: Path) -> None:
    write("runs/sft/model/weights", "w")
    write("runs/sft/artefacts/pairs.jsonl", "{}")
    found = resolved(
        '{model: "@sft/model", data: "@sft/pairs.jsonl", files: ["@sft", other.txt]}',
        {"sft": Path("runs/sft")},
    )
    assert found.values == {
        "model": "runs/sft/model",
        "data": "runs/sft/artefacts/pairs.jsonl",
        "files": ["runs/sft", "other.txt"],
    }
    assert len(found.references) == 3
    check_references(found)


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd", "link/x", "a\\0b"])
def test_a_reference_cannot_leave_the_run_folder(work: Path, path: str) -> None:
    write("runs/secret", "s")
    write("runs/sft/run.json", "{}")
    (work / "runs" / "sft" / "link").symlink_to("/etc")
    with pytest.raises(ConfigError, match=r"recipe\.yaml:4: model: .* leads out of the run folder"):
        resolved(f'{{model: "@sft/{path}"}}', {"sft": Path("runs/sft")})


def test_a_reference_to_a_later_or_unknown_step_is_refused(work: Path) -> None:
    message = fault(
        'format: 1\nsteps:\n  - {id: a, action: m a, config: {model: "@b/x"}}\n'
        '  - {id: b, action: m a, config: {model: "@b"}}\n'
        '  - {id: c, action: m a, config: {question: ["@zz/x"]}}\n'
    )
    assert message.splitlines() == [
        "recipe.yaml:3: model: '@b/x' is not a file of an earlier step (there is none); "
        "write @@ for a plain at sign",
        "recipe.yaml:4: model: '@b' is not a file of an earlier step (earlier: a); "
        "write @@ for a plain at sign",
        "recipe.yaml:5: question: '@zz/x' is not a file of an earlier step (earlier: a, b); "
        "write @@ for a plain at sign",
    ]


def test_a_missing_file_of_an_earlier_step_names_the_place_that_asks(work: Path) -> None:
    found = resolved('{model: "@sft/model"}', {"sft": Path("runs/sft")})
    with pytest.raises(InputError, match=r"recipe\.yaml:4: model: .* there is no runs/sft/model"):
        check_references(found)


def test_text_with_an_at_sign_stays_text(work: Path) -> None:
    found = resolved('{question: ["@@sft", "mail me @ home", "@ two"]}')
    assert found.values["question"] == ["@sft", "mail me @ home", "@ two"]


def test_paths_are_relative_to_the_file_they_stand_in(work: Path) -> None:
    write("lab/base.yaml", "format: 1\nsteps: [{id: a, action: m a, config: {data: d.jsonl}}]\n")
    recipe = read(
        "format: 1\nextends: lab/base\nsteps:\n"
        "  - {id: a, config: {model: ../shared/model, files: 'x.txt,/abs/y.txt'}}\n"
    )
    found = resolve(recipe.steps[0].config, OPTIONS, {})
    assert found.values["data"] == "lab/d.jsonl"
    assert found.values["model"] == "../shared/model"
    assert found.values["files"] == ["x.txt", "/abs/y.txt"]
    assert found.inputs == [Path("lab/d.jsonl"), Path("../shared/model"), Path("x.txt"),
                            Path("/abs/y.txt")]  # fmt: skip


def test_plain_names_of_models_are_no_paths(work: Path) -> None:
    assert resolved("{model: 'tiny:smollm', data: none}").inputs == []


def test_a_flag_is_relative_to_the_working_folder_and_never_a_reference(work: Path) -> None:
    flags = {"data": Setting("d/./x", "flag"), "model": Setting("@sft/model", "flag")}
    found = resolve(flags, OPTIONS, {})
    assert found.values == {"data": "d/x", "model": "@sft/model"}
    assert found.sources == {"data": "flag", "model": "flag"}


def test_resolved_values_build_a_config_and_faults_name_the_line(work: Path) -> None:
    found = resolved("{data: d, rank: '8', ends: '1,2', question: 'Who, me?', optim: {lr: 1e-5}}")
    config = build(SftConfig, found.values, found.sources)
    assert config == SftConfig(
        data=Path("d"), rank=8, ends=(1, 2), question=("Who, me?",), optim=Optim(lr=1e-5)
    )
    found = resolved("{data: d, rank: lots}")
    with pytest.raises(ConfigError, match=r"^recipe\.yaml:3: --rank: 'lots' is not a whole number"):
        build(SftConfig, found.values, found.sources)


# -- inputs and presets ----------------------------------------------------------------------------


def test_the_hash_of_an_input_follows_its_content(work: Path) -> None:
    paths = [write("a.txt", "1"), Path("missing"), write("folder/x", "1").parent]
    before = input_hashes(paths)
    assert list(before) == ["a.txt", "folder"]
    assert input_hashes(paths) == before
    write("folder/x", "2")
    after = input_hashes(paths)
    assert after["a.txt"] == before["a.txt"] and after["folder"] != before["folder"]
    Path("folder/x").rename("folder/y")
    assert input_hashes(paths)["folder"] != after["folder"]


def preset_card(**presets: dict[str, Any]) -> Card:
    return Card("m", "M", "", "", (), presets=presets)


def test_a_preset_gives_an_action_only_the_options_it_has() -> None:
    card = preset_card(tiny={"rank": 1, "optim.lr": 0.5, "elsewhere": 3})
    assert preset_settings(card, "tiny", "act", OPTIONS) == {
        "rank": Setting(1, "preset tiny"),
        "optim.lr": Setting(0.5, "preset tiny"),
    }


def test_a_preset_can_hold_values_of_one_action_alone() -> None:
    card = preset_card(paper={"rank": 1, "act": {"rank": 8}, "other": {"optim.lr": 0.1}})
    assert preset_settings(card, "paper", "act", OPTIONS) == {"rank": Setting(8, "preset paper")}
    assert preset_settings(card, "paper", "other", OPTIONS) == {
        "rank": Setting(1, "preset paper"),
        "optim.lr": Setting(0.1, "preset paper"),
    }


def test_a_reference_through_links_that_lead_in_a_circle_is_no_file(work: Path) -> None:
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/loop").symlink_to("loop")
    found = resolved('{data: "@a/loop/x"}', {"a": Path("runs/a")})
    with pytest.raises(InputError, match=r"there is no runs/a/loop/x"):
        check_references(found)


def test_a_reference_to_a_name_of_any_length_is_resolved(work: Path) -> None:
    Path("runs/a").mkdir(parents=True)
    found = resolved(f'{{data: "@a/{"x" * 300}"}}', {"a": Path("runs/a")})
    with pytest.raises(InputError, match="there is no runs/a/xxx"):
        check_references(found)
    with pytest.raises(ConfigError, match="so long a name"):
        build(SftConfig, found.values, found.sources)


def test_an_unknown_preset_names_the_close_one_and_the_line() -> None:
    card = preset_card(tiny={}, paper={})
    with pytest.raises(
        ConfigError, match="--preset 'papr': m has no such preset; did you mean pap"
    ):
        preset_settings(card, "papr", "act", OPTIONS)
    with pytest.raises(ConfigError, match=r"^r\.yaml:3: preset 'x': .* there are: tiny, paper"):
        preset_settings(card, "x", "act", OPTIONS, "r.yaml:3")
