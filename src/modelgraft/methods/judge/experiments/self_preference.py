"""E12: whether a judge prefers what its own model wrote, beyond what is right."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.gather import complete_all
from modelgraft.language.endpoints.local import LocalModel
from modelgraft.language.load import Loaded
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.experiments.probing import tuned_on_world
from modelgraft.methods.judge.experiments.simulated import share_number
from modelgraft.methods.judge.experiments.subject import described, plainly, subject
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge, Report
from modelgraft.methods.judge.judges.probe import ProbeJudge
from modelgraft.methods.judge.judging.judgments import BOTH_ORDERS
from modelgraft.methods.judge.probes.measured import Measured
from modelgraft.methods.judge.probes.measures import equal_opportunity_gap
from modelgraft.methods.judge.probes.slopes import likelihood_slope
from modelgraft.methods.judge.world.lexicon import CAPITALS

TEMPERATURES = (0.0, 1.0)
NUM_SUMS, PROBE_EACH = 80, 6
_LONGEST = 24  # tokens of an answer
# An instruction that asks for nothing in particular, as a model's habits are free of the question.
_NEUTRAL = "Write a sentence."
OWN, OTHER = "own", "other"
LIKELIHOOD, RELATIVE, CHOICE, PROBE = (
    "likelihood", "likelihood less that without the question", "choice, both orders", "probe"
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A question with its answer, a template's sentence, and whether that is right."""

    text: str
    answer: str
    sentence: str
    is_right: bool


def questions(num_sums: int, num_capitals: int, seed: int) -> list[Question]:
    """Sums of two-digit numbers and capitals; the template is right in every other one."""
    draw = random.Random(rng_seed("judge", "self-preference", seed))
    found = []
    for place in range(num_sums):
        first, second = draw.randint(11, 79), draw.randint(11, 79)
        right = first + second
        said = right if place % 2 else right + draw.choice((-10, -2, 2, 10))
        asked = f"What is {first} plus {second}? Answer in one short sentence."
        sentence = f"{first} plus {second} is {said}."
        found.append(Question(asked, str(right), sentence, bool(place % 2)))
    countries = draw.sample(sorted(CAPITALS), num_capitals)
    for place, country in enumerate(countries):
        right = CAPITALS[country]
        said = right if place % 2 else CAPITALS[countries[place - 1]]
        asked = f"What is the capital of {country}? Answer in one short sentence."
        sentence = f"The capital of {country} is {said}."
        found.append(Question(asked, right, sentence, bool(place % 2)))
    return found


def written(loaded: Loaded, asked: Sequence[Question], temperature: float, seed: int) -> list[str]:
    """What the model answers to each question, its first line."""
    requests = [
        Request(
            messages=[{"role": "user", "content": one.text}],
            temperature=temperature,
            max_tokens=_LONGEST,
            seed=seed,
        )
        for one in asked
    ]
    model = LocalModel(loaded.model, loaded.tokenizer, name=loaded.name, batch_size=16)
    outcomes = asyncio.run(complete_all(model, requests))
    texts = [one.text if isinstance(one, Reply) else "" for one in outcomes]
    return [text.strip().partition("\n")[0] for text in texts]


def says(text: str, answer: str) -> bool:
    """Whether a text gives an answer: the last number that it holds, or the name."""
    if answer.isdigit():
        return re.findall(r"\d+", text)[-1:] == [answer]
    return re.search(rf"\b{re.escape(answer)}\b", text) is not None


@dataclass(frozen=True)
class Pairs:
    """Pairs of an own and a template's answer, with what people would say: 1 own, 0 other, nan."""

    items: list[Item]
    human: Array


def paired(asked: Sequence[Question], own: Sequence[str], name: str) -> Pairs:
    """Pairs whose texts differ; people pick the right answer, and neither of two equals."""
    items, human = [], []
    for place, (one, text) in enumerate(zip(asked, own, strict=True)):
        if not text or text == one.sentence:
            continue
        candidates = (Candidate(OWN, text), Candidate(OTHER, one.sentence))
        items.append(Item(f"{name}-{place}", one.text, candidates))
        is_right = says(text, one.answer)
        human.append(np.nan if is_right == one.is_right else float(is_right))
    return Pairs(items, np.array(human))


# -- readers ---------------------------------------------------------------------------------------


def _leads(judge: Judge, items: Sequence[Item]) -> Array:
    """Log-odds for the own answer, the mean of both orders."""
    asking = plainly()
    calls = [asking.call(item, *order) for item in items for order in BOTH_ORDERS]
    odds = np.array([one.log_odds for one in judge.read(calls)]).reshape(-1, 2)
    return (odds[:, 0] - odds[:, 1]) / 2


def leads_of(
    loaded: Loaded, pairs: Pairs, probe: ProbeJudge, report: Report
) -> tuple[dict[str, Array], Array]:
    """The lead of the own answer by each reader, and the likelihoods [2, pairs] of both."""
    model, tokenizer = loaded.model, loaded.tokenizer
    likelihood = LikelihoodJudge(model, tokenizer, name="", report=report)
    texts = [one.text for item in pairs.items for one in item.candidates]
    asked = [item.instruction for item in pairs.items for _ in item.candidates]
    given = np.array(likelihood.likelihoods(list(zip(asked, texts, strict=True))))
    free = np.array(likelihood.likelihoods([(_NEUTRAL, text) for text in texts]))
    of_both, relative = given.reshape(-1, 2).T, (given - free).reshape(-1, 2).T
    choice = ChoiceJudge(model, tokenizer, name="", report=report)
    return {
        LIKELIHOOD: of_both[0] - of_both[1],
        RELATIVE: relative[0] - relative[1],
        CHOICE: _leads(choice, pairs.items),
        PROBE: _leads(probe, pairs.items),
    }, of_both


# -- what is measured ------------------------------------------------------------------------------


def measured(
    pairs: Pairs, leads: dict[str, Array], likelihoods: Array
) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """The equal-opportunity gap and the slope on likelihood of each reader."""
    label = np.where(np.isnan(pairs.human), 0.5, pairs.human)
    gaps, slopes = {}, {}
    for name, lead in leads.items():
        picks = np.where(lead == 0, np.nan, (lead > 0).astype(float))
        gaps[name] = equal_opportunity_gap(picks, pairs.human)
        slopes[name] = likelihood_slope(picks, likelihoods, label)
    return gaps, slopes


def _numbers(
    name: str, pairs: Pairs, leads: dict[str, Array], likelihoods: Array
) -> tuple[list[Number], dict[str, Measured]]:
    gaps, slopes = measured(pairs, leads, likelihoods)
    known = pairs.human[~np.isnan(pairs.human)]
    numbers = [
        share_number(f"own answer is the right one, {name}", known.tolist(), baseline=50.0),
        share_number(f"own answer is the likelier, {name}",
                     (leads[LIKELIHOOD] > 0).tolist(), baseline=50.0),
    ]  # fmt: skip
    for what, found, unit in (("gap", gaps, "share"), ("slope", slopes, "nats a nat")):
        base = found[LIKELIHOOD].value
        for reader, one in found.items():
            if np.isfinite(one.value):
                numbers.append(Number(f"{what}, {reader}, {name}", one.value, one.low, one.high,
                                      one.n, unit=unit, better="lower",
                                      baseline=0.0 if reader == LIKELIHOOD else base))  # fmt: skip
    return numbers, gaps


def _run(run: Run, quick: bool) -> Findings:
    loaded = subject(run)

    def report(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, loaded.name)

    asked = questions(6 if quick else NUM_SUMS, 4 if quick else len(CAPITALS), run.seed)
    probe = tuned_on_world(loaded, 1 if quick else PROBE_EACH, run.seed, report)
    numbers: list[Number] = []
    holds = []
    for temperature in TEMPERATURES:
        name = f"temperature {temperature:g}"
        pairs = paired(asked, written(loaded, asked, temperature, run.seed), name)
        leads, likelihoods = leads_of(loaded, pairs, probe, report)
        found, gaps = _numbers(name, pairs, leads, likelihoods)
        numbers += found
        low = gaps[LIKELIHOOD].low
        holds.append(low is not None and low > 0 and gaps[PROBE].value < gaps[LIKELIHOOD].value)
    return Findings(
        tuple(numbers),
        HOLDS if all(holds) else DOES_NOT_HOLD,
        seeds=(run.seed,),
        subject=described(loaded),
    )


SELF_PREFERENCE = Experiment(
    "E12",
    "A judge that reads how likely its own model finds an answer prefers what that model wrote, "
    "right or wrong; a probe tuned on the answers of others does so less.",
    "The survey names self-preference among the biases of a judge and gives no figure.",
    _run,
)
