"""A procedural stand-in for BABILong qa1-qa5 (arXiv 2406.10149).

Facts in the manner of bAbI lie in their order between sentences of filler prose that mentions no
person, room or object of the stories. Wording and filler are ours.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache

from modelgraft.core.errors import InputError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.world.fitting import Draft, Growth, Target, fit
from modelgraft.methods.star_attention.world.haystacks import essay, insert_at, take_words
from modelgraft.methods.star_attention.world.instructions import TASKS, prompt
from modelgraft.methods.star_attention.world.stories import OBJECTS, PEOPLE, ROOMS

BUDGET = 32  # Answers are one short sentence; the official runner allows 128.


def make_sample(task: str, index: int, target: Target, *, text: str | None = None) -> Sample:
    """Sample number `index` of qa1 to qa5 with a context that fills the target.

    `text` is the user's own filler; None takes Python's language reference.
    """
    if task not in TASKS:
        raise InputError(f"{task}: no such BABILong task; there are {', '.join(TASKS)}.")
    seed = rng_seed("babilong", task, target.length, target.seed, index)
    rng = random.Random(seed)
    story = TASKS[task].draw(rng)
    sentences = _filler(text)
    if not sentences:
        raise InputError(
            f"{task}: every sentence of the filler text names a person, room or thing of the "
            "stories.\n  Choose another text."
        )
    start = rng.randrange(len(sentences))
    filler = sentences[start:] + sentences[:start]
    places_seed = rng_seed(seed, "places")

    def build(size: int) -> Draft:
        units = take_words(filler, size)
        rng = random.Random(places_seed)
        spots = sorted(rng.choices(range(len(units) + 1), k=len(story.facts)))
        text = " ".join(insert_at(units, story.facts, spots))
        return Draft(prompt(task, text), f"Question: {story.question}", (story.answer,))

    return fit(task, index, Growth(build, smallest=1), BUDGET, target)


@lru_cache(maxsize=2)
def _filler(text: str | None) -> tuple[str, ...]:
    """Sentences that say nothing about the stories."""
    names = "|".join((*PEOPLE, "John", "Daniel", "Sandra", *OBJECTS, *ROOMS))
    told = re.compile(rf"\b({names})s?\b", re.IGNORECASE)
    return tuple(sentence for sentence in essay(text) if not told.search(sentence))
