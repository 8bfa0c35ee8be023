"""Short stories in the manner of bAbI with one question whose answer follows from the facts."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
OBJECTS = ("apple", "football", "milk")
PEOPLE = ("Bill", "Fred", "Jeff", "Mary")  # those of qa5, where a person can be the answer
MOVERS = ("Daniel", "John", "Mary", "Sandra")
DIRECTIONS = ("north", "south", "east", "west")

_MOVES = ("moved to", "travelled to", "walked to", "went to")
_TAKES = ("grabbed", "picked up", "took")
_DROPS = ("dropped", "left", "put down")
_GIFTS = ("gave", "handed", "passed")
_MAX_DRAWS = 1000


@dataclass(frozen=True)
class Story:
    """Facts in their order, a question and its one-word answer."""

    facts: tuple[str, ...]
    question: str
    answer: str


@dataclass
class World:
    """People in rooms, and objects that go with whoever holds them."""

    rng: random.Random
    facts: list[str] = field(default_factory=list)
    room: dict[str, str] = field(default_factory=dict)  # person -> room
    holder: dict[str, str | None] = field(default_factory=dict)  # object -> person
    trail: dict[str, list[str]] = field(default_factory=dict)  # object -> rooms it was in

    def move(self, person: str) -> None:
        """The person goes to another room with everything held."""
        room = self.rng.choice([room for room in ROOMS if room != self.room.get(person)])
        self.room[person] = room
        self.facts.append(f"{person} {self.rng.choice(_MOVES)} the {room}.")
        for thing, holder in self.holder.items():
            if holder == person:
                self.trail[thing].append(room)

    def take(self, person: str, thing: str) -> None:
        """The person takes a thing that is in the same room, or not seen before."""
        self.holder[thing] = person
        if thing not in self.trail:
            self.trail[thing] = [self.room[person]]
        self.facts.append(f"{person} {self.rng.choice(_TAKES)} the {thing}.")

    def drop(self, person: str, thing: str) -> None:
        """The person leaves a held thing in the room."""
        self.holder[thing] = None
        self.facts.append(f"{person} {self.rng.choice(_DROPS)} the {thing}.")

    def can_take(self, person: str, thing: str) -> bool:
        """Whether nobody holds the thing and it is, or may be, where the person is."""
        if person not in self.room or self.holder.get(thing) is not None:
            return False
        return thing not in self.trail or self.trail[thing][-1] == self.room[person]

    def step(self) -> None:
        """One random event: more often a move than a take or a drop."""
        person = self.rng.choice(MOVERS)
        held = [thing for thing, holder in self.holder.items() if holder == person]
        free = [thing for thing in OBJECTS if self.can_take(person, thing)]
        if free and self.rng.random() < 0.4:
            self.take(person, self.rng.choice(free))
        elif held and self.rng.random() < 0.3:
            self.drop(person, self.rng.choice(held))
        else:
            self.move(person)


def moving_story(rng: random.Random) -> Story:
    """qa1: people move; where is one of them now?"""
    world = World(rng)
    for _ in range(8):
        world.move(rng.choice(MOVERS))
    person = rng.choice(sorted(world.room))
    return Story(tuple(world.facts), f"Where is {person}?", world.room[person])


def object_story(rng: random.Random) -> Story:
    """qa2: people move, take and drop things; where is one of the things now?"""

    def ask(world: World) -> Story | None:
        moved = [thing for thing, trail in world.trail.items() if len(trail) > 1]
        if not moved:
            return None
        thing = rng.choice(moved)
        return Story(tuple(world.facts), f"Where is the {thing}?", world.trail[thing][-1])

    return _first_story(rng, 12, ask)


def previous_room_story(rng: random.Random) -> Story:
    """qa3: where was a thing before it came to a room it was in exactly once?"""

    def ask(world: World) -> Story | None:
        choices = [
            (thing, trail[place - 1], trail[place])
            for thing, trail in world.trail.items()
            for place in range(1, len(trail))
            if trail.count(trail[place]) == 1
        ]
        if not choices:
            return None
        thing, before, room = rng.choice(choices)
        question = f"Where was the {thing} before the {room}?"
        return Story(tuple(world.facts), question, before)

    return _first_story(rng, 16, ask)


def compass_story(rng: random.Random) -> Story:
    """qa4: two rooms lie in different directions of a third one."""
    first, second, middle = rng.sample(ROOMS, 3)
    way, other_way = rng.sample(DIRECTIONS, 2)
    facts = [
        f"The {first} is {way} of the {middle}.",
        f"The {second} is {other_way} of the {middle}.",
    ]
    rng.shuffle(facts)
    if rng.random() < 0.5:
        return Story(tuple(facts), f"What is {way} of the {middle}?", first)
    return Story(tuple(facts), f"What is the {first} {way} of?", middle)


def giving_story(rng: random.Random) -> Story:
    """qa5: who gave what to whom; the question has one answer in the story."""
    for _ in range(_MAX_DRAWS):
        facts, gifts = _gifts(rng)
        questions = [
            *((f"What did {a} give to {b}?", thing) for a, thing, b in gifts),
            *((f"Who gave the {thing} to {b}?", a) for a, thing, b in gifts),
            *((f"Who did {a} give the {thing} to?", b) for a, thing, b in gifts),
        ]
        clear = [
            (question, answer)
            for question, answer in questions
            if {other for asked, other in questions if asked == question} == {answer}
        ]
        if clear:
            question, answer = rng.choice(clear)
            return Story(tuple(facts), question, answer)
    raise AssertionError("no giving story with a clear question was drawn")


def _gifts(rng: random.Random) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Facts of a giving story, and its gifts as (giver, thing, receiver)."""
    facts: list[str] = []
    gifts: list[tuple[str, str, str]] = []
    holder: dict[str, str] = {}
    for _ in range(5):
        thing = rng.choice(OBJECTS)
        if thing not in holder:
            holder[thing] = rng.choice(PEOPLE)
            facts.append(f"{holder[thing]} {rng.choice(_TAKES)} the {thing}.")
        giver = holder[thing]
        receiver = rng.choice([person for person in PEOPLE if person != giver])
        holder[thing] = receiver
        facts.append(f"{giver} {rng.choice(_GIFTS)} the {thing} to {receiver}.")
        gifts.append((giver, thing, receiver))
        wanderer = rng.choice(PEOPLE)
        facts.append(f"{wanderer} {rng.choice(_MOVES)} the {rng.choice(ROOMS)}.")
    return facts, gifts


def _first_story(
    rng: random.Random, num_events: int, ask: Callable[[World], Story | None]
) -> Story:
    """The story of the first random world that has a question."""
    for _ in range(_MAX_DRAWS):
        world = World(rng)
        for _ in range(num_events):
            world.step()
        story = ask(world)
        if story is not None:
            return story
    raise AssertionError("no story with a question was drawn")
