"""RULER: thirteen tasks on long contexts (arXiv 2404.06654), drawn sample by sample.

The structure follows the benchmark; wording, word lists and filler are ours, so scores compare
methods on the same samples and are not scores of the published benchmark. Differences in
structure: sizes grow by single units instead of fixed steps (closer to full), `fwe` leaves room
for its budget, and `qa_syn_1` and `qa_syn_2` stand in where no question files are at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from modelgraft.core.errors import InputError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.world import aggregation, needles, questions, tracing
from modelgraft.methods.star_attention.world.biographies import biographies
from modelgraft.methods.star_attention.world.fitting import Growth, Target, fit

Family = Literal["Single-NIAH", "Multi-NIAH", "Tracing", "Aggregation", "QA"]


@dataclass(frozen=True)
class Task:
    """A task's family, as Star Attention groups its results, and its budget of new tokens."""

    family: Family
    budget: int


TASKS: dict[str, Task] = {
    "niah_single_1": Task("Single-NIAH", needles.BUDGET),
    "niah_single_2": Task("Single-NIAH", needles.BUDGET),
    "niah_single_3": Task("Single-NIAH", needles.BUDGET),
    "niah_multikey_1": Task("Multi-NIAH", needles.BUDGET),
    "niah_multikey_2": Task("Multi-NIAH", needles.BUDGET),
    "niah_multikey_3": Task("Multi-NIAH", needles.BUDGET),
    "niah_multivalue": Task("Multi-NIAH", needles.BUDGET),
    "niah_multiquery": Task("Multi-NIAH", needles.BUDGET),
    "vt": Task("Tracing", tracing.BUDGET),
    "cwe": Task("Aggregation", aggregation.CWE_BUDGET),
    "fwe": Task("Aggregation", aggregation.FWE_BUDGET),
    "qa_1": Task("QA", questions.BUDGET),
    "qa_2": Task("QA", questions.BUDGET),
    "qa_syn_1": Task("QA", questions.BUDGET),
    "qa_syn_2": Task("QA", questions.BUDGET),
}


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the user brings or pins: an essay, question sets for qa_1 and qa_2, a needle depth.

    `depth` is a fraction of the haystack from 0 (start) to 1 (end).
    """

    essay: str | None = None
    qa_1: questions.QuestionSet | None = None
    qa_2: questions.QuestionSet | None = None
    depth: float | None = None


def make_sample(task: str, index: int, target: Target, material: Material | None = None) -> Sample:
    """Sample number `index` of a task: the same bytes for the same seed, whatever else is drawn.

    Raises `InputError` when the task is unknown, needs material that is missing, or cannot fit.

    >>> target = Target(length=1024, count_tokens=lambda text: len(text.split()))
    >>> sample = make_sample("niah_single_1", 0, target)
    >>> sample.outputs[0] in sample.context
    True
    """
    if task not in TASKS:
        raise InputError(f"{task}: no such RULER task; there are {', '.join(TASKS)}.")
    seed = rng_seed(task, target.length, target.seed, index)
    growth = _growth(task, index, target.length, seed, material or Material())
    return fit(task, index, growth, TASKS[task].budget, target)


def _growth(task: str, index: int, length: int, seed: int, material: Material) -> Growth:
    depth = material.depth
    if depth is not None and not (task in needles.NIAH and 0 <= depth <= 1):
        raise InputError(
            f"{task}: a depth of {depth} cannot be pinned.\n"
            "  A depth lies between 0 and 1 and needs one of the niah tasks."
        )
    if task in needles.NIAH:
        return needles.niah_growth(task, seed, depth=depth, essay=material.essay)
    if task in ("qa_1", "qa_2"):
        chosen = material.qa_1 if task == "qa_1" else material.qa_2
        if chosen is None:
            name = "SQuAD" if task == "qa_1" else "HotpotQA"
            raise InputError(
                f"{task}: no questions were given.\n"
                f"  Give a {name} file, or take the invented stand-in qa_syn_{task[-1]}."
            )
        return questions.qa_growth(chosen, index, length, seed)
    build: dict[str, Callable[[], Growth]] = {
        "vt": lambda: tracing.vt_growth(seed),
        "cwe": lambda: aggregation.cwe_growth(length, seed),
        "fwe": lambda: aggregation.fwe_growth(length, seed),
        "qa_syn_1": lambda: _invented(1, length, seed),
        "qa_syn_2": lambda: _invented(2, length, seed),
    }
    return build[task]()


def _invented(hops: Literal[1, 2], length: int, seed: int) -> Growth:
    # A document takes more than ten tokens, so this many overfill any context of this length.
    invented = biographies(length // 10, hops, rng_seed(seed, "people"))
    return questions.qa_growth(invented, 0, length, seed)
