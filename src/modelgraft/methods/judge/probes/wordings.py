"""The same question with its scale in another order, or its labels under other names."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.judge.prompts import Template
from modelgraft.methods.judge.rubric import Rubric

# Other names of two or three labels: letters, figures, and letters from the end.
LABEL_NAMES = (("A", "B", "C"), ("1", "2", "3"), ("X", "Y", "Z"))


def reordered(rubric: Rubric, *, seed: int | None = None) -> Rubric:
    """The rubric with its scale told from the other end, or in an order that a seed draws.

    Each label keeps its number and what it means.
    """
    order = list(range(len(rubric.labels)))[::-1]
    if seed is not None:
        random.Random(rng_seed("judge", "scale", rubric.name, seed)).shuffle(order)
    return replace(
        rubric,
        labels=tuple(rubric.labels[place] for place in order),
        values=tuple(rubric.numbers[place] for place in order),
        levels=tuple(rubric.levels[place] for place in order) if rubric.levels else (),
    )


def renamed_levels(rubric: Rubric, labels: Sequence[str]) -> Rubric:
    """The rubric with other labels, one for each in its order, for the same numbers."""
    return replace(rubric, labels=tuple(labels), values=rubric.numbers)


def renamed_labels(template: Template, labels: Sequence[str]) -> Template:
    """The template with other labels, one for each of its own, wherever they stand as whole words.

    Meant for labels that are no other word of the template: an article "A" would change as well.
    """
    names = dict(zip(template.labels, labels, strict=True))
    words = "|".join(map(re.escape, names))
    pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)")
    user, stem = (
        pattern.sub(lambda match: names[match.group()], text)
        for text in (template.user, template.stem)
    )
    return replace(template, labels=tuple(labels), user=user, stem=stem)
