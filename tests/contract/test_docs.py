"""What pages promise is so: commands parse, code runs, links lead somewhere, tables are fresh."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modelgraft.cli.flags import ActionFlags, wanted_help
from modelgraft.cli.main import COMMANDS
from modelgraft.cli.parser import parse
from modelgraft.core.card import find_cards
from modelgraft.core.lazy import load
from modelgraft.core.options import build, options
from modelgraft.core.settings import Settings
from modelgraft.diffusion.load import load_flux
from modelgraft.methods.material_anything.world import object_mesh
from modelgraft.methods.ominicontrol import AdapterInfo, OminiControl
from modelgraft.spatial.files.gltf.writing import write_glb
from modelgraft.spatial.meshes import Asset, Part

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("src/modelgraft/methods/*/README.md")),
]
# docs/methods/ repeats the READMEs of the methods, whose code runs once.
CODE_PAGES = [page for page in PAGES if page.parent != ROOT / "docs" / "methods"]
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
COMMAND_OPTIONS = {
    "demo": "modelgraft.cli.demo:DemoOptions",
    "run": "modelgraft.cli.pipeline:RunOptions",
    "show": "modelgraft.cli.saved:ShowOptions",
    "compare": "modelgraft.cli.saved:CompareOptions",
    "report": "modelgraft.cli.saved:ReportOptions",
    "models": "modelgraft.cli.models:ModelsOptions",
    "doctor": "modelgraft.cli.doctor:DoctorOptions",
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
_HUB_ID = re.compile(r"HuggingFaceTB/[\w.-]+")
_FLUX_ID = re.compile(r"black-forest-labs/FLUX[\w.-]+")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language; no language means commands."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for tag, text in found if tag == language]


def commands(page: Path) -> list[str]:
    """Lines that a person may type, without the explanation that stands beside them."""
    lines = [line for text in blocks(page, "") for line in text.splitlines()]
    typed = [
        re.sub(r"^(\.venv/bin/|(torchrun|accelerate launch) .*-m )(?=modelgraft)", "", line)
        for line in lines
    ]
    return [re.split(r"\s{2,}", line)[0] for line in typed if line.startswith("modelgraft")]


def read_command(words: list[str]) -> Any:
    """The config that these words give, by the parser and the options the command itself uses."""
    if not words or words == ["--version"]:
        return None
    first, rest = words[0], words[1:]
    if first in COMMANDS:
        cls = load(COMMAND_OPTIONS[first])
        rest = ["--out" if word == "-o" else word for word in rest]
        return build(cls, parse(rest, options(cls), f"modelgraft {first}"))
    card = find_cards().card(first)
    if not rest:
        return None
    action = card.action(rest[0])
    if wanted_help(rest):
        return None
    shared = [*options(ActionFlags), *options(Settings)]
    values = parse(rest[1:], [*options(action.config), *shared], f"modelgraft {first} {rest[0]}")
    names = {option.name for option in shared}
    return build(action.config, {k: v for k, v in values.items() if k not in names})


def test_every_command_is_known_to_this_test() -> None:
    assert COMMAND_OPTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_pages_are_accepted_by_the_command_line(page: Path) -> None:
    for line in commands(page):
        read_command(shlex.split(line)[1:])


def test_the_readme_shows_commands_and_the_two_that_do_everything() -> None:
    readme = ROOT / "README.md"
    assert len(commands(readme)) > 5
    text = "\n".join(blocks(readme, ""))
    script = (ROOT / "run").read_text(encoding="utf-8")
    for verb in re.findall(r"^\./run (\w+)", text, re.MULTILINE):
        assert re.search(rf"^    {verb}\)", script, re.MULTILINE), verb
    assert re.findall(r"^\./run (\w+)", text, re.MULTILINE) == ["demo", "test"]


@pytest.mark.parametrize(
    "page", [page for page in CODE_PAGES if blocks(page, "python")], ids=name_of
)
def test_code_on_pages_runs(
    page: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.md").write_text("The report was signed by Ada. It costs nothing. " * 20)
    for number, code in enumerate(blocks(page, "python")):
        if _FLUX_ID.search(code):
            make_picture_and_adapter(tmp_path)
        if "chair.glb" in code:
            write_glb(tmp_path / "chair.glb", Asset((Part(object_mesh("train", 3)),)))
        script = tmp_path / f"block-{number}.py"
        script.write_text(_FLUX_ID.sub("tiny:flux", _HUB_ID.sub(str(small_model), code)))
        runpy.run_path(str(script))


def make_picture_and_adapter(folder: Path) -> None:
    """What pages about conditions take as given."""
    Image.linear_gradient("L").save(folder / "house.png")
    control = OminiControl(load_flux("tiny:flux", device="cpu").pipe)
    control.attach("edges", AdapterInfo(task="edges", mode="independent"))
    control.save("edges", folder / "edges.safetensors")


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_examples_are_short_and_run(
    example: Path,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert re.fullmatch(r"\d\d_\w+\.py", example.name)
    own = [] if "load_flux" in text else [str(small_model)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [example.name, *own])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_made_pages_and_tables_are_fresh() -> None:
    stale = runpy.run_path(str(ROOT / "tools" / "docs.py"))["stale"]()
    names = ", ".join(map(name_of, stale))
    assert not stale, f"run python tools/docs.py; stale: {names}"


def test_made_pages_show_every_option() -> None:
    for card in find_cards().cards.values():
        page = (ROOT / "docs" / "reference" / f"{card.id}.md").read_text(encoding="utf-8")
        for action in card.actions:
            _, _, rest = page.partition(f"\n## {action.name}\n")
            section = rest.partition("\n## ")[0]
            for option in options(action.config):
                name = option.name.upper() if option.positional else option.flag
                assert f"`{name}`" in section, f"{action.name} {name}"


def test_the_check_finds_a_page_that_was_changed_by_hand(tmp_path: Path) -> None:
    module = runpy.run_path(str(ROOT / "tools" / "docs.py"))
    for path, text in module["pages"]():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    scope = module["stale"].__globals__
    scope["DOCS"], scope["readmes"] = tmp_path / "docs", lambda: []
    assert module["stale"]() == []
    changed = tmp_path / "docs" / "reference" / "flags.md"
    changed.write_text(changed.read_text() + "more\n")
    assert module["stale"]() == [changed]
