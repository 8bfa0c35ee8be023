"""Labelled pairs without a person: from good answers, or from the embedded world."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import Reject
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import wilson
from modelgraft.language.endpoints.calls import Calls, still_open
from modelgraft.language.endpoints.store import CallStore
from modelgraft.methods.judge.config import SynthesiseConfig
from modelgraft.methods.judge.opening import STORE
from modelgraft.methods.judge.summaries import percent
from modelgraft.methods.judge.synthesis.balance import balanced, contrasted, lead_of
from modelgraft.methods.judge.synthesis.corpus import (
    Answered,
    Corpus,
    read_answered,
    world_answered,
)
from modelgraft.methods.judge.synthesis.self_taught import SELF_TAUGHT, SelfTaught, self_taught
from modelgraft.methods.judge.synthesis.ways import WAYS, Made
from modelgraft.methods.judge.world.pairs import BAD, GOOD


@dataclass(frozen=True)
class Synthesised:
    """A pair with the row and the way that it comes from; `is_first` if the good answer is."""

    source: str
    way: str
    made: Made
    is_first: bool

    def as_row(self) -> dict[str, Any]:
        """The pair as a row that `data.read_items` reads; pairs of one row are one group."""
        both = [{"id": GOOD, "text": self.made.good}, {"id": BAD, "text": self.made.bad}]
        return {
            "id": f"{self.source}~{self.way}",
            "instruction": self.made.instruction,
            "candidates": both if self.is_first else both[::-1],
            "label": GOOD,
            "group": self.source,
            "made_by": self.way,
        }


def synthesise(config: SynthesiseConfig, run: Run) -> Result:
    """Make labelled pairs by construction."""
    reject = run.reject if config.on_error == "skip" else None
    rows = answered(config, seed=run.seed, reject=reject)
    corpus = Corpus(rows)
    made: dict[str, list[Made | None]] = {
        way: [_made(way, corpus, place, run.seed) for place in range(len(rows))]
        for way in dict.fromkeys(config.ways)
    }
    taught = SelfTaught([])
    if config.judge:
        with CallStore(run.folder / STORE) as store:
            calls = Calls(config, run, store)
            taught = self_taught(
                rows,
                lambda requests: calls.ask(config.judge, requests),
                temperature=config.temperature,
                max_tokens=config.max_new_tokens,
            )
        made[SELF_TAUGHT] = taught.pairs
    found = arranged(corpus, made, seed=run.seed)
    if not found:
        raise InputError(
            f"none of {len(rows)} rows gave a pair by {', '.join(made)}.\n"
            "  Name other --ways; off_topic and dropped_constraint take any answer."
        )
    path = run.add("text", "items.jsonl", "Pairs with their label and how they were made")
    write_atomic(path, "".join(dump_json(one.as_row()) + "\n" for one in found))
    remarks = [
        f"{SELF_TAUGHT}: {num:,} rows gave no pair: {reason}."
        for reason, num in taught.reasons.items()
    ]
    return Result(
        tuple(_numbers(rows, made, found)),
        remarks=tuple(remarks),
        partial=still_open(len(taught.waiting), "rows", taught.waiting),
    )


def answered(config: SynthesiseConfig, *, seed: int, reject: Reject | None) -> list[Answered]:
    """The rows of the file, or those of the embedded world."""
    if config.items is None:
        return world_answered(config.num, seed=seed)
    return read_answered(config.items, reject=reject)[: config.num]


def _made(way: str, corpus: Corpus, place: int, seed: int) -> Made | None:
    """What a way makes of a row; the same whatever other ways there are."""
    rng = random.Random(rng_seed("judge", "synthesise", seed, way, corpus.rows[place].id))
    made = WAYS[way](corpus, place, rng)
    return None if made is None or made.good == made.bad else made


def arranged(corpus: Corpus, made: dict[str, list[Made | None]], *, seed: int) -> list[Synthesised]:
    """The pairs of all ways, balanced in length and slot, in an order that mixes them."""
    found: list[Synthesised] = []
    surplus = 0
    firsts = {-1: 0, 0: 0, 1: 0}  # by who is longer, so that slot and length do not go together
    for way, every in made.items():
        rng = random.Random(rng_seed("judge", "balance", seed, way))
        places = [place for place, one in enumerate(every) if one is not None]
        pairs = [one for one in every if one is not None]
        even = contrasted if way == "length_contrast" else balanced
        pairs = even(pairs, corpus, rng, surplus=surplus)
        surplus += sum(map(lead_of, pairs))
        order = list(range(len(pairs)))
        rng.shuffle(order)
        for number in order:
            lead = lead_of(pairs[number])
            firsts[lead] += 1
            source = corpus.rows[places[number]].id
            found.append(Synthesised(source, way, pairs[number], firsts[lead] % 2 == 1))
    random.Random(rng_seed("judge", "synthesise", seed)).shuffle(found)
    return found


def _numbers(
    rows: Sequence[Answered], made: dict[str, list[Made | None]], found: Sequence[Synthesised]
) -> list[Number]:
    leads = [lead for one in found if (lead := lead_of(one.made))]
    sources = {one.source for one in found}
    numbers = [
        Number("pairs", len(found)),
        *(
            Number(f"pairs: {way}", sum(one is not None for one in every), n=len(every))
            for way, every in made.items()
        ),
        Number("rows", len(rows)),
        Number("rows that gave none", len(rows) - len(sources), n=len(rows), better="lower"),
    ]
    shares = (
        ("good answer is longer", leads.count(1), len(leads)),
        ("good answer is first", sum(one.is_first for one in found), len(found)),
    )
    for name, num, total in shares:
        if total:
            share = wilson(num, total)
            bounds = percent(share.low), percent(share.high)
            numbers.append(Number(name, 100 * share.value, *bounds, total, unit="%", baseline=50.0))
    return numbers
