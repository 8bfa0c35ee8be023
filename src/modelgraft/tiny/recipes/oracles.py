"""Training of the judges on renders of the training split, and what they reach on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import bootstrap_mean, wilson
from modelgraft.tiny.oracles import FACTORS, AttributeNet, DepthNet, SubjectEncoder
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import Loss, fit
from modelgraft.worlds.palettes import COLOURS
from modelgraft.worlds.rendering import Rendered, render
from modelgraft.worlds.shapes import SHAPES
from modelgraft.worlds.toys import Placings, Split, Subjects, draw_placings, draw_subjects

_TEMPERATURE: Final = 0.1
# What the pictures of a sampler look like: a little noise and rounding, so that the judges do not
# hang on exact pixels.
_NOISE: Final = 0.04
_POOL: Final = 2 * len(SHAPES)


class Scenes(NamedTuple):
    """Toys in their settings, as pictures."""

    subjects: Subjects
    placings: Placings
    seen: Rendered

    @property
    def pictures(self) -> Tensor:
        """[n, 3, 32, 32] from 0 to 1."""
        return torch.from_numpy(self.seen.image).permute(0, 3, 1, 2)


def scenes(
    items: Sequence[int] | np.ndarray, *, seed: int, split: Split, name: str, subjects: Any = None
) -> Scenes:
    """Scenes with these numbers, of fresh subjects or of those given."""
    subjects = subjects or draw_subjects(items, seed=seed, split=split)
    placings = draw_placings(items, subjects, seed=seed, name=name)
    return Scenes(subjects, placings, render(subjects, placings))


def _disturbed(pictures: Tensor) -> Tensor:
    spread = _NOISE * torch.rand(len(pictures), 1, 1, 1)
    return (pictures + spread * torch.randn_like(pictures)).clamp(0, 1)


def train_attributes(run: Run, optim: OptimConfig, steps: int) -> AttributeNet:
    """The reader of all factors; half the toys are drawn from cells that models never train on.

    A judge may know what the judged must not: it is measured on other scenes of both kinds.
    """
    net = AttributeNet().train()

    def batches(step: int) -> list[Scenes]:
        half = optim.batch // 2
        items = np.arange(step * half, (step + 1) * half)
        return [
            scenes(items, seed=run.seed + 17, split=split, name=f"oracle {split}")
            for split in ("train", "held-out")
        ]

    def step(shown: Scenes) -> Loss:
        found = net(_disturbed(shown.pictures))
        total = binary_cross_entropy_with_logits(
            found["colours"], present_colours(shown.subjects), reduction="none"
        ).sum()
        for name, truth in truths(shown).items():
            total = total + cross_entropy(found[name], truth, reduction="sum")
        return Loss(total, len(shown.subjects))

    fit(step, batches, net, run, optim, steps=steps)
    return net.eval()


def truths(shown: Scenes) -> dict[str, Tensor]:
    """The right value of every factor [n]."""
    found = {}
    for name in FACTORS:
        own = shown.subjects if hasattr(shown.subjects, name) else shown.placings
        found[name] = torch.from_numpy(getattr(own, name))
    return found


def present_colours(subjects: Subjects) -> Tensor:
    """Which colours a toy shows [n, 10]: the main one, and the second where the texture has one."""
    found = torch.zeros(len(subjects), len(COLOURS))
    rows = torch.arange(len(subjects))
    found[rows, torch.from_numpy(subjects.colour[:, 0])] = 1
    second = torch.from_numpy(np.flatnonzero(subjects.has_second))
    found[second, torch.from_numpy(subjects.colour[:, 1])[second]] = 1
    return found


def train_depth(run: Run, optim: OptimConfig, steps: int) -> DepthNet:
    """Depth and cover of every pixel."""
    net = DepthNet().train()

    def batches(step: int) -> list[Scenes]:
        items = np.arange(step * optim.batch, (step + 1) * optim.batch)
        return [scenes(items, seed=run.seed + 18, split="train", name="oracle depth")]

    def step(shown: Scenes) -> Loss:
        depth, cover = net(_disturbed(shown.pictures))
        wrong = (depth - torch.from_numpy(shown.seen.depth)).abs()
        missed = (cover - torch.from_numpy(shown.seen.mask)).square()
        return Loss((wrong + missed).mean(dim=(1, 2)).sum(), len(depth))

    fit(step, batches, net, run, optim, steps=steps)
    return net.eval()


def train_subjects(run: Run, optim: OptimConfig, steps: int) -> SubjectEncoder:
    """Two views of a toy come together, other toys of the same shape stay apart (InfoNCE)."""
    net = SubjectEncoder().train()

    def batches(step: int) -> list[tuple[Scenes, ...]]:
        # Half a batch has one shape: what else differs is all that can tell its toys apart.
        pool = np.arange(step * _POOL * optim.batch, (step + 1) * _POOL * optim.batch)
        drawn = draw_subjects(pool, seed=run.seed + 19)
        is_alike = drawn.shape == step % len(SHAPES)
        half = optim.batch // 2
        places = np.concatenate([np.flatnonzero(is_alike)[:half], np.flatnonzero(~is_alike)[:half]])
        items, subjects = pool[places], drawn.take(places)
        return [
            tuple(
                scenes(items, seed=run.seed + 19, split="train", name=f"oracle {side}",
                       subjects=subjects)
                for side in ("a", "b")
            )
        ]  # fmt: skip

    def step(views: tuple[Scenes, ...]) -> Loss:
        left, right = (net(_disturbed(one.pictures)) for one in views)
        scores = left @ right.T / _TEMPERATURE
        own = torch.arange(len(left))
        total = cross_entropy(scores, own, reduction="sum") + cross_entropy(
            scores.T, own, reduction="sum"
        )
        return Loss(total / 2, len(left))

    fit(step, batches, net, run, optim, steps=steps)
    return net.eval()


@torch.no_grad()
def attribute_numbers(net: AttributeNet, *, seed: int, number: int = 2000) -> list[Number]:
    """Share of factors read rightly from renders of the held-out split: the ceiling of a table."""
    shown = scenes(np.arange(number), seed=seed + 101, split="held-out", name="ceiling")
    found = net(shown.pictures)
    numbers = []
    for name, truth in truths(shown).items():
        numbers.append(_share(f"oracle: {name}", found[name].argmax(1) == truth))
    right = (found["colours"] > 0) == present_colours(shown.subjects).bool()
    return [*numbers, _share("oracle: colours", right.all(1))]


@torch.no_grad()
def depth_numbers(net: DepthNet, *, seed: int, number: int = 500) -> list[Number]:
    """Errors of depth on the scale of 255, squared, on renders of the held-out split."""
    shown = scenes(np.arange(number), seed=seed + 101, split="held-out", name="ceiling")
    depth, _ = net(shown.pictures)
    errors = (255 * (depth - torch.from_numpy(shown.seen.depth))).square().mean(dim=(1, 2))
    return [Number("oracle: depth MSE", *bootstrap_mean(errors.numpy()), better="lower")]


@torch.no_grad()
def subject_numbers(net: SubjectEncoder, *, seed: int, number: int = 1000) -> list[Number]:
    """How surely two views of a held-out toy are told from views of two toys of one shape.

    The area under the curve of verification: the share of pairs of scores in the right order.
    """
    items = np.arange(number)
    subjects = draw_subjects(items, seed=seed + 101, split="held-out")
    left, right = (
        net(scenes(items, seed=seed + 101, split="held-out", name=f"views {side}",
                   subjects=subjects).pictures)
        for side in ("a", "b")
    )  # fmt: skip
    scores = (left @ right.T).numpy()
    is_alike = subjects.shape[:, None] == subjects.shape[None]
    np.fill_diagonal(is_alike, False)
    own = []
    for place in items[is_alike.any(axis=1)]:
        others = scores[place, is_alike[place]]
        wins = (scores[place, place] > others) + 0.5 * (scores[place, place] == others)
        own.append(float(wins.mean()))
    found = bootstrap_mean(own)
    return [Number("oracle: verification AUC", *found)]


def _share(name: str, right: Tensor) -> Number:
    found = wilson(int(right.sum()), len(right))
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return Number(name, 100 * found.value, low, high, len(right), "%")


class Judge(NamedTuple):
    """How one network is trained, and what it reaches."""

    train: Callable[[Run, OptimConfig, int], nn.Module]
    numbers: Callable[..., list[Number]]


JUDGES: Final = {
    "attributes": Judge(train_attributes, attribute_numbers),
    "depth": Judge(train_depth, depth_numbers),
    "subjects": Judge(train_subjects, subject_numbers),
}
