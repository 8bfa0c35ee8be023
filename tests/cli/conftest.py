"""A throw-away method beside the real ones, for tests that run commands in this process."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import modelgraft.methods
from modelgraft.cli.main import main
from modelgraft.core.card import find_cards

METHOD = Path(__file__).parents[1] / "contract" / "thirteenth"


@pytest.fixture
def thirteenth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The method `thirteenth` in a folder of its own, and an empty working folder to run it in."""
    folder = tmp_path / "methods"
    shutil.copytree(METHOD, folder / "thirteenth")
    monkeypatch.setattr(modelgraft.methods, "__path__", [str(folder)])
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("MODELGRAFT_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    importlib.invalidate_caches()
    find_cards.cache_clear()
    yield work
    find_cards.cache_clear()
    for name in [name for name in sys.modules if name.startswith("modelgraft.methods.thirteenth")]:
        del sys.modules[name]
        vars(modelgraft.methods).pop("thirteenth", None)


@pytest.fixture
def run(
    thirteenth: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line and returns exit code, standard output and standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return call
