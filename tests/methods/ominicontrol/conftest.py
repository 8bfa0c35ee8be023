"""What the tests of OminiControl share: a small random pipeline with adapters, and one thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline

from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.tiny.flux import build_pipeline

sys.path.insert(0, str(Path(__file__).parent))

from random_flux import attach, make_transformer  # noqa: E402


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
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_pipeline().components


@pytest.fixture
def pipe(parts: dict[str, Any]) -> FluxPipeline:
    """A stock pipeline around a fresh small transformer; a token is 4 px."""
    return make_pipe(parts)


@pytest.fixture
def guided_pipe(parts: dict[str, Any]) -> FluxPipeline:
    """As `pipe`, with a guidance embedding like FLUX.1-dev's."""
    return make_pipe(parts, guidance=True)


def make_pipe(parts: dict[str, Any], **kind: Any) -> FluxPipeline:
    pipe = FluxPipeline(**{**parts, "transformer": make_transformer(**kind)})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def control(pipe: FluxPipeline) -> OminiControl:
    """The pipeline with two joint adapters, `edges` and `subject`."""
    return with_adapters(pipe, "joint")


@pytest.fixture
def independent(pipe: FluxPipeline) -> OminiControl:
    """The pipeline with two independent adapters, `edges` and `subject`."""
    return with_adapters(pipe, "independent")


def with_adapters(pipe: FluxPipeline, mode: str) -> OminiControl:
    control = OminiControl(pipe)
    attach(control, "edges", mode=mode, seed=1)
    attach(control, "subject", mode=mode, seed=2, rank=2, alpha=5, delta=(0, -4))
    return control
