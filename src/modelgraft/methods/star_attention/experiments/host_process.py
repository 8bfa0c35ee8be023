"""One process of experiment E4: `torchrun -m ... host_process TASK.json RESULT.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from modelgraft.core.files import write_json
from modelgraft.language.load import load_causal_lm
from modelgraft.methods.star_attention.adapter.hosts import ProcessHosts
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.experiments.hosts import (
    NEW_TOKENS,
    NUM_BLOCKS,
    answer_and_logits,
)


def main(task_path: str, result_path: str) -> None:
    """Encode this host's blocks, answer together, and let rank 0 write what came out."""
    task = json.loads(Path(task_path).read_text())
    dist.init_process_group("gloo")
    hosts = ProcessHosts()
    model = load_causal_lm("tiny:smollm", device="cpu", dtype="float32").model
    ids = torch.tensor(task["ids"])
    config = StarConfig(block=1 / NUM_BLOCKS, anchor_compute=task["anchor"])
    tokens, logits = answer_and_logits(model, ids, task["num_query"], config, hosts)
    sent = torch.tensor([hosts.bytes_sent])
    dist.all_reduce(sent, dist.ReduceOp.MAX)
    if hosts.rank == 0:
        # The query passes twice, once for its logits; the last token is never fed back.
        num_tokens = 2 * task["num_query"] + min(NEW_TOKENS, len(tokens)) - 1
        found = {"tokens": tokens, "logits": logits.tolist(), "num_tokens": num_tokens}
        write_json(Path(result_path), {**found, "bytes_sent": int(sent)})
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
