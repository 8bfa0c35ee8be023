"""YAML, TOML and JSON files read as plain text in mappings and lists, with line numbers.

No reader guesses a type: `1e-5`, `no` and `12:30` stay the text that was written, and the option
that receives a value casts it. What a file may hold is bounded before anything is built from it:
size, depth, number of nodes; YAML anchors, aliases and tags and doubled keys are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import need

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 20_000
SUFFIXES = (".yaml", ".yml", ".toml", ".json")

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree] | None"
Place: TypeAlias = "tuple[str | int, ...]"  # the keys and indices that lead to a value


@dataclass(frozen=True)
class Document:
    """A parsed file: a mapping whose leaves are text (None for JSON's null)."""

    path: Path
    data: dict[str, Any]
    lines: dict[Place, int]

    def where(self, place: Place) -> str:
        """`file:line` of the value at this place, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"


def read_document(path: Path) -> Document:
    """The mapping that a YAML, TOML or JSON file holds, told apart by its suffix.

    Every fault is an `InputError` that names the file and the line.
    """
    readers = {".toml": _read_toml, ".json": _read_json}
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: the name must end in one of {', '.join(SUFFIXES)}.")
    text = _read_text(path)
    lines: dict[Place, int] = {}
    try:
        data = readers.get(path.suffix.lower(), _read_yaml)(text, lines)
    except _Fault as fault:
        raise InputError(f"{path}:{fault.line}: {fault.message}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}:1: a mapping of names to values is needed at the top.")
    return Document(path, data, lines)


class _Fault(Exception):
    def __init__(self, line: int, message: str) -> None:
        self.line, self.message = line, message


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: this is not a file.")
        with open(path, "rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the file cannot be read: {error}.") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes; this cannot be a recipe.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: the text is not UTF-8; save it as UTF-8.") from None


def _check_size(depth: int, num_nodes: int, line: int) -> None:
    if depth > MAX_DEPTH:
        raise _Fault(line, f"nested more than {MAX_DEPTH} levels deep")
    if num_nodes > MAX_NODES:
        raise _Fault(line, f"more than {MAX_NODES:,} values")


# -- YAML ----------------------------------------------------------------------------------------


def _read_yaml(text: str, lines: dict[Place, int]) -> Tree:
    yaml = need("yaml", extra="all")
    # Both loaders report the same events; the one in C is forty times faster.
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return _YamlBuilder(_checked_events(events, yaml), lines, yaml).document()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Fault(line, "not valid YAML: a character that YAML forbids") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = f"{error.context}, {error.problem}" if error.context else error.problem
        raise _Fault(line, f"not valid YAML: {problem}") from None


def _checked_events(events: Iterator[Any], yaml: Any) -> Iterator[Any]:
    depth = num_nodes = num_documents = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Fault(line, "anchors (&name) and aliases (*name) are not read here; use extends")
        if getattr(event, "tag", None):
            raise _Fault(line, f"tags are not read here ({event.tag}); write the plain value")
        if isinstance(event, yaml.DocumentStartEvent):
            num_documents += 1
            if num_documents > 1:
                raise _Fault(line, "a second document begins here; one file holds one")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        num_nodes += isinstance(event, yaml.NodeEvent)
        _check_size(depth, num_nodes, line)
        yield event


class _YamlBuilder:
    """Builds the tree from events; the events before it are already bounded in depth."""

    def __init__(self, events: Iterator[Any], lines: dict[Place, int], yaml: Any) -> None:
        self.events, self.lines, self.yaml = events, lines, yaml

    def document(self) -> Tree:
        tree: Tree = {}
        for event in self.events:
            if isinstance(event, self.yaml.NodeEvent):
                tree = self._value(event, ())
        return tree

    def _value(self, event: Any, place: Place) -> Tree:
        self.lines.setdefault(place, event.start_mark.line + 1)
        if isinstance(event, self.yaml.ScalarEvent):
            return event.value
        if isinstance(event, self.yaml.SequenceStartEvent):
            items: list[Tree] = []
            while not isinstance(inner := next(self.events), self.yaml.SequenceEndEvent):
                items.append(self._value(inner, (*place, len(items))))
            return items
        mapping: dict[str, Tree] = {}
        while not isinstance(key := next(self.events), self.yaml.MappingEndEvent):
            line = key.start_mark.line + 1
            if not isinstance(key, self.yaml.ScalarEvent):
                raise _Fault(line, "a name must be text")
            here = (*place, key.value)
            if key.value in mapping:
                raise _Fault(line, _doubled(key.value, self.lines[here]))
            self.lines[here] = line
            mapping[key.value] = self._value(next(self.events), here)
        return mapping


def _doubled(name: str, line: int) -> str:
    return f"{name!r} is given twice (first on line {line}); keep one"


# -- JSON ----------------------------------------------------------------------------------------

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}:,\n]|[^\s\[\]{}:,"]+')


def _json_tokens(text: str) -> Iterator[str]:
    return (match[0] for match in _JSON_TOKEN.finditer(text))


def _read_json(text: str, lines: dict[Place, int]) -> Tree:
    depth = num_nodes = 0
    line = 1
    for token in _json_tokens(text):
        line += token == "\n"
        depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
        num_nodes += token not in "]}:,\n"
        _check_size(depth, num_nodes, line)
    try:
        data = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _Fault(error.lineno, f"not valid JSON: {error.msg}") from None
    except ValueError as error:
        raise _Fault(1, str(error)) from None
    noted = _JsonLines(lines)
    for token in _json_tokens(text):
        noted.take(token)
    return _as_text(data)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"not valid JSON: {word} is not a number JSON knows")


class _JsonLines:
    """Notes the line of every value while it is told the tokens of a valid JSON text."""

    def __init__(self, lines: dict[Place, int]) -> None:
        self.lines = lines
        self.line = 1
        self.place: list[str | int] = []
        self.inside: list[str] = []  # the brackets that are open
        self.last = ""

    def take(self, token: str) -> None:
        match token:
            case "\n":
                self.line += 1
            case ":":
                self._name(json.loads(self.last))
            case "]" | "}":
                self.inside.pop()
                self.place.pop()
            case ",":
                if self.inside[-1] == "[":
                    self.place[-1] = int(self.place[-1]) + 1
            case _:
                self._value(token)

    def _name(self, name: str) -> None:
        self.place[-1] = name
        here = tuple(self.place)
        if here in self.lines:
            raise _Fault(self.line, _doubled(name, self.lines[here]))
        self.lines[here] = self.line

    def _value(self, token: str) -> None:
        if self.inside and self.inside[-1] == "[":
            self.lines.setdefault(tuple(self.place), self.line)
        self.last = token
        if token in ("[", "{"):
            self.inside.append(token)
            self.place.append(0 if token == "[" else "")


def _as_text(value: Any) -> Tree:
    if isinstance(value, dict):
        return {name: _as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else str(value)


# -- TOML ----------------------------------------------------------------------------------------

_TOML_NAME = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_TOML_NAMES = rf"{_TOML_NAME}(?:[ \t]*+\.[ \t]*+{_TOML_NAME})*+"
_TOML_LINE = re.compile(
    rf"[ \t]*(?:\[\[(?P<item>.+?)\]\]|\[(?P<table>.+?)\]|(?P<key>{_TOML_NAMES})[ \t]*=)"
)
_TOML_DEEP = re.compile(rf"(?<![\w-]){_TOML_NAME}(?:[ \t]*+\.[ \t]*+{_TOML_NAME}){{{MAX_DEPTH}}}")


def _read_toml(text: str, lines: dict[Place, int]) -> Tree:
    import tomllib

    # The parser needs quadratic time for long dotted names: a 1 MB file would hold it for hours.
    if deep := _TOML_DEEP.search(text):
        line = text.count("\n", 0, deep.start()) + 1
        raise _Fault(line, f"a name of more than {MAX_DEPTH} parts")
    try:
        data = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        reason = re.sub(r" \(at .*\)$", "", str(error))
        raise _Fault(line, f"not valid TOML: {reason[:1].lower()}{reason[1:]}") from None
    except RecursionError:
        raise _Fault(1, f"nested more than {MAX_DEPTH} levels deep") from None
    _check_tree(data)
    _find_toml_lines(text, lines)
    return _as_text(data)


def _check_tree(data: Any) -> None:
    num_nodes = 0
    level = [data]
    for depth in range(MAX_DEPTH + 2):
        num_nodes += len(level)
        _check_size(depth if level else 0, num_nodes, 1)
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]


def _find_toml_lines(text: str, lines: dict[Place, int]) -> None:
    """The line of every header and key that starts a line.

    What stands inside an inline table has the line of the key before it, by `Document.where`.
    """
    table: Place = ()
    items: dict[Place, int] = {}
    fence = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if fence:  # inside a multi-line string
            fence = "" if fence in line else fence
            continue
        fence = next((f for f in ('"""', "'''") if line.count(f) % 2), "")
        match = _TOML_LINE.match(line)
        if match is None:
            continue
        if match["key"] is not None:
            lines.setdefault((*table, *_names(match["key"])), number)
            continue
        *outer, last = _names(match["item"] or match["table"])
        table = ()
        for name in outer:
            table = (*table, name)
            if table in items:
                table = (*table, items[table])
        table = (*table, last)
        if match["item"]:
            items[table] = items.get(table, -1) + 1
            table = (*table, items[table])
        lines.setdefault(table, number)


def _names(dotted: str) -> Place:
    return tuple(name.strip("\"'") for name in re.findall(_TOML_NAME, dotted))
