"""A writer without a model: tasks of the world, written as a model would, faults included.

It knows what it will be asked, because its briefs carry their tasks; what it says to each of the
two requests of a brief depends on the seed and the brief's number alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from modelgraft.core.seeds import rng_seed
from modelgraft.language.endpoints.exchange import Outcome, Reply, Request
from modelgraft.language.endpoints.rules import last_text
from modelgraft.methods.tulu3.synthesis.briefs import TAGS, Brief

Fault = Literal["no tag", "repeats", "fails"]
# Shares of what it writes; the rest is sound.
FAULTS: dict[Fault, float] = {"no tag": 0.06, "repeats": 0.1, "fails": 0.12}


class Stub:
    """The writer for these briefs."""

    def __init__(self, briefs: Sequence[Brief], *, seed: int) -> None:
        self.faults: dict[int, Fault] = {}
        self._replies: dict[tuple[str, int], str] = {}
        earlier = ""
        for brief in briefs:
            assert brief.task is not None
            rng = random.Random(rng_seed("tulu3 stub", seed, brief.number))
            fault = _draw(rng)
            if fault == "repeats" and not earlier:
                fault = None
            if fault is not None:
                self.faults[brief.number] = fault
            prompt, answer = brief.task.prompt, brief.task.answer
            if fault == "repeats":
                prompt = earlier.replace(" ", "  ")
            elif fault != "no tag":
                earlier = prompt
            if fault == "fails":
                answer = rng.choice([*brief.task.draft.wrong(rng).values()])
            opening = "Sure, here is one." if fault == "no tag" else TAGS[brief.skill]
            self._replies[brief.ask(), brief.number] = f"{opening} {prompt}"
            self._replies[brief.ask_answer(prompt), brief.number] = answer

    def ask(self, requests: Sequence[Request]) -> list[Outcome]:
        """What it writes; a request's `sample` is the number of its brief."""
        return [
            Reply(text=self._replies[last_text(request), request.sample]) for request in requests
        ]


def _draw(rng: random.Random) -> Fault | None:
    place = rng.random()
    for fault, share in FAULTS.items():
        place -= share
        if place < 0:
            return fault
    return None
