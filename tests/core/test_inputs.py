"""Inputs: a file or model whose content changed is seen, and what a run writes is none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelgraft.core.inputs import config_inputs
from modelgraft.core.options import opt


@dataclass(frozen=True, kw_only=True)
class Inner:
    rules: Path | None = opt(None)


@dataclass(frozen=True, kw_only=True)
class Config:
    files: tuple[Path, ...] = opt(())
    model: str = opt("tiny")
    cache: Path | None = opt(None)
    inner: Inner = Inner()
    store: Path | None = opt(None, written=True)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_of_path_options_count_by_content_and_folders_and_absent_ones_do_not() -> None:
    Path("a.txt").write_text("a")
    Path("rules").write_text("r")
    Path("cache").mkdir()
    config = Config(
        files=(Path("a.txt"), Path("absent")),
        cache=Path("cache"),
        inner=Inner(rules=Path("rules")),
    )
    before = config_inputs(config)
    assert set(before) == {"a.txt", "rules"}
    os.utime("a.txt", (1, 1))
    assert config_inputs(config) == before
    Path("a.txt").write_text("b")
    after = config_inputs(config)
    assert after["a.txt"] != before["a.txt"] and after["rules"] == before["rules"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_folder_counts_when_config_weights_or_tokenizer_change(name: str) -> None:
    Path("mine").mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "notes.md"):
        Path("mine", file).write_text("{}")
    before = config_inputs(Config(model="mine"))
    assert set(before) == {"mine"}
    Path("mine", "notes.md").write_text("more")
    assert config_inputs(Config(model="mine")) == before
    Path("mine", name).write_text('{"a": 1}')
    assert config_inputs(Config(model="mine")) != before


def test_a_gguf_file_counts() -> None:
    Path("m.gguf").write_bytes(b"GGUF")
    before = config_inputs(Config(model="m.gguf"))
    Path("m.gguf").write_bytes(b"GGUF!")
    assert set(before) == {"m.gguf"} and config_inputs(Config(model="m.gguf")) != before


@pytest.mark.parametrize("name", ["", "tiny", "owner/name", "why? " * 5000, "a\0b"])
def test_other_texts_are_no_inputs(name: str) -> None:
    Path("config.json").write_text("{}")
    assert config_inputs(Config(model=name)) == {}


def test_a_file_in_a_text_option_counts_with_or_without_an_amount() -> None:
    for name in ("chats.jsonl", "chats.jsonl=0.5"):
        Path("chats.jsonl").write_text("one\n")
        before = config_inputs(Config(model=name))
        Path("chats.jsonl").write_text("two\n")
        assert set(before) == {name} and config_inputs(Config(model=name)) != before


def test_a_file_that_the_run_writes_is_no_input() -> None:
    Path("store").write_text("answers")
    assert config_inputs(Config(store=Path("store"))) == {}
