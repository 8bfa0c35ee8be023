"""One of several processes that train an adapter: `adapter_process.py RUN WEIGHTS`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))
from random_flux import attach, lora_layers, make_pipe

from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.diffusion.flow import TimestepLaw
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.train import Learning, train
from modelgraft.tiny.flux import build_pipeline
from modelgraft.training.config import OptimConfig

SOURCE = ToySource(("edges",), seed=0)
LEARNING = Learning(
    steps=4,
    law=TimestepLaw(),
    optim=OptimConfig(lr=1e-3, batch=6, micro_batch=2, save_every=4),
    drop_text=0.5,
    drop_condition=0.5,
)


class Twelve:
    """Scenes that come round again after twelve."""

    total = 12

    def take(self, numbers: Any, use: int) -> Any:
        return SOURCE.take(numbers, use)


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """The matrices of an adapter after four steps, with half of all text and conditions dropped."""
    torch.manual_seed(0)
    control = OminiControl(make_pipe(build_pipeline().components, double=1, single=1))
    control.pipe.transformer.requires_grad_(False)
    attach(control, "edges")
    for _, _, matrix in lora_layers(control.transformer, "edges"):
        matrix.requires_grad_(True)
    settings = Settings(seed=3, device="cpu", dtype="float32")
    with open_run(folder, settings=settings) as run:
        train(control, Twelve(), LEARNING, run)
    layers = lora_layers(control.transformer, "edges")
    return {f"{name} {part}": one.detach().contiguous() for name, part, one in layers}


def main(folder: str, target: str) -> None:
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    save_file(trained(Path(f"{folder}-{rank}")), f"{target}-{rank}.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
