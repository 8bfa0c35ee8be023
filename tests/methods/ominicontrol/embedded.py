"""The embedded model and its judges with random weights, in place of the shipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelgraft.core.runs import Run, open_run
from modelgraft.core.settings import Settings
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.tiny.flux import build_pipeline
from modelgraft.tiny.oracles import AttributeNet, DepthNet, Judges, SubjectEncoder


class Named:
    name, revision = "tiny:flux", "random"


def open_random(name: str, settings: Settings) -> tuple[OminiControl, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = build_pipeline()
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    return OminiControl(pipe), Named


def random_judges() -> Judges:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = (AttributeNet(), DepthNet(), SubjectEncoder())
        return Judges(*(one.eval().requires_grad_(False) for one in nets))


def opened(folder: Path) -> Run:
    return open_run(folder, settings=Settings(seed=0, device="cpu", dtype="float32"))
