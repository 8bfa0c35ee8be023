"""Who may import whom: imports point down, never sideways, and methods never meet."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "modelgraft"
LEVELS = {
    "core": 0,
    "evaluation": 1,
    "worlds": 1,
    "nn": 1,
    "training": 2,
    "language": 2,
    "diffusion": 2,
    "spatial": 2,
    "vision_language": 3,
    "video": 3,
    "tiny": 4,
    "methods": 5,
    "cli": 6,
    "web": 6,
}
EDGES = ("cli", "web")  # They know cards, not methods.
EDGES_MAY = ("core", "evaluation")
# The folder that find_cards lists; the package itself is empty, so nothing comes up with it.
ALLOWED = {("core/card.py", "modelgraft.methods")}
NO_TORCH = ("core", "evaluation", "worlds", "cli", "web")
_TARGET = re.compile(r"modelgraft(?:\.\w+)+(?=:\w+$)")


@dataclass(frozen=True)
class Import:
    """One import of a module: where it stands, what it names, and whether it waits for a call."""

    file: str
    line: int
    module: str
    is_late: bool

    def __str__(self) -> str:
        return f"src/modelgraft/{self.file}:{self.line}: {self.module}"


def read_imports(file: str, tree: ast.Module) -> Iterator[Import]:
    """Every import of a module, and every `package.module:name` that stands for one."""
    late = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(function)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"src/modelgraft/{file}:{node.lineno}: write the whole name"
            assert node.module is not None
            names = [node.module]
            if node.module == "modelgraft":
                names = [f"modelgraft.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = _TARGET.match(node.value)
            names = [found[0]] if found else []
        else:
            continue
        is_late = node in late or isinstance(node, ast.Constant)
        yield from (Import(file, node.lineno, name, is_late) for name in names)


def is_for_types(node: ast.AST) -> bool:
    """True for `if TYPE_CHECKING:`, whose imports never run."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


@functools.cache
def all_imports() -> tuple[Import, ...]:
    return tuple(
        one
        for path in sorted(SOURCE.rglob("*.py"))
        for one in read_imports(str(path.relative_to(SOURCE)), ast.parse(path.read_text()))
    )


def room(file: str) -> str:
    """The package a file belongs to."""
    first, _, rest = file.partition("/")
    if not rest:
        return "cli" if first == "__main__.py" else "core"
    return first


def fault(one: Import) -> str:
    """Why this import is not allowed, or nothing."""
    parts = one.module.split(".")
    if parts[0] != "modelgraft" or (one.file, one.module) in ALLOWED:
        return ""
    here, there = room(one.file), parts[1] if len(parts) > 1 and parts[1] in LEVELS else "core"
    if here == there == "methods":
        own = one.file.split("/")[1]
        is_own = len(parts) > 2 and parts[2] == own
        return "" if is_own else "a method never imports another one; take it as an argument"
    if here == there:
        return ""
    if here in EDGES and there not in EDGES_MAY:
        return f"{here} may import {' and '.join(EDGES_MAY)} only; go through cards"
    if LEVELS[there] < LEVELS[here]:
        return ""
    return f"{here} is level {LEVELS[here]} and may not import {there}, level {LEVELS[there]}"


def test_every_room_has_a_level() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= LEVELS.keys(), f"no level is known for {rooms - LEVELS.keys()}"


def test_imports_point_down_and_methods_never_import_each_other() -> None:
    faults = [f"{one}: {reason}" for one in all_imports() if (reason := fault(one))]
    assert not faults, "\n".join(faults)


def test_core_needs_only_the_standard_library_to_be_imported() -> None:
    allowed = {*sys.stdlib_module_names, "modelgraft"}
    faults = [
        str(one)
        for one in all_imports()
        if room(one.file) == "core" and not one.is_late and one.module.split(".")[0] not in allowed
    ]
    assert not faults, "\n".join(faults)


def test_rooms_without_torch_do_not_import_it_with_themselves() -> None:
    faults = [
        str(one)
        for one in all_imports()
        if room(one.file) in NO_TORCH and not one.is_late and one.module.split(".")[0] == "torch"
    ]
    assert not faults, "\n".join(faults)


def is_light(module: str) -> bool:
    """True for what a card or a config may bring up: no torch, nothing of the method's work."""
    if module.split(".")[0] in sys.stdlib_module_names:
        return True
    return (
        re.fullmatch(
            r"modelgraft\.((core|evaluation)\..+|(training|language\.endpoints|methods\.\w+)\.config)",
            module,
        )
        is not None
    )


def test_cards_and_configs_import_neither_torch_nor_the_rest_of_their_method() -> None:
    faults = [
        str(one)
        for one in all_imports()
        if room(one.file) in ("methods", "training")
        and Path(one.file).name in ("card.py", "config.py")
        if not one.is_late and not is_light(one.module)
    ]
    assert not faults, "\n".join(faults)


def test_the_package_of_all_methods_is_empty() -> None:
    tree = ast.parse((SOURCE / "methods" / "__init__.py").read_text())
    assert len(tree.body) == 1 and ast.get_docstring(tree)


SAMPLES = [
    ("core/a.py", "import modelgraft.nn.attention", "core is level 0"),
    ("nn/a.py", "from modelgraft.evaluation import tables", "nn is level 1"),
    ("language/a.py", "def f():\n    from modelgraft.tiny import smollm", "language is level 2"),
    ("methods/one/a.py", "from modelgraft.methods.two.method import f", "another one"),
    ("methods/one/a.py", "import modelgraft.cli.main", "methods is level 5"),
    ("cli/a.py", "load('modelgraft.methods.one.actions:f')", "go through cards"),
    ("cli/a.py", "import modelgraft.nn.cost", "go through cards"),
    ("methods/one/a.py", "from modelgraft.methods.one.config import C", ""),
    ("methods/one/a.py", "from modelgraft.tiny.smollm import build", ""),
    ("cli/a.py", "from modelgraft import __version__", ""),
]


@pytest.mark.parametrize(("file", "code", "expected"), SAMPLES)
def test_the_rule_tells_good_imports_from_bad_ones(file: str, code: str, expected: str) -> None:
    found = [fault(one) for one in read_imports(file, ast.parse(code))]
    assert len(found) == 1
    assert expected in found[0] and bool(expected) == bool(found[0])
