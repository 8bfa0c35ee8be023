"""Limits that keep the code readable: sizes, types, docstrings, letters and names."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelgraft.core.card import find_cards
from modelgraft.core.options import options

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "modelgraft"
MODULES = sorted(SOURCE.rglob("*.py"))

MODULE_LINES = 600
INIT_LINES = 60
FUNCTION_LINES = 100
CONFIG_FIELDS = 25
FORBIDDEN = re.compile(r"(utils?|helpers?|common|misc|base|managers?|handlers?|legacy|v2|new_.*)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def place(path: Path, line: int = 0) -> str:
    return f"{path.relative_to(ROOT)}{f':{line}' if line else ''}"


def functions(tree: ast.Module) -> Iterator[tuple[Function, ast.ClassDef | None]]:
    """Every function of a module with the class it is a method of, if any."""
    owners = {
        child: node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node, owners.get(node)


def public(tree: ast.Module) -> Iterator[Function | ast.ClassDef]:
    """The functions, classes and methods that others may use; those inside functions are not."""
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from (
                child
                for child in node.body
                if isinstance(child, Function) and not child.name.startswith("_")
            )


def length(function: Function) -> int:
    """Lines of a function without its decorators and docstring."""
    assert function.end_lineno is not None
    start = function.lineno
    if ast.get_docstring(function) is not None:
        assert function.body[0].end_lineno is not None
        start += function.body[0].end_lineno - function.body[0].lineno + 1
    return function.end_lineno - start + 1


def unannotated(function: Function, is_method: bool) -> list[str]:
    """The arguments without a type, and `return` when that has none."""
    given = function.args
    names = [*given.posonlyargs, *given.args]
    is_static = any(
        isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in function.decorator_list
    )
    names = names[1:] if is_method and not is_static else names
    names += [*given.kwonlyargs, *(one for one in (given.vararg, given.kwarg) if one)]
    missing = [one.arg for one in names if one.annotation is None]
    return missing + (["return"] if function.returns is None else [])


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def check(faults: list[str]) -> None:
    assert not faults, "\n".join(faults)


def test_modules_are_short_and_packages_open_with_a_few_lines() -> None:
    faults = []
    for path in MODULES:
        limit = INIT_LINES if path.name == "__init__.py" else MODULE_LINES
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > limit:
            faults.append(f"{place(path)}: {lines} lines, at most {limit}")
    check(faults)


def test_functions_are_short() -> None:
    check(
        [
            f"{place(path, function.lineno)}: {function.name} has {length(function)} lines, "
            f"at most {FUNCTION_LINES}"
            for path in MODULES
            for function, _ in functions(parse(path))
            if length(function) > FUNCTION_LINES
        ]
    )


def test_modules_and_public_names_have_docstrings() -> None:
    faults = []
    for path in MODULES:
        tree = parse(path)
        if not ast.get_docstring(tree):
            faults.append(f"{place(path)}: the module says nothing about itself")
        faults += [
            f"{place(path, node.lineno)}: {node.name} has no docstring"
            for node in public(tree)
            if not ast.get_docstring(node)
        ]
    check(faults)


def test_public_functions_are_annotated() -> None:
    faults = []
    for path in MODULES:
        tree = parse(path)
        shown = set(public(tree))
        faults += [
            f"{place(path, function.lineno)}: {function.name}: no type for {', '.join(missing)}"
            for function, owner in functions(tree)
            if function in shown and (missing := unannotated(function, owner is not None))
        ]
    check(faults)


def test_source_is_ascii() -> None:
    faults = []
    for path in [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.isascii():
                faults.append(f"{place(path, number)}: {line.strip()!a}")
    check(faults)


def test_no_module_is_a_bag() -> None:
    names = [path for path in SOURCE.rglob("*") if path.is_dir() or path.suffix == ".py"]
    check([place(path) for path in names if FORBIDDEN.fullmatch(path.stem)])


@pytest.mark.parametrize("name", find_cards().cards)
def test_configs_have_few_fields(name: str) -> None:
    for action in find_cards().cards[name].actions:
        groups = {option.name.rpartition(".")[0] for option in options(action.config)}
        num = len(dataclasses.fields(action.config))
        assert num <= CONFIG_FIELDS, f"{action.config.__name__}: {num} fields"
        for group in groups - {""}:
            inner = [one for one in options(action.config) if one.name.startswith(f"{group}.")]
            assert len(inner) <= CONFIG_FIELDS, f"{action.config.__name__}.{group}"


def test_the_checks_see_a_bad_function() -> None:
    code = (
        'class A:\n    "Doc."\n    def f(self, x, *, y: int):\n        "Doc."\n'
        + "        x\n" * 101
    )
    tree = ast.parse(code)
    ((function, owner),) = functions(tree)
    assert length(function) == 102
    assert unannotated(function, owner is not None) == ["x", "return"]
    assert [node.name for node in public(tree)] == ["A", "f"]
    assert FORBIDDEN.fullmatch("new_trainer") and not FORBIDDEN.fullmatch("baselines")
