"""What every skill of tinychat can say about one of its tasks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeVar

from modelgraft.methods.tulu3.world.splits import Split, is_held_out

Skill = Literal["sums", "instructions", "words", "refusals"]
SKILLS: tuple[Skill, ...] = ("sums", "instructions", "words", "refusals")


class Draft(Protocol):
    """A task with its exact truth and its known right, weak and wrong answers.

    `wordy` answers are longer and exactly as right or wrong as the plain ones.
    """

    @property
    def kind(self) -> str:
        """The operation or the constraints, as one name within the skill."""
        ...

    @property
    def combination(self) -> tuple[str | int, ...]:
        """What must differ between the splits."""
        ...

    @property
    def dataset(self) -> str:
        """The verifier that reads `ground_truth`."""
        ...

    @property
    def ground_truth(self) -> str:
        """What the verifier compares with, as text."""
        ...

    @property
    def content(self) -> tuple[str, ...]:
        """Words and steps a full answer holds, whatever its form."""
        ...

    def prompt(self) -> str:
        """The user's turn."""
        ...

    def right(self, *, wordy: bool = False) -> str:
        """The reference answer."""
        ...

    def wrong(self, rng: random.Random, *, wordy: bool = False) -> Mapping[str, str]:
        """Answers that the verifier rejects, by the name of the fault."""
        ...

    def weak(self) -> Mapping[str, str]:
        """Answers that the verifier accepts and that lack content, by the name of the fault."""
        ...


_Draft = TypeVar("_Draft", bound=Draft)


def draw_allowed(draw: Callable[[], _Draft], split: Split) -> _Draft:
    """Draws until the combination is one that this split may use."""
    while True:
        draft = draw()
        if is_held_out(*draft.combination) != (split == "train"):
            return draft
