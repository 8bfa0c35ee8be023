"""The error family: exit codes and messages."""

from __future__ import annotations

import pytest

from modelgraft.core import errors


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ConfigError", 2),
        ("InputError", 2),
        ("UnsupportedModel", 2),
        ("MissingExtra", 2),
        ("Partial", 3),
        ("Unavailable", 4),
        ("Interrupted", 130),
    ],
)
def test_every_error_of_the_family_carries_its_exit_code(name: str, code: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.ModelgraftError)
    assert kind.exit_code == code


def test_a_config_error_names_its_field_once() -> None:
    assert str(errors.ConfigError("beta", "must be positive")) == "beta: must be positive"
    assert str(errors.ConfigError("beta", "--beta 0: must be positive")).count("beta") == 1
    assert str(errors.ConfigError("max_tokens", "--max-tokens: too many")).count("max") == 1
    assert str(errors.ConfigError("file", "FILE: this is needed")) == "FILE: this is needed"
    assert str(errors.ConfigError("", "two faults")) == "two faults"
