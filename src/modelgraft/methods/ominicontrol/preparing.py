"""The action `conditions`: what pictures become, in the layout that `train` reads."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.conditions import SMALL_PX, derived, is_empty
from modelgraft.diffusion.pictures import fit_to, grid, nearest_size, read_picture, write_picture
from modelgraft.methods.ominicontrol.config import ConditionsConfig, Task
from modelgraft.methods.ominicontrol.data.files import SUFFIXES
from modelgraft.methods.ominicontrol.data.toys import draw_scenes
from modelgraft.methods.ominicontrol.drawing import enlarged
from modelgraft.methods.ominicontrol.opening import TOKEN_LARGE_PX
from modelgraft.tiny.flux import TOKEN_PX

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
"""Of scikit-image, free of rights."""
_SHOWN, _SHOWN_PX = 8, 192


def prepare(config: ConditionsConfig, run: Run) -> Result:
    """Write every picture with its conditions, and a grid of them."""
    if "subject" in config.task:
        raise ConfigError("task", "task subject: its condition is another picture; none is made.")
    pictures = _pictures(config, run)
    rows, black = [], 0
    for place, (name, picture) in enumerate(pictures):
        run.check()
        run.progress(place, len(pictures), name)
        made = _conditions(picture, config.task, seed=run.seed, place=place)
        write_picture(run.add("image", f"pictures/{name}.png", f"{name}, fitted"), picture)
        for task, condition in made.items():
            path = run.add("image", f"pictures/{task}/{name}.png", f"{task} of {name}")
            write_picture(path, condition)
            black += int(is_empty(condition[None])[0])
        rows.append([picture, *made.values()])
    path = run.add("grid", "conditions.png", "Pictures and what they become")
    shown = [_shown(one) for row in rows[:_SHOWN] for one in row]
    labels = ["picture", *config.task]
    write_picture(path, grid(shown, len(labels), column_labels=labels))
    return Result(
        (
            Number("pictures", len(pictures)),
            Number("conditions", len(pictures) * len(config.task)),
            Number("conditions that are all black", black, better="lower"),
        )
    )


def _conditions(
    picture: Tensor, tasks: Sequence[Task], *, seed: int, place: int
) -> dict[Task, Tensor]:
    return {task: derived(task, picture[None], seed=seed, items=[place])[0] for task in tasks}


def _pictures(config: ConditionsConfig, run: Run) -> list[tuple[str, Tensor]]:
    files = _files(config.picture)
    if not files:
        run.log("scikit-image is not installed: toy scenes take its photographs' place")
        targets = draw_scenes(range(len(PHOTOGRAPHS)), seed=run.seed, split="held-out").targets
        return [(f"toy{place}", one) for place, one in enumerate(targets)]
    names = [one.stem for one in files]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two pictures are called {min(twice)}: rename one; conditions share it.")
    return [(one.stem, _fitted(read_picture(one), config.size)) for one in files]


def _fitted(picture: Tensor, longest_px: int) -> Tensor:
    """A picture whose sides are whole tokens, the longer one of so many pixels."""
    multiple = TOKEN_PX if longest_px < SMALL_PX else TOKEN_LARGE_PX
    size = (picture.shape[-2], picture.shape[-1])
    size = nearest_size(size, multiple=multiple, longest_px=longest_px)
    return fit_to(picture, size, multiple=multiple, how="resize")


def _files(given: Sequence[Path]) -> list[Path]:
    """The pictures that are named, those of a folder, or scikit-image's; none without it."""
    if not given:
        found = importlib.util.find_spec("skimage")
        folder = Path(found.origin).parent / "data" if found and found.origin else None
        return [folder / name for name in PHOTOGRAPHS] if folder else []
    files: list[Path] = []
    for one in given:
        if not one.is_dir():
            files.append(one)
            continue
        inside = sorted(path for path in one.iterdir() if path.suffix.lower() in SUFFIXES)
        if not inside:
            raise InputError(f"{one}: there is no picture in this folder; {', '.join(SUFFIXES)}.")
        files += inside
    return files


def _shown(picture: Tensor) -> Tensor:
    """A picture on a white square."""
    height, width = picture.shape[-2:]
    scale = _SHOWN_PX / max(height, width)
    small = enlarged(picture, (round(height * scale), round(width * scale)))
    top, left = (_SHOWN_PX - small.shape[-2]) // 2, (_SHOWN_PX - small.shape[-1]) // 2
    square = torch.ones(3, _SHOWN_PX, _SHOWN_PX)
    square[:, top : top + small.shape[-2], left : left + small.shape[-1]] = small
    return square
