"""Scores of drawn pairs from 0 to 5: by a judge of one's own, or by what can be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import Journal
from modelgraft.core.runs import Run
from modelgraft.diffusion.pictures import read_picture
from modelgraft.diffusion.vision import Encode
from modelgraft.methods.ominicontrol.pairs.crops import views_of
from modelgraft.methods.ominicontrol.pairs.drawing import Drawn
from modelgraft.methods.ominicontrol.pairs.panels import (
    clipped,
    gap,
    noise,
    seam,
    sharpness,
    similarity,
    spread,
)
from modelgraft.methods.ominicontrol.pairs.prompts.items import PairPrompt
from modelgraft.methods.ominicontrol.pairs.records import BEST, Quality

# The picture [3, H, 2H] and its prompt to scores; None where the judge gave no answer.
Judge = Callable[[Tensor, PairPrompt], Quality | None]
Ladder = tuple[float, float, float, float, float]

JOURNAL: Final = "judgments.jsonl"
NEAR_IDENTICAL: Final = 0.9
"""Structural similarity from which two views count as nearly identical."""
_EMPTY: Final = 0.02
_FLAT: Final = 0.04
_OBJECT: Final = 0.06


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How often a judge is asked, and what a pair must reach each time."""

    looks: int = 1
    """Five in the paper; a judge that always answers alike needs one."""
    threshold: float = BEST

    def __post_init__(self) -> None:
        if self.looks < 1:
            raise ConfigError("looks", f"looks {self.looks}: a judge is asked at least once.")


@dataclass(frozen=True)
class Judged:
    """One picture with its scores."""

    drawn: Drawn
    looks: tuple[Quality, ...]
    """In the order asked; none after one that failed."""
    similarity: float
    """Of the two views, 1 for equal ones."""

    @property
    def quality(self) -> Quality:
        """The lowest answer to each question."""
        return Quality(
            min(look.composition for look in self.looks),
            min(look.consistency for look in self.looks),
            min(look.image for look in self.looks),
        )

    @property
    def is_near_identical(self) -> bool:
        """Whether the views are so alike that a model trained on them would paste its input."""
        return self.similarity >= NEAR_IDENTICAL


@dataclass
class Judgments:
    """What is known of all pictures."""

    judged: list[Judged] = field(default_factory=list)
    unanswered: list[Drawn] = field(default_factory=list)
    """Pictures that still lack an answer; another attempt asks for it."""


def judge_pairs(judge: Judge, drawn: Sequence[Drawn], judging: Judging, run: Run) -> Judgments:
    """Every picture judged `looks` times, or until an answer is below the threshold.

    Answers are acknowledged one by one in the run's journal, so no question is asked twice. A None
    of the judge is no answer: the picture is left for another attempt.
    """
    found = Judgments()
    with run.journal(JOURNAL) as journal:
        known: dict[str, list[dict[str, Any]]] = {}
        for row in journal.rows:
            known.setdefault(row["picture"], []).append(row)
        for place, one in enumerate(drawn):
            run.check()
            run.progress(place, len(drawn), "pictures judged")
            rows = known.get(one.id, [])
            if _is_open(rows, judging):
                rows = [*rows, *_asked(judge, one, rows, judging, journal)]
            if _is_open(rows, judging):
                found.unanswered.append(one)
            else:
                looks = tuple(_quality(row) for row in rows[: judging.looks])
                found.judged.append(Judged(one, looks, rows[0]["similarity"]))
        run.progress(len(drawn), len(drawn), "pictures judged")
    return found


def _asked(
    judge: Judge, one: Drawn, rows: Sequence[dict[str, Any]], judging: Judging, journal: Journal
) -> list[dict[str, Any]]:
    """The answers that are lacking, as far as the judge gives them."""
    picture = read_picture(one.path)
    likeness = rows[0]["similarity"] if rows else similarity(picture)
    added: list[dict[str, Any]] = []
    while _is_open([*rows, *added], judging):
        scores = judge(picture, one.prompt)
        if scores is None:
            break
        look = len(rows) + len(added)
        added.append({"picture": one.id, "look": look, "similarity": likeness, **asdict(scores)})
        journal.append(added[-1])
    return added


def _is_open(rows: Sequence[dict[str, Any]], judging: Judging) -> bool:
    """Whether another answer could still matter."""
    passes = all(_quality(row).passes(judging.threshold) for row in rows)
    return passes and len(rows) < judging.looks


def _quality(row: dict[str, Any]) -> Quality:
    return Quality(row["composition"], row["consistency"], row["image"])


# -- a judge without a language model --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From which value on a measure gives 1, 2, 3, 4 and 5 points; falling where less is better.

    The measures are those of `panels`; the values tell toy diptychs from single toy scenes
    stretched to their size. What a cosine means depends on the encoder: pairs drawn by FLUX
    have 0.72 on average with DINO (2411.15466), so take the values of pairs you know.
    """

    seam: Ladder = (1.25, 1.5, 1.75, 2.0, 2.5)
    cosine: Ladder = (0.3, 0.4, 0.5, 0.6, 0.7)
    sharpness: Ladder = (0.02, 0.03, 0.045, 0.06, 0.08)
    noise: Ladder = (0.17, 0.13, 0.1, 0.08, 0.06)
    clipped: Ladder = (0.97, 0.9, 0.8, 0.7, 0.6)


def automatic_judge(encode: Encode, thresholds: Thresholds | None = None) -> Judge:
    """A judge that measures: the split into panels, an identity cosine, sharpness and clipping.

    `encode(views)` gives embeddings [2, d] of the two views [2, 3, s, s]. The scores do not depend
    on the prompt.
    """
    rules = thresholds or Thresholds()

    def judge(picture: Tensor, prompt: PairPrompt) -> Quality:
        views = views_of(picture)
        return Quality(
            composition_score(picture, rules),
            consistency_score(encode(torch.stack(views)), rules),
            min(image_score(view, rules) for view in views),
        )

    return judge


def composition_score(picture: Tensor, rules: Thresholds) -> int:
    """Whether the picture [3, H, 2H] holds two different views.

    0 where a half is empty and 1 where both are nearly identical. A border from top to bottom at
    the middle gives its points; without one, halves that both show something and are parted by an
    empty strip, as two views on one ground are, give 4, because one scene of two things has that.
    """
    smaller = min(spread(view) for view in views_of(picture))
    if smaller < _EMPTY:
        return 0
    if similarity(picture) >= NEAR_IDENTICAL:
        return 1
    is_parted = gap(picture) < _FLAT and smaller > _OBJECT
    return max(points(seam(picture), rules.seam), 4 if is_parted else 0)


def consistency_score(embeddings: Tensor, rules: Thresholds) -> int:
    """Whether two views with these embeddings [2, d] show the same object, by their cosine."""
    left, right = embeddings.float()
    return points(float(cosine_similarity(left, right, dim=0)), rules.cosine)


def image_score(view: Tensor, rules: Thresholds) -> int:
    """Whether a view [3, s, s] is well made: sharp, not noisy, not clipped; the worst counts.

    It cannot see wrong anatomy, broken text or an ugly picture.
    """
    return min(
        points(sharpness(view), rules.sharpness),
        points(noise(view), rules.noise),
        points(clipped(view), rules.clipped),
    )


def points(value: float, ladder: Ladder) -> int:
    """How many steps of the ladder the value reaches; 0 for a value that is no number."""
    is_falling = ladder[0] > ladder[-1]
    return sum(value <= step if is_falling else value >= step for step in ladder)
