"""Labelled pairs that a judge is shown as examples, in one set or in several.

Each set is another simulated annotator (Jung et al. 2024): a call is asked once with each, and how
far they agree is a confidence. In a set the better answer stands as often first as second, so no
label is the majority.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import dump_json
from modelgraft.core.rows import Reject
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.judge.config import ExampleOptions, OnError
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.judging.judgments import TIE, Asking

Sets = tuple[tuple[Item, ...], ...]


def with_examples(
    asking: Asking, options: ExampleOptions, run: Run, on_error: OnError = "skip"
) -> Asking:
    """The asking with examples of the file, drawn by the run's seed; as it is without a file.

    Raises `ConfigError` for a template without the slot, and for a file of too few labelled pairs.
    """
    reject = run.reject if on_error == "skip" else None
    return drawn_examples(asking, options, reject=reject, seed=run.seed)


def drawn_examples(
    asking: Asking, options: ExampleOptions, *, reject: Reject | None, seed: int
) -> Asking:
    """The same outside of a run; `reject` receives bad rows."""
    if options.file is None:
        return asking
    if not asking.template.uses("examples"):
        raise ConfigError(
            "examples.file",
            f"--examples.file: template {asking.template.name} has no slot {{{{examples}}}}.\n"
            "  Use a shipped template such as pair, or write the slot into yours.",
        )
    items = read_items(options.file, reject=reject, at_least=2, at_most=2)
    sets = draw_sets(items, options.shots, options.sets, seed=seed)
    return replace(asking, examples=sets, samples=asking.samples * len(sets))


def draw_sets(items: Sequence[Item], shots: int, num: int, *, seed: int) -> Sets:
    """`num` sets of `shots` labelled pairs each, all different, in the order to show them.

    Half of a set, rounded by chance, has the better answer first.
    """
    known = [one for one in items if isinstance(one.label, str) and one.label != TIE]
    if len(known) < shots * num:
        raise ConfigError(
            "examples.shots",
            f"--examples.shots {shots} in {num} sets: {shots * num} labelled pairs are needed, and "
            f"the file has {len(known)}.",
        )
    rng = np.random.default_rng(rng_seed("judge", "examples", seed))
    order = rng.permutation(len(known))[: shots * num]
    sets = []
    for number in range(num):
        chosen = [known[place] for place in order[number * shots : (number + 1) * shots]]
        is_first = (np.arange(shots) + rng.integers(2)) % 2 == 0
        rng.shuffle(is_first)
        pairs = zip(chosen, is_first.tolist(), strict=True)
        sets.append(tuple(_arranged(one, first) for one, first in pairs))
    return tuple(sets)


def _arranged(item: Item, is_first: bool) -> Item:
    """The pair with its better candidate first or second."""
    better = [one for one in item.candidates if one.id == item.label]
    worse = [one for one in item.candidates if one.id != item.label]
    return item.with_candidates(better + worse if is_first else worse + better)


def without_examples(items: Sequence[Item], asking: Asking) -> list[Item]:
    """The items that are not among the examples: a judge is never shown the answer."""
    shown = {_texts(one) for own in asking.examples for one in own}
    return [one for one in items if _texts(one) not in shown]


def examples_key(asking: Asking) -> str:
    """12 hexadecimal digits that change with any example; empty without any."""
    if not asking.examples:
        return ""
    rows = [
        [[one.instruction, *(c.text for c in one.candidates), one.label] for one in own]
        for own in asking.examples
    ]
    return hashlib.sha256(dump_json(rows).encode()).hexdigest()[:12]


def _texts(item: Item) -> tuple[str, frozenset[str]]:
    return item.instruction, frozenset(one.text for one in item.candidates)
