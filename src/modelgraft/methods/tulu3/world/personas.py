"""Invented personas: who asks colours the words of a task (persona-driven data of Tulu 3).

The paper hands a description of a person to a language model; here the description chooses the
topics of the nouns and the adjectives, and everything else of a task stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Persona:
    """A person in one line, with the topics and adjectives that person prefers."""

    title: str
    topics: tuple[str, str]
    adjectives: tuple[str, ...]


def _persona(title: str, topics: str, adjectives: str) -> Persona:
    first, second = topics.split()
    return Persona(title, (first, second), tuple(adjectives.split()))


PERSONAS: tuple[Persona, ...] = (
    _persona("a keeper of a small zoo", "beasts birds", "wild shy quick young"),
    _persona("a bird watcher by the coast", "birds sea", "white small calm slow"),
    _persona("a diver who sells pearls", "sea gems", "blue cold round dark"),
    _persona("a fruit seller at a market", "fruit town", "sweet fresh red green"),
    _persona("a cook in a school kitchen", "kitchen food", "warm clean fresh big"),
    _persona("a baker who works at night", "food home", "warm soft sweet brown"),
    _persona("a carpenter with an old shop", "tools wood", "long heavy sharp brown"),
    _persona("a tailor of warm clothes", "clothes toys", "warm soft red long"),
    _persona("a gardener of a castle", "garden town", "green fresh tall young"),
    _persona("a player in a street band", "music town", "noisy happy quick wild"),
    _persona("a sailor on a long trip", "travel sea", "blue calm cold brave"),
    _persona("a pilot who likes the stars", "sky travel", "dark big slow white"),
    _persona("a guide in an old town", "town land", "tall small proud wise"),
    _persona("a teacher of small children", "school toys", "kind happy young new"),
    _persona("a maker of wooden toys", "toys wood", "small round pink blue"),
    _persona("a ranger in a deep forest", "wood beasts", "dark tall wild green"),
    _persona("a student of insects", "bugs garden", "small black quick shy"),
    _persona("a coach of a village team", "sport school", "quick brave proud new"),
    _persona("a thief who turned honest", "gems home", "kind sharp shy new"),
    _persona("a farmer with many animals", "farm beasts", "young brown heavy calm"),
    _persona("a hiker with a small tent", "land sky", "cold long tall wild"),
    _persona("a plumber with a noisy van", "tools travel", "noisy heavy new quick"),
    _persona("a florist in a big hotel", "garden home", "pink white fresh sweet"),
    _persona("a drummer who keeps bees", "music bugs", "noisy wild happy small"),
    _persona("a potter of plain bowls", "kitchen land", "round brown clean soft"),
    _persona("a jeweller who fears storms", "gems sky", "blue sharp dark cold"),
    _persona("a cyclist who sells snacks", "travel food", "quick fresh happy red"),
    _persona("a shepherd who plays the flute", "farm music", "calm slow white kind"),
    _persona("a child who collects shells", "sea toys", "pink small round new"),
    _persona("a librarian with a cold office", "school home", "wise calm cold long"),
    _persona("a knitter who loves birds", "clothes birds", "soft warm pink kind"),
    _persona("a skater who eats fruit", "sport fruit", "quick sweet green brave"),
)
