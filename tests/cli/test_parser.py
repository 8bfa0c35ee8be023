"""Words of a command line become values by option name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.cli.flags import wanted_help
from modelgraft.cli.parser import parse, unparse
from modelgraft.core.errors import ConfigError
from modelgraft.core.options import build, flatten, opt, options


@dataclass(frozen=True, kw_only=True)
class Optim:
    lr: float = opt(0.1, "Rate.")


@dataclass(frozen=True, kw_only=True)
class Config:
    file: Path = opt(Path("x"), "A file.", positional=True)
    names: tuple[str, ...] = opt((), "Names.", positional=True)
    max_tokens: int = opt(1, "Tokens.")
    question: tuple[str, ...] = opt((), "Questions.")
    ends: tuple[int, ...] = opt((), "Ends.")
    quick: bool = opt(False, "Quick.")
    mode: Literal["a", "b"] = opt("a", "Mode.")
    note: str | None = opt(None, "Note.")
    optim: Optim = Optim()


OPTIONS = options(Config)


def read(*words: str) -> dict[str, object]:
    return parse(words, OPTIONS, "modelgraft m a")


def fault(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*words)
    return str(caught.value)


def test_flags_and_words_may_be_mixed_in_any_order() -> None:
    expected = {"file": "f", "names": ["E1", "E2"], "max_tokens": "3", "optim.lr": "1e-4"}
    assert read("f", "E1", "E2", "--max-tokens", "3", "--optim.lr=1e-4") == expected
    assert read("--max-tokens=3", "f", "E1", "--optim.lr", "1e-4", "E2") == expected


def test_nothing_given_is_nothing_read() -> None:
    assert read() == {}


def test_a_boolean_stands_alone_or_with_its_value() -> None:
    assert read("--quick") == {"quick": "true"}
    assert read("--quick", "false") == {"quick": "false"}
    assert read("--quick=FALSE") == {"quick": "FALSE"}


def test_a_boolean_never_swallows_the_next_word() -> None:
    assert read("--quick", "book.txt") == {"quick": "true", "file": "book.txt"}


def test_a_repeated_question_keeps_its_commas() -> None:
    given = read("--question", "Who, and why?", "--question=When?")
    assert given == {"question": ["Who, and why?", "When?"]}


def test_a_repeated_list_of_numbers_is_also_split_on_commas() -> None:
    assert read("--ends", "1,2", "--ends", "3") == {"ends": ["1", "2", "3"]}


def test_the_last_of_two_single_values_counts() -> None:
    assert read("--mode", "a", "--mode", "b") == {"mode": "b"}


def test_everything_after_two_dashes_is_a_word() -> None:
    assert read("--quick", "--", "--odd-name", "-x") == {
        "quick": "true",
        "file": "--odd-name",
        "names": ["-x"],
    }


def test_a_negative_number_is_a_value_and_a_word() -> None:
    assert read("--optim.lr", "-5") == {"optim.lr": "-5"}
    assert read("--optim.lr=-1e-5") == {"optim.lr": "-1e-5"}
    assert read("-5")["file"] == "-5"


def test_an_unknown_flag_names_the_close_one() -> None:
    assert fault("--max-token", "3") == (
        "--max-token: there is no such option; did you mean --max-tokens?"
    )
    assert "did you mean --max-tokens?" in fault("--max_tokens=3")
    assert "modelgraft m a --help lists the options" in fault("f", "--zzz")
    assert "-q: there is no such option" in fault("-q")


def test_a_flag_is_never_abbreviated() -> None:
    assert "there is no such option" in fault("--max", "3")


def test_a_flag_without_its_value_says_how_to_write_one() -> None:
    message = fault("--mode")
    assert message.startswith("--mode: its value is missing; write --mode VALUE, or --mode=VALUE")


def test_a_word_too_many_is_named() -> None:
    single = [option for option in OPTIONS if option.name != "names"]
    with pytest.raises(ConfigError, match=r"'two': one word too many; m a takes FILE\."):
        parse(["one", "two"], single, "m a")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["f"], ""),
        (["-h"], "short"),
        (["f", "--help"], "short"),
        (["--help-all"], "all"),
        (["--help", "--help-all"], "all"),
        (["--", "--help"], ""),
    ],
)
def test_help_is_wanted_wherever_it_is_asked_for(words: list[str], expected: str) -> None:
    assert wanted_help(words) == expected


TEXT = st.text(min_size=1).filter(lambda text: "\x00" not in text)


@given(
    st.builds(
        Config,
        names=st.just(()),
        max_tokens=st.integers(),
        question=st.lists(TEXT, min_size=1).map(tuple),
        ends=st.lists(st.integers()).map(tuple),
        quick=st.booleans(),
        mode=st.sampled_from(["a", "b"]),
        note=st.none() | TEXT.filter(lambda text: text.lower() not in ("none", "null")),
        optim=st.builds(Optim, lr=st.floats(allow_nan=False, allow_infinity=False)),
    )
)
def test_the_words_of_a_config_build_the_same_config(config: Config) -> None:
    words = unparse(OPTIONS, flatten(config))
    assert build(Config, parse(words, OPTIONS, "m a")) == config
