"""Processes of their own, for what only a process can show: kills, signals, full disks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelgraft


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts a Python that runs a script and talks through pipes."""

    def call(script: str, *words: str, **kwargs: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(modelgraft.__file__).parents[1])},
            **kwargs,
        )

    return call
