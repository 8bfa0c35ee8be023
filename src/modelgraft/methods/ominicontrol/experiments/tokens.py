"""O6: fewer tokens: a compact condition, one without its empty cells, and known ones as given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.adapter.control import Condition
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX
from modelgraft.methods.ominicontrol.drawing import kept_tokens
from modelgraft.methods.ominicontrol.evaluate import obedience
from modelgraft.methods.ominicontrol.experiments.arms import (
    EDGES,
    Arm,
    Bench,
    as_pixels,
    info_of_arm,
    known_tokens,
    open_bench,
    trained,
)
from modelgraft.methods.ominicontrol.experiments.drawn import (
    arm_rows,
    base_rows,
    sampling_of,
    seed_rows,
    stacked,
)
from modelgraft.methods.ominicontrol.experiments.figures import figure, gain, is_above, share_kept
from modelgraft.methods.ominicontrol.infer import generate
from modelgraft.tiny.flux import TOKEN_PX

COMPACT = Arm(name="edges compact", tasks=("edges",), condition_px=SIZE_PX // 2)
FILL = Arm(name="fill by condition", tasks=("fill",), kind="masked")
FILLING = Arm(name="fill by tokens", tasks=("fill",), kind="filling")
# Thresholds of the verdict: share of the gain in edge F1 that fewer tokens must keep, in per cent,
# and the largest difference of a known pixel (0 to 1) that counts as none.
KEPT, SAME = 80.0, 1e-5
_SIDE = SIZE_PX // TOKEN_PX
_GROUP = 10
"""Scenes with one mask of known tokens."""


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    edges, holds = _edges(bench)
    filling, is_exact = _filling(bench)
    return bench.findings([*edges, *filling], holds=holds and is_exact)


# -- edges -----------------------------------------------------------------------------------------


def _edges(bench: Bench) -> tuple[list[Number], bool]:
    base, full = base_rows(bench, EDGES.tasks), arm_rows(bench, EDGES)
    kept = [kept_tokens(one, TOKEN_PX) for one in bench.conditions(EDGES.tasks)["edges"]]
    num_kept = float(np.mean([int(one.sum()) for one in kept]))

    def draw(seed: int) -> Tensor:
        return _without_empty(bench, trained(bench, EDGES, seed), kept)

    ways = {
        "compact": (_SIDE**2 / 4, arm_rows(bench, COMPACT)),
        "without empty cells": (num_kept, seed_rows(bench, "edges dropped", [EDGES],
                                                    EDGES.tasks, draw)),
    }  # fmt: skip
    measures = ("toy edge F1", "edge F1", "edge F1 within 1 px", "text")
    numbers = [figure("all tokens", full, measure, base) for measure in measures]
    shares = []
    for name, (tokens, rows) in ways.items():
        numbers += [figure(name, rows, measure, full) for measure in measures]
        numbers.append(Number(f"{name}: tokens of the condition", tokens, n=len(kept),
                              baseline=_SIDE**2, better="lower"))  # fmt: skip
        numbers.append(gain(f"{name} over all tokens", rows, full, "toy edge F1")[0])
        numbers.append(share_kept(name, rows, full, base, "toy edge F1"))
        shares.append(numbers[-1].value)
    better, interval = gain("all tokens over no condition", full, base, "toy edge F1")
    return [*numbers, better], is_above(interval) and min(shares) >= KEPT


def _without_empty(bench: Bench, folder: Path, kept: list[Tensor]) -> Tensor:
    """Pictures under edges whose empty tokens are left out, one by one as each keeps others."""
    control, prompts = bench.control, bench.prompts(EDGES.tasks)
    pictures = bench.conditions(EDGES.tasks)["edges"]
    control.load_as(folder / "edges.safetensors", info_of_arm(EDGES, "edges"), "edges")
    drawn = []
    try:
        for place, prompt in enumerate(prompts):
            bench.run.check()
            given = Condition(picture=pictures[place], adapter="edges", kept=kept[place])
            drawn.append(generate(control, [prompt], [given], sampling_of(bench), seeds=[place]))
    finally:
        control.detach()
    return torch.cat(drawn)


# -- known tokens ----------------------------------------------------------------------------------


def _filling(bench: Bench) -> tuple[list[Number], bool]:
    rows = {
        name: stacked(bench, name, [arm], lambda seed, arm=arm: _filled(bench, arm, seed))
        for name, arm in {"as a condition": FILL, "as tokens": FILLING}.items()
    }
    condition, tokens = rows["as a condition"], rows["as tokens"]
    numbers = [
        figure(f"known pixels {name}", own, measure, condition)
        for name, own in rows.items()
        for measure in ("hidden MSE", "known MSE")
    ]
    numbers.append(gain("as tokens over as a condition", tokens, condition, "hidden MSE")[0])
    worst = float(np.max(tokens["largest difference of known pixels"]))
    numbers.append(
        Number("as tokens: largest difference of known pixels", worst,
               n=tokens["known MSE"].size, better="lower",
               baseline=float(np.max(condition["largest difference of known pixels"])))
    )  # fmt: skip
    return numbers, worst < SAME


def _filled(bench: Bench, arm: Arm, seed: int) -> Mapping[str, Array]:
    """The held-out scenes with a part hidden, filled in by an arm, and how far they are off."""
    control, prompts = bench.control, bench.prompts(arm.tasks)
    folder = trained(bench, arm, seed)
    number = -(-len(prompts) // _GROUP)
    masks = known_tokens(number, _SIDE, seed=0)
    known = as_pixels(masks).repeat_interleave(_GROUP, 0)[: len(prompts)]
    given = bench.scenes.targets * known
    is_integrated = arm.kind == "filling"
    control.load_as(folder / "fill.safetensors", info_of_arm(arm, "fill"), "fill")
    drawn = []
    try:
        for place, mask in enumerate(masks):
            bench.run.check()
            rows = slice(place * _GROUP, (place + 1) * _GROUP)
            one = Condition(picture=given[rows], adapter="fill")
            if is_integrated:
                one = replace(one, kept=mask, integrates=True)
            seeds = range(*rows.indices(len(prompts)))
            drawn.append(generate(control, prompts[rows], [one], sampling_of(bench), seeds=seeds))
    finally:
        control.detach()
    outputs = torch.cat(drawn)
    away = ((outputs - bench.scenes.targets).abs() * known).flatten(1).amax(1)
    found = obedience("fill", outputs, given, bench.scenes.targets, known=known)
    return {**found, "largest difference of known pixels": away.numpy().astype(np.float64)}


TOKENS = Experiment(
    "O6",
    "A condition of a quarter of the tokens, or one without its empty cells, keeps 80 % of what "
    "the whole one gains, and known regions that enter as tokens come out as they went in.",
    "Compact conditions cost nothing visible with 4 times fewer tokens, and token integration "
    "keeps known regions (OminiControl2, by eye and in its tables of time).",
    _run,
)
