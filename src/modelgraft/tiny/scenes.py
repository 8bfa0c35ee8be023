"""Pictures, captions and object masks to train the small image models on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from modelgraft.worlds.captions import Captions, different_objects, diptych, name, same_object
from modelgraft.worlds.draws import uniforms
from modelgraft.worlds.rendering import Pixels, render
from modelgraft.worlds.toys import Split, Stage, Subjects, draw_placings, draw_subjects

_WORDS: Final = 16
"""Numbers for the words of one caption."""
Kind = Literal["single", "diptych"]


@dataclass(frozen=True)
class Shown:
    """Pictures with what is said of them and how much of each pixel a toy covers."""

    image: Pixels
    """[n, h, w, 3]."""
    mask: Pixels
    """[n, h, w]."""
    captions: list[str]


def singles(
    items: Sequence[int] | np.ndarray, *, seed: int, split: Split = "train", stage: Stage = "full"
) -> Shown:
    """Single scenes; half the captions say all, others leave clauses out, or where a toy stands."""
    places = np.asarray(items)
    subjects = draw_subjects(places, seed=seed, split=split, stage=stage)
    placings = draw_placings(places, subjects, seed=seed, name=split, stage=stage)
    numbers = uniforms("captions", seed, places, 2 * _WORDS)
    seen = render(subjects, placings)
    captions = []
    for place in range(len(places)):
        writer = Captions(subjects, placings, place, numbers[place, :_WORDS])
        kept = numbers[place, _WORDS:]
        captions.append(
            writer.full() if kept[0] < 0.5
            else writer.content() if kept[0] < 0.75
            else _shortened(writer, kept[1:])
        )  # fmt: skip
    return Shown(seen.image, seen.mask, captions)


def diptychs(
    items: Sequence[int] | np.ndarray, *, seed: int, split: Split = "train", stage: Stage = "full"
) -> Shown:
    """Two scenes side by side: one subject twice, or, one time in nine, two subjects.

    Of one subject half the captions describe it and both settings; the others name only its shape
    and describe the right panel, in the words of Diptych Prompting.
    """
    places = np.asarray(items)
    subjects = draw_subjects(places, seed=seed, split=split, stage=stage)
    numbers = uniforms("diptychs", seed, places, 2 * _WORDS + 2)
    is_other = numbers[:, 0] < 1 / 9
    others = draw_subjects(places, seed=seed + 1, split=split, stage=stage)
    right = _where(is_other, others, subjects)
    settings = [
        draw_placings(places, one, seed=seed, name=f"{split} {side}", stage=stage)
        for one, side in ((subjects, "left"), (right, "right"))
    ]
    views = [render(one, placed) for one, placed in zip((subjects, right), settings, strict=True)]
    captions = []
    for place in range(len(places)):
        said = numbers[place, 2:]
        writers = [
            Captions(one, placed, place, said[start : start + _WORDS])
            for one, placed, start in zip((subjects, right), settings, (0, _WORDS), strict=True)
        ]
        captions.append(_diptych_caption(writers, is_other[place], numbers[place, 1] < 0.5))
    return Shown(
        np.concatenate([one.image for one in views], axis=2),
        np.concatenate([one.mask for one in views], axis=2),
        captions,
    )


def _shortened(writer: Captions, numbers: Iterable[float]) -> str:
    """A caption with some of its clauses left out."""
    drawn = iter(numbers)
    brief = writer.brief(colour=next(drawn) < 0.7, mark=next(drawn) < 0.5, size=next(drawn) < 0.5)
    return ", ".join([brief, *(one for one in writer.clauses(size=False) if next(drawn) < 0.7)])


def _diptych_caption(writers: Sequence[Captions], is_other: bool, is_described: bool) -> str:
    left, right = writers
    if is_other:
        said = [", ".join((one.brief(mark=False), *list(one.clauses())[2:4])) for one in writers]
        return different_objects(*said)
    if is_described:
        return same_object(left.brief(), ", ".join(left.clauses()), ", ".join(right.clauses()))
    return diptych(name(left.subjects.shape[left.place]), right.target())


def _where(chosen: np.ndarray, first: Subjects, second: Subjects) -> Subjects:
    """Row by row one of two sets of subjects."""
    rows = {}
    for key, one in vars(first).items():
        mask = chosen.reshape(-1, *[1] * (one.ndim - 1))
        rows[key] = np.where(mask, one, getattr(second, key))
    return Subjects(**rows)
