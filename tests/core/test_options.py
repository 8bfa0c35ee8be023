"""Options: one description of a config, cast, checked and reported."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.cli.parser import parse, unparse
from modelgraft.core.errors import ConfigError
from modelgraft.core.options import build, build_all, flatten, opt, options


@dataclass(frozen=True, kw_only=True)
class Optim:
    lr: float = opt(1e-4, "Learning rate.", min=0, max=1)
    warm_up: int = opt(0, "Steps of warm-up.", min=0)


@dataclass(frozen=True, kw_only=True)
class Config:
    data: Path = opt(help="Rows to train on.", positional=True)
    rank: int = opt(4, "Rank.", min=1, max=64)
    block: int | float | None = opt(None, "Tokens or a share.", min=0)
    name: str = opt("x", "A name.")
    loss: Literal["dpo", "ipo"] = opt("dpo", "Loss.")
    half: bool = opt(False, "Half precision.")
    ends: tuple[int, ...] = opt((), "Ends.")
    question: tuple[str, ...] = opt((), "Questions.")
    files: tuple[Path, ...] = opt((), "Files.")
    note: str | None = opt(None, "A note.")
    optim: Optim = Optim()

    def __post_init__(self) -> None:
        if self.rank == 13:
            raise ConfigError("rank", "rank 13 brings bad luck; take 12.")


def fault(values: dict[str, Any], sources: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        build(Config, {"data": "d", **values}, sources)
    return str(caught.value)


def test_text_becomes_the_type_of_each_field() -> None:
    config = build(
        Config,
        {
            "data": "rows.jsonl",
            "rank": "8",
            "block": "0.25",
            "loss": "ipo",
            "half": "TRUE",
            "ends": "1, 2,3",
            "question": ["Who, and why?"],
            "files": "a.txt,b.txt",
            "note": "none",
            "optim.lr": "1e-5",
        },
    )
    assert config == Config(
        data=Path("rows.jsonl"),
        rank=8,
        block=0.25,
        loss="ipo",
        half=True,
        ends=(1, 2, 3),
        question=("Who, and why?",),
        files=(Path("a.txt"), Path("b.txt")),
        optim=Optim(lr=1e-5),
    )


def test_flatten_and_build_are_inverse_through_json() -> None:
    config = Config(data=Path("d"), block=512, ends=(1,), question=("a,b", "c"), note="n")
    assert build(Config, json.loads(json.dumps(flatten(config)))) == config


def test_every_option_says_its_flag_kind_and_default() -> None:
    found = {option.name: option for option in options(Config)}
    assert found["optim.warm_up"].flag == "--optim.warm-up"
    assert found["data"].required
    assert found["loss"].choices == ("dpo", "ipo")
    assert found["half"].kind == "true|false"
    assert found["block"].kind == "number"
    assert found["files"].multiple and found["files"].kind == "path"
    assert found["rank"].default == 4


def test_a_field_with_a_trailing_underscore_has_a_plain_flag() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Reserved:
        from_: str = opt("", "Where to begin.")

    assert options(Reserved)[0].flag == "--from"


def test_only_free_text_keeps_its_commas() -> None:
    known = {option.name: option for option in options(Config)}
    assert known["question"].parts("Who, and why?") == ["Who, and why?"]
    assert known["ends"].parts("1, 2") == ["1", "2"]
    assert known["files"].parts("a,b") == ["a", "b"]
    assert known["question"].parts("") == []


def test_an_empty_text_is_an_element_only_where_one_may_be_blank() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Drawn:
        prompt: tuple[str, ...] = opt((), "What to draw.", blank=True)
        adapter: tuple[str, ...] = opt(("usual",), "Adapters.")

    assert build(Drawn, {"prompt": "", "adapter": ""}) == Drawn(prompt=("",), adapter=())
    assert build(Drawn, {}) == Drawn(prompt=())
    for prompts in (("",), ("a, b", ""), ("", "")):
        config = Drawn(prompt=prompts)
        assert build(Drawn, json.loads(json.dumps(flatten(config)))) == config
        for words in (unparse(options(Drawn), flatten(config)),
                      [part for one in prompts for part in ("--prompt", one)]):  # fmt: skip
            assert build(Drawn, parse(words, options(Drawn), "draw")) == config


def test_all_faults_are_listed_together_each_with_its_source() -> None:
    message = fault(
        {"rank": "x", "loss": "dpp", "optim.lr": "2"},
        {"rank": "r.yaml:4", "loss": "r.yaml:5", "optim.lr": "r.yaml:6"},
    )
    assert message.splitlines() == [
        "r.yaml:4: --rank: 'x' is not a whole number",
        "r.yaml:5: --loss: 'dpp' is not one of dpo, ipo; did you mean dpo?",
        "r.yaml:6: --optim.lr: 2.0 is too large; at most 1",
    ]


def test_the_faults_of_several_configs_are_listed_together_at_most_ten() -> None:
    wanted = [
        (Config, {"rank": "x", "half": "y"}, {}),
        (Optim, {"lr": "z"}, {"lr": "r.yaml:6"}),
        (Config, {f"unknown_{i}": "1" for i in range(9)} | {"data": "d"}, {}),
    ]
    with pytest.raises(ConfigError) as caught:
        build_all(wanted)
    lines = str(caught.value).splitlines()
    assert lines[:4] == [
        "--rank: 'x' is not a whole number",
        "--half: 'y' is neither true nor false",
        "DATA: this is needed (rows to train on)",
        "r.yaml:6: --lr: 'z' is not a number",
    ]
    assert len(lines) == 11 and lines[-1] == "... and 3 more"
    assert build_all([(Optim, {"lr": "0.5"}, {}), (Config, {"data": "d"}, {})]) == [
        Optim(lr=0.5),
        Config(data=Path("d")),
    ]


def test_a_positional_option_is_named_as_in_the_usage_line() -> None:
    assert fault({"data": ""}) == "DATA: the path is empty"
    assert "did you mean DATA?" in fault({"dat": "x"})
    assert {option.label for option in options(Config)} >= {"DATA", "--rank", "--optim.warm-up"}


def test_a_file_may_have_a_name_that_is_no_valid_text_and_as_long_as_disks_take() -> None:
    name = b"caf\xe9" + b"x" * 251
    config = build(Config, {"data": os.fsdecode(b"a/" + name)})
    assert os.fsencode(config.data) == b"a/" + name


def test_more_than_ten_faults_are_counted() -> None:
    message = fault({f"unknown_{i}": "1" for i in range(14)})
    assert len(message.splitlines()) == 11
    assert message.endswith("... and 4 more")


def test_an_unknown_option_names_the_closest_one() -> None:
    assert "did you mean --optim.lr?" in fault({"optim.lt": "1"})


def test_a_missing_option_is_named_with_what_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^DATA: this is needed \(rows to train on\)$"):
        build(Config, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", "1.5"),
        ("rank", "0"),
        ("rank", "65"),
        ("rank", ""),
        ("rank", "none"),
        ("rank", True),
        ("rank", "1" * 5000),
        ("rank", "1" * 400),
        ("rank", 10**400),
        ("block", "1" * 400),
        ("block", "1e400"),
        ("optim.lr", "1" * 400),
        ("block", "nan"),
        ("block", "inf"),
        ("block", "-1"),
        ("half", "yes"),
        ("half", 1),
        ("ends", "1,x"),
        ("ends", None),
        ("name", 5),
        ("name", "a\x00b"),
        ("name", "bad\udcff"),
        ("name", "\ud800"),
        ("question", ["good", "bad\udcff"]),
        ("note", "\udcff"),
        ("data", ""),
        ("data", "a\x00b"),
        ("data", "\ud800"),
        ("data", "x" * 256),
        ("data", "a/" + "\u00e9" * 128),
        ("data", "a/" * 2048),
        ("files", "a," + "x" * 256),
        ("name", None),
        ("data", ["a", "b"]),
        ("question", [1]),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, value: Any) -> None:
    assert name in fault({name: value}).lower()


@pytest.mark.parametrize("value", ["1", "64", "1e1", 64])
def test_bounds_are_inclusive_and_whole_numbers_may_be_written_freely(value: Any) -> None:
    assert 1 <= build(Config, {"data": "d", "rank": value}).rank <= 64


def test_the_word_none_stays_text_where_text_is_asked_for() -> None:
    config = build(Config, {"data": "none", "name": "none", "question": "none"})
    assert (config.data, config.name, config.question) == (Path("none"), "none", ("none",))


def test_what_the_class_itself_refuses_is_reported_like_any_fault() -> None:
    assert fault({"rank": "13"}, {"rank": "r.yaml:2"}) == (
        "r.yaml:2: rank 13 brings bad luck; take 12."
    )


def test_a_field_without_opt_is_a_programming_error() -> None:
    @dataclass
    class Careless:
        size: int = 3

    with pytest.raises(TypeError, match=r"Careless\.size must be declared with opt"):
        options(Careless)


@given(st.sampled_from([one.name for one in options(Config)]), st.text(max_size=40))
def test_any_text_is_either_cast_or_refused_in_words(name: str, text: str) -> None:
    try:
        value = flatten(build(Config, {"data": "d", name: text}))[name]
    except ConfigError as error:
        assert str(error)
    else:
        assert not isinstance(value, float) or math.isfinite(value)
