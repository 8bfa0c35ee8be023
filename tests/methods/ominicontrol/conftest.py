"""What the tests of OminiControl share: a small random pipeline with adapters, and one thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from threads, and waiting for them costs most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def parts() -> dict[str, Any]:
    """Everything of a pipeline but the transformer."""
    from modelgraft.tiny.flux import build_pipeline

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_pipeline().components


@pytest.fixture
def pipe(parts: dict[str, Any]) -> Any:
    """A stock pipeline around a fresh small transformer; a token is 4 px."""
    from random_flux import make_pipe

    return make_pipe(parts)


@pytest.fixture(scope="session")
def control(parts: dict[str, Any]) -> Any:
    """A pipeline with two joint adapters, `edges` and `subject`; nobody adds or removes any."""
    from random_flux import make_pipe, with_adapters

    return with_adapters(make_pipe(parts), "joint")


@pytest.fixture(scope="session")
def independent(parts: dict[str, Any]) -> Any:
    """A pipeline with two independent adapters, `edges` and `subject`; nobody changes them."""
    from random_flux import make_pipe, with_adapters

    return with_adapters(make_pipe(parts), "independent")


@pytest.fixture(scope="session")
def guided(parts: dict[str, Any]) -> Any:
    """As `independent`, with a guidance embedding like FLUX.1-dev's."""
    from random_flux import make_pipe, with_adapters

    return with_adapters(make_pipe(parts, guidance=True), "independent")
