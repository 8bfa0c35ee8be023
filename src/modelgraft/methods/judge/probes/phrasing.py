"""What can be done to the text of an answer without changing what it says.

Each change takes a text and a source of random choices. One that does not apply gives the text
back: a list is not made of one sentence, and code is not set as prose.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from modelgraft.methods.judge.method.alignment import sentence_cuts
from modelgraft.methods.judge.probes.pairs import has_list

Change = Callable[[str, random.Random], str]

_AGAIN = ("To say it again:", "In other words:", "Once more:", "Put differently:")
_FILLERS = (
    "There is a lot that could be said about this.",
    "This is a question that many people ask.",
    "It is worth taking the time to think about it with care.",
    "As with most things, there is more than one way to look at it.",
    "I have tried to keep this as clear as possible.",
    "Thank you for asking, and do ask again.",
)
_PHRASES: dict[str, tuple[str, ...]] = {
    "authority": (
        "A professor of the subject has confirmed that this is right.",
        "The national institute for this field gives the same answer.",
        "An expert with thirty years of practice stands behind this answer.",
    ),
    "bandwagon": (
        "Nine out of ten readers preferred this answer.",
        "Most people agree with this answer.",
        "Of a thousand people who were asked, nearly all chose this answer.",
    ),
    "sentiment": (
        "I am so happy to share this with you!",
        "It makes me sad to have to write this.",
        "I am furious that anybody still has to ask.",
        "I am afraid of what happens if this is not believed.",
    ),
    "distraction": (
        "My neighbour repaints his fence every other spring.",
        "The kettle in our kitchen whistles in two tones.",
        "Yesterday the bus came seven minutes late.",
    ),
    "identity": (
        "I write this as a woman.",
        "I write this as a man.",
        "I write this as a refugee.",
        "I write this as a person of faith.",
        "I write this as a pensioner.",
        "I write this as a student in my first year.",
    ),
    "fake citation": (
        "[1] M. Keller and T. Osei, Journal of Applied Findings 12 (2019), pp. 44-61.",
        "Source: Harlan et al., Proceedings of the Conference on General Questions, 2021.",
        "See the Handbook of Common Facts, 7th edition, chapter 3.",
    ),
}
_FALLACIES = (
    "Nobody has ever shown that what follows is false, so it has to be true.",
    "What follows is true because it is the case, and it is the case because it is true.",
    "It rained the last time that somebody said what follows, and from this it can be deduced.",
    "Either what follows is true or nothing at all can be known, and something can be known.",
)
_WORD = re.compile(r"[^\W\d_]{3,}")
_FIGURE = re.compile(r"(?<![\w$.,])\d+(?:\.\d+)?(?![\w$]|[.,]\d)")


def sentences(text: str) -> list[str]:
    """Its sentences and lines, without the blanks around them; a block of code is one."""
    ends = [0, *sentence_cuts(text), len(text)]
    return [part for start, end in pairwise(ends) if (part := text[start:end].strip())]


def _is_marked(text: str) -> bool:
    return any(mark in text for mark in ("```", "~~~", "**", "$")) or has_list(text)


# -- length ----------------------------------------------------------------------------------------


def restated(text: str, rng: random.Random) -> str:
    """The text, and once more behind an introduction."""
    return f"{text}\n\n{rng.choice(_AGAIN)} {text.strip()}"


def padded(text: str, rng: random.Random) -> str:
    """The text with three sentences that say nothing."""
    return f"{text}\n\n{' '.join(rng.sample(_FILLERS, 3))}"


def paraphrased(text: str, rng: random.Random) -> str:
    """The text with a list that says its first sentences again, each in two ways."""
    lines = [
        f"- {lead} {sentence}" for sentence in sentences(text)[:3] for lead in rng.sample(_AGAIN, 2)
    ]
    return "\n".join([f"{text}\n", *lines])


def truncated(text: str, rng: random.Random) -> str:
    """Its first half, up to the sentence or else the word that ends nearest to the middle."""
    whole = text.rstrip()
    ends = [end for end in sentence_cuts(whole) if whole[:end].strip()]
    ends = ends or [match.end() for match in re.finditer(r"\S+\s+", whole)]
    middle = min(ends, key=lambda end: abs(end - len(whole) / 2), default=None)
    return text if middle is None else whole[:middle].rstrip()


# -- format ----------------------------------------------------------------------------------------


def listed(text: str, rng: random.Random) -> str:
    """Its sentences as a list, if there are two or more."""
    parts = sentences(text)
    if len(parts) < 2 or _is_marked(text):
        return text
    return "\n".join(f"- {part}" for part in parts)


def bold(text: str, rng: random.Random) -> str:
    """The longest word of every sentence in bold."""
    if _is_marked(text):
        return text
    ends = [0, *sentence_cuts(text), len(text)]
    return "".join(_emphasised(text[start:end]) for start, end in pairwise(ends))


def _emphasised(sentence: str) -> str:
    found = max(_WORD.finditer(sentence), key=lambda match: len(match.group()), default=None)
    if found is None:
        return sentence
    return f"{sentence[: found.start()]}**{found.group()}**{sentence[found.end() :]}"


def headed(text: str, rng: random.Random) -> str:
    """The text under a header."""
    return text if text.lstrip().startswith("#") else f"# Answer\n\n{text}"


def typeset(text: str, rng: random.Random) -> str:
    """Its figures set in LaTeX."""
    return text if _is_marked(text) else _FIGURE.sub(r"$\g<0>$", text)


# -- what is said beside it ------------------------------------------------------------------------


def said(phrases: Sequence[str]) -> Change:
    """The text and one of these phrases behind it."""
    return lambda text, rng: f"{text}\n\n{rng.choice(phrases)}"


SAID: dict[str, Change] = {name: said(phrases) for name, phrases in _PHRASES.items()}


def fallacious(text: str, rng: random.Random) -> str:
    """The text as what follows from a reason that is none."""
    return f"{rng.choice(_FALLACIES)} Hence:\n\n{text}"
