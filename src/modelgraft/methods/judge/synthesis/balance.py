"""Lengths and slots of pairs, evened out so that neither says which answer is the better one.

The good answer stays as it is. Where it is the longer one too often the worse answer is padded, and
where it is the shorter one too often the worse answer is cut; both leave it the worse one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from modelgraft.methods.judge.probes.phrasing import sentences
from modelgraft.methods.judge.synthesis.corpus import Corpus
from modelgraft.methods.judge.synthesis.ways import Made
from modelgraft.methods.judge.world.lexicon import FILLER

_AGAIN = ("In other words:", "To repeat:", "That is to say:")
_CONTRAST = 2


def lead_of(made: Made) -> int:
    """1 where the good answer is the longer one, -1 where it is the shorter one, 0 for neither."""
    gap = len(made.good) - len(made.bad)
    return (gap > 0) - (gap < 0)


def balanced(
    pairs: Sequence[Made], corpus: Corpus, rng: random.Random, *, surplus: int = 0
) -> list[Made]:
    """The pairs, as few as possible changed, such that both answers are the longer one as often.

    `surplus` is by how many good ones were longer in the pairs before these. Where too few of the
    worse answers can be cut, it stays uneven.
    """
    found = list(pairs)
    total = surplus + sum(map(lead_of, found))
    side = 1 if total > 0 else -1
    wanted = abs(total) // 2
    places = [place for place, one in enumerate(found) if lead_of(one) == side]
    rng.shuffle(places)
    for place in places:
        if not wanted:
            break
        changed = _longer(found[place], corpus, rng) if side > 0 else _shorter(found[place])
        if changed is not None:
            found[place] = changed
            wanted -= 1
    return found


def contrasted(
    pairs: Sequence[Made], corpus: Corpus, rng: random.Random, *, surplus: int = 0
) -> list[Made]:
    """The pairs with a worse answer of twice the length of the good one, or of half of it."""
    found = []
    for one in pairs:
        shorter = _shorter(one, _CONTRAST) if surplus < 0 else None
        found.append(shorter or _longer(one, corpus, rng, _CONTRAST))
        surplus += lead_of(found[-1])
    return found


def _longer(made: Made, corpus: Corpus, rng: random.Random, factor: int = 1) -> Made:
    """The worse answer with sentences behind it until it is `factor` times as long as the good one.

    They repeat its own, are taken from other answers, or say nothing, so that no kind of them is a
    mark of worse answers alone.
    """
    own = sentences(made.bad)
    bad = made.bad
    while len(bad) <= factor * len(made.good):
        kind = rng.randrange(3) if own else 2
        if kind == 0:
            more = f"{rng.choice(_AGAIN)} {rng.choice(own)}"
        elif kind == 1:
            more = corpus.said_elsewhere(made.good, rng)
        else:
            more = rng.choice(FILLER)
        bad = f"{bad} {more}".strip()
    return replace(made, bad=bad)


def _shorter(made: Made, factor: int = 1) -> Made | None:
    """The worse answer up to the last word that leaves it shorter; None where no word is left."""
    most = (len(made.good) - 1) // factor
    ends = [match.end() for match in re.finditer(r"\S+", made.bad)]
    end = max((one for one in ends if made.keep <= one <= most), default=0)
    return replace(made, bad=made.bad[:end]) if end else None
