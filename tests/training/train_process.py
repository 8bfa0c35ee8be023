"""One of several processes that train together: `train_process.py RUN WEIGHTS whole|sharded`."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file
from torch.distributed.fsdp import fully_shard

from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.training.batches import Shuffled
from modelgraft.training.checkpoints import whole
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import fit
from modelgraft.training.processes import accelerator_of

sys.path.insert(0, str(Path(__file__).parent))
from training_job import Job, collate, items, network


def main(folder: str, target: str, form: str) -> None:
    accelerator = accelerator_of(OptimConfig(), Settings(device="cpu"))
    rank, world = accelerator.process_index, accelerator.num_processes
    assert world == 2
    config = OptimConfig(lr=0.02, batch=8, micro_batch=3, save_every=3, weight_decay=0.1)
    batches = Shuffled(items(), collate, 8, 3, seed=3, rank=rank, world=world)
    model = network()
    if rank:  # the first process's weights count
        for parameter in model.parameters():
            parameter.data.zero_()
    if form == "sharded":
        model = fully_shard(network())
    with open_run(f"{folder}-{rank}", seed=3) as run:
        fit(Job(config)._step(model, run), batches, model, run, config, steps=12,
            accelerator=accelerator)  # fmt: skip
    trained = {name: whole(one) for name, one in model.named_parameters()}
    if rank == 0:
        save_file(trained, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
