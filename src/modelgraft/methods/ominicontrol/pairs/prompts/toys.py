"""Items of the toy world, in the words that TinyFlux was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from modelgraft.core.rows import Reject
from modelgraft.methods.ominicontrol.pairs.prompts.items import NUM_SCENES, Item, read_items
from modelgraft.worlds.captions import Captions, name
from modelgraft.worlds.draws import uniforms
from modelgraft.worlds.palettes import COLOURS
from modelgraft.worlds.shapes import SHAPES
from modelgraft.worlds.toys import (
    BACKGROUNDS,
    HIDDEN,
    Placings,
    Split,
    Stage,
    Subjects,
    draw_placings,
    draw_subjects,
)

_VIEWS = NUM_SCENES + 1
_WORDS = 16
"""Numbers for the words of one view."""
_STUDIO = BACKGROUNDS.index("studio")


def toy_items(
    number: int, *, seed: int, split: Split = "train", stage: Stage = "full"
) -> Iterator[Item]:
    """The first `number` items; each is what it is, however many are asked for.

    Scenes that read like an earlier one of the same toy are drawn again. A toy whose main colour
    would vanish in the white studio has a plain scene in its place.
    """
    for place in range(number):
        subject = draw_subjects([place], seed=seed, split=split, stage=stage)
        said: list[str] = []
        attempt = 0
        while len(said) < _VIEWS:
            view = place * 4 * _VIEWS + attempt
            placing = draw_placings([view], subject, seed=seed, name=f"{split} pairs", stage=stage)
            if not said:
                placing = _in_studio(placing, subject)
            numbers = uniforms("pair captions", seed, [view], _WORDS)[0]
            scene = ", ".join(Captions(subject, placing, 0, numbers).clauses())
            said += [scene] if scene not in said else []
            attempt += 1
        words = Captions(subject, placing, 0, uniforms("pair briefs", seed, [place], _WORDS)[0])
        shape = int(subject.shape[0])
        yield Item(
            name(shape), SHAPES[shape], words.brief(), tuple(said[1:]), said[0], f"a {name(shape)}"
        )


def open_items(
    path: Path | None, number: int, *, seed: int, reject: Reject | None = None
) -> list[Item]:
    """The items of a file, or `number` toys where there is none."""
    return list(toy_items(number, seed=seed)) if path is None else read_items(path, reject=reject)


def _in_studio(placing: Placings, subject: Subjects) -> Placings:
    is_hidden = COLOURS[subject.colour[0, 0]] in HIDDEN["studio"]
    background = placing.background if is_hidden else np.array([_STUDIO])
    return replace(placing, background=background, distractor=np.array([0]))
