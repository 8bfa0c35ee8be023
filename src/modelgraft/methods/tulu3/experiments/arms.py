"""What the experiments share: the models under study, arms that are trained once, their scores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.attempts import RunRecord
from modelgraft.core.card import find_card
from modelgraft.core.errors import Partial
from modelgraft.core.files import dump_json, remove_folder, write_atomic
from modelgraft.core.inputs import config_inputs
from modelgraft.core.lazy import load
from modelgraft.core.nested import nested_run
from modelgraft.core.options import flatten
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array, Interval, paired_bootstrap_over_seeds
from modelgraft.language.endpoints.local import fingerprint
from modelgraft.language.load import Loaded, load_causal_lm
from modelgraft.methods.tulu3.adapter.models import MODEL, prepare_tokenizer
from modelgraft.methods.tulu3.config import BASE, SFT
from modelgraft.methods.tulu3.data import AnyRecord, Prompt, record_row, world_prompt
from modelgraft.methods.tulu3.evaluate.suites import Kind, Outcome, answer_all, judge_all
from modelgraft.methods.tulu3.verifying import verifier_pool
from modelgraft.methods.tulu3.world.tasks import suite

# The models that arms start from, by the stage that made them.
SUBJECTS = {"base": BASE, "sft": SFT}
# The longest prompt of the suites leaves room for this much; right answers take up to 55.
MAX_NEW_TOKENS = 80
NUM_SEEDS = 3
_METHOD = "tulu3"


# -- training --------------------------------------------------------------------------------------


def seeds_of(run: Run, quick: bool) -> tuple[int, ...]:
    """The seeds of the arms; one in a quick pass."""
    return tuple(range(run.seed, run.seed + (1 if quick else NUM_SEEDS)))


def arm(run: Run, name: str, seed: int, action: str, config: Any) -> Path:
    """The folder of the model that an action trains under `config`, as a run of its own.

    The run lies in `arms/NAME-SEED` of the experiment's run. A killed experiment goes on with the
    checkpoint of the arm it was at; a finished arm is not trained again, unless its config or the
    content of its files changed, when the old one is set aside.
    """
    return finished_run(run, name, seed, action, config) / "artefacts" / MODEL


def finished_run(run: Run, name: str, seed: int, action: str, config: Any) -> Path:
    """The folder of a finished run of any action, as `arm` makes it; checkpoints are gone."""
    run.check()
    folder = run.folder / "arms" / f"{name}-{seed}"
    record = RunRecord(
        method=_METHOD,
        action=action,
        command=run.record.command,
        config=flatten(config),
        inputs=config_inputs(config),
    )
    target = load(find_card(_METHOD).action(action).target)
    settings = replace(run.settings, seed=seed)
    result, _ = nested_run(run, folder, settings, record, lambda own: target(config, own))
    if result.partial:
        raise Partial(
            f"{folder}: this arm ended early, so nothing is measured of it: {result.partial}"
        )
    if (folder / "checkpoints").exists():
        remove_folder(folder / "checkpoints")
    return folder


def write_rows(run: Run, name: str, records: Iterable[AnyRecord]) -> Path:
    """Records as a JSONL file of the experiment, `data/NAME.jsonl` of its run."""
    path = run.folder / "data" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(dump_json(record_row(one)) + "\n" for one in records))
    return path


# -- scoring ---------------------------------------------------------------------------------------


def world_suite(kind: Kind, num: int, *, seed: int) -> list[Prompt]:
    """`num` prompts of every skill of the world, sorted by skill; the source is the skill."""
    return [replace(world_prompt(task), source=task.skill) for task in suite(kind, num, seed=seed)]


def score(
    run: Run,
    label: str,
    model: str | Path,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    samples: int = 1,
    temperature: float = 0.0,
) -> list[Outcome]:
    """What becomes of answers of a model, judged by the verifiers, in the prompts' order.

    Greedy ones, or `samples` drawn at a `temperature`. Journaled by the model's weights, the
    prompts and how they were answered: a resumed experiment reads what it has scored. `label` names
    the model where progress is shown.
    """
    loaded = load_subject(run, model)
    key = _key(loaded, prompts, [max_new_tokens, samples, temperature])
    with run.journal("scores.jsonl") as journal:
        for row in journal.rows:
            if row["key"] == key:
                return [_outcome(one) for one in row["outcomes"]]

        def report(done: int, total: int) -> None:
            run.check()
            run.progress(done, total, f"{label} answers")

        answers = answer_all(
            loaded.model,
            loaded.tokenizer,
            prompts,
            max_new_tokens=max_new_tokens,
            samples=samples,
            temperature=temperature,
            seed=run.seed,
            report=report,
        )
        with verifier_pool(workers=1) as pool:
            outcomes = judge_all(pool, prompts, answers)
        rows = [vars(outcome) for outcome in outcomes]
        journal.append({"key": key, "label": label, "outcomes": rows})
    return outcomes


def described(run: Run, stage: str = "base") -> dict[str, str]:
    """What the numbers of an experiment belong to: model, weights, number type, device."""
    loaded = load_subject(run, SUBJECTS[stage])
    return {
        "model": loaded.name,
        "weights": fingerprint(loaded.model, loaded.tokenizer),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": loaded.model.device.type,
    }


def load_subject(run: Run, model: str | Path) -> Loaded:
    """The model under study, with a chat template, on the device that the run asks for."""
    settings = run.settings
    # Greedy answers must not depend on which number type is the faster one here.
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    loaded = load_causal_lm(model, device=settings.device, dtype=dtype, offline=settings.offline)
    prepare_tokenizer(loaded.tokenizer, "own" if loaded.tokenizer.chat_template else "tulu")
    return loaded


def _key(loaded: Loaded, prompts: Sequence[Prompt], how: Sequence[float]) -> str:
    asked = [record_row(prompt) for prompt in prompts]
    text = dump_json([fingerprint(loaded.model, loaded.tokenizer), *how, asked])
    return hashlib.sha256(text.encode()).hexdigest()


def _outcome(row: Mapping[str, Any]) -> Outcome:
    answers, passed = tuple(row["answers"]), tuple(row["passed"])
    return Outcome(row["id"], row["skill"], row["prompt"], answers, passed)


# -- comparing -------------------------------------------------------------------------------------


def shares(of_seeds: Sequence[Sequence[Outcome]], skill: str = "") -> Array:
    """Answers that passed in percent [seeds, items]: 0 or 100 where an item has one answer.

    Of the items of one skill, if it is named.
    """
    rows = [
        [100 * float(np.mean(one.passed)) for one in outcomes if skill in ("", one.skill)]
        for outcomes in of_seeds
    ]
    return np.array(rows)


def difference(ours: Array, baseline: Array) -> Interval:
    """The mean of `ours - baseline` [seeds, items] of the same items, over seeds and items."""
    return paired_bootstrap_over_seeds(ours, baseline, same_items=True)


def mean(values: Array) -> Interval:
    """The mean over seeds and items, with the spread of both."""
    return difference(values, np.zeros_like(values))


def is_above(gap: Interval, bound: float = 0.0) -> bool:
    """Whether a difference lies above `bound` with its whole interval.

    A difference without an interval, the same for every item, is taken at its value.
    """
    return (gap.value if gap.low is None else gap.low) > bound


def number(name: str, interval: Interval, **fields: Any) -> Number:
    """A `Number` from an interval."""
    return Number(name, interval.value, interval.low, interval.high, interval.n, **fields)
