"""YAML, TOML and JSON as plain text: nothing guessed, everything bounded, every fault placed."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.core.markup import Document, read_document


def read(folder: Path, name: str, content: str | bytes) -> Document:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_document(path)


YAML = """\
rate: 1e-5
answer: no
time: 12:30
date: 2026-01-01
octal: 0777
quoted: "a: b"
block: |
  two
  lines
steps:
  - id: a
    config: {x.y: 1, z: [1, 2]}
"""
TOML = '''\
rate = 1e-5
answer = "no"
[[steps]]
id = "a"
text = """
id = "not a key"
"""
[[steps]]
id = "b"
config = { "x.y" = 1, z = [1,
  2] }
[steps.more]
big = 0xff
on = true
'''
JSON = """\
{"rate": 1e-5,
 "on": true, "gone": null,
 "steps": [{"id": "a"},
   {"id": "b",
    "config": {"z": [1,
      2]}}]}
"""


def test_yaml_scalars_stay_the_text_that_was_written(tmp_path: Path) -> None:
    data = read(tmp_path, "r.yaml", YAML).data
    assert data["rate"] == "1e-5"
    assert data["answer"] == "no"
    assert data["time"] == "12:30"
    assert data["date"] == "2026-01-01"
    assert data["octal"] == "0777"
    assert data["quoted"] == "a: b"
    assert data["block"] == "two\nlines\n"
    assert data["steps"] == [{"id": "a", "config": {"x.y": "1", "z": ["1", "2"]}}]


def test_toml_and_json_give_text_as_well(tmp_path: Path) -> None:
    toml = read(tmp_path, "r.toml", TOML).data
    assert (toml["rate"], toml["steps"][1]["more"]) == ("1e-5", {"big": "255", "on": "true"})
    read_json = read(tmp_path, "r.json", JSON).data
    assert (read_json["rate"], read_json["on"], read_json["gone"]) == ("1e-5", "true", None)


@pytest.mark.parametrize(
    ("name", "content", "place", "line"),
    [
        ("r.yaml", YAML, ("steps", 0, "config", "z", 1), 12),
        ("r.yaml", YAML, ("block",), 7),
        ("r.yaml", YAML, ("steps", 0, "missing"), 11),
        ("r.toml", TOML, ("steps", 0, "id"), 4),
        ("r.toml", TOML, ("steps", 1, "id"), 9),
        ("r.toml", TOML, ("steps", 1, "config", "z"), 10),
        ("r.toml", TOML, ("steps", 1, "more", "big"), 13),
        ("r.json", JSON, ("gone",), 2),
        ("r.json", JSON, ("steps", 1, "id"), 4),
        ("r.json", JSON, ("steps", 1, "config", "z", 1), 6),
    ],
)
def test_every_value_knows_its_line(
    tmp_path: Path, name: str, content: str, place: tuple[Any, ...], line: int
) -> None:
    document = read(tmp_path, name, content)
    assert document.where(place) == f"{tmp_path / name}:{line}"


FAULTS = {
    "anchor.yaml": ("a: 1\nb: &x c\n", r":2: anchors"),
    "alias.yaml": ("a: 1\nb: *x\n", r":2: anchors"),
    "tag.yaml": ("a: !!python/object/apply:os.system [ls]\n", r":1: tags are not read"),
    "own-tag.yaml": ("a: 1\nb: !env HOME\n", r":2: tags are not read"),
    "doubled.yaml": ("a: 1\nb: 2\na: 3\n", r":3: 'a' is given twice \(first on line 1\)"),
    "doubled-inside.yaml": ("x: {a: 1, a: 2}\n", r":1: 'a' is given twice"),
    "doubled.json": ('{"a": 1,\n "b": {"c": 1,\n "c": 2}}', r":3: 'c' is given twice"),
    "doubled.toml": ("a = 1\na = 2\n", r":2: not valid TOML"),
    "two-documents.yaml": ("a: 1\n---\nb: 2\n", r":2: a second document"),
    "key.yaml": ("? [a]\n: b\n", r":1: a name must be text"),
    "deep.yaml": ("a: " + "[" * 33 + "]" * 33, r":1: nested more than 32"),
    "deep.json": ('{"a": ' + "[" * 900_000, r":1: nested more than 32"),
    "deep.toml": ("a = " + "[" * 33 + "]" * 33, r":1: nested more than 32"),
    "deeper.toml": ("a = " + "[" * 900_000, r":1: nested more than 32"),
    "inline.toml": ("a = " + "{a = " * 40 + "1" + "}" * 40, r":1: nested more than 32"),
    "dots.toml": ("x = 1\n" + "a." * 400_000 + "a = 1", r":2: a name of more than 32 parts"),
    "quoted-dots.toml": ('"a" . ' * 100_000 + "a = 1", r":1: a name of more than 32 parts"),
    "many.yaml": ("- a\n" * 20_001, r"more than 20,000 values"),
    "many.json": ("[" + "1," * 20_001 + "1]", r"more than 20,000 values"),
    "many.toml": ("a = [" + "1," * 20_001 + "1]", r"more than 20,000 values"),
    "large.yaml": ("a: " + "x" * 1_000_001, r"larger than 1,000,000 bytes"),
    "quotes.yaml": ("'" + "x\n\n" * 300_000, r"not valid YAML"),
    "quotes.json": ('"' * 900_000, r"more than 20,000 values"),
    "words.toml": ("a" * 900_000, r":1: not valid TOML"),
    "tab.yaml": ("a:\n\tb: 1", r":2: not valid YAML"),
    "open.yaml": ("a: 'x\n", r"not valid YAML: .*quoted scalar"),
    "cut.json": ('{"a": [1,\n 2', r":2: not valid JSON"),
    "nan.json": ('{"a": NaN}', r"NaN is not a number"),
    "open.toml": ("a = 1\nb = [1,\n", r":3: not valid TOML|:2: not valid TOML"),
    "nul.yaml": ("a: 1\nb: \x00", r":2: not valid YAML"),
    "latin.yaml": (b"a: 1\nb: caf\xe9", r":2: the text is not UTF-8"),
    "list.yaml": ("- a", r":1: a mapping of names to values"),
    "word.json": ('"a"', r":1: a mapping of names to values"),
    "recipe.txt": ("a: 1", r"the name must end in one of"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_malformed_file_is_refused_with_its_line_within_two_seconds(
    tmp_path: Path, name: str
) -> None:
    content, message = FAULTS[name]
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, name, content)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert after.ru_utime - before.ru_utime < 2
    assert after.ru_maxrss - before.ru_maxrss < 1_000_000  # kilobytes


def test_a_missing_file_a_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_document(tmp_path / "r.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match="this is not a file"):
        read_document(tmp_path / "folder.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="this is not a file"):
        read_document(tmp_path / "zero.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    for name in ("r.yaml", "r.json", "r.toml"):
        text = {"r.json": '{"a": "1"}', "r.toml": "a = 1\r\n"}.get(name, "a: 1\r\n")
        assert read(tmp_path, name, "\ufeff" + text).data == {"a": "1"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_text(inner) for inner in value]
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4), st.sampled_from([None, 1]))
def test_any_json_object_is_read_whole(tmp_path: Path, value: Any, indent: int | None) -> None:
    document = read(tmp_path, "r.json", json.dumps(value, indent=indent))
    assert document.data == as_text(value)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["r.yaml", "r.toml", "r.json"]))
def test_any_bytes_are_read_or_refused_in_words(tmp_path: Path, content: bytes, name: str) -> None:
    begin = time.process_time()
    try:
        assert isinstance(read(tmp_path, name, content).data, dict)
    except InputError as error:
        assert str(error).startswith(str(tmp_path / name))
    assert time.process_time() - begin < 2
