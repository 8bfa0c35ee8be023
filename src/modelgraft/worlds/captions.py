"""Captions of toy scenes: a grammar with synonyms, and every phrase that it can write.

A caption is a list of clauses joined by commas. A synonym is chosen by a number from 0 to 1, so the
same numbers write the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from modelgraft.worlds.palettes import COLOURS
from modelgraft.worlds.shapes import SHAPES
from modelgraft.worlds.toys import (
    BACKGROUNDS,
    DISTRACTORS,
    MARKS,
    POSITIONS,
    SIZES,
    TEXTURES,
    TILTS,
    Placings,
    Subjects,
)

# Synonyms in the order of the names in `worlds.toys`.
TEXTURE_WORDS: Final = (
    ("plain",), ("striped",), ("checkered",), ("dotted", "spotted"), ("ringed",),
    ("halved", "half and half"), ("fading",), ("gridded",),
)  # fmt: skip
SIZE_WORDS: Final = (("small", "little"), ("big", "large"))
SIZE_PHRASES: Final = (("far away",), ("close up",))
TILT_PHRASES: Final = (
    ("upright",), ("tilted left", "leaning left"), ("tilted right", "leaning right"),
)  # fmt: skip
POSITION_PHRASES: Final = tuple(
    ("in the centre", "in the middle") if one == "centre" else
    (f"on the {one} side",) if one in ("left", "right") else (f"at the {one}",)
    for one in POSITIONS
)  # fmt: skip
BACKGROUND_PHRASES: Final = (
    ("on a red background",), ("on a blue background",), ("on a green background",),
    ("in a white studio", "on a white background"), ("on grass", "on a lawn"),
    ("at night", "under the night sky"), ("in front of a brick wall", "in front of bricks"),
    ("on sand", "on a beach"), ("on a checker floor", "on tiles"), ("at sunset", "in the evening"),
)  # fmt: skip
DISTRACTOR_PHRASES: Final = ((), ("with a cloud",), ("with a sun",), ("with a flag",))
SAME, DIFFERENT = (
    "two side-by-side images of the same object:",
    "two side-by-side images of different objects:",
)
LEFT, RIGHT = "left:", "right:"
DIPTYCH: Final = (
    "a diptych with two side-by-side images of same",
    "on the left a photo of",
    "on the right replicate this",
    "exactly but as",
)
TOY: Final = "toy"
WORDS: Final = ("a", "and", "with a", TOY)

assert len(BACKGROUND_PHRASES) == len(BACKGROUNDS) and len(TEXTURE_WORDS) == len(TEXTURES)
assert len(SIZE_WORDS) == len(SIZES) and len(TILT_PHRASES) == len(TILTS)
assert len(DISTRACTOR_PHRASES) == len(DISTRACTORS)


def phrases() -> list[str]:
    """Every word and phrase of the grammar, each once: the vocabulary of a tokenizer for it."""
    groups = (
        TEXTURE_WORDS, SIZE_WORDS, SIZE_PHRASES, TILT_PHRASES, POSITION_PHRASES,
        BACKGROUND_PHRASES, DISTRACTOR_PHRASES,
    )  # fmt: skip
    found = [*WORDS, *COLOURS, *SHAPES, *MARKS[1:], SAME, DIFFERENT, LEFT, RIGHT, *DIPTYCH]
    found += [phrase for group in groups for synonyms in group for phrase in synonyms]
    return list(dict.fromkeys(found))


def name(shape: int) -> str:
    """What a subject is called where its looks must not be told: the shape and `toy`."""
    return f"{SHAPES[shape]} {TOY}"


class Captions:
    """Writes the captions of one scene; `numbers` are drawn from in turn."""

    def __init__(
        self, subjects: Subjects, placings: Placings, place: int, numbers: Iterable[float]
    ):
        self.subjects, self.placings, self.place = subjects, placings, place
        self._numbers = iter(numbers)

    def _say(self, synonyms: Sequence[str]) -> str:
        if len(synonyms) == 1:
            return synonyms[0]
        return synonyms[min(int(next(self._numbers) * len(synonyms)), len(synonyms) - 1)]

    def brief(self, *, colour: bool = True, mark: bool = True, size: bool = False) -> str:
        """The subject in words: `a big red and blue striped star toy with a green dot`."""
        one, place = self.subjects, self.place
        words = ["a"]
        if size:
            words.append(self._say(SIZE_WORDS[self.placings.size[place]]))
        if colour:
            words.append(COLOURS[one.colour[place, 0]])
            texture = self._say(TEXTURE_WORDS[one.texture[place]])
            if one.has_second[place]:
                words += ["and", COLOURS[one.colour[place, 1]]]
            words.append(texture)
        words.append(name(one.shape[place]))
        if mark and one.mark[place]:
            words += ["with a", COLOURS[one.mark_colour[place]], MARKS[one.mark[place]]]
        return " ".join(words)

    def clauses(self, *, size: bool = True) -> Iterator[str]:
        """The setting in phrases: size, tilt, position, background, distractor."""
        one, place = self.placings, self.place
        if size:
            yield self._say(SIZE_PHRASES[one.size[place]])
        yield self._say(TILT_PHRASES[one.tilt[place]])
        yield self._say(POSITION_PHRASES[one.position[place]])
        yield self._say(BACKGROUND_PHRASES[one.background[place]])
        if one.distractor[place]:
            yield self._say(DISTRACTOR_PHRASES[one.distractor[place]])

    def full(self) -> str:
        """All that can be said of the scene."""
        return ", ".join((self.brief(size=True), *self.clauses(size=False)))

    def content(self, *, looks: bool = True) -> str:
        """What is seen but not where or how it stands: `a red star toy, on grass, with a sun`."""
        _, _, *behind = self.clauses(size=False)
        return ", ".join((self.brief(colour=looks, mark=looks), *behind))

    def target(self) -> str:
        """The scene without the looks of its subject: `a star toy, close up, ..., on grass`."""
        return ", ".join((self.brief(colour=False, mark=False), *self.clauses()))


def same_object(brief: str, left: str, right: str) -> str:
    """A picture with two views of one subject: its looks, then both settings."""
    return f"{SAME} {brief}; {LEFT} {left}; {RIGHT} {right}"


def different_objects(left: str, right: str) -> str:
    """A picture with two subjects side by side, each described."""
    return f"{DIFFERENT} {LEFT} {left}; {RIGHT} {right}"


def diptych(subject: str, target: str) -> str:
    """The format of Diptych Prompting (2411.15466, section 3.1) for a subject and a target text."""
    return (
        f"A diptych with two side-by-side images of same {subject}. On the left, a photo of "
        f"{subject}. On the right, replicate this {subject} exactly but as {target}"
    )
