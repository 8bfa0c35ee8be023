"""What one of several processes does in `test_hosts.py`; every rank writes down what it saw.

`python host_process.py FOLDER [fail]`, under torchrun or accelerate launch; FOLDER holds
`task.json` and the model. With `fail` rank 1 breaks at the end, while the others wait for it.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers

from modelgraft.cli.main import main
from modelgraft.core.errors import Interrupted, ModelgraftError
from modelgraft.methods.star_attention import (
    StarConfig,
    append_context,
    encode_context,
    gather_cache,
    save_cache,
    use_cache,
)
from modelgraft.methods.star_attention.infer import generate, open_hosts

NEW = 8


class Process:
    """This rank with its model and the prompt of the task."""

    def __init__(self, folder: Path) -> None:
        task = json.loads((folder / "task.json").read_text())
        self.folder = folder
        self.ids = torch.tensor(task["ids"])
        self.num = task["num_context"]
        self.command: list[str] = task["command"]
        self.hosts = open_hosts()
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder / "model", dtype=torch.float64
        ).eval()

    def encode(self, **options: Any) -> Any:
        context = self.ids[:, : self.num]
        return encode_context(self.model, context, StarConfig(**options), hosts=self.hosts)

    def tokens(self, cache: Any, *, seed: int = 0, **kwargs: Any) -> list[list[int]]:
        torch.manual_seed(seed)
        output = generate(self.model, cache, self.ids, max_new_tokens=NEW, **kwargs)
        cache.rewind()
        return output[:, self.ids.shape[1] :].tolist()

    def exchange(self, **options: Any) -> dict[str, Any]:
        """Logits of every query token, greedy tokens, and the length of the cache at each point."""
        cache = self.encode(**options)
        lengths = [[layer.length for layer in cache.layers]]
        sent = self.hosts.bytes_sent
        positions = torch.arange(self.num, self.ids.shape[1]).unsqueeze(0)
        with torch.no_grad(), use_cache(self.model, cache):
            query = self.ids[:, self.num :]
            logits = self.model(
                input_ids=query, position_ids=positions, past_key_values=cache
            ).logits
        sent = self.hosts.bytes_sent - sent
        lengths.append([layer.length for layer in cache.layers])
        total = cache.get_seq_length()
        cache.rewind()
        lengths.append([layer.length for layer in cache.layers])
        tokens = self.tokens(cache)
        return {
            "logits": logits[0].tolist(),
            "tokens": tokens,
            "lengths": lengths,
            "total": total,
            "bytes_per_token": sent / query.shape[1],
        }

    def stopped(self) -> dict[str, Any]:
        """What becomes of answers and encodings that rank 0 alone has reasons to stop."""
        rank, calls = self.hosts.rank, iter(range(2))

        def third_call(input_ids: Any, *_: Any, **__: Any) -> Any:
            stops = rank == 0 and next(calls, None) is None
            return torch.full((len(input_ids),), stops)

        def broken(input_ids: Any, *_: Any, **__: Any) -> Any:
            return torch.full((len(input_ids),), 1 / rank < 0)

        cache = self.encode(block=10, anchor=7)
        found: dict[str, Any] = {"criterion": self.tokens(cache, stopping_criteria=[third_call])}
        found["time"] = self.tokens(cache, max_time=0.0)
        try:
            found["raised"] = self.tokens(cache, stopping_criteria=[broken])
        except ZeroDivisionError as error:
            found["raised"] = str(error)
            cache.rewind()
        for kind in ("shared", "broadcast"):
            context, config = self.ids[:, : self.num], StarConfig(block=4, anchor_compute=kind)
            call = partial(encode_context, self.model, context, config, hosts=self.hosts)
            found[f"report, {kind}"] = self.refused(partial(call, report=self.interrupt))
        found["afterwards"] = self.tokens(cache)
        return found

    def interrupt(self, *_: Any) -> None:
        if self.hosts.rank == 0:
            raise Interrupted("a person asked to stop")

    def disagreeing(self) -> dict[str, str]:
        """What is said when the last rank is given other work than the others."""
        is_last = self.hosts.rank == self.hosts.size - 1
        context = self.ids[:, : self.num]
        other = context.clone()
        other[0, 3] += is_last
        encode = partial(encode_context, hosts=self.hosts)
        half = self.model.to(torch.float32 if is_last else torch.float64)
        found = {"dtype": self.refused(lambda: encode(half, context))}
        self.model.to(torch.float64)
        cut = context[:, : self.num - is_last]
        config = StarConfig(block=10 + is_last)
        found["text"] = self.refused(lambda: encode(self.model, other))
        found["length"] = self.refused(lambda: encode(self.model, cut))
        found["options"] = self.refused(lambda: encode(self.model, context, config))
        room = {"headroom": 5 + is_last}
        found["headroom"] = self.refused(lambda: encode(self.model, context, **room))
        self.model.config.rms_norm_eps *= 1 + is_last
        found["model"] = self.refused(lambda: encode(self.model, context))
        self.model.config.rms_norm_eps /= 1 + is_last
        cache = self.encode(block=10, anchor=7)
        query = self.ids[:, : self.ids.shape[1] - is_last]
        found["query"] = self.refused(lambda: generate(self.model, cache, query))
        eight = {"max_new_tokens": NEW + is_last}
        found["answer"] = self.refused(lambda: generate(self.model, cache, self.ids, **eight))
        return found

    def refused(self, call: Any) -> str:
        try:
            call()
        except ModelgraftError as error:
            return f"{type(error).__name__}: {error}"
        return "nothing was refused"


def observe(process: Process) -> dict[str, Any]:
    """Everything the tests look at."""
    rank, size = process.hosts.rank, process.hosts.size
    found: dict[str, Any] = {"rank": rank, "size": size, "backend": dist.get_backend()}
    few = -(-process.num // (size - 1))
    for kind in ("shared", "recompute", "broadcast"):
        found[kind] = process.exchange(block=10, anchor=7, anchor_compute=kind)
        found[f"{kind}, idle"] = process.exchange(block=few, anchor_compute=kind)
    found["steps"] = process.exchange(block=4, anchor_compute="broadcast", blocks_per_step=2)
    cache = process.encode(block=10, anchor=7)
    warm = {"do_sample": True, "temperature": 1.5}
    found["one seed"] = process.tokens(cache, seed=3, **warm)
    found["own seeds"] = process.tokens(cache, seed=3 + size - 1 - rank, **warm)
    found["two samples"] = process.tokens(cache, seed=3, num_return_sequences=2, **warm)
    ends = list(range(3, 40))
    found["ends"] = [
        process.tokens(cache, seed=10 * turn + rank, eos_token_id=ends, pad_token_id=0, **warm)
        for turn in range(6)
    ]
    mask = torch.ones_like(process.ids)
    mask[0, -1] = 0
    found["refused"] = {
        "beams": process.refused(lambda: process.tokens(cache, num_beams=2)),
        "lookup": process.refused(lambda: process.tokens(cache, prompt_lookup_num_tokens=2)),
        "mask": process.refused(lambda: process.tokens(cache, attention_mask=mask)),
        "save": process.refused(lambda: save_cache(cache, process.model, Path("nowhere"))),
        "append": process.refused(lambda: append_context(process.model, cache, process.ids[:, :3])),
        "halo": process.refused(lambda: process.encode(block=10, halo=2)),
        "streaming": process.refused(lambda: process.encode(pattern="streaming")),
    }
    for name, options in (
        ("gathered", {"block": 10, "anchor": 7}),
        ("idle gathered", {"block": few}),
    ):
        whole = gather_cache(process.encode(**options))
        found[name] = None if whole is None else process.tokens(whole)
    if size == 2:
        found["stopped"] = process.stopped()
        found["disagreeing"] = process.disagreeing()
    found["choice of rank 0"] = process.hosts.share(f"rank {rank}")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        found["exit code"] = main(process.command)
    return {**found, "said": said.getvalue()}


if __name__ == "__main__":
    here = Path(sys.argv[1])
    # What is registered first runs last: after the group was closed.
    rank = os.environ["RANK"]
    atexit.register(lambda: (here / f"open-{rank}").write_text(str(dist.is_initialized())))
    me = Process(here)
    (here / f"rank-{me.hosts.rank}.json").write_text(json.dumps(observe(me)))
    dist.barrier()
    if sys.argv[2:] == ["fail"]:
        if me.hosts.rank == 1:
            raise RuntimeError("this rank is broken")
        states = torch.ones(1, 2, 3, 4)
        me.hosts.attend(states, states, states, scale=1.0)  # waits for rank 1
