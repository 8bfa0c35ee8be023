"""A training set with planted copies of test prompts, for measuring decontamination (E3).

Prompts are stories of 30 words or more. Each planted one knows its test and its kind: a copy, a
copy with some or all numbers changed, one that shares only its opening, one that tells the same
in other words, and one about the same things that says something else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.tulu3.world.lexicon import ADJECTIVES, NAMES, NOUNS, PEOPLE
from modelgraft.methods.tulu3.world.splits import is_held_out

PlantKind = Literal["exact", "number_changed", "half_overlap", "paraphrase", "topic_only"]
PLANT_KINDS: tuple[PlantKind, ...] = (
    "exact",
    "number_changed",
    "half_overlap",
    "paraphrase",
    "topic_only",
)
NUM_NUMBERS = (1, 2, 3, 4, 5, 6)
KEPT_SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)

_PHRASES = 3  # noun phrases of a sentence
_SENTENCES = 2
# The same sentence in two wordings; {0} {1} {2} are noun phrases.
_SENTENCES_OF_A_STORY: tuple[tuple[str, str], ...] = (
    (
        "{name} the {person} carried {0} and {1} to {2} before noon.",
        "In the morning {1} went with {0} towards {2}, brought by {person} {name}.",
    ),
    (
        "Near {0} somebody had left {1}, and behind it lay {2}.",
        "You would find {2} at the back of {1} which stood not far from {0}.",
    ),
    (
        "Nobody in town would trade {0} for {1} or even for {2}.",
        "For {1} one could not get {0} here, and neither for {2}.",
    ),
    (
        "On the way home {name} counted {0} beside {1} and then {2}.",
        "{2} came last and {0} first, with {1} between, when {name} counted while going back.",
    ),
    (
        "Later the {person} asked to see {0}, but only {1} and {2} came.",
        "There were just {1} and {2} when, some time after, {0} was what the {person} wanted.",
    ),
    (
        "Under {0} the children kept {1} that they had made from {2}.",
        "Made out of {2}, {1} belonged to the young ones and stayed below {0}.",
    ),
    (
        "Every spring {0} turned up again, with {1} on top of {2}.",
        "{1} over {2}: so, year after year, {0} came back.",
    ),
    (
        "It took {name} all day to hide {0} from {1} inside {2}.",
        "Inside {2}, out of the sight of {1}, {name} spent hours to put {0} away.",
    ),
)
_QUESTIONS: tuple[tuple[str, str], ...] = (
    ("How many things did {name} see on that day?", "What is the count of all {name} met with?"),
    ("Which of them would you like to keep, and why?", "Give a reason for the one you want."),
    ("What should {name} now do with all of this?", "Tell {name} how to use these things well."),
)


@dataclass(frozen=True)
class Plant:
    """One planted training prompt.

    `num_changed` numbers differ from the test, of `num_numbers`; `kept_share` is the share of the
    test's words that stand at its opening unchanged but for numbers (0 where none do).
    """

    id: str
    test_id: str
    kind: PlantKind
    num_numbers: int
    num_changed: int
    kept_share: float


@dataclass(frozen=True)
class Contamination:
    """Test prompts {id, prompt}, SFT records, and the plants by the id of their record."""

    tests: tuple[dict[str, str], ...]
    train: tuple[dict[str, Any], ...]
    plants: dict[str, Plant]


@dataclass(frozen=True)
class Story:
    """Sentences (by number) with their noun phrases, and a question; `numbers` sit in phrases."""

    name: str
    person: str
    sentences: tuple[int, ...]
    things: tuple[tuple[str, str], ...]
    numbers: dict[int, int]
    question: int

    def text(self, wording: int = 0) -> str:
        """The story in its first or second wording."""
        phrases = [self._phrase(place) for place in range(len(self.things))]
        lines = []
        for number, sentence in enumerate(self.sentences):
            own = phrases[number * _PHRASES : (number + 1) * _PHRASES]
            template = _SENTENCES_OF_A_STORY[sentence][wording]
            line = template.format(*own, name=self.name, person=self.person)
            lines.append(line[0].upper() + line[1:])
        lines.append(_QUESTIONS[self.question][wording].format(name=self.name))
        return " ".join(lines)

    def _phrase(self, place: int) -> str:
        adjective, noun = self.things[place]
        if place in self.numbers:
            return f"{self.numbers[place]} {adjective} {noun}s"
        return f"the {adjective} {noun}"


def contaminate(num_train: int = 20_000, num_tests: int = 1_000, *, seed: int = 0) -> Contamination:
    """Tests and a training set with a copy of every second test, the kinds in turn.

    The other tests have no relative in the training set: strangers never share an adjective with
    its noun, so at most the wording between such phrases is common to them.
    """
    stories = [_draw_story(f"test-{number}", seed, is_test=True) for number in range(num_tests)]
    tests = tuple(
        {"id": f"plant-test-{number}", "prompt": story.text()}
        for number, story in enumerate(stories)
    )
    rows: list[tuple[str, Plant | None]] = []
    for order, number in enumerate(range(0, num_tests, 2)):
        kind = PLANT_KINDS[order % len(PLANT_KINDS)]
        rng = random.Random(rng_seed("tinychat", "plant", seed, number))
        text, plant = _MAKERS[kind](stories[number], order // len(PLANT_KINDS), rng)
        rows.append((text, replace(plant, test_id=f"plant-test-{number}")))
    for number in range(num_train - len(rows)):
        rows.append((_draw_story(f"train-{number}", seed).text(), None))
    random.Random(rng_seed("tinychat", "plants", seed)).shuffle(rows)
    train, plants = [], {}
    for number, (text, plant) in enumerate(rows):
        row_id = f"plant-train-{number}"
        messages = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": "It is hard to say."},
        ]
        train.append({"id": row_id, "messages": messages, "source": "tinychat_planted"})
        if plant:
            plants[row_id] = replace(plant, id=row_id)
    return Contamination(tests, tuple(train), plants)


def _draw_story(name: str, seed: int, *, is_test: bool = False) -> Story:
    rng = random.Random(rng_seed("tinychat", "story", seed, name))
    num_phrases = _SENTENCES * _PHRASES
    things = tuple(_thing(noun, rng, is_test) for noun in rng.sample(NOUNS, num_phrases))
    num_numbers = rng.choice(NUM_NUMBERS)
    places = {(2 * place + 1) * num_phrases // (2 * num_numbers) for place in range(num_numbers)}
    return Story(
        rng.choice(NAMES),
        rng.choice(PEOPLE),
        tuple(rng.sample(range(len(_SENTENCES_OF_A_STORY)), _SENTENCES)),
        things,
        {place: rng.randint(2, 99) for place in sorted(places)},
        rng.randrange(len(_QUESTIONS)),
    )


def _thing(noun: str, rng: random.Random, is_test: bool = False) -> tuple[str, str]:
    """The noun with an adjective that goes with it in tests, or in training prompts, alone."""
    while True:
        adjective = rng.choice(ADJECTIVES)
        if is_held_out("thing", adjective, noun) == is_test:
            return adjective, noun


def _plant(kind: PlantKind, story: Story, num_changed: int = 0, kept_share: float = 1.0) -> Plant:
    return Plant("", "", kind, len(story.numbers), num_changed, kept_share)


def _exact(story: Story, turn: int, rng: random.Random) -> tuple[str, Plant]:
    return story.text(), _plant("exact", story)


def _number_changed(story: Story, turn: int, rng: random.Random) -> tuple[str, Plant]:
    """One number differs on even turns, all of them on odd ones."""
    places = tuple(story.numbers) if turn % 2 else (rng.choice(tuple(story.numbers)),)
    changed = {place: story.numbers[place] + rng.randint(100, 200) for place in places}
    text = replace(story, numbers=story.numbers | changed).text()
    return text, _plant("number_changed", story, num_changed=len(changed))


def _half_overlap(story: Story, turn: int, rng: random.Random) -> tuple[str, Plant]:
    """The opening of the test, then another story."""
    words = story.text().split()
    num_kept = round(KEPT_SHARES[turn % len(KEPT_SHARES)] * len(words))
    other = _draw_story(f"tail-{rng.random()}", 0).text(wording=1).split()
    text = " ".join(words[:num_kept] + other[: len(words) - num_kept])
    return text, _plant("half_overlap", story, kept_share=num_kept / len(words))


def _paraphrase(story: Story, turn: int, rng: random.Random) -> tuple[str, Plant]:
    return story.text(wording=1), _plant("paraphrase", story, kept_share=0.0)


def _topic_only(story: Story, turn: int, rng: random.Random) -> tuple[str, Plant]:
    """The same person and nouns in other roles, sentences, adjectives and numbers."""
    nouns = [noun for _, noun in story.things]
    rng.shuffle(nouns)
    others = [one for one in range(len(_SENTENCES_OF_A_STORY)) if one not in story.sentences]
    told = replace(
        story,
        sentences=tuple(rng.sample(others, _SENTENCES)),
        things=tuple(_thing(noun, rng) for noun in nouns),
        numbers={place: rng.randint(2, 99) for place in story.numbers},
        question=(story.question + 1) % len(_QUESTIONS),
    )
    return told.text(), _plant("topic_only", story, kept_share=0.0)


_MAKERS: dict[PlantKind, Callable[[Story, int, random.Random], tuple[str, Plant]]] = {
    "exact": _exact,
    "number_changed": _number_changed,
    "half_overlap": _half_overlap,
    "paraphrase": _paraphrase,
    "topic_only": _topic_only,
}
