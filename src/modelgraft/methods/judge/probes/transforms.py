"""Probes: items changed in what must not matter to a judge, or must.

A probe makes changed items of an item, the same ones for the same seed, and none where it does not
apply. Their ids end in the probe and its `variant`, which stand in `meta` as well; label, group
and the candidates' ids stay, so that verdicts compare. A probe of one candidate makes an item for
each of them, whose variant is its id.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.probes.phrasing import (
    SAID,
    Change,
    bold,
    fallacious,
    headed,
    listed,
    padded,
    paraphrased,
    restated,
    truncated,
    typeset,
)

# What a probe leaves as it is.
Keeps = Literal["item", "texts", "beginning", "end", "words", "part"]
KEEPS: dict[Keeps, str] = {
    "item": "everything: the same question is asked again",
    "texts": "every text; the candidates stand in reverse order",
    "beginning": "every text; the changed candidate goes on behind its own",
    "end": "every text; the changed candidates have something before their own",
    "words": "every word and its place; the changed candidate is laid out differently",
    "part": "the other candidates; of the changed one a beginning is left",
}
# What a sound judge does: gives the same verdict, does not move towards the changed candidate, or
# prefers the sound version, which is the item's label.
Expects = Literal["same", "no gain", "loss"]
_NAMES = ("GPT-4", "Claude", "Llama 3", "a model without a name", "a student")

# Variants and changed items; the variant is empty where there is but one.
Perturb = Callable[[Item, str], Iterator[tuple[str, Item]]]


@dataclass(frozen=True)
class Probe:
    """A way to change items: `name`, the `bias` that it looks for, what it `keeps`, and `expects`.

    Calling it gives the changed items.
    """

    name: str
    bias: str
    keeps: Keeps
    expects: Expects
    perturb: Perturb

    def __call__(self, item: Item, *, seed: int = 0) -> tuple[Item, ...]:
        """The changed items."""
        found = []
        for variant, one in self.perturb(item, f"{self.name}/{seed}"):
            name = "-".join(filter(None, (self.name.replace(" ", "-"), variant)))
            meta = {**item.meta, "probe": self.name, "variant": variant}
            found.append(replace(one, id=f"{item.id}~{name}", meta=meta))
        return tuple(found)


def swapped(item: Item) -> Item:
    """The item with its candidates in reverse order."""
    return item.with_candidates(item.candidates[::-1])


def with_text(item: Item, candidate: str, text: str) -> Item:
    """The item with another text of the candidate of this id."""
    return item.with_candidates(
        [replace(one, text=text) if one.id == candidate else one for one in item.candidates]
    )


def _swap(item: Item, seed: str) -> Iterator[tuple[str, Item]]:
    if len(item.candidates) > 1:
        yield "", swapped(item)


def _repeat(item: Item, seed: str) -> Iterator[tuple[str, Item]]:
    yield "", item


def _each(change: Change) -> Perturb:
    """The change of one candidate after the other; blank ones have nothing to change."""

    def perturb(item: Item, seed: str) -> Iterator[tuple[str, Item]]:
        for one in item.candidates:
            text = change(one.text, _rng(item, one.id, seed)) if one.text.strip() else one.text
            if text != one.text:
                yield one.id, with_text(item, one.id, text)

    return perturb


def _name(item: Item, seed: str) -> Iterator[tuple[str, Item]]:
    """The candidates of a pair under two names, then with the names exchanged."""
    if len(item.candidates) != 2:
        return
    names = _rng(item, "", seed).sample(_NAMES, 2)
    # By id, so that an item with its candidates in reverse gets the same texts.
    ids = sorted(one.id for one in item.candidates)
    for variant, by in (("1", names), ("2", names[::-1])):
        label = dict(zip(ids, by, strict=True))
        texts = [
            replace(one, text=f"[Answer by {label[one.id]}]\n\n{one.text}")
            for one in item.candidates
        ]
        yield variant, item.with_candidates(texts)


SOUND, FLAWED = "sound", "flawed"


def _mislead(item: Item, seed: str) -> Iterator[tuple[str, Item]]:
    """Pairs of an answer and the same with a reason that is none, in an order by the seed.

    Of a labelled item its good answer alone: right, with wrong reasoning.
    """
    good = [one for one in item.candidates if one.id == item.label]
    for one in good or item.candidates:
        if not one.text.strip():
            continue
        rng = _rng(item, one.id, seed)
        pair = [Candidate(SOUND, one.text), Candidate(FLAWED, fallacious(one.text, rng))]
        rng.shuffle(pair)
        yield one.id, replace(item.with_candidates(pair), label=SOUND)


def _rng(item: Item, candidate: str, seed: str) -> random.Random:
    return random.Random(rng_seed("judge", "probe", item.id, candidate, seed))


def _of(bias: str, keeps: Keeps, **changes: Change) -> list[Probe]:
    expects: Expects = "no gain" if keeps == "part" else "same"
    return [
        Probe(name.replace("_", " "), bias, keeps, expects, _each(change))
        for name, change in changes.items()
    ]


_ALL = [
    Probe("swap", "position", "texts", "same", _swap),
    # Asked with another sample number, or a store of calls answers from its memory.
    Probe("repetition", "repetition", "item", "same", _repeat),
    *_of("verbosity", "beginning", restatement=restated, filler=padded, paraphrases=paraphrased),
    *_of("verbosity", "part", truncation=truncated),
    *_of("format", "words", list=listed, bold=bold, latex=typeset),
    *_of("format", "end", headers=headed),
    *(Probe(name, name, "beginning", "same", _each(change)) for name, change in SAID.items()),
    Probe("name labels", "name labels", "end", "same", _name),
    Probe("fallacy", "fallacy", "end", "loss", _mislead),
]
PROBES: dict[str, Probe] = {one.name: one for one in _ALL}
