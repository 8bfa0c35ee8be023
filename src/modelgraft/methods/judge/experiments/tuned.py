"""E2: what tuning makes of a small judge: an adapter on its top blocks, a reward head, a probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelgraft.core.attempts import RunRecord
from modelgraft.core.files import read_json, remove_folder, write_json
from modelgraft.core.nested import nested_run
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array, Interval, paired_bootstrap
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.language.load import Loaded
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.experiments.probing import Probed, probe
from modelgraft.methods.judge.experiments.simulated import share_number
from modelgraft.methods.judge.experiments.subject import described, plainly, subject
from modelgraft.methods.judge.judges.local import LikelihoodJudge
from modelgraft.methods.judge.judges.reward import RewardJudge
from modelgraft.methods.judge.probes.strata import (
    axes_of,
    balanced_mean,
    baseline_rights,
    by_stratum,
    longest,
)
from modelgraft.methods.judge.tuning.choice import (
    ChoiceOptions,
    ChoicePrompts,
    attach_choice,
    choice_prompts,
    lower_states,
    read_odds,
    train_choice,
)
from modelgraft.methods.judge.tuning.halves import LowerStates
from modelgraft.methods.judge.tuning.head import (
    HeadOptions,
    attach_head,
    head_prompts,
    head_states,
    train_head,
)
from modelgraft.methods.judge.tuning.labelled import first_is_better
from modelgraft.methods.judge.tuning.loading import describe, save_tuned
from modelgraft.methods.judge.tuning.report import likelihoods_of, read_pairs
from modelgraft.methods.judge.world.pairs import ADVERSARIAL, CATEGORIES, category_of, world_pairs
from modelgraft.training.config import OptimConfig

EACH, HELD_OUT_EACH = 200, 40
HEAD_EACH = 10
LAYERS, EPOCHS, LEFT_OUT_EPOCHS, PENALTY = 8, 3.0, 2.0, 2.0
OPTIM = OptimConfig(lr=2e-3, batch=8, micro_batch=4, warmup=0.05, save_every=50)
HEAD_OPTIM = OptimConfig(lr=1e-3, batch=20, micro_batch=20, warmup=0.05)
HEAD_EPOCHS = 10.0
CHOICE, NO_PENALTY, LEFT_OUT = "choice", "choice, no penalty", "choice, category left out"
# Categories that the adapters of `LEFT_OUT` are trained on; each is measured on the other half.
HALVES = (tuple(CATEGORIES)[0::2], tuple(CATEGORIES)[1::2])
# Thresholds of the verdict, in percent of held-out pairs and in points.
RIGHT, TURNS, GAIN = 80.0, 15.0, 30.0

_STATES = "states"


@dataclass
class Setting:
    """The model under study and its pairs: those to train on, then the held-out ones."""

    run: Run
    loaded: Loaded
    train: list[Item]
    held_out: list[Item]
    data: ChoicePrompts
    lower: LowerStates
    quick: bool

    @property
    def held_places(self) -> range:
        """The places of the held-out pairs, behind those to train on."""
        return range(len(self.train), len(self.train) + len(self.held_out))

    def report(self, what: str) -> Callable[[int, int], None]:
        """Tells the experiment's run how far an arm is."""

        def report(done: int, total: int) -> None:
            self.run.check()
            self.run.progress(done, total, what)

        return report

    def kept(self, name: str, config: Mapping[str, Any], work: Callable[[Run], Any]) -> Any:
        """What `work` measures, as a run of its own in `arms/NAME`; a finished one is read."""
        folder = self.run.folder / "arms" / name.replace(", ", "-").replace(" ", "-")
        record = RunRecord(method="judge", action=name, config={**config, "quick": self.quick})

        def measure(own: Run) -> Result:
            write_json(own.add("text", "measured.json", name), work(own))
            return Result()

        settings = replace(self.run.settings, seed=self.run.seed)
        nested_run(self.run, folder, settings, record, measure)
        if (folder / "checkpoints").exists():
            remove_folder(folder / "checkpoints")
        return read_json(folder / "artefacts" / "measured.json", "what an arm measured")


def setting_of(run: Run, quick: bool) -> Setting:
    """Pairs of every category in both orders, with the states below the adapter computed."""
    loaded = subject(run)
    train = world_pairs(2 if quick else EACH, split="train", seed=run.seed)
    held_out = world_pairs(2 if quick else HELD_OUT_EACH, split="held-out", seed=run.seed)

    def report(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, "states below the adapter")

    model: Any = loaded.model
    data = choice_prompts(model, loaded.tokenizer, [*train, *held_out], plainly())
    folder = run.folder / _STATES
    lower = lower_states(folder, model, loaded.tokenizer, data.prompts, LAYERS, report)
    return Setting(run, loaded, train, held_out, data, lower, quick)


# -- arms ------------------------------------------------------------------------------------------


def choice_arm(
    found: Setting,
    name: str,
    *,
    penalty: float = PENALTY,
    categories: Sequence[str] = tuple(CATEGORIES),
    epochs: float = EPOCHS,
) -> Array:
    """Log-odds of the first shown [held-out pairs, 2] by an adapter trained on some categories."""
    epochs = 1.0 if found.quick else epochs
    options = ChoiceOptions(8, 16.0, LAYERS, penalty, epochs, OPTIM)
    pairs = [place for place, one in enumerate(found.train) if category_of(one) in categories]

    def work(own: Run) -> Any:
        about = describe(found.loaded, "choice", plainly())
        wrapped = attach_choice(found.loaded.model, options, seed=own.seed)
        try:
            train_choice(wrapped, found.data, found.lower, pairs, options, own)
            save_tuned(own.artefacts / "judge", about, wrapped, found.loaded.tokenizer)
            report = found.report(name)
            odds = read_odds(wrapped, found.data, found.lower, found.held_places, report=report)
        finally:
            wrapped.unload()
        return odds.tolist()

    config = {"penalty": penalty, "categories": list(categories), "epochs": epochs}
    return np.array(found.kept(name, config, work))


def untuned_arm(found: Setting) -> Array:
    """Log-odds of the first shown [held-out pairs, 2] by the model as it is."""

    def work(own: Run) -> Any:
        report = found.report("untuned")
        model: Any = found.loaded.model
        odds = read_odds(model, found.data, found.lower, found.held_places, report=report)
        return odds.tolist()

    return np.array(found.kept("untuned", {}, work))


def likelihood_arm(found: Setting) -> Array:
    """The likelihoods of both candidates [2, held-out pairs]."""

    def work(own: Run) -> Any:
        model, tokenizer = found.loaded.model, found.loaded.tokenizer
        judge = LikelihoodJudge(model, tokenizer, name="", report=found.report("likelihood"))
        return likelihoods_of(judge, found.held_out).tolist()

    return np.array(found.kept("likelihood", {}, work))


def head_arm(found: Setting) -> Array:
    """What a head on frozen states, from few pairs, is right on [held-out pairs]."""
    epochs = 1.0 if found.quick else HEAD_EPOCHS
    options = HeadOptions(0, 16.0, LAYERS, 0.01, epochs, HEAD_OPTIM)
    few = world_pairs(2 if found.quick else HEAD_EACH, split="train", seed=found.run.seed)

    def work(own: Run) -> Any:
        model, tokenizer = found.loaded.model, found.loaded.tokenizer
        prompts = head_prompts(tokenizer, few)
        lower = head_states(own.folder / _STATES, model, tokenizer, prompts, options, None)
        made = attach_head(model, options, seed=own.seed)
        train_head(made, lower, range(len(few)), options, own)
        remove_folder(own.folder / _STATES)
        judge = RewardJudge(made, tokenizer, name="", report=found.report("reward head"))
        return read_pairs(judge, found.held_out, plainly())[1].tolist()

    return np.array(found.kept("reward head", {"epochs": epochs}, work))


def probe_arm(found: Setting) -> Probed:
    """The probes' part of the experiment."""

    def work(own: Run) -> Any:
        report = found.report("probe")
        made = probe(found.loaded, report, seed=found.run.seed, quick=found.quick)
        numbers = [one.as_dict() for one in made.numbers]
        return {"right": made.right, "turned": made.turned, "gain": made.gain, "numbers": numbers}

    read = found.kept("probe", {}, work)
    numbers = tuple(Number(**one) for one in read["numbers"])
    return Probed(read["right"], read["turned"], Interval(*read["gain"]), numbers)


# -- the experiment --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """Of held-out pairs: right when both orders are averaged, right in each order, turned."""

    right: Array
    single: Array
    turned: Array


def judged(odds: Array, is_first: Array) -> Judged:
    """From log-odds of the first shown [pairs, 2] and which candidate is better [pairs]."""
    first, second = odds.T
    single = ((first > 0) == is_first) * 0.5 + ((second < 0) == is_first) * 0.5
    right = (first > second) == is_first
    return Judged(right.astype(float), single, ((first > 0) == (second > 0)).astype(float))


def _run(run: Run, quick: bool) -> Findings:
    found = setting_of(run, quick)
    is_first = first_is_better(found.held_out)
    untuned = judged(untuned_arm(found), is_first)
    likelihoods = likelihood_arm(found)
    likelier = ((likelihoods[0] > likelihoods[1]) == is_first).astype(float)
    probed = probe_arm(found)
    head = head_arm(found)
    groups = np.array([category_of(one) for one in found.held_out])
    arms = {
        CHOICE: judged(choice_arm(found, CHOICE), is_first),
        NO_PENALTY: judged(choice_arm(found, NO_PENALTY, penalty=0.0), is_first),
        LEFT_OUT: judged(_left_out(found, groups), is_first),
    }
    remove_folder(run.folder / _STATES)
    numbers = [
        *_arm_numbers(arms, untuned, likelier),
        share_number("reward head, 100 pairs: right", head.tolist(),
                     baseline=100 * float(likelier.mean())),
        *_baseline_numbers(found.held_out, untuned, likelier),
        *_balanced(found.held_out, likelihoods, arms, likelier),
        *_by_category(groups, arms, head, likelier),
    ]  # fmt: skip
    chosen = arms[CHOICE]
    gain = paired_bootstrap(100 * chosen.right, 100 * untuned.right)
    hard = np.isin(groups, ADVERSARIAL)
    above = paired_bootstrap(100 * chosen.right[hard], 100 * likelier[hard])
    for name, one in (
        ("choice above the untuned verdict", gain),
        ("adversarial categories: choice above likelihood", above),
    ):
        numbers.append(Number(name, one.value, one.low, one.high, one.n, unit="points",
                              baseline=0.0))  # fmt: skip
    holds = (
        100 * chosen.right.mean() >= RIGHT
        and 100 * chosen.turned.mean() <= TURNS
        and gain.value >= GAIN
        and _is_above(gain)
        and _is_above(above)
        and probed.holds
    )
    return Findings(
        (*numbers, *probed.numbers),
        HOLDS if holds else DOES_NOT_HOLD,
        seeds=(run.seed,),
        subject=described(found.loaded),
    )


def _is_above(one: Interval) -> bool:
    return (one.value if one.low is None else one.low) > 0


def _left_out(found: Setting, groups: Array) -> Array:
    """Log-odds of each pair by the adapter that has not seen its category."""
    odds = np.full((len(groups), 2), np.nan)
    for number, half in enumerate(HALVES, start=1):
        name = f"half {number} alone"
        own = choice_arm(found, name, categories=half, epochs=LEFT_OUT_EPOCHS)
        rest = ~np.isin(groups, half)
        odds[rest] = own[rest]
    return odds


def _arm_numbers(arms: Mapping[str, Judged], untuned: Judged, likelier: Array) -> list[Number]:
    numbers = []
    for name, one in arms.items():
        base = {"baseline": 100 * float(untuned.right.mean())}
        numbers += [
            share_number(f"{name}: right, averaged", one.right.tolist(), **base),
            _mean_number(f"{name}: right in one order", one.single, untuned.single),
            share_number(f"{name}: turns with the order", one.turned.tolist(), better="lower",
                         baseline=100 * float(untuned.turned.mean())),
        ]  # fmt: skip
    return numbers


def _mean_number(name: str, values: Array, base: Array) -> Number:
    """A share of which each pair counts in halves."""
    found = paired_bootstrap(100 * values, np.zeros_like(values))
    return Number(name, found.value, found.low, found.high, found.n, unit="%",
                  baseline=100 * float(base.mean()))  # fmt: skip


def _baseline_numbers(items: Sequence[Item], untuned: Judged, likelier: Array) -> list[Number]:
    return [
        share_number("untuned verdict: right, averaged", untuned.right.tolist(), baseline=50.0),
        share_number("untuned verdict: turns with the order", untuned.turned.tolist(),
                     better="lower"),
        share_number("likelihood: right", likelier.tolist(), baseline=50.0),
        share_number("longest answer: right", baseline_rights(items, longest).tolist(),
                     baseline=50.0),
    ]  # fmt: skip


def _balanced(
    items: Sequence[Item], likelihoods: Array, arms: Mapping[str, Judged], likelier: Array
) -> list[Number]:
    """Means over the strata of length, layout and likelihood, the lowest of each reader."""
    axes = axes_of(items, likelihoods)
    del axes["slot"]
    base = balanced_mean(by_stratum(axes, likelier)).value
    numbers = []
    for name, one in arms.items():
        found = balanced_mean(by_stratum(axes, one.right))
        if np.isnan(found.value):
            continue
        low, high = (None if end is None else 100 * end for end in (found.low, found.high))
        numbers.append(Number(f"{name}: right, balanced over the strata", 100 * found.value, low,
                              high, found.n, unit="%",
                              baseline=None if np.isnan(base) else 100 * base))  # fmt: skip
    return numbers


def _by_category(
    groups: Array, arms: Mapping[str, Judged], head: Array, likelier: Array
) -> list[Number]:
    readers = {**{name: one.right for name, one in arms.items() if name != NO_PENALTY},
               "reward head": head}  # fmt: skip
    parts = {group: groups == group for group in CATEGORIES}
    parts["adversarial categories"] = np.isin(groups, ADVERSARIAL)
    parts["plain categories"] = ~parts["adversarial categories"]
    return [
        share_number(f"{part}: {name}", right[own].tolist(),
                     baseline=100 * float(likelier[own].mean()))
        for part, own in parts.items()
        for name, right in readers.items()
    ]  # fmt: skip


TUNING = Experiment(
    "E2",
    "An adapter on the top 8 of 30 blocks, trained on 2,000 made pairs in both orders, makes a "
    "small chat model right in at least 80 % of held-out pairs, 30 points above its own verdict "
    "and above the likelihood where that misleads, and turn with the order in at most 15 %; a "
    "probe from 100 pairs is right in at least 85 % of plain ones, 30 points above that verdict, "
    "and turns with the order in at most 30 %.",
    "Tuned judges of 7 billion weights come near GPT-4 on their own data; on JudgeBench fine-tuned "
    "reward models reach 59 to 64 %.",
    _run,
)
