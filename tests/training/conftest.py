from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelgraft.training.config import OptimConfig

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def config() -> OptimConfig:
    return OptimConfig(lr=0.02, batch=8, micro_batch=8, save_every=3, weight_decay=0.1)
