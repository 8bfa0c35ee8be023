"""E3: what the 8-gram rule finds of planted copies, what it takes besides, and how fast it is."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from modelgraft.core.lazy import load
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Interval, ratio_interval, wilson
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.decontamination.baselines import (
    any_ngram,
    dict_coverage,
    exact_string,
    tokens_per_second,
)
from modelgraft.language.decontamination.index import EvalIndex, Evaluation
from modelgraft.language.decontamination.matching import Document, scan
from modelgraft.language.decontamination.overlaps import Overlap, Scan
from modelgraft.methods.tulu3.experiments.arms import number
from modelgraft.methods.tulu3.world.plants import NUM_NUMBERS, Contamination, Plant, contaminate

Lap = TypeVar("Lap")
Search = Callable[[Sequence[Evaluation], Sequence[Document]], Scan]
# Rows by their group and by whether a rule would remove them.
Counts = Counter[tuple[str, bool]]

OURS, EXACT, ANY, PLAIN, PEER = (
    "8-gram coverage",
    "exact string",
    "any 13-gram",
    "plain dictionary",
    "datatrove",
)
# Groups of training prompts; for the fall-off, every number of the prompt is another one.
COPY, TOPIC, PARAPHRASE, STRANGERS = "copies", "same topic", "paraphrases", "strangers"
MOST_KEPT, HALF_KEPT = "opening kept, more than half", "opening kept, up to half"
CHANGED = {1: "one number changed"} | {num: f"all {num} numbers changed" for num in NUM_NUMBERS[1:]}
# Groups that a rule should leave alone.
_CLEAN = (HALF_KEPT, TOPIC, STRANGERS)
_KINDS = (COPY, CHANGED[1], MOST_KEPT, HALF_KEPT, PARAPHRASE, TOPIC, STRANGERS)

# What documents race: with the three questions that all tests share, and without them.
SHARED, APART = "with shared questions", "without shared questions"
DIFFERENT = f"rows on which the {PLAIN} finds something else"
SIZES = (1, 2, 4)

# Thresholds of the verdict: share of a group, times as fast, share of the speed.
FOUND_AT_LEAST = {COPY: 1.0, CHANGED[1]: 0.95}
FOUND_AT_MOST = {TOPIC: 0.0, PARAPHRASE: 0.05}
FASTER_AT_LEAST = 5.0
SPEED_CHANGE = 0.2


@dataclass(frozen=True)
class Planted:
    """One planted training set: its tests, its prompts, and the plants by the id of their row."""

    tests: list[Evaluation]
    documents: list[Document]
    plants: Mapping[str, Plant]

    @classmethod
    def of(cls, made: Contamination, *, shared: bool = True) -> Planted:
        """The prompts, or without `shared` only what stands before their last sentence.

        That sentence is one of three questions, which every third test shares with every third
        prompt; few runs of eight words are common to the rest.
        """

        def shown(text: str) -> str:
            return text if shared else text.rpartition(". ")[0]

        prompts = {test["id"]: shown(test["prompt"]) for test in made.tests}
        documents = [(row["id"], shown(row["messages"][0]["content"])) for row in made.train]
        return cls([Evaluation.of("planted", prompts)], documents, made.plants)


# -- what is found ---------------------------------------------------------------------------------


def coverage(evaluations: Sequence[Evaluation], documents: Sequence[Document]) -> Scan:
    """The rule under test, with the time to build its index."""
    return scan(EvalIndex.build(evaluations), documents)


def datatrove_filter(evaluations: Sequence[Evaluation], documents: Sequence[Document]) -> Scan:
    """The rows that the n-gram filter of the package datatrove would remove; no more is known.

    A rule of its own: one 12-gram in common, all numbers taken for the same. `ImportError` when the
    package, or the word tokeniser it uses, is not installed.
    """
    path = "datatrove.pipeline.decont.n_grams"
    # Its own index is built by a further package; this one is that file, with a hash that needs
    # none.
    hashing = load("datatrove.utils.hashing:HashConfig")(hash_fc="sha1")
    config = load(f"{path}:NGramsDecontConfig")(hash_config=hashing)
    simplify, make = load("datatrove.utils.text:simplify_text"), load("datatrove.data:Document")
    with tempfile.TemporaryDirectory() as folder:
        peer = load(f"{path}:NGramsDecontFilter")(folder, config)
        hashes: set[int] = set()
        for text in (text for one in evaluations for test in one.instances for text in test.fields):
            words = peer.tokenizer.word_tokenize(simplify(text, config.norm_config))
            for start in range(len(words) - config.n_grams + 1):
                hashes.add(peer.hash_func(" ".join(words[start : start + config.n_grams])))
        index = np.array(sorted(hashes), hashing.np_descr)
        index.tofile(Path(folder) / "tests.index.hashes")
        rows = {
            row_id: Overlap(row_id, "", "", 1.0)
            for row_id, text in documents
            if peer.filter(make(text=text, id=row_id)) is not True
        }
    return Scan(documents=len(documents), rows=rows)


def group(plant: Plant | None) -> str | None:
    """The group a training prompt is counted in; None when some but not all numbers differ."""
    if plant is None:
        return STRANGERS
    match plant.kind:
        case "number_changed":
            is_counted = plant.num_changed in (1, plant.num_numbers)
            return CHANGED[plant.num_changed] if is_counted else None
        case "half_overlap":
            return MOST_KEPT if plant.kept_share > 0.5 else HALF_KEPT
        case kind:
            return {"exact": COPY, "paraphrase": PARAPHRASE, "topic_only": TOPIC}[kind]


def count(planted: Planted, search: Search) -> Counts:
    """How many rows of each group a rule would remove, and how many it would leave."""
    removed = search(planted.tests, planted.documents).rows
    groups = ((group(planted.plants.get(row_id)), row_id) for row_id, _ in planted.documents)
    return Counter((name, row_id in removed) for name, row_id in groups if name)


def share(counts: Counts, name: str) -> Interval | None:
    """The removed rows of a group, with Wilson's interval; None when there is no such row."""
    total = counts[name, True] + counts[name, False]
    return wilson(counts[name, True], total) if total else None


def found_numbers(counts: Mapping[str, Counts]) -> list[Number]:
    """What each rule finds of each group; ours stands beside any 13-gram."""
    numbers = []
    for name in dict.fromkeys((*_KINDS, *CHANGED.values())):
        for rule in counts:
            found, usual = share(counts[rule], name), share(counts[ANY], name)
            if found and usual:
                numbers.append(
                    number(_found(name, rule), found, unit="share",
                           baseline=usual.value if rule == OURS else None,
                           better="lower" if name in _CLEAN else "higher")
                )  # fmt: skip
    return numbers


def _found(name: str, rule: str) -> str:
    return f"{name}: found by {rule}"


# -- how fast --------------------------------------------------------------------------------------


def race(
    planted: Planted, searches: Mapping[str, Search], rounds: int
) -> Iterator[dict[str, float]]:
    """Seconds of processor time of each rule on the same documents, round after round.

    The rules take turns, forwards and backwards. Before the rounds, which it is not counted in, one
    warms up.
    """
    for turn in range(rounds + 1):
        seconds = {}
        for name in list(searches)[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            searches[name](planted.tests, planted.documents)
            seconds[name] = time.process_time() - start
        if turn:
            yield seconds


def race_numbers(label: str, rounds: Sequence[Mapping[str, float]]) -> list[Number]:
    """How many times as fast as each other rule ours is."""
    ours = [one[OURS] for one in rounds]
    return [
        number(_faster(label, name), ratio_interval([one[name] for one in rounds], ours), unit="x",
               baseline=1.0)
        for name in rounds[0]
        if name != OURS
    ]  # fmt: skip


def speed_numbers(speeds: Sequence[Mapping[int, float]]) -> list[Number]:
    """Tokens per second at the larger sizes against those of the smallest one."""
    first = [one[SIZES[0]] for one in speeds]
    return [
        number(_speed(size), ratio_interval([one[size] for one in speeds], first), unit="x",
               baseline=1.0)
        for size in SIZES[1:]
    ]  # fmt: skip


def speeds_by_size(planted: Planted, rounds: int) -> Iterator[dict[int, float]]:
    """Tokens per second through a quarter, a half and all of the documents, with one index."""
    index = EvalIndex.build(planted.tests)
    for turn in range(rounds + 1):
        speeds = {}
        for size in SIZES[:: 1 if turn % 2 else -1]:
            part = planted.documents[:: SIZES[-1] // size]
            speeds[size] = tokens_per_second(lambda documents: scan(index, documents), part)
        if turn:
            yield speeds


def _faster(label: str, name: str) -> str:
    return f"{label}: times as fast as {name}"


def _speed(size: int) -> str:
    return f"tokens/s with {size} times the documents"


# -- the experiment --------------------------------------------------------------------------------


def criteria(numbers: Sequence[Number]) -> list[tuple[bool, str]]:
    """Whether each threshold is met, with its figures; a number that is missing meets none."""
    values = {one.name: one.value for one in numbers}

    def at_least(name: str, limit: float) -> tuple[bool, str]:
        value = values.get(name, -math.inf)
        return value >= limit, f"{name} {value:.4g}, at least {limit:g}"

    def at_most(name: str, limit: float) -> tuple[bool, str]:
        value = values.get(name, math.inf)
        return value <= limit, f"{name} {value:.4g}, at most {limit:g}"

    found = [at_least(_found(name, OURS), limit) for name, limit in FOUND_AT_LEAST.items()]
    found += [at_most(_found(name, OURS), limit) for name, limit in FOUND_AT_MOST.items()]
    found += [at_least(_faster(label, PLAIN), FASTER_AT_LEAST) for label in (SHARED, APART)]
    for size in SIZES[1:]:
        found += [at_least(_speed(size), 1 - SPEED_CHANGE), at_most(_speed(size), 1 + SPEED_CHANGE)]
    return [*found, at_most(DIFFERENT, 0)]


def _run(run: Run, quick: bool) -> Findings:
    num_train, num_tests = (600, 100) if quick else (20_000, 1_000)
    seeds = tuple(range(run.seed, run.seed + (1 if quick else SIZES[-1])))
    searches, absent = _searches()
    counts: dict[str, Counts] = {name: Counter() for name in searches}
    made = []
    for done, seed in enumerate(seeds):
        run.progress(done, len(seeds), "planted sets")
        made.append(contaminate(num_train, num_tests, seed=seed))
        planted = Planted.of(made[-1])
        for name, search in searches.items():
            run.check()
            counts[name] += count(planted, search)
    speeds, raced = _race_all(run, made, searches, quick)
    numbers = [*found_numbers(counts), *raced, *speed_numbers(speeds)]
    _draw(run, counts)
    judged = criteria(numbers)
    million = statistics.median(one[SIZES[-1]] for one in speeds) / 1e6
    return Findings(
        tuple(numbers),
        HOLDS if all(is_met for is_met, _ in judged) else DOES_NOT_HOLD,
        seeds=seeds,
        remarks=(
            *(f"{'Met' if is_met else 'Not met'}: {text}." for is_met, text in judged),
            f"{million:.1f} million training tokens a second of one core here.",
            f"{PARAPHRASE.capitalize()} pass: runs of eight tokens do not show them.",
            *absent,
            "Sentence embeddings were not measured: no such model is a part of this project.",
        ),
        subject={"model": "none", "dtype": "none", "device": "cpu"},
    )


def _searches() -> tuple[dict[str, Search], tuple[str, ...]]:
    """The rules whose finds are counted, and what to say of a peer that is not there."""
    searches: dict[str, Search] = {OURS: coverage, ANY: any_ngram, EXACT: exact_string}
    try:
        datatrove_filter([Evaluation.of("trial", {"t": "a"})], [("r", "a")])
    except ImportError as error:
        return searches, (f"The filter of {PEER} was not raced: it is not there ({error}).",)
    return {**searches, PEER: datatrove_filter}, ()


def _race_all(
    run: Run, made: Sequence[Contamination], searches: Mapping[str, Search], quick: bool
) -> tuple[list[dict[int, float]], list[Number]]:
    """Speeds by size, and what the races say.

    Where tests share questions the plain version is slow, so documents are fewer there.
    """
    rounds = 2 if quick else 7
    shared, apart = (_join(made, is_shared) for is_shared in (True, False))
    few = replace(shared, documents=shared.documents[:: 10 if quick else 80])
    rivals = {name: search for name, search in searches.items() if name in (ANY, PEER)}
    races = {
        SHARED: (few, {OURS: coverage, PLAIN: dict_coverage, **rivals}),
        APART: (apart, {OURS: coverage, PLAIN: dict_coverage, ANY: any_ngram}),
    }
    numbers = []
    for label, (planted, contenders) in races.items():
        laps = _watched(run, race(planted, contenders, rounds), rounds, label)
        numbers += race_numbers(label, laps)
    speeds = _watched(run, speeds_by_size(shared, rounds), rounds, "speed by size")
    num_different = sum(_num_different(planted) for planted, _ in races.values())
    num_documents = sum(len(planted.documents) for planted, _ in races.values())
    numbers.append(
        Number(DIFFERENT, num_different, n=num_documents, unit="rows", baseline=0.0, better="lower")
    )
    return speeds, numbers


def _watched(run: Run, laps: Iterator[Lap], rounds: int, label: str) -> list[Lap]:
    """All laps; between them the run is told how far it is, and may be stopped."""
    found = []
    for lap in laps:
        found.append(lap)
        run.check()
        run.progress(len(found), rounds, label)
    return found


def _join(made: Sequence[Contamination], shared: bool) -> Planted:
    """The documents of all sets with the tests of the first."""
    sets = [Planted.of(one, shared=shared) for one in made]
    documents = [
        (f"{place}-{row_id}", text)
        for place, one in enumerate(sets)
        for row_id, text in one.documents
    ]
    return Planted(sets[0].tests, documents, {})


def _num_different(planted: Planted) -> int:
    """Rows whose worst overlap by the plain version of the rule is another one than by ours."""
    ours, plain = (
        search(planted.tests, planted.documents).rows for search in (coverage, dict_coverage)
    )
    return sum(ours.get(row_id) != plain.get(row_id) for row_id in ours.keys() | plain.keys())


def _draw(run: Run, counts: Mapping[str, Counts]) -> None:
    kinds = {name: name for name in _KINDS}
    numbers = {str(num): name for num, name in CHANGED.items()}
    for file, title, x, groups, caption in (
        ("kinds", "Training prompts that each rule removes", "kind", kinds,
         "Copies are to be found; strangers and prompts on the same topic are to stay."),
        ("numbers", "Copies found when every number is another one", "numbers", numbers,
         "The more numbers differ, the fewer runs of eight tokens are left."),
    ):  # fmt: skip
        series = []
        for rule, counted in counts.items():
            shown = {one: found for one, name in groups.items() if (found := share(counted, name))}
            series.append(Series(rule, list(shown), [found.value for found in shown.values()]))
        y = Axis("share removed", low=0, high=1)
        plot = Plot(kind="bar", title=title, x=Axis(x), y=y, series=series)
        plot.save(run.add("plot", f"E3-{file}.json", caption))


DECONTAMINATION = Experiment(
    "E3",
    "Coverage by 8-grams above one half finds every planted copy and nearly all with one number "
    "changed, leaves prompts on the same topic alone, and costs linear time, many times less than "
    "the same rule in plain Python.",
    "8-grams, more than half of a test's tokens, in one document; embeddings could not tell "
    "paraphrases from prompts on the same topic. No recall is given.",
    _run,
)
