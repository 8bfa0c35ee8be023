"""Settings: their bounds, and when the network is forbidden."""

from __future__ import annotations

import pytest

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import build, flatten
from modelgraft.core.settings import Settings, is_offline


@pytest.mark.parametrize(
    ("value", "offline"),
    [("", False), ("0", False), ("false", False), ("No", False), ("1", True), ("yes", True)],
)
def test_the_variable_forbids_the_network(
    monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("MODELGRAFT_OFFLINE", value)
    assert is_offline() is offline


def test_without_the_variable_the_network_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELGRAFT_OFFLINE", raising=False)
    assert not is_offline()


def test_settings_survive_being_written_and_read() -> None:
    settings = Settings(seed=7, device="cuda:1", dtype="bfloat16", resume="must", offline=True)
    assert build(Settings, flatten(settings)) == settings
    assert build(Settings, {}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"), [("seed", -1), ("seed", "x"), ("dtype", "int8"), ("resume", "maybe")]
)
def test_what_no_run_can_have_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"--{name}"):
        build(Settings, {name: value})
