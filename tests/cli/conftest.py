"""A throw-away method beside the real ones, for tests that run commands."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelgraft.methods
from modelgraft.cli.main import main
from modelgraft.core.card import find_cards

METHOD = Path(__file__).parents[1] / "contract" / "thirteenth"
DRIVER = (
    "import sys, modelgraft.methods as methods; methods.__path__[:] = [sys.argv.pop(1)]\n"
    "from modelgraft.cli.main import main; sys.exit(main())"
)


@pytest.fixture
def thirteenth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Only the method `thirteenth`, and an empty working folder to run it in."""
    folder = tmp_path / "methods"
    shutil.copytree(METHOD, folder / "thirteenth")
    monkeypatch.setattr(modelgraft.methods, "__path__", [str(folder)])
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(os, "environ", os.environ.copy())
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
    """Runs a command line here and returns exit code, standard output and standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def start(thirteenth: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command line in a process of its own."""

    def call(*words: str, **kwargs: Any) -> subprocess.Popen[str]:
        streams = {name: kwargs.pop(name, subprocess.PIPE) for name in ("stdout", "stderr")}
        more = kwargs.pop("env_more", {})
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(thirteenth.parent / "methods"), *words],
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(modelgraft.__file__).parents[1]), **more},
            **streams,
            **kwargs,
        )

    return call
