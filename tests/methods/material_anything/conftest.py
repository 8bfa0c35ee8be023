"""Small networks with random weights, in folders."""

from pathlib import Path

import pytest
import torch

from modelgraft.methods.material_anything.shipped import save_network
from modelgraft.methods.material_anything.tiny import TinyTripleHead
from modelgraft.methods.material_anything.tiny_refiner import SIZES


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of an estimator and a refiner that are called in milliseconds."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    save_network(TinyTripleHead(outer=8, inner=16), folder / "estimator")
    refiner = TinyTripleHead(**{**SIZES, "outer": 8, "inner": 16})
    save_network(refiner, folder / "refiner", frame="uv")
    return folder / "estimator", folder / "refiner"
