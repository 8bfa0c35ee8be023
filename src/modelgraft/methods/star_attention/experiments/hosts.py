"""E4: the same answer from one host and from several (paper, sections 2.2 and 3.3)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import Unavailable
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.report import Table
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import encode_context, use_cache
from modelgraft.methods.star_attention.adapter.hosts import ProcessHosts, SimulatedHosts
from modelgraft.methods.star_attention.adapter.support import model_shape
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.evaluate.ruler import sample_prompt
from modelgraft.methods.star_attention.evaluate.summary import number
from modelgraft.methods.star_attention.experiments.subject import described, samples_of, subject
from modelgraft.methods.star_attention.infer import generate
from modelgraft.methods.star_attention.method import Plan, plan_blocks, plan_cost

NUM_BLOCKS = 4
NEW_TOKENS = 12
# In float32, with logits that span about 40; a small random model agrees to 1e-4 in the tests.
LOGITS_WITHIN = 1e-3
_TIMEOUT_S = 1200


def _run(run: Run, quick: bool) -> Findings:
    length = 512 if quick else 1024
    loaded = subject(run)
    prompt = sample_prompt(loaded.tokenizer, samples_of(run, "niah_single_1", length, 1)[0])
    ids = torch.tensor([[*prompt.context_ids, *prompt.query_ids]], device=loaded.model.device)
    num_query = len(prompt.query_ids)
    config = StarConfig(block=1 / NUM_BLOCKS)
    alone = answer_and_logits(loaded.model, ids, num_query, config, None)
    numbers: list[Number] = []
    rows: list[list[Any]] = [["one host", 1, True, 0.0]]
    shape = model_shape(loaded.model)
    for size in (2, 4):
        run.check()
        run.progress(size, 4, f"{size} simulated hosts")
        shared = answer_and_logits(loaded.model, ids, num_query, config, size)
        rows.append(_compare(alone, shared, f"{size} simulated hosts", size, numbers))
        cache = encode_context(loaded.model, ids[:, :-num_query], config)
        busy = plan_cost(shape, _plan_for(cache, size), hosts=size).critical
        numbers.append(
            Number(f"{size} hosts: busiest host's operations, of one host", busy /
                   plan_cost(shape, cache.plan).total, unit="x", baseline=1.0, better="lower")
        )  # fmt: skip
        numbers.append(_critical_path(run, ids[:, :-num_query], size, rounds=1 if quick else 5))
    for size, kind in ((2, "recompute"), (2, "broadcast"), (4, "broadcast")):
        name = f"{size} processes, {kind}"
        run.check()
        run.progress(3, 4, name)
        found = _processes(run, ids, num_query, kind, size)
        tokens, logits = found["tokens"], torch.tensor(found["logits"])
        rows.append(_compare(alone, (tokens, logits), name, size, numbers))
        per_token = 4 * shape.layers * shape.heads * (shape.head_size + 1)
        numbers.append(
            Number(f"{name}: bytes each host sends per token",
                   found["bytes_sent"] / found["num_tokens"], n=found["num_tokens"], unit="B",
                   baseline=per_token, better="lower")
        )  # fmt: skip
    table = Table(("arrangement", "hosts", "same tokens", "largest logit difference"), rows)
    table.save(run.add("table", "E4-hosts.json", "Against the same encoding on one host."))
    holds = all(row[2] and row[3] < LOGITS_WITHIN for row in rows)
    return Findings(
        tuple(numbers), HOLDS if holds else DOES_NOT_HOLD, seeds=(run.seed,), subject=described(run)
    )


def answer_and_logits(
    model: Any, ids: Tensor, num_query: int, config: StarConfig, hosts: int | ProcessHosts | None
) -> tuple[list[int], Tensor]:
    """Greedy tokens after `ids`, and the logits [num_query, v] of the query tokens.

    `hosts` is a number of simulated hosts, the processes of this group, or None for one host.
    """
    context = ids[:, : ids.shape[1] - num_query]
    real = None if isinstance(hosts, int) else hosts
    cache = encode_context(model, context, config, headroom=num_query + NEW_TOKENS, hosts=real)
    if isinstance(real, ProcessHosts):
        real.bytes_sent = 0
    if isinstance(hosts, int):
        cache.hosts = SimulatedHosts(_plan_for(cache, hosts), hosts)
    positions = torch.arange(context.shape[1], ids.shape[1], device=ids.device).unsqueeze(0)
    with torch.no_grad(), use_cache(model, cache):
        query = ids[:, context.shape[1] :]
        logits = model(input_ids=query, position_ids=positions, past_key_values=cache).logits[0]
    cache.rewind()
    output = generate(model, cache, ids, max_new_tokens=NEW_TOKENS)
    return output[0, ids.shape[1] :].tolist(), logits.float().cpu()


def _plan_for(cache: StarCache, hosts: int) -> Plan:
    return plan_blocks(cache.num_tokens, cache.plan.config, hosts=hosts)


def _compare(
    alone: tuple[list[int], Tensor],
    shared: tuple[list[int], Tensor],
    name: str,
    size: int,
    numbers: list[Number],
) -> list[Any]:
    apart = float((alone[1] - shared[1]).abs().max())
    same = alone[0] == shared[0]
    numbers.append(
        Number(f"{name}: largest logit difference", apart, n=alone[1].numel(), baseline=0.0,
               better="lower")
    )  # fmt: skip
    return [name, size, same, apart]


def _critical_path(run: Run, context: Tensor, size: int, *, rounds: int) -> Number:
    """Seconds of the slowest host, run alone on this machine, against one host with all blocks.

    A host behind the first encodes the anchor, which is as long as a block, and its own blocks.
    """
    model = subject(run).model
    block = -(-context.shape[1] // NUM_BLOCKS)
    plan = plan_blocks(context.shape[1], StarConfig(block=block), hosts=size)
    parts = []
    for host in range(size):
        own = context[:, plan.of_host(host)[0].start : plan.of_host(host)[-1].end]
        parts.append(own if host == 0 else torch.cat([context[:, :block], own], dim=1))
    alone, slowest = [], []
    for index in range(rounds + 1):
        run.check()
        seconds = [_encode_s(model, part, block) for part in (context, *parts)]
        if index:  # the first round warms up
            alone.append(seconds[0])
            slowest.append(max(seconds[1:]))
    name = f"{size} hosts: encoding time of the slowest, of one host"
    ratio = ratio_interval(slowest, alone)
    return number(name, ratio, unit="x", baseline=1.0, better="lower")


def _encode_s(model: Any, context: Tensor, block: int) -> float:
    start = time.perf_counter()
    encode_context(model, context, StarConfig(block=block))
    return time.perf_counter() - start


def _processes(run: Run, ids: Tensor, num_query: int, kind: str, size: int) -> dict[str, Any]:
    """What rank 0 of `size` gloo processes found, started as a user would, by torchrun."""
    task = run.folder / f"E4-{size}-{kind}.json"
    result = run.folder / f"E4-{size}-{kind}-result.json"
    task.write_text(json.dumps({"ids": ids.tolist(), "num_query": num_query, "anchor": kind}))
    command = [
        *(
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(size),
        ),
        *("-m", "modelgraft.methods.star_attention.experiments.host_process"),
        *(str(task), str(result)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        raise Unavailable(f"{size} processes could not be run:\n{done.stderr[-2000:]}")
    return json.loads(Path(result).read_text())


HOSTS = Experiment(
    "E4",
    "Several hosts that exchange one output and one log-sum-exp per query token and head give the "
    "answer of one host.",
    "Sections 2.2 and 3.3: no communication while encoding, one vector and one scalar per token, "
    "head and layer while decoding.",
    _run,
)
