"""O0: what the embedded base model draws without a condition; every other table rests on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array, wilson
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX
from modelgraft.methods.ominicontrol.evaluate import text_accuracy
from modelgraft.methods.ominicontrol.experiments.arms import Bench, open_bench
from modelgraft.methods.ominicontrol.experiments.drawn import sampling_of
from modelgraft.methods.ominicontrol.infer import Sampling, draw_pictures
from modelgraft.tiny.scenes import diptychs

# Thresholds of the verdict, in per cent: factors that pictures show as their captions say, and
# diptychs of which the right view is nearest to its own left one, among so many.
GATE = {"background": 90.0, "position": 80.0, "colour": 90.0, "shape": 80.0}
SAME, AMONG = 50.0, 32
_FACTORS = (*GATE, "size", "tilt")
_BATCH = 25


def _run(run: Run, quick: bool) -> Findings:
    bench = open_bench(run, quick)
    prompts = bench.prompts(())
    drawn = _pictures(bench, prompts, sampling_of(bench))
    asked = text_accuracy(bench.judges, drawn, bench.scenes, "all")
    # Captions of other scenes: how often a factor is met by chance.
    others = text_accuracy(bench.judges, drawn.roll(1, 0), bench.scenes, "all")
    most = text_accuracy(bench.judges, bench.scenes.targets, bench.scenes, "all")
    numbers = []
    for name in _FACTORS:
        numbers.append(_share(name, asked[name], 100 * float(others[name].mean())))
        numbers.append(_share(f"true renders: {name}", most[name], None))
    same = _same_subject(bench, quick)
    numbers += same
    holds = all(100 * float(asked[name].mean()) >= least for name, least in GATE.items())
    return replace(bench.findings(numbers, holds=holds and same[0].value >= SAME), seeds=(0,))


def _pictures(bench: Bench, prompts: list[str], sampling: Sampling) -> Tensor:
    drawn = []
    for start in range(0, len(prompts), _BATCH):
        bench.run.check()
        bench.run.progress(start, len(prompts), "pictures")
        part = prompts[start : start + _BATCH]
        seeds = range(start, start + len(part))
        drawn.append(draw_pictures(bench.control, part, sampling, seeds=seeds))
    return torch.cat(drawn)


def _same_subject(bench: Bench, quick: bool) -> list[Number]:
    """Of diptychs of one subject, how many right views are nearest to their own left one."""
    total = 4 if quick else 3 * AMONG
    shown = diptychs(np.arange(2 * total), seed=rng_seed("bench", 1), split="held-out")
    is_same = ["same object" in one for one in shown.captions]
    chosen = np.flatnonzero(is_same)[:total]
    sampling = sampling_of(bench)
    wide = Sampling(height=SIZE_PX, width=2 * SIZE_PX, steps=sampling.steps,
                    guidance=sampling.guidance)  # fmt: skip
    drawn = _pictures(bench, [shown.captions[place] for place in chosen], wide)
    true = torch.from_numpy(shown.image[chosen]).permute(0, 3, 1, 2)
    chance = 100 / min(AMONG, len(chosen))
    return [
        _share(f"{name}same subject in both views, 1 of {AMONG}", _nearest(bench, views), chance)
        for name, views in (("", drawn), ("true renders: ", true))
    ]


@torch.no_grad()
def _nearest(bench: Bench, views: Tensor) -> Array:
    """Whether each right view [n, 3, 32, 64] is nearest to its own left one, in groups."""
    left, right = (bench.judges.subjects(one) for one in views.split(SIZE_PX, dim=-1))
    found = []
    for start in range(0, len(views), AMONG):
        rows = slice(start, start + AMONG)
        nearest = (right[rows] @ left[rows].T).argmax(1)
        found.append((nearest == torch.arange(len(nearest))).numpy().astype(np.float64))
    return np.concatenate(found)


def _share(name: str, right: Array, chance: float | None) -> Number:
    found = wilson(int(right.sum()), len(right))
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return Number(name, 100 * found.value, low, high, len(right), "%", baseline=chance)


CAPTIONS = Experiment(
    "O0",
    "The embedded base model draws what its captions say: background and colour in 90 % of its "
    "pictures, position and shape in 80 %, and in half of its diptychs of one described subject "
    "the right view is nearest to its own left one among 32.",
    "Not a claim of the paper: FLUX.1 is given there.",
    _run,
)
