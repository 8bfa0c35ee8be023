"""Modules beside the tests can be imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelgraft.spatial.uv import unwrapping

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def quick_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """New UVs by box projection, without the process of xatlas, which has tests of its own."""
    monkeypatch.setattr(unwrapping, "XATLAS_FACES", 0)
