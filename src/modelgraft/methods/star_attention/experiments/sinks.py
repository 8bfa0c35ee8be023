"""E3: where attention sinks lie without, and with, an anchor (paper, figure 3)."""

from __future__ import annotations

import torch

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import ratio_interval
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.evaluate.likelihood import attention_profile
from modelgraft.methods.star_attention.evaluate.ruler import sample_prompt
from modelgraft.methods.star_attention.evaluate.summary import number
from modelgraft.methods.star_attention.experiments.subject import (
    DENSE,
    described,
    samples_of,
    subject,
)

NUM_QUERY = 64
SINK_TOKENS = 4
AT_LEAST = 3.0


def _run(run: Run, quick: bool) -> Findings:
    length, num = (1024, 1) if quick else (2048, 5)
    block = length // 8
    arms = {
        "dense": DENSE,
        "star": StarConfig(block=block),
        "no anchor": StarConfig(pattern="local", block=block),
    }
    loaded = subject(run)
    samples = samples_of(run, "niah_single_2", length, num)
    peaks: dict[str, list[torch.Tensor]] = {arm: [] for arm in arms}
    for index, sample in enumerate(samples):
        ids = torch.tensor([sample_prompt(loaded.tokenizer, sample).context_ids])
        ids = ids.to(loaded.model.device)
        context, query = ids[:, :-NUM_QUERY], ids[:, -NUM_QUERY:]
        for arm, config in arms.items():
            run.check()
            run.progress(index, num, f"attention mass, {arm}")
            cache = encode_context(loaded.model, context, config, headroom=NUM_QUERY)
            profile = attention_profile(loaded.model, cache, query)
            starts = range(0, cache.num_tokens - SINK_TOKENS, block)
            peaks[arm].append(torch.stack([profile[s : s + SINK_TOKENS].sum() for s in starts]))
    blocks = min(len(each) for many in peaks.values() for each in many)
    mass = {arm: torch.stack([each[:blocks] for each in many]) for arm, many in peaks.items()}
    inner = {arm: each[:, 1:].mean(dim=1).tolist() for arm, each in mass.items()}
    numbers = [
        number("mass on the first tokens of inner blocks, no anchor against star",
               ratio_interval(inner["no anchor"], inner["star"]), unit="x", baseline=1.0),
        number("mass on the first tokens of inner blocks, star against dense",
               ratio_interval(inner["star"], inner["dense"]), unit="x", baseline=1.0,
               better="lower"),
    ]  # fmt: skip
    smallest = mass["no anchor"][:, 1:].mean(dim=0) / mass["star"][:, 1:].mean(dim=0)
    numbers.append(
        Number("the same in the block where it is smallest", float(smallest.min()), n=num,
               unit="x", baseline=1.0)
    )  # fmt: skip
    _draw(run, mass)
    verdict = HOLDS if float(smallest.min()) >= AT_LEAST else DOES_NOT_HOLD
    return Findings(tuple(numbers), verdict, seeds=(run.seed,), subject=described(run))


def _draw(run: Run, mass: dict[str, torch.Tensor]) -> None:
    names = [f"block {index + 1}" for index in range(next(iter(mass.values())).shape[1])]
    plot = Plot(
        kind="bar",
        title=f"Attention mass on the first {SINK_TOKENS} tokens of each block",
        x=Axis("block"),
        y=Axis("share of the last tokens' attention", low=0),
        series=[Series(arm, names, each.mean(dim=0).tolist()) for arm, each in mass.items()],
    )
    caption = "Without anchors every block grows a sink of its own; anchors take them away."
    plot.save(run.add("plot", "E3-sinks.json", caption))


SINKS = Experiment(
    "E3",
    "Blocks without an anchor each grow an attention sink; with the anchor only the first does.",
    "Figure 3: 4K tokens in blocks of 512; one sink for global attention, one per block without "
    "anchors.",
    _run,
)
