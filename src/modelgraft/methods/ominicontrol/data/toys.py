"""Toy scenes with exact conditions, and the truth that outputs are measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.conditions import SMALL_TASKS
from modelgraft.diffusion.pictures import resize
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.shown import Shown
from modelgraft.worlds.captions import Captions
from modelgraft.worlds.draws import uniforms
from modelgraft.worlds.rendering import Rendered, render
from modelgraft.worlds.toys import (
    Placings,
    Split,
    Stage,
    Subjects,
    draw_placings,
    draw_subjects,
)

SIZE_PX = 32
_WORDS = 16
Reference = Literal["other", "identical", "augmented"]
Told = Literal["all", "content", "setting", "background"]
"""What captions say: everything; what is seen, not where or how; all but a subject's looks; neither
of both."""


def told(tasks: Sequence[Task]) -> Told:
    """What captions say beside these conditions: what the conditions do not."""
    if set(tasks) <= {"subject"}:
        return "setting" if tasks else "all"
    return "background" if "subject" in tasks else "content"


@dataclass(frozen=True)
class Scenes:
    """Subjects in their settings, drawn, and the view of each that stands for its identity."""

    subjects: Subjects
    placings: Placings
    seen: Rendered
    reference_placings: Placings
    reference: Rendered

    @property
    def targets(self) -> Tensor:
        """[n, 3, 32, 32] from 0 to 1."""
        return pictures_of(self.seen)


def pictures_of(seen: Rendered) -> Tensor:
    """Rendered scenes as pictures [n, 3, 32, 32]."""
    return torch.from_numpy(seen.image).permute(0, 3, 1, 2).contiguous()


def draw_scenes(
    numbers: Sequence[int] | np.ndarray, *, seed: int, split: Split, stage: Stage = "full"
) -> Scenes:
    """The scenes with these numbers; target and reference are two settings of one subject."""
    items = np.asarray(numbers)
    subjects = draw_subjects(items, seed=rng_seed("conditions", seed), split=split, stage=stage)
    settings = [
        draw_placings(items, subjects, seed=seed, name=f"{split} {role}", stage=stage)
        for role in ("target", "reference")
    ]
    return Scenes(
        subjects,
        settings[0],
        render(subjects, settings[0]),
        settings[1],
        render(subjects, settings[1]),
    )


def prompts_of(scenes: Scenes, numbers: Sequence[int] | np.ndarray, *, says: Told) -> list[str]:
    """Captions of the targets."""
    words = uniforms("prompts", 0, np.asarray(numbers), _WORDS)
    writers = [
        Captions(scenes.subjects, scenes.placings, place, words[place])
        for place in range(len(words))
    ]
    write: dict[Told, Callable[[Captions], str]] = {
        "all": Captions.full,
        "content": Captions.content,
        "setting": Captions.target,
        "background": partial(Captions.content, looks=False),
    }
    return [write[says](one) for one in writers]


def conditions_of(
    scenes: Scenes,
    tasks: Sequence[Task],
    numbers: Sequence[int] | np.ndarray,
    *,
    use: int,
    size_px: int = SIZE_PX,
    is_training: bool = False,
) -> dict[str, Tensor]:
    """What the targets obey [n, 3, size, size] by task; depth and subject come from the world."""
    found = {}
    for task in tasks:
        if task == "subject":
            made = pictures_of(scenes.reference)
        elif task == "depth":
            made = torch.from_numpy(scenes.seen.depth)[:, None].expand(-1, 3, -1, -1)
        else:
            made = SMALL_TASKS[task].condition(
                scenes.targets, seed=use, items=numbers, is_training=is_training
            )
        found[task] = resize(made, (size_px, size_px)).clamp(0, 1)
    return found


@dataclass(frozen=True)
class ToySource:
    """Training scenes without end; each is drawn again at every use."""

    tasks: tuple[Task, ...]
    seed: int
    condition_px: int = SIZE_PX
    reference: Reference = "other"
    """What stands for a subject: another view, the target itself, or the target disturbed."""
    split: Split = "train"
    stage: Stage = "full"
    is_training: bool = True
    """Whether conditions vary as in training, or are what outputs are measured by."""
    total: int | None = None

    def take(self, numbers: Sequence[int], use: int) -> Shown:
        """The scenes with these numbers."""
        scenes = draw_scenes(numbers, seed=self.seed, split=self.split, stage=self.stage)
        conditions = conditions_of(
            scenes,
            self.tasks,
            numbers,
            use=use,
            size_px=self.condition_px,
            is_training=self.is_training,
        )
        if "subject" in conditions and self.reference != "other":
            conditions["subject"] = _of_target(scenes.targets, self.reference, numbers)
        return Shown(
            targets=scenes.targets,
            prompts=prompts_of(scenes, numbers, says=told(self.tasks)),
            conditions=conditions,
        )


def _of_target(targets: Tensor, reference: Reference, numbers: Sequence[int]) -> Tensor:
    """Targets as their own references, as they are or flipped, moved and with other brightness."""
    if reference == "identical":
        return targets
    drawn = uniforms("augmented", 0, np.asarray(numbers), 4)
    made = []
    for picture, (flip, x, y, light) in zip(targets, drawn, strict=True):
        one = picture.flip(-1) if flip < 0.5 else picture
        one = one.roll((int(8 * y) - 4, int(8 * x) - 4), dims=(-2, -1))
        made.append((one * (0.8 + 0.4 * light)).clamp(0, 1))
    return torch.stack(made)
