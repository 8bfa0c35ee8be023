"""The action: from labelled pairs to the folder of a judge, with what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import remove_folder, write_atomic, write_json
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.language.endpoints.store import CallStore
from modelgraft.language.load import Loaded, is_measured, load_causal_lm
from modelgraft.methods.judge.config import TuneConfig
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge
from modelgraft.methods.judge.judges.probe import ProbeJudge, tune_probe
from modelgraft.methods.judge.judges.reward import RewardJudge
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.tuning.choice import (
    ChoiceOptions,
    attach_choice,
    choice_prompts,
    lower_states,
    train_choice,
)
from modelgraft.methods.judge.tuning.halves import LowerStates, Prompts
from modelgraft.methods.judge.tuning.head import (
    HeadOptions,
    attach_head,
    head_prompts,
    head_states,
    train_head,
)
from modelgraft.methods.judge.tuning.labelled import first_is_better, labelled_pairs, split
from modelgraft.methods.judge.tuning.loading import describe, save_tuned
from modelgraft.methods.judge.tuning.report import (
    Report,
    card_text,
    likelihoods_of,
    read_pairs,
    report_of,
)
from modelgraft.methods.judge.tuning.written import train_written, written_judge, written_prompts
from modelgraft.methods.judge.world.pairs import CATEGORIES, world_pairs

FOLDER = "judge"
_OF_WORLD = 10
_STATES = "states"


@dataclass(frozen=True)
class Tuned:
    """What was trained, the judge that reads by it, and what is told of the training."""

    weights: Any
    judge: Judge
    numbers: tuple[Number, ...]


def tune(config: TuneConfig, run: Run) -> Result:
    """Tune a judge on labelled pairs, and measure it on held-out ones."""
    asking = _asking(config)
    trained, held_out, remark = _data(config, run)
    loaded = _load(config, run)
    about = describe(loaded, config.train, asking)
    # Before anything is attached to the model.
    untuned, likelihoods = _baselines(loaded, held_out, asking, run)
    made = _TRAINERS[config.train](loaded, trained, asking, config, run)
    odds, right = read_pairs(made.judge, held_out, asking)
    found = report_of(held_out, odds, right, untuned, likelihoods)
    numbers = [Number("pairs to train on", len(trained)), Number("held-out pairs", len(held_out)),
               *made.numbers, *found.numbers]  # fmt: skip
    remarks = [*([remark] if remark else []), *found.remarks]
    folder = run.artefacts / FOLDER
    save_tuned(folder, about, made.weights, loaded.tokenizer)
    facts = {"kind": about.kind, "base model": about.model, "number type": about.dtype,
             "template": asking.template.name, "rubric": asking.rubric.name,
             "pairs to train on": len(trained), "held-out pairs": len(held_out)}  # fmt: skip
    _write_card(run, folder, facts, numbers, found)
    if (run.folder / _STATES).exists():
        remove_folder(run.folder / _STATES)
    text = f"The judge is in {folder}; name it with --judge."
    return Result(tuple(numbers), text=text, remarks=tuple(remarks))


def _write_card(
    run: Run, folder: Path, facts: dict[str, Any], numbers: Sequence[Number], found: Report
) -> None:
    values = {**facts, "numbers": [one.as_dict() for one in numbers], "remarks": found.remarks}
    write_json(folder / "eval.json", values)
    write_atomic(folder / "README.md", card_text(f"A judge: {facts['kind']}", facts, found))
    run.add("text", f"{FOLDER}/README.md", "Card of the judge")
    run.add("text", f"{FOLDER}/eval.json", "What was measured of it")
    run.add("text", f"{FOLDER}/judge.yaml", "How the judge is asked, and on which model")
    found.table.save(run.add("table", "strata.json", found.table.caption))


def _asking(config: TuneConfig) -> Asking:
    fitting = "pair_written" if config.train == "written" else "pair"
    template = read_template(config.template or fitting)
    if template.mode != "pair":
        raise ConfigError(
            "template", f"--template {template.name}: it shows a {template.mode}; pairs are judged."
        )
    return Asking(template, read_rubric(config.rubric), config.hardening)


def _data(config: TuneConfig, run: Run) -> tuple[tuple[Item, ...], tuple[Item, ...], str]:
    """The pairs to train on, the held-out ones, and what is told of the others."""
    if config.items is None:
        each = max(1, (config.num or _OF_WORLD * len(CATEGORIES)) // len(CATEGORIES))
        train = world_pairs(each, split="train", seed=run.seed)
        return tuple(train), tuple(world_pairs(each, split="held-out", seed=run.seed)), ""
    reject = run.reject if config.on_error == "skip" else None
    found = labelled_pairs(read_items(config.items, reject=reject)[: config.num])
    return *split(found.items, config.held_out, seed=run.seed), found.remark


def _load(config: TuneConfig, run: Run) -> Loaded:
    settings = run.settings
    # What a measurement chooses might change between two attempts of a run.
    dtype = "float32" if is_measured(settings.dtype, settings.device) else settings.dtype
    return load_causal_lm(
        config.judge, device=settings.device, dtype=dtype, offline=settings.offline
    )


def reporter(run: Run, what: str) -> Callable[[int, int], None]:
    """Tells the run how far `what` is, and ends it when someone asks to."""

    def report(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, what)

    return report


def _baselines(loaded: Loaded, items: Sequence[Item], asking: Asking, run: Run) -> Any:
    """What the untuned model is right on by its own words, and the candidates' likelihoods."""
    model, tokenizer = loaded.model, loaded.tokenizer
    plain = ChoiceJudge(model, tokenizer, name="", report=reporter(run, "untuned"))
    _, untuned = read_pairs(plain, items, asking)
    likelihood = LikelihoodJudge(model, tokenizer, name="", report=reporter(run, "likelihood"))
    return untuned, likelihoods_of(likelihood, items)


# -- the three ways --------------------------------------------------------------------------------


def _probe(
    loaded: Loaded, items: Sequence[Item], asking: Asking, config: TuneConfig, run: Run
) -> Tuned:
    calls = [(asking.call(one, 0, 1), asking.call(one, 1, 0)) for one in items]
    model: Any = loaded.model
    num = len(model.base_model.layers)
    blocks = config.blocks or tuple(range(max(1, num // 3), num + 1, max(1, num // 10)))
    found = tune_probe(
        loaded.model,
        loaded.tokenizer,
        calls,
        first_is_better(items).tolist(),
        blocks,
        ridge=config.ridge,
        seed=run.seed,
        report=reporter(run, "states"),
    )
    best = float(found.accuracies.max())
    numbers = (
        Number("probe's block", found.probe.block, n=len(blocks), baseline=float(num)),
        Number("cross-validated accuracy it was chosen by", best, n=len(items), unit="share",
               baseline=0.5),
    )  # fmt: skip
    judge = ProbeJudge(
        loaded.model,
        loaded.tokenizer,
        found.probe,
        name=loaded.name,
        report=reporter(run, "held-out pairs"),
    )
    return Tuned(found.probe, judge, numbers)


def _choice(
    loaded: Loaded, items: Sequence[Item], asking: Asking, config: TuneConfig, run: Run
) -> Tuned:
    model: Any = loaded.model
    options = _adapter_options(config)
    data = choice_prompts(model, loaded.tokenizer, items, asking)
    lower = _lower(loaded, data.prompts, config, run)
    wrapped = attach_choice(model, options, seed=run.seed)
    steps = train_choice(wrapped, data, lower, range(len(items)), options, run)
    report = reporter(run, "held-out pairs")
    judge = ChoiceJudge(wrapped, loaded.tokenizer, name=loaded.name, report=report)
    return Tuned(wrapped, judge, (Number("steps", steps),))


def _lower(loaded: Loaded, prompts: Prompts, config: TuneConfig, run: Run) -> LowerStates:
    """The states of the prompts below the blocks that get an adapter."""
    report = reporter(run, "states below the adapter")
    model: Any = loaded.model
    return lower_states(
        run.folder / _STATES, model, loaded.tokenizer, prompts, config.layers, report
    )


def _adapter_options(config: TuneConfig) -> ChoiceOptions:
    if not config.rank:
        raise ConfigError(
            "rank", f"--rank 0: {config.train} trains an adapter; give it a rank, such as 8."
        )
    return ChoiceOptions(config.rank, config.alpha, config.layers, config.penalty, config.epochs,
                         config.optim)  # fmt: skip


def _written(
    loaded: Loaded, items: Sequence[Item], asking: Asking, config: TuneConfig, run: Run
) -> Tuned:
    model: Any = loaded.model
    options = _adapter_options(config)
    data = written_prompts(model, loaded.tokenizer, items, asking)
    lower = _lower(loaded, data.prompts, config, run)
    wrapped = attach_choice(model, options, seed=run.seed)
    steps = train_written(wrapped, data, lower, range(len(items)), options, run)
    judge = written_judge(
        wrapped,
        loaded.tokenizer,
        name=loaded.name,
        store=lambda: CallStore(run.folder / "calls.sqlite"),
        max_tokens=config.max_new_tokens,
        report=reporter(run, "held-out pairs"),
    )
    return Tuned(wrapped, judge, (Number("steps", steps),))


def _head(
    loaded: Loaded, items: Sequence[Item], asking: Asking, config: TuneConfig, run: Run
) -> Tuned:
    model: Any = loaded.model
    options = HeadOptions(config.rank, config.alpha, config.layers, config.centring,
                          config.epochs, config.optim)  # fmt: skip
    prompts = head_prompts(loaded.tokenizer, items)
    lower = head_states(
        run.folder / _STATES,
        model,
        loaded.tokenizer,
        prompts,
        options,
        reporter(run, "states below the head"),
    )
    made = attach_head(model, options, seed=run.seed)
    steps = train_head(made, lower, range(len(items)), options, run)
    report = reporter(run, "held-out pairs")
    judge = RewardJudge(made, loaded.tokenizer, name=loaded.name, report=report)
    return Tuned(made, judge, (Number("steps", steps),))


_TRAINERS: dict[str, Callable[[Loaded, Sequence[Item], Asking, TuneConfig, Run], Tuned]] = {
    "probe": _probe,
    "choice": _choice,
    "head": _head,
    "written": _written,
}
